"""The whole chain, stage after stage, in worker processes: what `geoloc demo` runs.

Belongs here: which assets run in which order and how many at once, and what they tell meanwhile.
Does not belong here: how it looks on a screen (`cli`), what a run does (`worker.py`).
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from geoloc_pipeline.errors import GeolocError
from geoloc_pipeline.geo.prefectures import BY_CODE, PREFECTURES, Prefecture
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS
from geoloc_pipeline.storage.atomic import disk_errors
from geoloc_pipeline.storage.layout import WHOLE, Home
from geoloc_pipeline.storage.lifeline import ANCESTOR_VARIABLE, hold_home
from geoloc_pipeline.storage.progress import read_progress
from geoloc_pipeline.storage.receipts import read_receipt

POLL_S = 0.2


@dataclass(frozen=True)
class Run:
    """One run: some assets in one partition, or in a row of prefectures.

    Attributes:
        assets: Asset keys.
        partition: Partition key; None: they have no partitions.
        until: Last prefecture of the row; None: `partition` alone.
    """

    assets: tuple[str, ...]
    partition: str | None = None
    until: str | None = None

    @property
    def partitions(self) -> tuple[str, ...]:
        """Every partition of the run; `WHOLE` stands in where there are none."""
        if self.partition is None or self.until is None:
            return (self.partition or WHOLE,)
        return tuple(prefecture.key for prefecture in PREFECTURES if self.partition <= prefecture.key <= self.until)


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
_BEFORE_POINTS = PREFECTURE_ASSETS[:3]


def chain_of(prefecture_codes: Iterable[str]) -> list[Stage]:
    """Return the stages that bring the given prefectures from the dump to the evaluation report.

    Prefectures in a row that share a dump are cut out of it in one run, so in one pass; each of the others goes alone.

    Args:
        prefecture_codes: JIS codes of the prefectures.

    Returns:
        Stages in order.
    """
    prefectures = [BY_CODE[code] for code in sorted(prefecture_codes)]
    regions = sorted({prefecture.region for prefecture in prefectures})
    keys = [prefecture.key for prefecture in prefectures]
    rows = [row for row in _rows(prefectures) if len(row) > 1]
    cut = {key for row in rows for key in row}
    first = [
        Stage(tuple(Run(("census_towns",), key) for key in sorted(cut))),
        Stage(tuple(Run(("osm_roads", "osm_landmarks"), row[0], until=row[-1]) for row in rows)),
    ]
    return [
        Stage((Run(("geofabrik_extracts",)),)),
        Stage(
            (
                *(Run(("osm_dump",), region) for region in regions),
                *(Run(("photo_collections",), name) for name in PHOTO_SETS),
            )
        ),
        *(first if rows else ()),
        Stage(tuple(Run(PREFECTURE_ASSETS[len(_BEFORE_POINTS) * (key in cut) :], key) for key in keys)),
        Stage((Run(("label_vocabulary", "geolocation_model")),)),
        Stage(tuple(Run(("image_embeddings",), key) for key in keys)),
        Stage((Run(("qdrant_collection", "evaluation_report")),)),
    ]


def _rows(prefectures: list[Prefecture]) -> list[list[str]]:
    """Return the keys in groups that stand next to each other in JIS order and share a dump."""
    numbered = groupby(enumerate(prefectures), key=lambda item: (item[1].region, int(item[1].code) - item[0]))
    return [[prefecture.key for _, prefecture in row] for _, row in numbered]


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
    active = {(asset, part) for run in state.running for part in run.partitions for asset in run.assets}
    for stage in stages:
        for run in stage.runs:
            for asset in run.assets:
                step = state.steps.setdefault(asset, StepState(partitions=0))
                for part in run.partitions:
                    step.partitions += 1
                    _add(step, home, asset, part, is_active=(asset, part) in active)
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
    with hold_home(home) as lock:
        crew = [Worker(home, name=f"worker-{number}", profile=profile, lock=lock) for number in range(1, workers + 1)]
        try:
            for stage in stages:
                waiting = list(stage.runs)
                for idle in crew[len(waiting) :]:
                    idle.end()  # what it has imported is memory that training can use
                while waiting or any(worker.run for worker in crew):
                    for worker in crew:
                        if waiting and worker.run is None:
                            worker.start(waiting.pop(0))
                    time.sleep(POLL_S)
                    for worker in crew:
                        worker.look()
                    if watch:
                        watch(read_state(home, stages, [worker.run for worker in crew if worker.run]))
        finally:
            for worker in crew:
                worker.end()


class Worker:
    """A process of `worker.py` that does one run after the other; started when the first one comes.

    Attributes:
        run: What it is doing; None: nothing.
    """

    def __init__(self, home: Home, *, name: str, profile: str, lock: int) -> None:
        self.run: Run | None = None
        self._log = home.log(name)
        self._log.unlink(missing_ok=True)
        self._lock = lock
        self._process: subprocess.Popen[str] | None = None
        self._environment = {
            **os.environ,
            "GEOLOC_HOME": home.url or str(home.root),
            "GEOLOC_PROFILE": profile,
            "OMP_NUM_THREADS": "1",
            ANCESTOR_VARIABLE: str(os.getpid()),
        }

    def start(self, run: Run) -> None:
        """Give it a run."""
        self.run = run
        pipe = self._started().stdin
        if pipe:
            pipe.write(json.dumps({"assets": run.assets, "partition": run.partition, "until": run.until}) + "\n")
            pipe.flush()

    def look(self) -> None:
        """See whether it has finished.

        Raises:
            WorkerFailedError: The run failed.
        """
        if self.run is None or self._process is None or self._process.stdout is None:
            return
        if self._process.poll() is None and not select.select([self._process.stdout], [], [], 0)[0]:
            return
        line = self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line) if line else {"error": self._death(), "exit_code": 1}
        if "error" in told:
            raise WorkerFailedError(sentence=told["error"], exit_code=int(told["exit_code"]))
        self.run = None

    def end(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
            self._process = None

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None:
            with disk_errors(self._log):
                self._log.parent.mkdir(parents=True, exist_ok=True)
                stream = self._log.open("a", encoding="utf-8")
            with stream:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "geoloc_pipeline.orchestration.running.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stream,
                    env=self._environment,
                    pass_fds=(self._lock,),
                    text=True,
                )
        return self._process

    def _death(self) -> str:
        status = self._process.wait() if self._process else None
        what = f"{', '.join(self.run.assets)} ({', '.join(self.run.partitions)})" if self.run else "nothing"
        return f"the run of {what} ended with status {status}; its output is in {self._log}; run again to go on"
