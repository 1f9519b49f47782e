"""A week of new maps, one road in a hundred changed in each: what is made anew, what is skipped, what a searcher notices.

`python -m benchmarks.week`: four prefectures of the demo's world, each of a region of its own, are built and indexed. Then
seven days follow. On each, new maps are published in which 1 % of the roads of three prefectures changed (a street that nobody
had mapped is there, others moved by some 30 m); the fourth prefecture's region has no new map, or every other day one in which
only a service way moved. Each day the sensor `osm_dump_updates` ticks with the cursor of the day before and its run requests
are executed; then the schedule `weekly_osm_refresh` ticks (here daily) and asks for every prefecture that was ever built; then
`image_embeddings` of every prefecture and `qdrant_collection` are materialised. What has to be made the pipeline decides alone.
Two more days follow: on one, a road has another name and nothing else is new; on the other, nothing is.

The model is that of the first day. Its classes and views change with every map, so `train_and_index` would train it anew each
day; an operator retrains by hand when enough has changed, and until then new pictures are embedded by the model that there is.

Meanwhile another process searches the live gallery without a pause, in both ways in which this project does: in the gallery
that the search page keeps open (`Desk`), and in one that is opened for each question (`geoloc locate`).
What one would do instead is the first day again, every day. CPU seconds are those of this process; those on the clock tell what
else the machine does, the searcher first of all.

Dumps are read by pyosmium in this process, which gives the same roads; `--quackosm` has them read as in production, where each
extraction starts a dozen processes and takes 15 s, however small the map.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from benchmarks._measure import table
from geoloc_pipeline.errors import GeolocError
from geoloc_pipeline.geo.prefectures import BY_CODE
from geoloc_pipeline.orchestration.running.chain import PREFECTURE_ASSETS
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import file_hash, read_receipt

# For each extraction a dozen processes are started that read this file again: what is heavy is imported where it is used.
if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    import dagster as dg

    from benchmarks._changing_world import ChangingWorld, News
    from geoloc_pipeline.retrieval.gallery.live import LiveGallery
    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours

ASSETS = (*PREFECTURE_ASSETS, "image_embeddings")
CHANGED, SAME, SKIPPED = "changed", "made again, the same", "skipped"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
SUNDAY = datetime(2026, 9, 6, tzinfo=UTC)


# --- what a home looks like -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """One asset of one prefecture: what it holds, what Dagster says of it, and which files it has.

    Attributes:
        content: Hash over its table and the rejected rows beside it.
        version: Data version of the last materialisation that Dagster recorded.
        seconds: What that one says it took.
        files: Inode and time of change, in nanoseconds, of everything that it has on disk, by path.
    """

    content: str
    version: str
    seconds: float
    files: dict[str, tuple[int, int]]


Looks = dict[tuple[str, str], Look]


def look_at(home: Home, instance: dg.DagsterInstance, keys: Sequence[str]) -> Looks:
    """Return how every asset of every prefecture stands."""
    import dagster as dg

    found: dict[tuple[str, str], dict[str, tuple[int, int]]] = defaultdict(dict)
    for path in home.root.rglob("*"):
        owner = _owner(path.relative_to(home.root).parts) if path.is_file() else None
        if owner is not None:
            found[owner][str(path.relative_to(home.root))] = (path.stat().st_ino, path.stat().st_mtime_ns)
    looks = {}
    for asset in ASSETS:
        for key in keys:
            tables = [path for path in (home.table(asset, key), home.rejected(asset, key)) if path.is_file()]
            wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[key])
            told = instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
            if told is None or told.tags is None:
                raise SystemExit(f"Dagster knows nothing of {asset} {key}")
            content = " ".join(file_hash(path) for path in tables)
            seconds = float(told.metadata["seconds"].value)  # type: ignore[arg-type]
            looks[asset, key] = Look(content, told.tags["dagster/data_version"], seconds, dict(found[asset, key]))
    return looks


def _owner(parts: tuple[str, ...]) -> tuple[str, str] | None:
    """Return asset and prefecture of a file below the home: its table, pictures, receipt or preview; None for all others."""
    asset, key = {"images": parts[1:3], "tables": parts[-2:], "receipts": parts[1:3], "previews": parts[1:3]}.get(
        parts[0], ("", "")
    )
    asset = "image_embeddings" if asset == "embedded_views" else asset
    return (asset, key.partition(".")[0]) if asset in ASSETS else None


def outcome(before: Look, after: Look) -> str:
    """Return what became of an asset in a day.

    Raises:
        SystemExit: Dagster, the files and the content tell different stories.
    """
    is_new, is_told, is_touched = (
        before.content != after.content,
        before.version != after.version,
        before.files != after.files,
    )
    if is_new != is_told or (is_new and not is_touched) or (not is_touched and after.seconds != 0.0):
        raise SystemExit(f"content changed: {is_new}, Dagster: {is_told}, files: {is_touched}, {after.seconds} s")
    if is_touched:
        return CHANGED if is_new else SAME
    return SKIPPED


def wanted_outcomes(asset: str, code: str, news: News) -> tuple[str, ...]:
    """Return what may become of an asset of a prefecture, from what the maps of the day tell alone; the likely one first."""
    if asset == "census_towns" or code not in news.published:
        return (SKIPPED,)
    if asset == "osm_landmarks":
        return (SAME,)
    if asset == "osm_roads":
        return (SAME,) if code in news.elsewhere else (CHANGED,)
    if code in news.renamed:  # the road is where it was and is known by its number: nobody has to go and look
        return (SAME,) if asset in {"road_points", "labelled_images"} else (SKIPPED,)
    if code not in news.changed or asset == "landmark_points":
        return (SKIPPED,)
    if asset in {"dataset_splits", "image_embeddings"}:  # other labels, but no picture came or went
        return CHANGED, SAME
    return (CHANGED,)


# --- who searches meanwhile -------------------------------------------------------------------------------------------------

KEPT, ANEW = "kept open, as the search page does", "opened for each question"


@dataclass
class Searched:
    """What one kind of searcher has met.

    Attributes:
        ms: Milliseconds of each question.
        failed: What went wrong, by question.
        seen: Collections that answered, in order.
        unlike: Questions that one and the same collection answered otherwise than before.
    """

    ms: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    unlike: int = 0


def kept_open(live: LiveGallery, vector: Any, top_k: int) -> tuple[str, Neighbours, float]:
    """Return which collection answered ("" when it was just replaced), its answer, and the seconds of the search."""
    before, began_s = live.told()[0], time.perf_counter()
    found = live.search(vector, top_k=top_k)
    seconds = time.perf_counter() - began_s
    return (before if live.told()[0] == before else ""), found, seconds


def anew(live: LiveGallery, vector: Any, top_k: int) -> tuple[str, Neighbours, float]:
    """Return the same of a gallery that is opened for this question; the seconds are those of opening it, too."""
    from geoloc_pipeline.retrieval.gallery.gallery import open_gallery

    began_s = time.perf_counter()
    with open_gallery(live.location) as gallery:
        found = gallery.search(vector, top_k=top_k)
        return gallery.collection, found, time.perf_counter() - began_s


def search_on(root: str, pipe: Connection, top_k: int = 20) -> None:
    """Search the gallery of a home until something comes through the pipe; then tell what was met.

    Args:
        root: The home.
        pipe: Says that the first answer has come; takes the sign to end; gives the result.
        top_k: Neighbours to ask for; fewer are a failure.
    """
    from geoloc_pipeline.retrieval.answering.desk import Desk

    desk = Desk.open(Home.at(root))
    chance = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)
    vectors = desk.embedder.read_views(list(chance)).embedding
    met, answers = {KEPT: Searched(), ANEW: Searched()}, dict[tuple[str, int], bytes]()
    number = 0
    while not pipe.poll(0.005):
        one, ask, row = (met[ANEW], anew, number % 8) if number % 5 == 4 else (met[KEPT], kept_open, number % 8)
        try:
            name, found, seconds = ask(desk.gallery, vectors[row : row + 1], top_k)
        except GeolocError as error:
            one.failed.append(str(error))
        else:
            one.ms.append(1000 * seconds)
            if found.lat.shape != (1, top_k) or not np.isfinite(found.lat).all():
                one.failed.append(f"{name} gave {found.lat.shape[1]} neighbours")
            if name:
                told = found.score.tobytes() + "".join(found.image_id[0]).encode()
                one.unlike += answers.setdefault((name, row), told) != told
                one.seen += [name] if name not in one.seen else []
        if number == 0:
            pipe.send("searching")
        number += 1
    pipe.send(met)


@contextmanager
def searcher(home: Home) -> Iterator[dict[str, Searched]]:
    """Yield what another process meets that searches the live gallery until the block ends; filled by then."""
    met: dict[str, Searched] = {}
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=search_on, args=(str(home.root), theirs))
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield met
        time.sleep(2.5)  # the last collection, too, shall be seen: who keeps a gallery open looks once a second
        ours.send("enough")
        met |= ours.recv()
    finally:
        ours.close()
        process.join(timeout=30)
        process.terminate()


# --- the week ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Day:
    """What a day came to.

    Attributes:
        news: What its maps told.
        roads: Roads that changed, by prefecture.
        asked: Regions whose dump the sensor asked for.
        outcomes: What became of each asset of each prefecture.
        unwanted: Where that is not what the maps of the day ask for.
        requests: What the services were asked for, by kind.
        embedded: Views that were embedded, and those taken over.
        collection: The live one in the evening.
        unseen: Prefectures whose training views are not those that the model has learned from.
        seconds: Of the whole day, on the clock.
        cpu_s: Of the whole day, of this process: the clock tells also what else the machine does.
    """

    news: News
    roads: dict[str, int]
    asked: tuple[str, ...]
    outcomes: dict[tuple[str, str], str]
    unwanted: list[str]
    requests: Counter[str]
    embedded: tuple[int, int]
    collection: str
    unseen: int
    seconds: float
    cpu_s: float

    def count(self, what: str) -> int:
        """Return how many assets had an outcome, over all prefectures."""
        return sum(each == what for each in self.outcomes.values())


class Pipeworks:
    """A home of the demo, its pipeline as Dagster has it, and the world around it.

    Args:
        home: The home.
        world: Its world.
        codes: The prefectures that are built.
        instance: Dagster's records.
    """

    def __init__(self, home: Home, world: ChangingWorld, codes: Sequence[str], instance: dg.DagsterInstance) -> None:
        from geoloc_pipeline.orchestration.build import build_definitions
        from geoloc_pipeline.orchestration.resources import Pipeline

        self.home, self.world, self.codes, self._instance = home, world, tuple(codes), instance
        self.keys = tuple(BY_CODE[code].key for code in codes)
        self._pipeline = Pipeline(home_dir=str(home.root), profile="demo")
        self._definitions = build_definitions(self._pipeline)
        self._cursor: str | None = None
        self._today = SUNDAY

    def run(self, job: str, key: str | None = None, *, tags: Mapping[str, str] | None = None, config: Any = None) -> None:
        """Run a job in one partition, recorded."""
        found = self._definitions.resolve_job_def(job)
        found.execute_in_process(instance=self._instance, partition_key=key, tags=tags, run_config={**QUIET, **(config or {})})

    def materialise(self, *assets: str, key: str | None = None, config: Any = None) -> None:
        """Materialise assets in one partition, recorded."""
        import dagster as dg

        job, keys = self._definitions.resolve_implicit_global_asset_job_def(), [dg.AssetKey(asset) for asset in assets]
        run_config = {**QUIET, **(config or {})}
        job.execute_in_process(instance=self._instance, asset_selection=keys, partition_key=key, run_config=run_config)

    def begin(self, learn: Callable[[Pipeworks], None]) -> tuple[float, float]:
        """Build everything once.

        Args:
            learn: Makes the model.

        Returns:
            Seconds on the clock and of this process, those of the model not counted.
        """
        before = np.array([time.monotonic(), time.process_time()])
        for code in self.codes:
            self.run("refresh_dumps", BY_CODE[code].region)
        self.run("collect_photos", "local")
        for key in self.keys:
            self.run("refresh_prefecture", key)
        between = np.array([time.monotonic(), time.process_time()])
        learn(self)
        learned = np.array([time.monotonic(), time.process_time()])
        self._index()
        wall_s, cpu_s = between - before + np.array([time.monotonic(), time.process_time()]) - learned
        return float(wall_s), float(cpu_s)

    def live(self) -> str:
        """Return the name of the live collection."""
        from geoloc_pipeline.retrieval.gallery.gallery import open_gallery

        with open_gallery(self._pipeline.gallery()) as gallery:
            return gallery.collection

    def day(self, news: News) -> Day:
        """Publish the maps of a day and do what the sensor and the schedule ask for."""
        roads, before = self.world.bring(news), look_at(self.home, self._instance, self.keys)
        asked_before, self._today = Counter(self.world.mirror.asked), self._today + timedelta(days=1)
        began_s, cpu_s = time.monotonic(), time.process_time()
        asked = self._tick()
        self._refresh()
        self._index()
        seconds, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
        after = look_at(self.home, self._instance, self.keys)
        outcomes = {place: outcome(before[place], after[place]) for place in after}
        wanted = {(asset, BY_CODE[code].key): wanted_outcomes(asset, code, news) for asset in ASSETS for code in self.codes}
        return Day(
            news=news,
            roads=roads,
            asked=asked,
            outcomes=outcomes,
            unwanted=[f"{'/'.join(place)}: {outcomes[place]}" for place in outcomes if outcomes[place] not in wanted[place]],
            requests=self.world.mirror.asked - asked_before,
            embedded=self._embedded(outcomes),
            collection=self.live(),
            unseen=self._unseen(),
            seconds=seconds,
            cpu_s=cpu_s,
        )

    def _tick(self) -> tuple[str, ...]:
        """Let the sensor look at the maps, and run what it asks for; return the regions."""
        import dagster as dg

        from geoloc_pipeline.orchestration.automation import osm_dump_updates

        asked = {"instance": self._instance, "cursor": self._cursor, "resources": {"pipeline": self._pipeline}}
        with dg.build_sensor_context(**asked) as context:
            answer = osm_dump_updates(context)
        if not isinstance(answer, dg.SensorResult):
            return ()
        self._cursor = answer.cursor
        for request in answer.run_requests or []:
            self.run("refresh_dumps", request.partition_key, tags=request.tags, config=request.run_config)
        return tuple(str(request.partition_key) for request in answer.run_requests or [])

    def _refresh(self) -> None:
        """Let the schedule ask for every prefecture that was built, and run what it asks for."""
        import dagster as dg

        from geoloc_pipeline.orchestration.automation import weekly_osm_refresh

        asked = {"instance": self._instance, "resources": {"pipeline": self._pipeline}}
        with dg.build_schedule_context(scheduled_execution_time=self._today, **asked) as context:
            requests = list(weekly_osm_refresh(context))
        for request in requests:
            self.run("refresh_prefecture", request.partition_key, tags=request.tags, config=request.run_config)

    def _index(self) -> None:
        for key in self.keys:
            self.materialise("image_embeddings", key=key)
        self.materialise("qdrant_collection")

    def _embedded(self, outcomes: Mapping[tuple[str, str], str]) -> tuple[int, int]:
        told = [
            read_receipt(self.home.receipt(*place))
            for place, what in outcomes.items()
            if place[0] == "image_embeddings" and what != SKIPPED
        ]
        facts = [receipt.metadata for receipt in told if receipt]
        return sum(fact["computed"] for fact in facts), sum(fact["taken_over"] for fact in facts)

    def _unseen(self) -> int:
        model = read_receipt(self.home.receipt("geolocation_model"))
        shards = {f"training_shards/{key}": read_receipt(self.home.receipt("training_shards", key)) for key in self.keys}
        learned = model.inputs if model else {}
        return sum(receipt is not None and learned.get(name) != receipt.content_hash for name, receipt in shards.items())


@contextmanager
def pipeworks(
    root: Path, codes: Sequence[str], *, density: float, days: int, draw: Any = None, quackosm: bool = False
) -> Iterator[Pipeworks]:
    """Yield a home with its world, whose services are asked inside this very process, where they are counted.

    Args:
        root: The home.
        codes: Prefectures.
        density: Of the land.
        days: How many new maps of a prefecture there can be.
        draw: Draws the pictures; the demo's renderer if absent.
        quackosm: Whether dumps are read by QuackOSM.
    """
    from benchmarks._changing_world import ChangingWorld, read_plainly
    from geoloc_pipeline.orchestration import resources
    from geoloc_pipeline.orchestration.running.worker import open_instance
    from geoloc_pipeline.osm import extract

    home = Home.at(root)
    world = ChangingWorld(home, codes=codes, density=density, days=days, draw=draw)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(resources, "_demo_mirror", return_value=world.mirror))
        if not quackosm:
            stack.enter_context(mock.patch.object(extract, "_run_quackosm", read_plainly))
        yield Pipeworks(home, world, codes, stack.enter_context(open_instance(home)))


def train(works: Pipeworks) -> None:
    """Train the demo's model on what there is, for two epochs: the week does not depend on how much it knows."""
    config = {"processes": 1, "overrides": {"max_epochs": 2}}
    works.materialise("label_vocabulary", "geolocation_model", config={"ops": {"geolocation_model": {"config": config}}})


# --- what is printed --------------------------------------------------------------------------------------------------------


def days_table(days: Sequence[tuple[str, Day]], first: str) -> str:
    """Return the days as a table.

    Args:
        days: Names and days, in order.
        first: The collection that was live before.
    """
    rows, live = [], first
    for name, day in days:
        rows.append((
            name,
            " ".join(BY_CODE[code].region for code in day.news.published) or "none",
            " ".join(sorted(day.asked)) or "none",
            ", ".join(f"{code}: {number}" for code, number in day.roads.items()) or "none",
            " ".join(sorted({key[:2] for (_, key), what in day.outcomes.items() if what == CHANGED})) or "none",
            f"{day.count(CHANGED)} / {day.count(SAME)} / {day.count(SKIPPED)}",
            len(day.unwanted),
            f"{day.requests['dump']} / {day.requests['census']} / {day.requests['picture']}",
            "{} / {}".format(*day.embedded),
            "yes" if day.collection != live else "no",
            day.unseen,
            f"{day.seconds:.0f} / {day.cpu_s:.0f}",
        ))  # fmt: skip
        live = day.collection
    heads = (
        "day", "new maps of", "asked for by the sensor", "roads changed", "prefectures with a changed table",
        "tables changed / made again, the same / skipped", "otherwise than they should be", "dumps / census / pictures fetched",
        "views embedded / taken over", "gallery swapped", "prefectures the model has not learned", "s / CPU s",
    )  # fmt: skip
    return table(heads, rows)


def assets_table(days: Sequence[Day]) -> str:
    """Return what became of each asset over all days, one count for each prefecture and day."""
    rows = []
    for asset in ASSETS:
        counted = Counter(what for day in days for (name, _), what in day.outcomes.items() if name == asset)
        places = [(day, key) for day in days for name, key in day.outcomes if name == asset]
        wanted = sum(wanted_outcomes(asset, key[:2], day.news)[0] == CHANGED for day, key in places)
        rows.append((asset, wanted, counted[CHANGED], counted[SAME], counted[SKIPPED]))
    return table(("asset", "should change", "changed", "made again, the same", "skipped: 0 s, no file touched"), rows)


def searched_table(met: Mapping[str, Searched], collections: Sequence[str]) -> str:
    """Return what the searchers met."""
    rows = []
    for kind, one in met.items():
        p50, p99 = np.percentile(one.ms, [50, 99])
        seen = f"{len(set(one.seen) & set(collections))} of {len(collections)}"
        asked, times = len(one.ms) + len(one.failed), (f"{p50:.1f}", f"{p99:.1f}", f"{max(one.ms):.0f}")
        rows.append((kind, f"{asked:,}", len(one.failed), one.unlike, seen, *times))
    heads = (
        "a gallery that is", "questions", "failed", "answered otherwise by the same collection", "collections seen",
        "p50, ms", "p99, ms", "longest, ms",
    )  # fmt: skip
    return table(heads, rows)


def collections_of(days: Sequence[Day], first: str) -> list[str]:
    """Return the collections that were live, one after the other; each but the first is a swap."""
    names = [first, *(day.collection for day in days)]
    return [name for number, name in enumerate(names) if number == 0 or name != names[number - 1]]


def main() -> None:
    """Print the tables.

    Raises:
        SystemExit: Something went otherwise than it should.
    """
    from benchmarks._changing_world import News, a_week

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--density", type=float, default=0.5, help="of the made-up Japan, up to 1")
    parser.add_argument("--quackosm", action="store_true", help="read the dumps by QuackOSM, as in production")
    told = parser.parse_args()
    codes, began_s = ("01", "13", "35", "47"), time.monotonic()
    week = [(str(number), news) for number, news in enumerate(a_week(codes, days=told.days), 1)]
    week += [("a road renamed", News(renamed=("13",))), ("nothing new", News())]
    world = {"density": told.density, "days": told.days, "quackosm": told.quackosm}
    with tempfile.TemporaryDirectory() as folder, pipeworks(Path(folder), codes, **world) as works:
        first_s, first_cpu_s = works.begin(train)
        first, roads = works.live(), {code: works.world.roads(code) for code in codes}
        pictures = works.world.mirror.asked["picture"]
        with searcher(works.home) as met:
            days = [(name, works.day(news)) for name, news in week]
        twice = works.world.mirror.given_twice
    collections = collections_of([day for _, day in days], first)
    print(f"roads: {', '.join(f'{code}: {number}' for code, number in roads.items())}; {pictures:,} pictures;", end=" ")
    print(f"the first day took {first_s:.0f} s ({first_cpu_s:.0f} CPU s), and the model besides\n")
    print(days_table(days, first), assets_table([day for _, day in days]), searched_table(met, collections), sep="\n\n")
    print(
        f"\nswaps: {len(collections) - 1}; sent twice by a service: {len(twice)}; all in all {time.monotonic() - began_s:.0f} s"
    )
    wrong = [f"day {name}: {each}" for name, day in days for each in day.unwanted] + twice
    wrong += [each for one in met.values() for each in [*one.failed, *sorted(set(collections) - set(one.seen))]]
    if wrong or len(collections) != told.days + 1:
        raise SystemExit("\n".join(wrong) or f"{len(collections) - 1} swaps in {told.days} days")


if __name__ == "__main__":
    main()
