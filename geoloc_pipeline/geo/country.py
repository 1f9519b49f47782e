"""Japan's box on the map: a coarse first filter, never the last word.

The box also holds parts of Korea, Russia and China: what must be in Japan is tested against polygons afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

WEST_DEG, SOUTH_DEG, EAST_DEG, NORTH_DEG = 122.5, 20.0, 154.5, 46.0


def in_japan_box(*, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.bool_]:
    """Return which places lie in the box around Japan."""
    lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    return (lat >= SOUTH_DEG) & (lat <= NORTH_DEG) & (lon >= WEST_DEG) & (lon <= EAST_DEG)
