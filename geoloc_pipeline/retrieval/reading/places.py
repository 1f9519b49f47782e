"""Names of places: which town block of the census an answer lies in.

"In no block" is an answer too: the sea, abroad, or a prefecture whose census has not been fetched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    from numpy.typing import ArrayLike

_CODES = ("prefecture_code", "municipality_code", "town_code")
_NAMES = ("prefecture", "municipality", "town")


class PlaceNames:
    """Finds the town block of places; build it once, ask it often."""

    def __init__(self, towns: gpd.GeoDataFrame) -> None:
        """Index the blocks.

        Args:
            towns: `CENSUS_TOWNS` of as many prefectures as there are.
        """
        self._towns = towns.sort_values("town_code", ignore_index=True)
        self._tree = shapely.STRtree(self._towns.geometry.to_numpy())

    def table_at(self, *, lat: ArrayLike, lon: ArrayLike) -> pd.DataFrame:
        """Return codes and names of the blocks in which places lie.

        Args:
            lat: `[n]` degrees.
            lon: Like `lat`.

        Returns:
            `[n]` rows in the order of the places: prefecture_code, municipality_code, town_code, prefecture, municipality,
            town; all missing where a place lies in no block. On a border, the block with the smaller code.
        """
        points = shapely.points(np.atleast_1d(np.asarray(lon, dtype=float)), np.atleast_1d(np.asarray(lat, dtype=float)))
        which, block = self._tree.query(points, predicate="intersects")
        first = np.full(len(points), len(self._towns), dtype=np.int64)
        np.minimum.at(first, which, block)
        found = self._towns.loc[:, [*_CODES, *_NAMES]].reindex(np.where(first < len(self._towns), first, -1))
        return found.reset_index(drop=True)

    def names_at(self, *, lat: float, lon: float) -> dict[str, str]:
        """Return prefecture, municipality and town of one place, whichever are known; empty in no block."""
        row = self.table_at(lat=[lat], lon=[lon]).iloc[0]
        return {name: row[name] for name in _NAMES if isinstance(row[name], str)}
