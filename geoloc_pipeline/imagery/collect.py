"""Street view for every sample point: planned, fetched, checked, cut into views, archived; provider after provider.

A picture that cannot be used is a row of `rejected`, and its point gets a second look at what else there is. A key that is
refused, a budget that is spent or a service that is down ends the run, after everything that was fetched has been written down;
the same call later goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.imagery.coverage import coverage_around
from geoloc_pipeline.imagery.forgotten import Forgotten
from geoloc_pipeline.imagery.intake import Intake
from geoloc_pipeline.imagery.journal import Journal, Rejection, image_id_of, joined_tables
from geoloc_pipeline.imagery.plan import Plan, plan_path, read_plan, refresh_plan, release, write_plan
from geoloc_pipeline.imagery.shift import Chunk, Shift
from geoloc_pipeline.imagery.webp import METHOD, QUALITY
from geoloc_pipeline.sources.street_view import Coverage, Point, StreetViewProvider
from geoloc_pipeline.tables import STREET_VIEW_IMAGES

if TYPE_CHECKING:
    from pathlib import Path

    from geoloc_pipeline.imagery.choose import Choice
    from geoloc_pipeline.storage.progress import Progress

OpenProviders = Callable[[], AbstractAsyncContextManager[Sequence[StreetViewProvider]]]

NOTHING = {
    "nothing_within_radius": "no panorama and no flat picture that looks N, E, S or W",
    "already_taken": "every picture within reach serves another point",
    "all_bad": "the pictures within reach that were tried are all unusable",
}


@dataclass(frozen=True)
class CollectSettings:
    """How street view is collected.

    Attributes:
        radius_m: How far a picture may be from its point, metres.
        in_flight: Pictures worked on at once; each takes the memory of its encoded bytes.
        chunk_points: Pictures in a shard at most.
        source_px: How wide a picture is asked for: 256, 1024 or 2048; anything larger is the original.
        side_px: Side of one view; None: by the source, nothing is enlarged.
        encoders: Threads that decode, cut and encode; None: one a core.
        edition: Any word; another one looks at the providers' coverage anew.
    """

    radius_m: float = 150.0
    in_flight: int = 128
    chunk_points: int = 256
    source_px: int = 2048
    side_px: int | None = None
    encoders: int | None = None
    edition: str = ""

    def __post_init__(self) -> None:
        for name in ("radius_m", "in_flight", "chunk_points", "source_px"):
            if not getattr(self, name) > 0:
                raise SettingError(setting=f"CollectSettings.{name}", value=getattr(self, name), cure="give a positive number")

    @property
    def decisive(self) -> dict[str, float | int | str | None]:
        """The settings that decide what comes out; the others only decide how fast."""
        return {name: getattr(self, name) for name in ("radius_m", "chunk_points", "source_px", "side_px", "edition")}


@dataclass(frozen=True)
class Collected:
    """What a collection came to.

    Attributes:
        images: `tables.STREET_VIEW_IMAGES`.
        rejected: `tables.REJECTED`; every point is in one of both, by its picture or by its id.
        by_provider: One row a provider, in order: source, points (that it was looked at for), panoramas, flat_sets, nothing.
    """

    images: pd.DataFrame
    rejected: pd.DataFrame
    by_provider: pd.DataFrame


def collect_street_view(
    points: pd.DataFrame,
    open_providers: OpenProviders,
    folder: Path,
    *,
    settings: CollectSettings,
    forgotten: Forgotten | None = None,
    progress: Progress | None = None,
    coverage_folders: Mapping[str, Path] | None = None,
) -> Collected:
    """Return the street-view pictures of the points, archived in `folder`.

    Run again with the same points and settings it asks the services for nothing and returns the same rows, byte for byte. With
    other points it asks for the pictures of new ones only (see `plan`): what is archived keeps its row and its shard, and the
    pictures of vanished points stay, `is_wanted` false. With another width everything that is wanted now is fetched anew. A
    forgotten picture goes, and its point gets another.

    Args:
        points: `tables.SAMPLE_POINTS`.
        open_providers: Gives the providers in the order in which they are asked: a point for which one has nothing goes to the
            next. Opened inside the event loop that this call runs.
        folder: Where the shards stand (`Home.images`); also holds the journal.
        settings: How to collect.
        forgotten: Pictures that must not come back.
        progress: Told pictures (and areas of coverage, before).
        coverage_folders: Where coverage is kept (`Home.coverage_tiles`), by source; without, only the plan made of it is kept.

    Returns:
        Pictures, rejections, and what each provider had.

    Raises:
        SourceUnavailableError: A provider does not answer.
        SourceRefusedError: It refuses the key.
        BudgetSpentError: The day's requests are used up.
        HomeError: The disk is full or not ours to write.

    Paper:
        §3.1: pictures to N, E, S and W around each sample point, joined; WebP quality 90, place in EXIF. The radius is ours.
    """
    ordered = sorted(zip(points["point_id"], map(float, points["lat"]), map(float, points["lon"]), strict=True))
    journal = Journal(folder, STREET_VIEW_IMAGES, recipe=[settings.source_px, settings.side_px, QUALITY, METHOD])
    with journal.held():
        collection = _Collection(
            folder,
            journal,
            Intake(folder, recipe=journal.recipe),
            settings,
            forgotten=forgotten or Forgotten(),
            progress=progress,
            coverage_folders=coverage_folders or {},
        )
        return asyncio.run(collection.run(ordered, open_providers))


@dataclass
class _Collection:
    """One call of `collect_street_view`: what all its steps share."""

    folder: Path
    journal: Journal
    intake: Intake
    settings: CollectSettings
    forgotten: Forgotten
    progress: Progress | None
    coverage_folders: Mapping[str, Path]
    _archived: dict[str, frozenset[str]] = field(default_factory=dict)  # first ids of the pictures in each chunk that stands
    _contents: dict[str, str] = field(default_factory=dict)  # those ids by the hash of the bytes as they came
    _parts: list[str] = field(default_factory=list)

    async def run(self, points: Sequence[Point], open_providers: OpenProviders) -> Collected:
        """Ask provider after provider, and join what they gave."""
        plans: dict[str, Plan] = {}
        wanted: dict[str, set[str]] = {}
        waiting = list(points)
        without: list[Rejection] = []
        rows = []
        async with open_providers() as providers:
            for provider in providers:
                wanted[provider.source] = {point_id for point_id, _, _ in waiting}
                plan = await self._with_provider(provider, waiting)
                plans[provider.source] = plan
                rows.append(_tally(provider.source, waiting, plan))
                without = [self._nothing(provider.source, choice) for choice in plan.nothing]
                left = {choice.point_id for choice in plan.nothing}
                waiting = [point for point in waiting if point[0] in left]
        if not self._parts:
            self.intake.close_all()
        names = [chunk.name for source, plan in plans.items() for chunk in self._chunks(plan, source)] + self._parts
        kept = [tables for tables in map(self.journal.read, names) if tables is not None]
        images, rejected = joined_tables(STREET_VIEW_IMAGES, kept, without)
        return Collected(_owned(images, plans, wanted), rejected, pd.DataFrame(rows))

    async def _with_provider(self, provider: StreetViewProvider, points: Sequence[Point]) -> Plan:
        """Return the provider's plan, everything in it archived; points whose picture was unusable get further looks."""
        source, settings = provider.source, self.settings
        path = plan_path(self.folder, source=source, radius_m=settings.radius_m, edition=settings.edition)
        kept = read_plan(path)
        plan = kept
        while True:
            plan = await self._refreshed(plan, points, provider)
            if plan != kept:
                await asyncio.to_thread(write_plan, path, plan)
                kept = plan
            shift = Shift(
                self.journal, self.intake, provider, forgotten=self.forgotten, settings=settings, progress=self.progress
            )
            todo = [chunk for chunk in self._chunks(plan, source) if not self._stands(chunk.name)]
            n_planned = len(plan.planned)
            if self.progress:
                self.progress.tell(n_planned - sum(len(chunk.choices) for chunk in todo), total=n_planned, unit="pictures")
            await shift.work(todo, contents=self._contents)
            if shift.end is not None:
                raise shift.end
            bad = [choice.point_id for chunk in self._chunks(plan, source) for choice in self._unusable(chunk)]
            if not bad:
                self._parts += shift.parts
                return plan
            plan = release(plan, bad)

    async def _refreshed(self, plan: Plan, points: Sequence[Point], provider: StreetViewProvider) -> Plan:
        """Return the plan with every point in its place; runs beside the event loop, which asks for coverage meanwhile."""
        loop, settings = asyncio.get_running_loop(), self.settings

        def coverage_of(new: Sequence[Point]) -> Coverage:
            asking = coverage_around(
                new,
                provider,
                radius_m=settings.radius_m,
                edition=settings.edition,
                folder=self.coverage_folders.get(provider.source),
                progress=self.progress,
            )
            return asyncio.run_coroutine_threadsafe(asking, loop).result()

        def refresh() -> Plan:
            self._forget_groups(plan, provider.source)
            chunks = self._chunks(plan, provider.source)
            return refresh_plan(
                plan,
                points,
                standing=[number for number, chunk in enumerate(chunks) if self._stands(chunk.name)],
                places=self._places(chunks, provider.source, {point_id for point_id, _, _ in points}),
                coverage_of=coverage_of,
                radius_m=settings.radius_m,
                chunk_points=settings.chunk_points,
                barred=self.forgotten.ids(provider.source),
            )

        return await asyncio.to_thread(refresh)

    def _chunks(self, plan: Plan, source: str) -> list[Chunk]:
        """Return the chunks of a plan by their names: of the same pictures, less the forgotten ones, the name is the same."""
        forgotten = self.forgotten.ids(source)
        chunks = []
        for position, choices in enumerate(plan.chunks):
            gone = sorted(forgotten.intersection(image_id for choice in choices for image_id in choice.image_ids))
            contents = [source, [[choice.pano_id, choice.flats] for choice in choices], gone]
            chunks.append(Chunk(self.journal.chunk_name(position, contents), choices))
        return chunks

    def _stands(self, name: str) -> bool:
        """Return whether a chunk stands; what it holds is remembered."""
        if name not in self._archived:
            tables = self.journal.read(name)
            if tables is None:
                return False
            firsts = [_first(source_image_id) for source_image_id in tables[0]["source_image_id"]]
            self._archived[name] = frozenset(firsts)
            self._contents |= dict(zip(tables[0]["content_sha256"], tables[0]["source_image_id"], strict=True))
        return True

    def _unusable(self, chunk: Chunk) -> list[Choice]:
        """Return the choices of a chunk that stands without their picture."""
        if not self._stands(chunk.name):
            return []
        archived = self._archived[chunk.name]
        return [choice for choice in chunk.choices if not choice.reason and archived.isdisjoint(choice.image_ids)]

    def _places(self, chunks: Sequence[Chunk], source: str, wanted: set[str]) -> dict[str, tuple[float, float]]:
        """Return where the archived pictures of vanished points were taken, by point."""
        places: dict[str, tuple[float, float]] = {}
        for chunk in chunks:
            gone = [choice for choice in chunk.choices if not choice.reason and choice.point_id not in wanted]
            tables = self.journal.read(chunk.name) if gone else None
            if tables is not None:
                rows = tables[0].set_index(tables[0]["source_image_id"].map(_first))[["lat", "lon"]]
                for choice in gone:
                    taken = rows[rows.index.isin(choice.image_ids)]
                    if len(taken):
                        places[choice.point_id] = float(taken["lat"].iloc[0]), float(taken["lon"].iloc[0])
            for choice in gone if tables is None else ():  # of a chunk that was not finished
                image_id = image_id_of(source, choice.source_image_id)
                outcome = self.intake.find(image_id)
                known = outcome.picture if outcome else self.journal.find(image_id)
                if known is not None:
                    places[choice.point_id] = float(known.row["lat"]), float(known.row["lon"])
        return places

    def _forget_groups(self, plan: Plan, source: str) -> None:
        """Put the archived pictures of forgotten capture groups on the list by their ids."""
        if not self.forgotten.has_groups:
            return
        for chunk in self._chunks(plan, source):
            tables = self.journal.read(chunk.name)
            for row in tables[0].itertuples() if tables else ():
                if self.forgotten.holds(source=source, source_image_id=row.source_image_id, capture_group=row.capture_group):
                    for image_id in row.source_image_id.split("+"):
                        self.forgotten.add(source=source, source_image_id=image_id, why=f"of {row.capture_group}")

    def _nothing(self, source: str, choice: Choice) -> Rejection:
        return source, choice.point_id, choice.reason, f"{NOTHING[choice.reason]}, within {self.settings.radius_m:g} m"


def _first(source_image_id: str) -> str:
    return source_image_id.partition("+")[0]


def _tally(source: str, points: Sequence[Point], plan: Plan) -> dict[str, str | int]:
    wanted = {point_id for point_id, _, _ in points}
    served = [choice for choice in plan.planned if not choice.reason and choice.point_id in wanted]
    panoramas = sum(bool(choice.pano_id) for choice in served)
    return {
        "source": source,
        "points": len(points),
        "panoramas": panoramas,
        "flat_sets": len(served) - panoramas,
        "nothing": len(plan.nothing),
    }


def _owned(images: pd.DataFrame, plans: Mapping[str, Plan], wanted: Mapping[str, set[str]]) -> pd.DataFrame:
    """Return the images with the points that they serve now: a chunk's manifest tells for whom they were fetched.

    Wanted is what serves a point for which its provider was asked: one that an earlier provider serves by now is not.
    """
    if images.empty:
        return images
    owners = {source: plan.owners() for source, plan in plans.items()}
    mine = [
        owners[source][_first(source_image_id)]
        for source, source_image_id in zip(images["source"], images["source_image_id"], strict=True)
    ]
    owned: pd.DataFrame = images.assign(
        point_id=[choice.point_id for choice in mine],
        requested_lat=[choice.lat for choice in mine],
        requested_lon=[choice.lon for choice in mine],
        is_wanted=[choice.point_id in wanted[source] for source, choice in zip(images["source"], mine, strict=True)],
    )
    return owned
