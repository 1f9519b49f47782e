"""What a provider is asked about at once: z14 tiles around points, and their boxes, quartered where one holds too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.geo.tiles import tile_bounds, tile_of
from geoloc_pipeline.sources.street_view import Area, Point

if TYPE_CHECKING:
    from collections.abc import Sequence

AREA_ZOOM = 14  # about 2 km wide in Japan; the whole country has 94,000 such tiles

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


def tile_areas(points: Sequence[Point], *, radius_m: float) -> list[Area]:
    """Return the z14 tiles that hold a point or reach into its radius, each with those points; the key is `14-x-y`.

    Args:
        points: In any order, which each area keeps.
        radius_m: How far around a point a picture may be, metres.

    Returns:
        By tile column, then row.
    """
    near: dict[tuple[int, int], list[Point]] = {}
    for point in points:
        _, lat, lon = point
        step_lat = radius_m / 110_000.0  # a degree is never shorter, so that no reach is lost
        step_lon = step_lat / max(0.01, float(np.cos(np.radians(lat))))
        lats, lons = [lat - step_lat, lat + step_lat], [lon - step_lon, lon + step_lon]
        xs, ys = tile_of(lat=lats, lon=lons, zoom=AREA_ZOOM)
        for x in range(int(xs.min()), int(xs.max()) + 1):
            for y in range(int(ys.min()), int(ys.max()) + 1):
                near.setdefault((x, y), []).append(point)
    return [Area(key=f"{AREA_ZOOM}-{x}-{y}", points=tuple(there)) for (x, y), there in sorted(near.items())]


def tile_of_area(area: Area) -> tuple[int, int]:
    """Return column and row of the z14 tile that an area of `tile_areas` is."""
    _, x, y = area.key.split("-")
    return int(x), int(y)


def box_of_area(area: Area) -> Box:
    """Return the box of an area of `tile_areas`."""
    x, y = tile_of_area(area)
    return tile_bounds(x=x, y=y, zoom=AREA_ZOOM)


def quarters(box: Box) -> list[Box]:
    """Return the four quarters of a box; together they are the box, edges included."""
    west, south, east, north = box
    lon, lat = (west + east) / 2, (south + north) / 2
    return [(west, south, lon, lat), (lon, south, east, lat), (west, lat, lon, north), (lon, lat, east, north)]
