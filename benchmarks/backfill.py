"""What a backfill of all prefectures costs, through Dagster's own webserver and daemon: `python -m benchmarks.backfill`.

47 light prefectures (a made-up map in which each has a few roads and landmarks) are backfilled by `refresh_prefecture`, three
runs at once on sqlite; then once more, when there is nothing to do. Beside it what a user would do instead: the same
prefectures one after the other, each by `dagster job execute`; a few are run, 47 are reckoned from them. Then what every
run pays for loading the code, and how many of eight processes come through that open a home's records at the same moment.
CPU seconds are a run's own, with the processes that it started; wall times depend on what else the machine does, so the last
column tells how many cores were busy with what. Growing the map, the dumps and the photo sets are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median

import psutil

from benchmarks._dagster_server import (
    PATIENCE_S,
    ROOT,
    Server,
    dagster_server,
    environment_of,
    run_tool,
    tool,
    write_settings,
)
from benchmarks._measure import table
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.grow_names import HOMELANDS, Homeland
from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.publish_census import publish_census
from geoloc_pipeline.demo.publish_osm import write_pbf
from geoloc_pipeline.geo.prefectures import BY_KEY, PREFECTURES
from geoloc_pipeline.orchestration.world import World, choose_world
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table
from geoloc_pipeline.tables import STREET_VIEW_IMAGES

EVERY_CODE = tuple(prefecture.code for prefecture in PREFECTURES)
ROADS, LANDMARKS = 8, 3
AT_ONCE = 8
LOAD = "import geoloc_pipeline.definitions as d; d.defs()"


def grow_light_world(folder: Path, codes: Sequence[str], *, roads: int = ROADS, empty: Sequence[str] = ()) -> Path:
    """Write a map and census archives, as `geoloc demo --world` takes them, in which every prefecture has little.

    The demo's own gardener grows the land; the prefectures that it does not know get a place of their own, far from all others.

    Args:
        folder: Takes the files.
        codes: Prefectures.
        roads: Ways that each keeps, the shortest first.
        empty: Prefectures that have town blocks, and no road and no landmark at all.

    Returns:
        `folder`.
    """
    for number, code in enumerate(EVERY_CODE):  # in this process alone; the others read the files
        lat, lon = 30.6 + number // 7 * 1.8, 130.4 + number % 7 * 1.7
        HOMELANDS.setdefault(code, Homeland(code, lat, lon, 0.0, "野", 601 + number, "県道"))
    folder.mkdir(parents=True, exist_ok=True)
    lands = [_thinned(grow_land(prefecture_codes=(code,), density=0.03), 0 if code in empty else roads) for code in codes]
    land = replace(
        lands[0],
        roads=tuple(road for each in lands for road in each.roads),
        landmarks=tuple(mark for each in lands for mark in each.landmarks),
        towns=tuple(town for each in lands for town in each.towns),
    )
    told = {"published_at": land.published_at, "sequence": land.sequence, "region": "japan"}
    write_pbf(folder / "japan.osm.pbf", land.roads, land.landmarks, **told)  # type: ignore[arg-type]
    publish_census(land, folder)
    return folder


def _thinned(land: Land, roads: int) -> Land:
    """Return the land with its shortest streets and its first landmarks only."""
    streets = [road for road in land.roads if road.tags["highway"] in {"residential", "tertiary"} and "area" not in road.tags]
    kept = sorted(streets, key=lambda road: (len(road.lonlat), road.way_id))[:roads]
    places = [mark for mark in land.landmarks if mark.kind == "node"]
    return replace(land, roads=tuple(kept), landmarks=tuple(places[: LANDMARKS if roads else 0]))


@dataclass
class Watch:
    """What the server's processes have used, by process id: seen twice a second, so the last half second may be missed.

    Attributes:
        runs_s: CPU seconds of each run's process and of those that it started and outlived.
        servers_s: CPU seconds of everything else: webserver, daemon, code servers.
        machine_s: CPU seconds of the whole machine meanwhile, whoever used them.
    """

    runs_s: dict[int, float] = field(default_factory=dict)
    servers_s: dict[int, float] = field(default_factory=dict)
    machine_s: float = 0.0


@contextmanager
def watched(server: Server) -> Iterator[Watch]:
    """Yield what a server and its runs use, until the block ends."""
    watch, over, before_s = Watch(), threading.Event(), _machine_s()

    def look() -> None:
        while not over.wait(0.5):
            for process in server.processes.values():
                _look_at(psutil.Process(process.pid), watch)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
        watch.machine_s = _machine_s() - before_s


def _look_at(process: psutil.Process, watch: Watch) -> None:
    """Note what a process and those below it have used: a code server has one process that forks another for each run."""
    try:
        times = process.cpu_times()
        forks_runs = any("multiprocessing.forkserver" in word for word in process.cmdline())
        watch.servers_s[process.pid] = times.user + times.system
        for child in process.children():
            if forks_runs:
                times = child.cpu_times()
                watch.runs_s[child.pid] = times.user + times.system + times.children_user + times.children_system
            else:
                _look_at(child, watch)
    except psutil.NoSuchProcess:
        return


def _machine_s() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def cpu_s_of(command: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return the CPU seconds and the wall seconds of a command and of all that it starts."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, timeout=PATIENCE_S)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - began


def files_of(home: Home) -> dict[str, tuple[int, int]]:
    """Return inode and time of change, in nanoseconds, of every file of a home, by its path below the home."""
    paths = sorted(path for path in home.root.rglob("*") if path.is_file())
    return {str(path.relative_to(home.root)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


@dataclass(frozen=True)
class Row:
    """One way to bring many prefectures up to date.

    Attributes:
        name: What was done.
        prefectures: How many.
        runs: In how many runs.
        at_once: Runs at once.
        seconds: From the launch to the end, on the clock.
        failed: Runs that failed.
        cpu_s: CPU seconds of each run.
        run_s: Seconds of each run on the clock.
        use: Cores that were busy, and with what.
    """

    name: str
    prefectures: int
    runs: int
    at_once: int
    seconds: float
    failed: int
    cpu_s: tuple[float, ...]
    run_s: tuple[float, ...]
    use: str = ""

    def told(self) -> tuple[str, ...]:
        """Return the row as text."""
        cpu_s, run_s = (f"{median(values):.1f}" if values else "-" for values in (self.cpu_s, self.run_s))
        return (
            self.name,
            str(self.prefectures),
            str(self.at_once),
            f"{self.seconds:.0f}",
            str(self.failed),
            cpu_s,
            run_s,
            self.use,
        )


def backfill(server: Server, name: str, keys: Sequence[str], launch: Callable[[Sequence[str]], str], *, at_once: int) -> Row:
    """Return what a backfill of some prefectures takes, until Dagster calls it ended."""
    began_s = time.monotonic()
    with watched(server) as watch:
        launched = launch(keys)
        status = server.wait_for_backfill(launched, patience_s=4 * PATIENCE_S)
        seconds = time.monotonic() - began_s
    runs = server.runs_of(launched)
    failed = [run for run in runs if run.status != "SUCCESS"]
    for run in failed:
        print(f"{run.partition} failed: {server.errors_of(run.run_id)[-2000:]}", file=sys.stderr)
    if not runs or (status == "COMPLETED_SUCCESS") == bool(failed):
        raise SystemExit(f"{len(runs)} runs for {len(keys)} prefectures, {status}\n{server.logs()}")
    shares = [sum(watch.runs_s.values()), sum(watch.servers_s.values())]
    shares.append(max(watch.machine_s - sum(shares), 0.0))
    use = "{:.2f} runs, {:.2f} Dagster, {:.2f} others".format(*(share / seconds for share in shares))
    cpu_s, run_s = tuple(watch.runs_s.values()), tuple(run.seconds for run in runs)
    return Row(name, len(keys), len(runs), at_once, seconds, len(failed), cpu_s, run_s, use)


def backfills(server: Server, home: Home, keys: Sequence[str], *, at_once: int, extract_first: bool) -> tuple[list[Row], int]:
    """Backfill, then backfill again; return what it took, and how many files the second one changed."""
    rows = []
    if extract_first:
        steps: dict[str, Callable[[Sequence[str]], str]] = {
            "before it: `census_towns`": lambda keys: server.backfill_assets(["census_towns"], keys),
            "before it: `extract_prefectures`": lambda keys: server.backfill_job("extract_prefectures", keys),
        }
        rows += [backfill(server, name, keys, launch, at_once=at_once) for name, launch in steps.items()]
    refresh = partial(server.backfill_job, "refresh_prefecture")
    rows.append(backfill(server, "one backfill of `refresh_prefecture`", keys, refresh, at_once=at_once))
    before = files_of(home)
    rows.append(backfill(server, "the same again: nothing to do", keys, refresh, at_once=at_once))
    return rows, len(before.items() ^ files_of(home).items())


def one_by_one(home: Home, folder: Path, keys: Sequence[str], *, of: int) -> Row:
    """Return what `dagster job execute` takes for prefectures one after the other, reckoned for `of` of them."""
    write_settings(folder, concurrent_runs=1)
    environment = environment_of(home, folder)
    run_tool(environment, "dagster", "instance", "info")
    command = [tool("dagster"), "job", "execute", "-m", "geoloc_pipeline.definitions", "-j", "refresh_prefecture", "--tags"]
    costs = [cpu_s_of([*command, json.dumps({"dagster/partition": key})], environment) for key in keys]
    cpu_s, run_s = zip(*costs, strict=True)
    name = f"`dagster job execute`, one after the other ({len(keys)} were run, {of} reckoned)"
    return Row(name, of, of, 1, sum(run_s) * of / len(keys), 0, cpu_s, run_s)


def come_through(home: Home, folder: Path, *, as_dagster_does: bool) -> int:
    """Return how many of eight processes end well that are started at once on fresh records.

    Args:
        home: A home with a world; each process takes in another photo set, the last one looks for failed partitions.
        folder: DAGSTER_HOME; empty.
        as_dagster_does: By Dagster's own SQLite storage, which every process opens without a look at the others.
    """
    write_settings(folder, concurrent_runs=AT_ONCE)
    environment = environment_of(home, folder)
    if as_dagster_does:
        settings = folder / "dagster.yaml"
        plain, found = re.subn(
            r"storage:\n  custom:.*?\{base_dir: (\S+)\}", r"storage: {sqlite: {base_dir: \1}}", settings.read_text(), flags=re.S
        )
        assert found == 1, settings
        settings.write_text(plain)
    command = [tool("dagster"), "job", "execute", "-m", "geoloc_pipeline.definitions", "-j"]
    jobs = [["collect_photos", "--tags", json.dumps({"dagster/partition": name})] for name in PHOTO_SETS]
    jobs.append(["no_partition_is_left_failed"])
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = [subprocess.Popen([*command, *job], env=environment, cwd=ROOT, **quiet) for job in jobs]
    return sum(process.wait(timeout=PATIENCE_S) == 0 for process in running)


def prepare(server: Server, keys: Sequence[str]) -> None:
    """Bring the dumps of the prefectures' regions and the photo sets."""
    regions = sorted({BY_KEY[key].region for key in keys})
    launched = [server.launch_run("refresh_dumps", region) for region in regions]
    launched += [server.launch_run("collect_photos", name) for name in PHOTO_SETS]
    if any(run.status != "SUCCESS" for run in server.wait_for_runs(launched)):
        raise SystemExit(f"the dumps did not come\n{server.logs()}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefectures", type=int, default=47)
    parser.add_argument("--at-once", type=int, default=3, help="max_concurrent_runs")
    parser.add_argument("--roads", type=int, default=ROADS, help="of each prefecture")
    parser.add_argument("--extract-first", action="store_true", help="all maps in one run, before the backfill")
    parser.add_argument("--one-by-one", type=int, default=4, help="prefectures to run one after the other")
    told = parser.parse_args()
    keys = [prefecture.key for prefecture in PREFECTURES[: told.prefectures]]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        world = grow_light_world(folder / "map", EVERY_CODE[: told.prefectures], roads=told.roads)
        home, other = Home.at(folder / "home"), Home.at(folder / "other")
        choose_world(home, World(source=str(world), prefecture_codes=()))
        survivors = [come_through(home, folder / f"fresh-{plain}", as_dagster_does=plain) for plain in (False, True)]
        load_s, _ = cpu_s_of([sys.executable, "-W", "ignore", "-c", LOAD], {**os.environ, "OMP_NUM_THREADS": "1"})
        with dagster_server(home, folder / "records", concurrent_runs=told.at_once) as server:
            prepare(server, keys)
            shutil.copytree(home.root, other.root)
            rows, changed = backfills(server, home, keys, at_once=told.at_once, extract_first=told.extract_first)
        rows.append(one_by_one(other, folder / "others", keys[: told.one_by_one], of=len(keys)))
        images = [len(read_table(STREET_VIEW_IMAGES, home.table("street_view_images", key))) for key in keys]
    print(f"{len(keys)} prefectures of {told.roads} ways, {LANDMARKS} landmarks and {min(images)} to {max(images)} pictures")
    heads = ("", "prefectures", "at once", "s", "runs failed", "CPU s a run", "s a run", "cores busy with")
    print(table(heads, [row.told() for row in rows]))
    more = [
        ("loading the code location, CPU s", f"{load_s:.1f}", "< 3"),
        ("files changed by the backfill with nothing to do", str(changed), "0"),
        ("of 8 runs started at once on fresh records, come through", str(survivors[0]), "8"),
        ("the same with Dagster's own SQLite storage", str(survivors[1]), "(its migrations race)"),
    ]
    print()
    print(table(("", "measured", "wanted"), more))


if __name__ == "__main__":
    main()
