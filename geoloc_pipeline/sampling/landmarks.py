"""Points in landmarks: an equal grid inside large ones, one point in each of the others (paper §3.1).

The grid of a landmark hangs on the landmark's own box, so two prefectures that share one see the same grid and each keeps the
points on its own ground: a border neither doubles nor loses a point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

from geoloc_pipeline.sampling.ground import Ground
from geoloc_pipeline.sampling.points import points_table
from geoloc_pipeline.sampling.spacing import SamplingSettings, landmark_spacing_m
from geoloc_pipeline.tables import LANDMARK_POINTS, empty_table

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

_SHORTEST_DEGREE_M = 110_574.0  # of latitude, at the equator: a grid in degrees made with it is never too dense


def sample_landmarks(
    landmarks: gpd.GeoDataFrame, towns: gpd.GeoDataFrame, *, settings: SamplingSettings | None = None
) -> gpd.GeoDataFrame:
    """Return the points of the landmarks inside the prefectures of `towns`, at least one for each landmark.

    A landmark that has no grid point on it has one: itself if it is a node, else a place that is sure to lie on it. It is
    kept by the prefecture it falls in; a lone point outside every town block (a rock in the sea) is not kept.

    Args:
        landmarks: `tables.OSM_LANDMARKS`, whole objects; order does not matter.
        towns: `tables.CENSUS_TOWNS` of one prefecture or several.
        settings: Bounds and density.

    Returns:
        `tables.LANDMARK_POINTS` in key order; `spacing_m` is the grid's interval, 0 for a lone point.

    Paper: §3.1 (an equal grid, 500 m to 5 km, more for the larger, some for each).
    """
    settings = settings or SamplingSettings()
    if landmarks.empty or towns.empty:
        return empty_table(LANDMARK_POINTS)
    shapes = landmarks.geometry.to_numpy()
    row, lonlat, spacing_m = _grid(shapes, landmarks["area_m2"].to_numpy(dtype=np.float64), settings)
    count = np.bincount(row, minlength=len(shapes))
    lone = np.flatnonzero(count == 0)
    lone_at = shapely.get_coordinates(shapely.point_on_surface(shapes[lone]))
    spacing_m[count[row] == 1] = 0.0
    row = np.concatenate([row, lone])
    lonlat = np.concatenate([lonlat, lone_at])
    spacing_m = np.concatenate([spacing_m, np.zeros(len(lone))])
    kept = np.zeros(len(lonlat), dtype=bool)
    for _, own in towns.groupby("prefecture_code", sort=True):
        kept |= Ground(own.geometry.to_numpy()).holds(lat=lonlat[:, 1], lon=lonlat[:, 0])
    feature = landmarks["landmark_id"].to_numpy(dtype=object)[row]
    return points_table(LANDMARK_POINTS, lonlat=lonlat[kept], feature_id=feature[kept], spacing_m=spacing_m[kept])


def _grid(
    shapes: NDArray[Any], area_m2: NDArray[np.float64], settings: SamplingSettings
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the grid points that lie in the shapes: `[p]` row of the shape, `[p, 2]` (lon, lat), `[p]` interval in metres."""
    spacing_m = landmark_spacing_m(area_m2=area_m2, settings=settings)
    west, south, east, north = shapely.bounds(shapes).T
    # Columns are as wide as a degree is where it is shortest inside the box.
    farthest = np.maximum(np.abs(south), np.abs(north)).clip(max=89.0)
    step_y = spacing_m / _SHORTEST_DEGREE_M
    step_x = step_y / np.cos(np.radians(farthest))
    is_area = area_m2 > 0
    columns = np.where(is_area, np.ceil((east - west) / step_x), 0).astype(np.int64)
    rows = np.where(is_area, np.ceil((north - south) / step_y), 0).astype(np.int64)
    row = np.repeat(np.arange(len(shapes)), columns * rows)
    turn = np.arange(len(row)) - np.repeat(np.cumsum(columns * rows) - columns * rows, columns * rows)
    across, up = turn % columns[row], turn // columns[row]
    lon = (west + east)[row] / 2 + (across - (columns[row] - 1) / 2) * step_x[row]
    lat = (south + north)[row] / 2 + (up - (rows[row] - 1) / 2) * step_y[row]
    shapely.prepare(shapes)
    inside = shapely.intersects_xy(shapes[row], lon, lat) if len(row) else np.zeros(0, dtype=bool)
    return row[inside], np.column_stack([lon, lat])[inside], spacing_m[row][inside]
