"""Chains laid end to end on one tape, in metres, and the places at given distances along it.

Lengths are geodesic, on the ellipsoid; places between two nodes are on the straight line in degrees, as on any map. A metre is
not the same share of a degree everywhere on a long line, so steps are at most 200 m: then a node more or less on a straight
line moves a place by less than a millimetre.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.geo.sphere import step_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.sampling.chains import Chains

_STEP_DEG = 0.002


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
    lonlat, first, way = _in_short_steps(chains)
    along_m = np.zeros(len(lonlat))
    if len(lonlat):
        along_m[1:] = step_m(lat=lonlat[:-1, 1], lon=lonlat[:-1, 0], to_lat=lonlat[1:, 1], to_lon=lonlat[1:, 0])
        along_m[first[:-1]] = 0.0
        along_m = np.cumsum(along_m)
    start_m = along_m[first[:-1]]
    return Tape(start_m, along_m[first[1:] - 1] - start_m, first, lonlat, along_m, way)


def _in_short_steps(chains: Chains) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return vertices, first vertex of each chain (and the end), and ways, with a vertex at least every 200 m."""
    lonlat, first = chains.lonlat, np.append(chains.first, len(chains.lonlat))
    step = np.maximum(*(np.abs(np.diff(degrees, append=degrees[-1:])) for degrees in lonlat.T))
    step[chains.first - 1] = 0.0  # from the end of a chain to the start of the next
    parts = np.maximum(np.ceil(step / _STEP_DEG), 1).astype(np.int64)
    if parts.max(initial=1) == 1:
        return lonlat, first, chains.way
    row = np.repeat(np.arange(len(lonlat)), parts)
    first_of_row = np.cumsum(parts) - parts
    fuller, way = lonlat[row], chains.way[row]
    new = np.flatnonzero(np.append(False, row[1:] == row[:-1]))
    at, onward = row[new], row[new] + 1
    share = ((new - first_of_row[at]) / parts[at])[:, None]
    fuller[new] = lonlat[at] * (1 - share) + lonlat[onward] * share
    way[new] = chains.way[onward]
    return fuller, np.append(first_of_row, len(row))[first], way
