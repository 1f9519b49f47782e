"""Japan on the map: a box, and inside it a coarse outline; neither is the last word, the census blocks are.

The box also holds Korea, Russia's coast and parts of China. The outline was drawn by hand some 20 to 30 km off the coasts, with
every inhabited island and the remote ones (Yonaguni, Tsushima, Daito, Ogasawara, Minamitorishima, Okinotorishima), so that a
photo at the quay, or placed a few kilometres wrong, is kept, and one in Busan or Vladivostok is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

WEST_DEG, SOUTH_DEG, EAST_DEG, NORTH_DEG = 122.5, 20.0, 154.5, 46.0

# lon lat, clockwise from Rishiri: the Okhotsk coast, the Pacific coast with the Izu and Ogasawara islands as a tongue, Kyushu,
# the Ryukyu islands out to Yonaguni and back, Tsushima, and the coast of the Sea of Japan.
_MAIN = """
140.55 45.50  141.60 45.72  142.40 45.68  144.30 44.45  145.50 44.60  145.60 43.70  146.10 43.35  145.70 42.85  143.40 41.60
142.45 40.30  142.45 39.10  141.30 36.90  141.20 35.50  140.40 33.40  140.75 30.60  142.60 27.90  142.60 26.30  141.80 24.00
141.05 24.00  140.55 27.10  139.95 30.30  139.30 32.40  138.70 33.90  137.00 34.05  136.00 33.15  134.30 32.95  132.90 32.45
132.20 32.50  131.80 31.30  131.30 30.10  130.30 28.20  128.75 26.80  128.10 25.75  125.90 24.40  123.80 23.75  122.65 24.25
122.65 24.70  125.10 25.25  126.50 26.75  127.95 28.10  129.05 30.40  128.10 31.80  128.25 32.90  128.95 34.00  129.05 34.70
129.55 34.93  131.20 35.05  132.60 36.35  133.25 36.60  135.30 36.05  136.55 38.05  137.90 38.50  139.20 39.45  139.00 41.50
139.00 42.25  139.85 43.45  140.90 44.45
"""
_ISLANDS = ((130.95, 24.20, 131.60, 26.20), (135.80, 20.15, 136.40, 20.70), (153.70, 24.00, 154.30, 24.55))
"""Daito, Okinotorishima and Minamitorishima: west, south, east, north."""


def _outline() -> shapely.MultiPolygon:
    numbers = np.array(_MAIN.split(), dtype=np.float64).reshape(-1, 2)
    outline = shapely.MultiPolygon([shapely.Polygon(numbers), *(shapely.box(*island) for island in _ISLANDS)])
    shapely.prepare(outline)
    return outline


_OUTLINE = _outline()


def in_japan_box(*, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.bool_]:
    """Return which places lie in the box around Japan."""
    lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    return (lat >= SOUTH_DEG) & (lat <= NORTH_DEG) & (lon >= WEST_DEG) & (lon <= EAST_DEG)


def in_japan(*, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.bool_]:
    """Return which places lie in Japan or up to some 30 km off its coasts.

    Trap: coarse. All of Japan is in and no neighbour's mainland is, but so are the sea between, and islands a few kilometres
    across the strait from Nemuro.

    Args:
        lat: Latitude in degrees, any shape; NaN lies nowhere.
        lon: Longitude in degrees, same shape.

    Returns:
        bool, in the shape of the places.
    """
    lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    found = in_japan_box(lat=lat, lon=lon)
    if found.any():
        found = found & shapely.contains_xy(_OUTLINE, lon, lat)
    return found
