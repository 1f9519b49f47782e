"""A whole cluster on this machine: Ray's head and nodes, PostgreSQL, and Dagster's servers that hand runs to Ray.

`deploy/ray/dagster.yaml` is used, with fewer runs at once; what it asks of the environment is set here. What a cluster would
have on many machines stands side by side on loopback, and the home is a folder that all nodes see.

Belongs here: the parts together, and the chain as runs of Dagster.
Does not belong here: each part (`_ray_cluster`, `_postgres`, `_dagster_server`), what is measured.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks._dagster_server import PATIENCE_S, ROOT, RunTold, Server, StuckError, dagster_server
from benchmarks._postgres import Postgres, postgres_server
from benchmarks._ray_cluster import NodeSize, RayCluster, environment_without_ray, ray_cluster
from geoloc_pipeline.orchestration.artefacts import all_artefacts
from geoloc_pipeline.orchestration.running.chain import PREFECTURE_ASSETS, Run
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.shared import shared_home

SETTINGS = ROOT / "deploy" / "ray" / "dagster.yaml"
NODES = {"east": NodeSize(), "west": NodeSize(gpus=1)}
"""Two nodes. One claims a GPU that it has not: what asks for one is placed there, and works on the processor."""
JOBS = {
    ("osm_dump",): "refresh_dumps",
    ("photo_collections",): "collect_photos",
    ("osm_roads", "osm_landmarks"): "extract_prefectures",
    PREFECTURE_ASSETS: "refresh_prefecture",
}
"""The jobs that do just what a run of the chain does; other runs are handed in as assets."""
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
PROFILE = {"GEOLOC_PROFILE": "demo", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


@dataclass(frozen=True)
class Cluster:
    """The running parts.

    Attributes:
        home: What runs work on.
        ray: Head and nodes.
        postgres: Dagster's records.
        server: Dagster's code server, webserver and daemon.
    """

    home: Home
    ray: RayCluster
    postgres: Postgres
    server: Server

    def dead(self) -> list[str]:
        """Return the names of parts that should run and do not."""
        parts = {**self.server.processes, **{f"Ray's {name}": process for name, process in self.ray.processes.items()}}
        gone = [name for name, process in parts.items() if process.poll() is not None]
        return gone if self.postgres.is_up() else [*gone, "PostgreSQL"]

    def launch(self, run: Run) -> str:
        """Launch a run of the chain through Dagster; return its id."""
        job = JOBS.get(run.assets)
        if job is not None:
            return self.server.launch_run(job, run.partition, until=run.until)
        return self.server.launch_run(assets=run.assets, partition=run.partition, until=run.until, in_process=True)

    def wait(self, run_ids: Sequence[str]) -> list[RunTold]:
        """Wait until runs have ended, and those that Dagster launches again for them; return the last of each.

        Raises:
            StuckError: A part has died, or they do not end.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            if dead := self.dead():
                raise StuckError(f"{', '.join(dead)} died\n{self.logs()}")
            runs = [self.last_try(run_id) for run_id in run_ids]
            if all(run.status in ENDED and not will_be_tried_again(run) for run in runs):
                return runs
            time.sleep(0.5)
        raise StuckError(f"runs do not end: {runs}\n{self.logs()}")

    def last_try(self, run_id: str) -> RunTold:
        """Return a run, or the one that Dagster launched last in its place."""
        run = self.server.run(run_id)
        while again := run.tags.get("dagster/auto_retry_run_id"):
            run = self.server.run(again)
        return run

    def logs(self) -> str:
        """Return the last of what all parts have said."""
        return f"{self.server.logs()}\n{self.ray.logs()}"


def will_be_tried_again(run: RunTold) -> bool:
    """Return whether Dagster will launch a failed run again, and has not yet."""
    return run.status == "FAILURE" and run.tags.get("dagster/will_retry", "") == "true"


def settings_for(runs_at_once: int) -> str:
    """Return `deploy/ray/dagster.yaml` with as many runs at once as there are cores.

    Other runs then wait in Dagster's queue, where they can be seen and ordered, and not in Ray's.
    """
    text = SETTINGS.read_text(encoding="utf-8")
    text, found = re.subn(r"max_concurrent_runs: \d+", f"max_concurrent_runs: {runs_at_once}", text)
    assert found == 1, SETTINGS
    return text


@contextmanager
def cluster(
    home: Home,
    folder: Path,
    *,
    nodes: Mapping[str, NodeSize] = NODES,
    settings: str = "",
    environment: Mapping[str, str] | None = None,
    quick: bool = False,
) -> Iterator[Cluster]:
    """Yield a running cluster that works on `home`; the block ends all of it.

    Args:
        home: What runs work on; every node sees it.
        folder: DAGSTER_HOME; empty.
        nodes: Ray's nodes besides the head, by name.
        settings: Text of a `dagster.yaml` in place of what `settings_for` gives.
        environment: More for every process.
        quick: The daemon looks often.
    """
    with postgres_server() as postgres:
        told = {**PROFILE, "GEOLOC_HOME": home.url or str(home.root), **postgres.environment, **(environment or {})}
        with ray_cluster(nodes, {**environment_without_ray(), **told}) as ray:
            text = settings or settings_for(sum(size.cpus for size in nodes.values()))
            door = {name: value for name, value in ray.environment.items() if name.startswith("RAY_")}
            with dagster_server(home, folder, quick=quick, settings=text, environment={**told, **door}) as server:
                yield Cluster(home, ray, postgres, server)


def tables_of(home: Home) -> dict[str, str]:
    """Return the content hash of every artefact of a home, by its name, from the receipts."""
    if shared := shared_home(home):
        shared.refresh()
    return {artefact.name: artefact.receipt.content_hash for artefact in all_artefacts(home)}
