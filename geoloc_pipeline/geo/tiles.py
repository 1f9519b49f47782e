"""Web-Mercator map tiles (x, y, z as in OpenStreetMap's slippy maps)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def tile_of(*, lat: ArrayLike, lon: ArrayLike, zoom: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return tile columns x and rows y of places in WGS 84 degrees.

    Latitudes beyond the map's edge (85.05°) are clamped to the first or last row.
    """
    n = 2**zoom
    phi = np.radians(np.clip(np.asarray(lat, dtype=np.float64), -85.05112878, 85.05112878))
    x = np.floor((np.asarray(lon, dtype=np.float64) + 180.0) / 360.0 * n)
    y = np.floor((1.0 - np.arcsinh(np.tan(phi)) / np.pi) / 2.0 * n)
    return np.clip(x, 0, n - 1).astype(np.int64), np.clip(y, 0, n - 1).astype(np.int64)


def tile_bounds(*, x: int, y: int, zoom: int) -> tuple[float, float, float, float]:
    """Return (west, south, east, north) of a tile in WGS 84 degrees."""
    n = 2**zoom
    north, south = (float(np.degrees(np.arctan(np.sinh(np.pi * (1 - 2 * row / n))))) for row in (y, y + 1))
    return x / n * 360.0 - 180.0, south, (x + 1) / n * 360.0 - 180.0, north
