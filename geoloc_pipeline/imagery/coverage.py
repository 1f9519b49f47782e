"""Which pictures a provider has around some points: its coverage tiles, asked for once and kept for whoever comes next."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.geo.tiles import tile_of
from geoloc_pipeline.imagery.choose import Point, within_reach
from geoloc_pipeline.sources.mapillary_coverage import COVERAGE_ZOOM, Coverage, read_coverage_tile
from geoloc_pipeline.storage.atomic import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from geoloc_pipeline.sources.mapillary import MapillaryClient
    from geoloc_pipeline.storage.progress import Progress


def coverage_around(
    points: Sequence[Point],
    client: MapillaryClient,
    *,
    radius_m: float,
    edition: str,
    workers: int,
    tiles_folder: Path | None = None,
    progress: Progress | None = None,
) -> Coverage:
    """Return every picture within the radius of a point, and a few beyond it.

    Args:
        points: What to look around.
        client: Asked for the tiles that hold a point or reach into its radius.
        radius_m: How far a picture may be from its point, metres.
        edition: Any word; tiles kept under another one are not looked at.
        workers: How many tiles are asked for at once.
        tiles_folder: Where tiles are kept for other prefectures and for a run that dies; None: nowhere.
        progress: Told tiles.

    Returns:
        Pictures in id order.

    Raises:
        SourceUnavailableError: The provider does not answer.
        SourceRefusedError: The token is refused.
        BudgetSpentError: The day's requests are used up; kept tiles are not asked for again.
        HomeError: The disk is full or not ours to write.
    """
    tiles = tiles_around(points, radius_m=radius_m)

    def read(item: tuple[tuple[int, int], list[Point]]) -> Coverage:
        (x, y), near = item
        return within_reach(_tile(client, tiles_folder, edition, x=x, y=y), near, radius_m=radius_m)

    parts: list[Coverage] = []
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        try:
            for part in pool.map(read, tiles.items()):
                parts.append(part)
                if progress:
                    progress.tell(len(parts), total=len(tiles), unit="coverage tiles")
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return Coverage.joined(parts)


def tiles_around(points: Sequence[Point], *, radius_m: float) -> dict[tuple[int, int], list[Point]]:
    """Return the z14 tiles that hold a point or reach into its radius, sorted, each with those points."""
    tiles: dict[tuple[int, int], list[Point]] = {}
    for point in points:
        _, lat, lon = point
        step_lat = radius_m / 110_000.0
        step_lon = step_lat / max(0.01, float(np.cos(np.radians(lat))))
        xs, ys = tile_of(
            lat=np.array([lat - step_lat, lat + step_lat]), lon=np.array([lon - step_lon, lon + step_lon]), zoom=COVERAGE_ZOOM
        )
        for x in range(int(xs.min()), int(xs.max()) + 1):
            for y in range(int(ys.min()), int(ys.max()) + 1):
                tiles.setdefault((x, y), []).append(point)
    return dict(sorted(tiles.items()))


def _tile(client: MapillaryClient, tiles_folder: Path | None, edition: str, *, x: int, y: int) -> Coverage:
    if tiles_folder is None:
        return client.coverage_tile(x=x, y=y)[1]
    path = tiles_folder / (edition or "first") / f"{COVERAGE_ZOOM}-{x}-{y}.mvt"
    try:
        return read_coverage_tile(path.read_bytes(), x=x, y=y)
    except (FileNotFoundError, ValueError):  # not kept, or spoilt on disk
        content, coverage = client.coverage_tile(x=x, y=y)
        write_bytes(path, content)
        return coverage
