"""Chains laid end to end on one tape, in metres, and the places at given distances along it.

Lengths are geodesic, on the ellipsoid; places between two nodes are on the straight line in degrees, as on any map. A metre is
not the same share of a degree everywhere on a long line, so steps are at most 200 m: then a node more or less on a straight
line moves a place by less than a millimetre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.geo.sphere import step_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.sampling.chains import Chains

_LONGEST_M = 200.0


@dataclass(frozen=True)
class Tape:
    """Measured chains.

    Attributes:
        start_m: `[c]` where each chain starts on the tape.
        length_m: `[c]` geodesic length.
        first: `[c + 1]` first vertex of each chain, and the number of vertices.
        lonlat: `[v, 2]` vertices, degrees.
        along_m: `[v]` where each vertex lies on the tape.
        way: `[v]` row of the way that leads to this vertex.
    """

    start_m: NDArray[np.float64]
    length_m: NDArray[np.float64]
    first: NDArray[np.int64]
    lonlat: NDArray[np.float64]
    along_m: NDArray[np.float64]
    way: NDArray[np.int64]

    def places(self, chain: NDArray[np.int64], away_m: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the places at given distances from the start of given chains.

        Args:
            chain: `[n]` rows of chains.
            away_m: `[n]` metres along that chain.

        Returns:
            `[n, 2]` (lon, lat) in degrees, and `[n]` the row of the way on which each lies.
        """
        along_m = self.start_m[chain] + away_m
        to = np.searchsorted(self.along_m, along_m, side="right")
        to = np.clip(to, self.first[chain] + 1, self.first[chain + 1] - 1)
        before_m = self.along_m[to - 1]
        span_m = self.along_m[to] - before_m
        share = np.clip((along_m - before_m) / np.where(span_m > 0, span_m, 1.0), 0.0, 1.0)[:, None]
        return self.lonlat[to - 1] * (1 - share) + self.lonlat[to] * share, self.way[to]


def tape_of(chains: Chains) -> Tape:
    """Return chains measured, one after the other."""
    lonlat, way, first = chains.lonlat, chains.way, np.append(chains.first, len(chains.lonlat))
    leads_m = np.zeros(len(lonlat))  # the length of the step to each vertex
    leads_m[1:] = _between_m(lonlat[:-1], lonlat[1:])
    leads_m[chains.first] = 0.0
    is_long = np.flatnonzero(leads_m > _LONGEST_M)
    if len(is_long):
        parts = np.ceil(leads_m[is_long] / _LONGEST_M).astype(np.int64)
        to = np.repeat(is_long, parts)
        turn = np.arange(len(to)) - np.repeat(np.cumsum(parts) - parts, parts)
        begin, onward = lonlat[to - 1], (lonlat[to] - lonlat[to - 1]) / np.repeat(parts, parts)[:, None]
        ends = begin + onward * (turn + 1)[:, None]
        is_old = np.ones(len(lonlat) + len(to) - len(is_long), dtype=bool)
        is_old[to + np.arange(len(to)) - np.repeat(np.arange(len(is_long)), parts)] = False
        others = np.ones(len(lonlat), dtype=bool)
        others[is_long] = False
        lonlat, way, leads_m = (
            _mixed(is_old, old[others], new)
            for old, new in ((lonlat, ends), (way, way[to]), (leads_m, _between_m(begin + onward * turn[:, None], ends)))
        )
        first = first + np.append(0, np.cumsum(parts - 1))[np.searchsorted(is_long, first)]
    along_m = np.cumsum(leads_m)
    start_m = along_m[first[:-1]]
    return Tape(start_m, along_m[first[1:] - 1] - start_m, first, lonlat, along_m, way)


def _between_m(lonlat: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
    return step_m(lat=lonlat[:, 1], lon=lonlat[:, 0], to_lat=to[:, 1], to_lon=to[:, 0])


def _mixed(is_old: NDArray[np.bool_], old: NDArray[Any], new: NDArray[Any]) -> NDArray[Any]:
    """Return the old rows where they belong and the new ones between them."""
    rows = np.empty((len(is_old), *old.shape[1:]), dtype=old.dtype)
    rows[is_old], rows[~is_old] = old, new
    return rows
