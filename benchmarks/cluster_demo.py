"""The whole demo on a Ray cluster of this machine, from nothing: `make cluster-demo`, or `python -m benchmarks.cluster_demo`.

A head and two nodes of Ray, PostgreSQL, an S3 server and Dagster's servers are started on loopback. Every run of the chain is
launched through Dagster and done as a Ray job on whichever node has what it needs, in a working copy of that node's own. In the
end the bytes of all tables are compared with those of `geoloc demo`, which does the same in one place, and everything
that was started is stopped.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks._cluster import Cluster, cluster
from benchmarks._dagster_server import ROOT, RunTold, StuckError, tool
from benchmarks._keeper import keep
from benchmarks._measure import table
from benchmarks.object_storage import s3_server
from geoloc_pipeline.orchestration.artefacts import all_artefacts
from geoloc_pipeline.orchestration.running.chain import chain_of
from geoloc_pipeline.orchestration.world import MADE_UP, World, choose_world
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import file_hash
from geoloc_pipeline.storage.shared import shared_home

WANTED_S = 10.0
HANDED_IN, PROCESS, BEGUN, STEP = "Ray run job created", "Started process for run", "RUN_START", "STEP_START"


@dataclass(frozen=True)
class Start:
    """How long a run took to begin, in seconds.

    Attributes:
        name: What ran.
        node: Where.
        queued_s: In Dagster's queue.
        handed_in_s: From leaving the queue until Ray has the job.
        placed_s: From there until the job has a place and its supervisor, a process of Ray.
        process_s: From there until the run's process has loaded Dagster and found its records.
        loaded_s: From there until the run begins: our definitions, and the plan.
        step_s: From there to its first step.
    """

    name: str
    node: str
    queued_s: float
    handed_in_s: float
    placed_s: float
    process_s: float
    loaded_s: float
    step_s: float

    @property
    def overhead_s(self) -> float:
        """From the launch to the first step."""
        return self.handed_in_s + self.placed_s + self.process_s + self.loaded_s + self.step_s


def start_of(told: Cluster, run: RunTold) -> Start:
    """Return how a run began, read from its log.

    Raises:
        StuckError: The log does not tell.
    """
    moments = told.server.moments_of(run.run_id)

    def first(*, kind: str = "", words: str = "") -> float:
        for at_s, event, message in moments:
            if (not kind or event == kind) and words in (message or ""):
                return at_s
        raise StuckError(f"no {kind or words} in the log of {run}: {moments}")

    enqueued, launched = first(kind="RUN_ENQUEUED"), first(kind="RUN_STARTING")
    created, process, begun, step = first(words=HANDED_IN), first(words=PROCESS), first(kind=BEGUN), first(kind=STEP)
    name = f"{run.assets[0] if len(run.assets) == 1 else f'{len(run.assets)} assets'} {run.partition.strip('.')}".strip()
    placed = told.ray.began_s(f"dagster-run-{run.run_id}")
    laps = (launched - enqueued, created - launched, placed - created, process - placed, begun - process, step - begun)
    return Start(name, told.ray.node_of(f"dagster-run-{run.run_id}"), *laps)


def run_chain(told: Cluster, prefecture_codes: tuple[str, ...]) -> list[RunTold]:
    """Launch every run of the chain, stage after stage; return them.

    Raises:
        StuckError: One failed.
    """
    done: list[RunTold] = []
    for number, stage in enumerate(chain_of(prefecture_codes), start=1):
        began_s = time.monotonic()
        runs = told.wait([told.launch(run) for run in stage.runs])
        for run in runs:
            if run.status != "SUCCESS":
                raise StuckError(f"{run} failed: {told.server.errors_of(run.run_id)}")
        print(f"stage {number}: {len(runs)} runs, {time.monotonic() - began_s:.0f} s", flush=True)
        done += runs
    return done


def demo_home(folder: Path, world: World) -> Home:
    """Return a home in which `geoloc demo` has done the same in one place.

    Raises:
        SystemExit: It failed.
    """
    command = [tool("geoloc"), "demo", "--home", str(folder), "--seed", str(world.seed), "--density", str(world.density)]
    done = subprocess.run(
        [*command, "--prefectures", ",".join(world.prefecture_codes)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"geoloc demo failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return Home.at(folder)


def tables_in(home: Home) -> dict[str, str]:
    """Return the hash of the bytes of every table that a receipt names, by its path.

    The checkpoint and the report are no tables: they tell the commit and how long everything took. The vectors, which are,
    tell whether the weights are the same.
    """
    if shared := shared_home(home):
        shared.bring()
    names = {name for artefact in all_artefacts(home) for name in artefact.receipt.files if name.startswith("tables/")}
    return {name: file_hash(home.root / name) for name in sorted(names)}


def show(starts: list[Start], seconds: float) -> None:
    """Print how the runs began."""
    heads = ("run", "node", "queue", "to Ray", "placed", "process, records", "definitions", "step", "launch to first step")
    rows = []
    for start in starts:
        laps = (start.queued_s, start.handed_in_s, start.placed_s, start.process_s, start.loaded_s, start.step_s)
        rows.append((start.name, start.node, *(f"{lap:.1f}" for lap in laps), f"{start.overhead_s:.1f}"))
    print(table(heads, rows))
    over = [start.overhead_s for start in starts]
    print(
        f"\n{len(starts)} runs in {seconds:.0f} s; launch to first step: median {median(over):.1f} s, "
        f"longest {max(over):.1f} s (wanted: under {WANTED_S:.0f} s)"
    )


@contextmanager
def home_of(folder: str | None, scratch: Path) -> Iterator[Home]:
    """Yield the home that all nodes share: a folder, or a bucket of an S3 server that the block ends."""
    if folder:
        yield Home.at(folder)
        return
    import boto3

    with s3_server() as port:
        keys = {"AWS_ACCESS_KEY_ID": "cluster", "AWS_SECRET_ACCESS_KEY": "cluster", "AWS_DEFAULT_REGION": "us-east-1"}
        os.environ |= {**keys, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}  # of all that is started from here on
        boto3.client("s3").create_bucket(Bucket="geoloc")
        yield Home.at("s3://geoloc/demo", working_copies=scratch / "copies")


def work(told: argparse.Namespace) -> int:
    """Start everything, run the chain, compare, stop everything."""
    codes = tuple(told.prefectures.split(","))
    world = World(seed=told.seed, prefecture_codes=codes, density=told.density)
    with tempfile.TemporaryDirectory(prefix="geoloc-cluster-") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        home = stack.enter_context(home_of(told.home, folder))
        choose_world(home, world)
        began_s = time.monotonic()
        with cluster(home, folder / "dagster") as parts:
            print(f"cluster of {parts.ray.alive()} nodes: {time.monotonic() - began_s:.0f} s", flush=True)
            began_s = time.monotonic()
            runs = run_chain(parts, codes)
            seconds = time.monotonic() - began_s
            starts = [start_of(parts, run) for run in runs]
        show(starts, seconds)
        other = Home.at(told.beside) if told.beside else demo_home(folder / "beside", world)
        mine, theirs = tables_in(home), tables_in(other)
        unlike = sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
    print(f"\n{len(mine)} tables; other bytes than on one machine: {', '.join(unlike) or 'none'}")
    return int(bool(unlike) or not mine)


def main() -> int:
    """Return the exit status: 0 when everything came out as on one machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefectures", default=",".join(MADE_UP), help="codes, with commas between")
    parser.add_argument("--density", type=float, default=1.0, help="below 1: fewer roads, for a quicker look")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", help="a folder that all nodes see, as home; object storage when absent")
    parser.add_argument("--beside", help="home of a `geoloc demo` of the same world; made when absent")
    told = parser.parse_args()
    return keep(lambda: work(told))


if __name__ == "__main__":
    sys.exit(main())
