"""What a Ray cluster may suffer: after each fault a run that Dagster launched again, or a plain one, leaves the same bytes.

A small cluster of this machine (`benchmarks._cluster`) refreshes one prefecture while a part of it is taken away. Dagster is
the real one with the settings of `deploy/ray`, but looks more often.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray", reason="pip install 'geoloc-pipeline[ray]'")
pytest.importorskip("dagster_ray", reason="pip install 'geoloc-pipeline[ray]'")

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks stand beside the tests
from benchmarks._cluster import Cluster, cluster, settings_for, tables_of
from benchmarks._dagster_server import PATIENCE_S, ROOT, RunTold
from benchmarks._postgres import SERVERS
from geoloc_pipeline.orchestration.running.chain import PREFECTURE_ASSETS, Run, chain_of, run_chain
from geoloc_pipeline.orchestration.world import World, choose_world
from geoloc_pipeline.storage.layout import Home

pytestmark = [
    pytest.mark.chain,
    pytest.mark.cluster,
    pytest.mark.skipif(not SERVERS, reason="PostgreSQL is not installed: apt-get install postgresql"),
]
KEY = "47_okinawa"
REFRESH = Run(PREFECTURE_ASSETS, KEY)


def until(what: Callable[[], object], *, said: Callable[[], str] = lambda: "") -> None:
    """Wait until something is so."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline_s, f"it never came to be\n{said()}"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Home:
    """A home with a map and photos, before any prefecture."""
    home = Home.at(tmp_path_factory.mktemp("prepared") / "home")
    choose_world(home, World(prefecture_codes=("47",), density=0.05))
    run_chain(home, chain_of(["47"])[:2], profile="demo")
    return home


@pytest.fixture(scope="module")
def undisturbed(prepared: Home, tmp_path_factory) -> dict[str, str]:
    """The content hashes that a prefecture has in the end, made by `geoloc demo`'s own workers."""
    home = Home.at(shutil.copytree(prepared.root, tmp_path_factory.mktemp("undisturbed") / "home"))
    run_chain(home, chain_of(["47"])[:3], profile="demo")
    return tables_of(home)


@pytest.fixture(scope="module")
def parts(prepared: Home, tmp_path_factory) -> Iterator[Cluster]:
    home = Home.at(tmp_path_factory.mktemp("cluster") / "home")
    settings = settings_for(2).replace("poll_interval_seconds: 15", "poll_interval_seconds: 3")
    settings = settings.replace("user_code_failure_retry_delay: 15", "user_code_failure_retry_delay: 3")
    with cluster(home, home.root.parent / "dagster", settings=settings, quick=True) as parts:
        yield parts


@pytest.fixture
def home(parts: Cluster, prepared: Home) -> Home:
    """The cluster's home, as it was before any prefecture."""
    shutil.rmtree(parts.home.root, ignore_errors=True)
    shutil.copytree(prepared.root, parts.home.root)
    return parts.home


def in_the_middle(parts: Cluster, home: Home) -> tuple[str, str, psutil.Process]:
    """Launch a refresh and wait until it works; return the run's id, its node, and its process."""
    run_id = parts.launch(REFRESH)
    until(lambda: home.receipt("census_towns", KEY).is_file(), said=parts.logs)
    words = " ".join(message for _, _, message in parts.server.moments_of(run_id) if message)
    pid = re.search(r"Started process for run \(pid: (\d+)\)", words)
    assert pid, words
    return run_id, parts.ray.node_of(f"dagster-run-{run_id}"), psutil.Process(int(pid[1]))


def well(run: RunTold, parts: Cluster) -> bool:
    assert run.status == "SUCCESS", f"{run}\n{parts.server.errors_of(run.run_id)}\n{parts.logs()}"
    return True


def test_a_run_on_a_node_that_dies_is_done_again_elsewhere(parts: Cluster, home: Home, undisturbed) -> None:
    run_id, node, process = in_the_middle(parts, home)
    below = process.children(recursive=True)
    parts.ray.kill(node)
    [run] = parts.wait([run_id])
    assert run.run_id != run_id, "Dagster launched it again"
    assert well(run, parts)
    assert parts.ray.node_of(f"dagster-run-{run.run_id}") not in ("", node)
    assert tables_of(home) == undisturbed
    assert not [each for each in (process, *below) if each.is_running()]
    parts.ray.mend()


def test_the_head_may_be_replaced_while_a_run_works_and_another_waits(parts: Cluster, home: Home, undisturbed) -> None:
    run_id, _, _ = in_the_middle(parts, home)
    parts.ray.kill("head")
    waiting = parts.server.launch_run("collect_photos", "local")
    until(lambda: "does not answer" in str(parts.server.moments_of(waiting)), said=parts.logs)
    parts.ray.mend()
    runs = parts.wait([run_id, waiting])
    assert all(well(run, parts) for run in runs)
    assert runs[1].run_id == waiting, "it waited in the queue, and did not fail"
    assert tables_of(home) == undisturbed


def test_a_run_outlives_a_restart_of_postgres(parts: Cluster, home: Home, undisturbed) -> None:
    run_id, _, _ = in_the_middle(parts, home)
    parts.postgres.stop()
    time.sleep(3)
    parts.postgres.start()
    [run] = parts.wait([run_id])
    assert well(run, parts)
    assert tables_of(home) == undisturbed
    assert parts.dead() == []


def test_a_plain_run_afterwards_has_nothing_to_do(parts: Cluster, home: Home, undisturbed) -> None:
    first, again = [parts.wait([parts.launch(REFRESH)])[0] for _ in range(2)]
    assert well(first, parts)
    assert well(again, parts)
    assert again.seconds < first.seconds
    assert tables_of(home) == undisturbed


def test_nothing_is_left_when_a_part_is_killed(tmp_path) -> None:
    command = [sys.executable, "-m", "benchmarks.cluster_demo", "--prefectures", "47", "--density", "0.05"]
    log = tmp_path / "log"
    with log.open("w") as stream:
        demo = subprocess.Popen([*command, "--home", tmp_path / "home"], cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT)
    until(lambda: "cluster of 3 nodes" in log.read_text() or demo.poll() is not None)
    assert demo.poll() is None, log.read_text()
    started = psutil.Process(demo.pid).children(recursive=True)
    [daemon] = [each for each in started if "dagster-daemon" in " ".join(each.cmdline())]
    daemon.send_signal(signal.SIGKILL)
    assert demo.wait(timeout=PATIENCE_S) == 1
    assert "daemon died" in log.read_text()
    assert [each for each in started if each.is_running() and each.status() != psutil.STATUS_ZOMBIE] == []
