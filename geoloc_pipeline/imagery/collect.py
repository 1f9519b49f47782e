"""Street view for every sample point: planned, fetched, checked, cut into views, archived; chunk by chunk.

A picture that cannot be used is a row of `rejected`. A token that is refused, a budget that is spent or a service that is down
ends the run, after everything that was fetched has been written; the same call later goes on from there.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import BudgetSpentError, SettingError, SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.imagery.journal import Archived, Journal, Rejection, joined_tables
from geoloc_pipeline.imagery.plan import plan_collection
from geoloc_pipeline.imagery.shoot import archive_choice
from geoloc_pipeline.imagery.webp import METHOD, QUALITY
from geoloc_pipeline.sources.mapillary import SOURCE
from geoloc_pipeline.tables import STREET_VIEW_IMAGES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from geoloc_pipeline.imagery.choose import Choice
    from geoloc_pipeline.sources.mapillary import MapillaryClient
    from geoloc_pipeline.storage.progress import Progress

DOWN_AFTER = 3  # pictures in a row for which the service did not answer, each after all retries
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
        chunk_points: Pictures in a shard, and at most lost when a run is killed.
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

    Run again with the same points and settings it asks the service for nothing and returns the same rows, byte for byte.

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
        choices = plan_collection(
            ordered,
            client,
            folder,
            radius_m=settings.radius_m,
            edition=settings.edition,
            workers=settings.workers,
            tiles_folder=tiles_folder,
            progress=progress,
        )
        planned = [choice for choice in choices if not choice.reason]
        if progress:
            progress.tell(0, total=len(planned), unit="pictures")
        parts = []
        for position, start in enumerate(range(0, len(planned), settings.chunk_points)):
            chunk = planned[start : start + settings.chunk_points]
            parts.append(_chunk(journal, position, chunk, client, settings=settings, progress=progress))
    nothing: list[Rejection] = [
        (SOURCE, choice.point_id, choice.reason, f"{_NOTHING[choice.reason]}, within {settings.radius_m:g} m")
        for choice in choices
        if choice.reason
    ]
    return joined_tables(STREET_VIEW_IMAGES, parts, nothing)


def _chunk(
    journal: Journal,
    position: int,
    chunk: Sequence[Choice],
    client: MapillaryClient,
    *,
    settings: CollectSettings,
    progress: Progress | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    contents = [[choice.point_id, choice.lat, choice.lon, choice.pano_id, choice.flats] for choice in chunk]
    name = journal.chunk_name(position, contents)
    kept = journal.read(name)
    if kept is not None:
        if progress:
            progress.advance(len(chunk))
        return kept
    shift = _Shift(journal, client, settings=settings, progress=progress)
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


class _Shift:
    """Workers on one chunk; knows when to stop."""

    def __init__(
        self, journal: Journal, client: MapillaryClient, *, settings: CollectSettings, progress: Progress | None
    ) -> None:
        self._journal, self._client, self._settings, self._progress = journal, client, settings, progress
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._last: SourceUnavailableError | None = None
        self.n_unavailable = 0
        self.end: SourceUnavailableError | SourceRefusedError | BudgetSpentError | None = None

    def work(self, chunk: Sequence[Choice]) -> list[tuple[Archived | None, list[Rejection]]]:
        """Return what became of each choice, in order; after an end, nothing of those that were not reached."""
        known = [self._journal.find(choice.source_image_id) for choice in chunk]
        pool = ThreadPoolExecutor(max_workers=self._settings.workers)
        try:
            results = []
            for result in pool.map(self._one, chunk, known):
                results.append(result)
                if self._progress:
                    self._progress.advance()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if self.n_unavailable == len(chunk) and self.end is None:
            self.end = self._last
        return results

    def _one(self, choice: Choice, known: Archived | None) -> tuple[Archived | None, list[Rejection]]:
        if known is not None:
            return Archived(known.row | {"requested_lat": choice.lat, "requested_lon": choice.lon}, known.data), []
        if self.end is not None:
            return None, []
        try:
            result = archive_choice(choice, self._client, source_px=self._settings.source_px, side_px=self._settings.side_px)
        except (SourceRefusedError, BudgetSpentError) as error:
            self.end = self.end or error
            return None, []
        except SourceUnavailableError as error:
            return None, [self._unavailable(choice, error)]
        with self._lock:
            self._in_a_row = 0
        return result

    def _unavailable(self, choice: Choice, error: SourceUnavailableError) -> Rejection:
        with self._lock:
            self._in_a_row += 1
            self.n_unavailable += 1
            self._last = error
            if self._in_a_row >= DOWN_AFTER:
                self.end = self.end or error
        return SOURCE, choice.source_image_id, "unavailable", str(error)
