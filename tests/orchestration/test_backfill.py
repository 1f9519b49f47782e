"""Backfills through Dagster's own webserver and daemon: what one touches, what is run again, and what has nothing to do.

One home of three light prefectures and one server serve the whole file; each fixture takes the home one step further. The
daemon is the real one, but looks at backfills every two seconds instead of every thirty.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.jobs import refresh_prefecture
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.orchestration.running.chain import PREFECTURE_ASSETS
from geoloc_pipeline.orchestration.world import World, choose_world
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import read_receipt

sys.path.insert(0, str(Path(__file__).parents[2]))  # the benchmarks stand beside the tests
from benchmarks._dagster_server import (
    PATIENCE_S,
    ROOT,
    RunTold,
    Server,
    dagster_server,
    environment_of,
    run_tool,
    tool,
    write_settings,
)
from benchmarks.backfill import files_of, grow_light_world

TOKYO, EMPTY, OKINAWA = "13_tokyo", "35_yamaguchi", "47_okinawa"
REGIONS = ("kanto", "chugoku", "kyushu")
JOB = refresh_prefecture.name
Files = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Scene:
    """A home before and after a backfill, and what Dagster tells of it: also which partitions there are then, by asset."""

    server: Server
    home: Home
    backfill: str
    status: str
    runs: list[RunTold]
    partitions: dict[str, dict[str, set[str]]]
    before: Files
    after: Files

    @property
    def changed(self) -> set[str]:
        """Files that were made, written or removed."""
        return {name for name, _ in self.before.items() ^ self.after.items()}

    def why(self) -> str:
        """What to read when something is not as it should be."""
        errors = "\n".join(f"{run.partition}: {self.server.errors_of(run.run_id)}" for run in self.runs)
        return f"{self.status}, {self.runs}\n{errors}\n{self.server.logs()}"

    def statuses(self) -> dict[str, str]:
        return {run.partition: run.status for run in self.runs}

    def run_of(self, key: str) -> str:
        [run_id] = [run.run_id for run in self.runs if run.partition == key]
        return run_id


def seen(server: Server, home: Home, before: Files, backfill: str) -> Scene:
    """Wait for a backfill and for its runs, and look at the home."""
    status = server.wait_for_backfill(backfill)
    runs = server.wait_for_runs([run.run_id for run in server.runs_of(backfill)])
    partitions = {asset: server.partitions(asset) for asset in PREFECTURE_ASSETS}
    return Scene(server, home, backfill, status, runs, partitions, before, files_of(home))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("backfill")
    world = grow_light_world(folder / "map", ["13", "35", "47"], empty=["35"])
    home = Home.at(folder / "home")
    choose_world(home, World(source=str(world), prefecture_codes=()))
    return home


@pytest.fixture(scope="module")
def server(home: Home) -> Iterator[Server]:
    with dagster_server(home, home.root.parent / "dagster", quick=True) as server:
        runs = server.wait_for_runs([server.launch_run("refresh_dumps", region) for region in REGIONS])
        assert {run.status for run in runs} == {"SUCCESS"}, server.logs()
        yield server


@pytest.fixture(scope="module")
def tokyo(server: Server, home: Home) -> Scene:
    """The first prefecture, by the button of the job's page."""
    return seen(server, home, files_of(home), server.backfill_job(JOB, [TOKYO]))


@pytest.fixture(scope="module")
def vocabulary(tokyo: Scene) -> tuple[RunTold, set[str]]:
    """The first fan-in while two of three prefectures were never built, and the partitions that it was made from."""
    [run] = tokyo.server.wait_for_runs([tokyo.server.launch_run(assets=["label_vocabulary"])])
    return run, made_from(tokyo.home)


@pytest.fixture(scope="module")
def three(tokyo: Scene, vocabulary: tuple[RunTold, set[str]]) -> Scene:
    """All three: one is current, one is empty, and of one somebody has put a damaged census archive into the home."""
    archive = census_archive(tokyo.home)
    archive.write_bytes(b"<html>out of service</html>")
    return seen(tokyo.server, tokyo.home, files_of(tokyo.home), tokyo.server.backfill_job(JOB, [TOKYO, EMPTY, OKINAWA]))


@pytest.fixture(scope="module")
def mended(three: Scene) -> Scene:
    """Only what failed, after the archive was removed."""
    census_archive(three.home).unlink()
    return seen(three.server, three.home, files_of(three.home), three.server.rerun_failed(three.backfill))


@pytest.fixture(scope="module")
def by_command(mended: Scene) -> Scene:
    """The first prefecture again, by the command line, after its road points were lost."""
    server, home = mended.server, mended.home
    home.receipt("road_points", TOKYO).unlink()
    home.table("road_points", TOKYO).unlink()
    known, before = server.backfills(), files_of(home)
    run_tool(
        server.environment, "dagster", "job", "backfill", "-w", "workspace.yaml", "-j", JOB, "--partitions", TOKYO, "--noprompt"
    )
    [launched] = server.backfills() - known
    return seen(server, home, before, launched)


def census_archive(home: Home):
    return home.census() / "A002005212020DDSWC47-JGD2011.zip"


def made_from(home: Home) -> set[str]:
    receipt = read_receipt(home.receipt("label_vocabulary"))
    assert receipt is not None
    return {name.split("/")[1] for name in receipt.inputs if "/" in name}


def of_others(scene: Scene, *keys: str) -> list[str]:
    """Tell which changed files are neither the prefectures' own nor what street view's providers told of an area."""
    own = (*keys, *(f"DDSWC{key[:2]}" for key in keys), "sources/coverage/", "sources/budgets/")
    return sorted(name for name in scene.changed if not any(part in name for part in own))


def test_a_backfill_of_tokyo_touches_tokyo_alone(tokyo: Scene) -> None:
    assert tokyo.statuses() == {TOKYO: "SUCCESS"}, tokyo.why()
    assert tokyo.status == "COMPLETED_SUCCESS"
    assert of_others(tokyo, TOKYO) == []
    receipts = [path for path in map(Path, tokyo.after) if path.parts[0] == "receipts"]
    assert {path.stem for path in receipts} == {TOKYO, *REGIONS}
    assert {path.parent.name for path in receipts if path.stem == TOKYO} == set(PREFECTURE_ASSETS)


def test_the_records_of_dagster_name_tokyo_alone(tokyo: Scene) -> None:
    [run] = tokyo.runs
    assert run.assets == tuple(sorted(PREFECTURE_ASSETS))
    assert {value for key, value in run.tags.items() if "partition" in key} == {TOKYO, f"{JOB}_partition_set"}
    assert tokyo.partitions == {key: {"materialized": {TOKYO}, "failed": set()} for key in PREFECTURE_ASSETS}


def test_a_fan_in_does_not_wait_for_prefectures_that_were_never_built(
    server: Server, vocabulary: tuple[RunTold, set[str]]
) -> None:
    run, partitions = vocabulary
    assert run.status == "SUCCESS", server.errors_of(run.run_id)
    assert partitions == {TOKYO}


def test_one_that_fails_leaves_the_others_green(three: Scene) -> None:
    assert three.statuses() == {TOKYO: "SUCCESS", EMPTY: "SUCCESS", OKINAWA: "FAILURE"}, three.why()
    assert three.status == "COMPLETED_FAILED"
    assert "A002005212020DDSWC47" in three.server.errors_of(three.run_of(OKINAWA))
    assert three.partitions == {key: {"materialized": {TOKYO, EMPTY}, "failed": {OKINAWA}} for key in PREFECTURE_ASSETS}


def test_a_prefecture_with_nothing_to_do_ends_green_and_changes_no_byte(three: Scene) -> None:
    assert three.statuses()[TOKYO] == "SUCCESS", three.why()
    assert [name for name in three.changed if TOKYO in name or "DDSWC13" in name] == []
    assert of_others(three, EMPTY, OKINAWA) == []
    said = three.server.messages_of(three.run_of(TOKYO))
    assert sum("is current: nothing to do" in message for message in said) == len(PREFECTURE_ASSETS)


def test_a_prefecture_whose_map_is_empty_ends_green_with_empty_tables(three: Scene) -> None:
    assert three.statuses()[EMPTY] == "SUCCESS", three.why()
    for asset in PREFECTURE_ASSETS:
        rows = len(pd.read_parquet(three.home.table(asset, EMPTY)))
        assert (rows > 0) == (asset == "census_towns"), asset


def test_only_what_failed_is_run_again(three: Scene, mended: Scene) -> None:
    assert mended.statuses() == {OKINAWA: "SUCCESS"}, mended.why()
    assert mended.status == "COMPLETED_SUCCESS"
    assert of_others(mended, OKINAWA) == []
    everything = {"materialized": {TOKYO, EMPTY, OKINAWA}, "failed": set()}
    assert mended.partitions == dict.fromkeys(PREFECTURE_ASSETS, everything)


def test_a_fan_in_takes_an_empty_prefecture_as_it_is(mended: Scene) -> None:
    [run] = mended.server.wait_for_runs([mended.server.launch_run(assets=["label_vocabulary"])])
    assert run.status == "SUCCESS", mended.server.errors_of(run.run_id)
    assert made_from(mended.home) == {TOKYO, EMPTY, OKINAWA}


def test_the_command_touches_tokyo_alone_as_well(by_command: Scene) -> None:
    assert by_command.statuses() == {TOKYO: "SUCCESS"}, by_command.why()
    assert of_others(by_command, TOKYO) == []
    assert f"tables/road_points/{TOKYO}.parquet" in by_command.changed
    assert f"tables/street_view_images/{TOKYO}.parquet" not in by_command.changed  # the same points came out


def test_no_dump_is_ever_touched(tokyo: Scene, three: Scene, mended: Scene, by_command: Scene) -> None:
    dumps = [name for name in tokyo.before if name.startswith("sources/geofabrik/")]
    assert {name.split("/")[2] for name in dumps} == set(REGIONS)
    for scene in (tokyo, three, mended, by_command):
        assert [name for name in scene.changed if "geofabrik" in name or "osm_dump" in name] == []


def test_eight_runs_at_once_come_through_on_fresh_records(tmp_path) -> None:
    write_settings(tmp_path / "dagster", concurrent_runs=8)
    environment = environment_of(Home.at(tmp_path / "home"), tmp_path / "dagster")
    command = [tool("dagster"), "job", "execute", "-m", "geoloc_pipeline.definitions", "-j", "no_partition_is_left_failed"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    runs = [subprocess.Popen(command, env=environment, cwd=ROOT, **pipes) for _ in range(8)]
    said = [run.communicate(timeout=PATIENCE_S)[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 8, "\n".join(said)


def test_a_run_that_waits_for_a_pool_sleeps_until_it_may_ask_again(tmp_path) -> None:
    build_definitions(Pipeline(home_dir=str(tmp_path), profile="demo"))
    write_settings(tmp_path, concurrent_runs=2)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.event_log_storage.set_concurrency_slots("street_view", 1)
        first, second = (
            InstanceConcurrencyContext(instance, dg.DagsterRun(job_name=JOB, run_id=str(number))) for number in range(2)
        )
        with first, second:
            assert first.claim("street_view", "street_view_images")
            assert not second.claim("street_view", "street_view_images")
            assert 0.0 < second.interval_to_next_pending_claim_check() <= 15.0  # 0: it would ask without a pause
