"""Street view for every sample point: planned, fetched, checked, cut into views, archived; chunk by chunk.

A picture that cannot be used is a row of `rejected`. A token that is refused, a budget that is spent or a service that is down
ends the run, after everything that was fetched has been written; the same call later goes on from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.imagery.coverage import coverage_around
from geoloc_pipeline.imagery.journal import Journal, Rejection, joined_tables
from geoloc_pipeline.imagery.plan import Plan, plan_path, read_plan, refresh_plan, write_plan
from geoloc_pipeline.imagery.shift import Shift
from geoloc_pipeline.imagery.webp import METHOD, QUALITY
from geoloc_pipeline.sources.mapillary import SOURCE
from geoloc_pipeline.tables import STREET_VIEW_IMAGES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from geoloc_pipeline.imagery.choose import Choice, Point
    from geoloc_pipeline.sources.mapillary import MapillaryClient
    from geoloc_pipeline.storage.progress import Progress

_NOTHING = {
    "nothing_within_radius": "no panorama and no flat picture that looks N, E, S or W",
    "already_taken": "every picture within reach serves another point",
}


@dataclass(frozen=True)
class CollectSettings:
    """How street view is collected.

    Attributes:
        radius_m: How far a picture may be from its point, metres.
        workers: Pictures in flight at once.
        chunk_points: Pictures in a shard at most, and at most lost when a run is killed.
        source_px: How wide a picture is asked for: 256, 1024 or 2048; anything larger is the original.
        side_px: Side of one view; None: by the source, nothing is enlarged.
        edition: Any word; another one looks at the provider's coverage anew.
    """

    radius_m: float = 150.0
    workers: int = 8
    chunk_points: int = 64
    source_px: int = 2048
    side_px: int | None = None
    edition: str = ""

    def __post_init__(self) -> None:
        for name in ("radius_m", "workers", "chunk_points", "source_px"):
            if not getattr(self, name) > 0:
                raise SettingError(setting=f"CollectSettings.{name}", value=getattr(self, name), cure="give a positive number")


def collect_street_view(
    points: pd.DataFrame,
    client: MapillaryClient,
    folder: Path,
    *,
    settings: CollectSettings,
    progress: Progress | None = None,
    tiles_folder: Path | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the street-view pictures of the points, archived in `folder`.

    Run again with the same points and settings it asks the service for nothing and returns the same rows, byte for byte. With
    other points it asks for the pictures of new ones only (see `plan`): what is archived keeps its row and its shard, and the
    pictures of vanished points stay, `is_wanted` false. With another width everything that is wanted now is fetched anew.

    Args:
        points: `tables.SAMPLE_POINTS`.
        client: Mapillary.
        folder: Where the shards stand (`Home.images`); also holds the journal.
        settings: How to collect.
        progress: Told pictures (and tiles, before).
        tiles_folder: Where coverage tiles are kept (`Home.coverage_tiles`); None: only the plan made of them is kept.

    Returns:
        `tables.STREET_VIEW_IMAGES` and `tables.REJECTED`: every point is in one of them, by its picture or by its id.

    Raises:
        SourceUnavailableError: Mapillary does not answer.
        SourceRefusedError: The token is refused.
        BudgetSpentError: The day's requests are used up.
        HomeError: The disk is full or not ours to write.

    Paper:
        §3.1: pictures to N, E, S and W around each sample point, joined; WebP quality 90, place in EXIF. The radius is ours.
    """
    ordered = sorted(zip(points["point_id"], map(float, points["lat"]), map(float, points["lon"]), strict=True))
    journal = Journal(folder, STREET_VIEW_IMAGES, recipe=[settings.source_px, settings.side_px, QUALITY, METHOD])
    with journal.held():
        path = plan_path(folder, radius_m=settings.radius_m, edition=settings.edition)
        former = read_plan(path)
        plan, kept = _refreshed(
            former, ordered, journal, client, settings=settings, tiles_folder=tiles_folder, progress=progress
        )
        if plan != former:
            write_plan(path, plan)
        if progress:
            progress.tell(0, total=len(plan.planned), unit="pictures")
        parts = []
        for position, chunk in enumerate(plan.chunks):
            if position in kept and progress:
                progress.advance(len(chunk))
            parts.append(kept.get(position) or _chunk(journal, position, chunk, client, settings=settings, progress=progress))
    nothing: list[Rejection] = [
        (SOURCE, choice.point_id, choice.reason, f"{_NOTHING[choice.reason]}, within {settings.radius_m:g} m")
        for choice in plan.nothing
    ]
    images, rejected = joined_tables(STREET_VIEW_IMAGES, parts, nothing)
    return _owned(images, plan, {point_id for point_id, _, _ in ordered}), rejected


def _refreshed(
    former: Plan,
    points: Sequence[Point],
    journal: Journal,
    client: MapillaryClient,
    *,
    settings: CollectSettings,
    tiles_folder: Path | None,
    progress: Progress | None,
) -> tuple[Plan, dict[int, tuple[pd.DataFrame, pd.DataFrame]]]:
    """Return the plan for the points, and the tables of its chunks that stand."""
    read = {position: journal.read(_name(journal, position, chunk)) for position, chunk in enumerate(former.chunks)}
    kept = {position: tables for position, tables in read.items() if tables is not None}
    wanted = {point_id for point_id, _, _ in points}
    plan = refresh_plan(
        former,
        points,
        standing=kept,
        places=_places(former, kept, journal, wanted),
        coverage_of=lambda new: coverage_around(
            new,
            client,
            radius_m=settings.radius_m,
            edition=settings.edition,
            workers=settings.workers,
            tiles_folder=tiles_folder,
            progress=progress,
        ),
        radius_m=settings.radius_m,
        chunk_points=settings.chunk_points,
    )
    return plan, kept


def _places(
    plan: Plan, kept: dict[int, tuple[pd.DataFrame, pd.DataFrame]], journal: Journal, wanted: set[str]
) -> dict[str, tuple[float, float]]:
    """Return where the archived pictures of vanished points were taken, by point."""
    places: dict[str, tuple[float, float]] = {}
    for position, chunk in enumerate(plan.chunks):
        gone = {image_id: choice for choice in chunk if choice.point_id not in wanted for image_id in choice.image_ids}
        if gone and position in kept:
            for row in kept[position][0].itertuples():
                choice = gone.get(_first(row.source_image_id))
                if choice is not None:
                    places[choice.point_id] = float(row.lat), float(row.lon)
        elif gone:  # of a chunk that was not finished
            for choice in gone.values():
                known = journal.find(choice.source_image_id)
                if known is not None:
                    places[choice.point_id] = float(known.row["lat"]), float(known.row["lon"])
    return places


def _first(source_image_id: str) -> str:
    return source_image_id.partition("+")[0]


def _owned(images: pd.DataFrame, plan: Plan, wanted: set[str]) -> pd.DataFrame:
    """Return the images with the points that they serve now: a chunk's manifest tells for whom they were fetched."""
    if images.empty:
        return images
    owners = plan.owners()
    mine = [owners[_first(source_image_id)] for source_image_id in images["source_image_id"]]
    owned: pd.DataFrame = images.assign(
        point_id=[choice.point_id for choice in mine],
        requested_lat=[choice.lat for choice in mine],
        requested_lon=[choice.lon for choice in mine],
        is_wanted=[choice.point_id in wanted for choice in mine],
    )
    return owned


def _name(journal: Journal, position: int, chunk: Sequence[Choice]) -> str:
    return journal.chunk_name(position, [[choice.pano_id, choice.flats] for choice in chunk])


def _chunk(
    journal: Journal,
    position: int,
    chunk: Sequence[Choice],
    client: MapillaryClient,
    *,
    settings: CollectSettings,
    progress: Progress | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of a chunk that did not stand yet."""
    name = _name(journal, position, chunk)
    shift = Shift(journal, client, settings=settings, progress=progress)
    results = shift.work(chunk)
    pictures = [picture for picture, _ in results if picture is not None]
    rejections = [rejection for _, some in results for rejection in some]
    if shift.end is None and not shift.n_unavailable:
        return journal.write(name, pictures, rejections)
    # Not all of it could be had: what there is stands under a name of its own, and the next run fills in the rest.
    part = journal.chunk_name(position, [name, [picture.row["image_id"] for picture in pictures]])
    if shift.end is None or pictures:
        tables = journal.write(f"{part}-part", pictures, rejections)
    if shift.end is not None:
        raise shift.end
    return tables
