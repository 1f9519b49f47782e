"""The whole chain, stage after stage, in worker processes: what `geoloc demo` runs.

Belongs here: which assets run in which order and how many at once, and what they tell meanwhile.
Does not belong here: how it looks on a screen (`cli`), what a run does (`worker.py`).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from geoloc_pipeline.errors import GeolocError
from geoloc_pipeline.geo.prefectures import BY_CODE
from geoloc_pipeline.storage.atomic import disk_errors
from geoloc_pipeline.storage.layout import WHOLE, Home
from geoloc_pipeline.storage.lifeline import ANCESTOR_VARIABLE, hold_home
from geoloc_pipeline.storage.progress import read_progress
from geoloc_pipeline.storage.receipts import read_receipt

POLL_S = 0.2


@dataclass(frozen=True)
class Run:
    """One run: some assets in one partition."""

    assets: tuple[str, ...]
    partition: str | None = None


@dataclass(frozen=True)
class Stage:
    """Runs that may go side by side; the next stage waits for all of them."""

    runs: tuple[Run, ...]


class WorkerFailedError(GeolocError, RuntimeError):
    """A worker process ended badly.

    Attributes:
        exit_code: 2 when the cure is the user's to apply.
    """

    def __init__(self, *, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code  # type: ignore[misc]


PREFECTURE_ASSETS = (
    "census_towns", "osm_roads", "osm_landmarks", "road_points", "landmark_points", "sample_points", "street_view_images",
    "labelled_images", "dataset_splits", "training_shards",
)  # fmt: skip


def chain_of(prefecture_codes: Iterable[str]) -> list[Stage]:
    """Return the stages that bring the given prefectures from the dump to the evaluation report.

    Args:
        prefecture_codes: JIS codes of the prefectures.

    Returns:
        Stages in order.
    """
    prefectures = [BY_CODE[code] for code in sorted(prefecture_codes)]
    regions = sorted({prefecture.region for prefecture in prefectures})
    keys = [prefecture.key for prefecture in prefectures]
    return [
        Stage((Run(("geofabrik_extracts",)),)),
        Stage((*(Run(("osm_dump",), region) for region in regions), Run(("photo_collections",), "local"))),
        Stage(tuple(Run(PREFECTURE_ASSETS, key) for key in keys)),
        Stage((Run(("label_vocabulary", "geolocation_model")),)),
        Stage(tuple(Run(("image_embeddings",), key) for key in keys)),
        Stage((Run(("qdrant_collection", "evaluation_report")),)),
    ]


@dataclass
class StepState:
    """What is known of one asset while the chain runs.

    Attributes:
        partitions: How many partitions it shall have.
        finished: How many are done.
        done: Things done in the partitions that are running, and in those that are finished.
        total: Things to do, as far as known.
        unit: What is counted.
        seconds: Time spent, summed over partitions.
        rows: Rows of its tables, where it makes one.
    """

    partitions: int
    finished: int = 0
    done: int = 0
    total: int = 0
    unit: str = ""
    seconds: float = 0.0
    rows: int | None = None


@dataclass
class ChainState:
    """What is known of the whole chain: one entry an asset, in the chain's order."""

    steps: dict[str, StepState] = field(default_factory=dict)
    running: tuple[Run, ...] = ()


def read_state(home: Home, stages: list[Stage], running: Iterable[Run] = ()) -> ChainState:
    """Return how far the chain is, read from receipts and progress files."""
    state = ChainState(running=tuple(running))
    active = {(asset, run.partition or WHOLE) for run in state.running for asset in run.assets}
    for stage in stages:
        for run in stage.runs:
            for asset in run.assets:
                step = state.steps.setdefault(asset, StepState(partitions=0))
                step.partitions += 1
                _add(step, home, asset, run.partition or WHOLE, is_active=(asset, run.partition or WHOLE) in active)
    return state


def _add(step: StepState, home: Home, asset: str, partition: str, *, is_active: bool) -> None:
    receipt = read_receipt(home.receipt(asset, partition))
    if receipt is not None:
        step.finished += 1
        step.seconds += float(receipt.metadata.get("seconds", 0.0))
        if "rows" in receipt.metadata:
            step.rows = (step.rows or 0) + int(receipt.metadata["rows"])
    done, total, unit = read_progress(home.progress(asset, partition))
    if receipt is not None or is_active:
        step.done, step.total, step.unit = step.done + done, step.total + total, unit or step.unit


def run_chain(
    home: Home, stages: list[Stage], *, profile: str, workers: int = 2, watch: Callable[[ChainState], None] | None = None
) -> None:
    """Run every stage; what is current is skipped by its own step.

    Args:
        home: Where everything goes.
        stages: What to run.
        profile: GEOLOC_PROFILE of the workers.
        workers: Runs at once.
        watch: Called a few times a second with the state.

    Raises:
        WorkerFailedError: A run failed; the others were stopped. Running the chain again goes on from there.
    """
    environment = {
        **os.environ,
        "GEOLOC_HOME": str(home.root),
        "GEOLOC_PROFILE": profile,
        "OMP_NUM_THREADS": "1",
        ANCESTOR_VARIABLE: str(os.getpid()),
    }
    with hold_home(home) as lock:
        for stage in stages:
            waiting, active = list(stage.runs), dict[Run, subprocess.Popen[str]]()
            try:
                while waiting or active:
                    while waiting and len(active) < workers:
                        run = waiting.pop(0)
                        active[run] = _start(home, run, environment, lock)
                    time.sleep(POLL_S)
                    for run in [run for run, process in active.items() if process.poll() is not None]:
                        _raise_if_failed(home, run, active.pop(run))
                    if watch:
                        watch(read_state(home, stages, active))
            finally:
                for process in active.values():
                    process.terminate()
                for process in active.values():
                    process.wait()


def _log_name(run: Run) -> str:
    return f"{run.assets[0]}--{run.partition or WHOLE}"


def _start(home: Home, run: Run, environment: dict[str, str], lock: int) -> "subprocess.Popen[str]":
    log = home.log(_log_name(run))
    with disk_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        stream = log.open("w", encoding="utf-8")
    request = json.dumps({"assets": run.assets, "partition": run.partition})
    with stream:
        return subprocess.Popen(
            [sys.executable, "-m", "geoloc_pipeline.orchestration.worker", request],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=(lock,),
            text=True,
        )


def _raise_if_failed(home: Home, run: Run, process: "subprocess.Popen[str]") -> None:
    if process.returncode == 0:
        return
    log = home.log(_log_name(run))
    for told in _json_lines(log.read_text(encoding="utf-8", errors="replace").splitlines()[::-1]):
        if "error" in told:
            raise WorkerFailedError(sentence=told["error"], exit_code=int(told["exit_code"]))
    where = f"{', '.join(run.assets)} ({run.partition})" if run.partition else ", ".join(run.assets)
    raise WorkerFailedError(
        sentence=f"the run of {where} ended with status {process.returncode}; its output is in {log}; run again to go on",
        exit_code=1,
    )


def _json_lines(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    for line in lines:
        if line.startswith('{"'):
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue
