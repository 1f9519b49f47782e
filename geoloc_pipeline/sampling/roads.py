"""Points along roads, at equal intervals (paper §3.1), whatever way mappers cut the ways and wherever borders run.

What a road is: all ways of one `road_id`; where a way has none, each chain of such ways of its class between two junctions. So
a street without a name is a road of its own and has at least one point, and an edit to one street moves no other's points.
Borders: ways are cut at the prefecture's outline first; each prefecture spaces its own part of a road, with half an interval
to the border on either side. So a border can neither double nor lose a point, the points across it are about one interval
apart, and a prefecture's points depend on nothing outside it: sampling several prefectures at once gives the same points as
sampling each alone. What lies outside every town block (the middle of a long bridge) is not sampled: a picture there could
not be labelled.
Short pieces: chains of a named road that are shorter than its interval are laid end to end, along a space-filling curve, and
sampled as one: a road that mappers drew in many pieces (two carriageways, slip lanes) gets its share by total length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geoloc_pipeline.sampling.chains import Chains, chains_of
from geoloc_pipeline.sampling.ground import Ground
from geoloc_pipeline.sampling.lines import Tape, tape_of
from geoloc_pipeline.sampling.points import hashes_of, points_table
from geoloc_pipeline.sampling.spacing import ROAD_BASE_M, SamplingSettings, points_on, rank_of, road_spacing_m
from geoloc_pipeline.tables import ROAD_POINTS, empty_table

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray


def sample_roads(
    roads: gpd.GeoDataFrame, towns: gpd.GeoDataFrame, *, settings: SamplingSettings | None = None
) -> gpd.GeoDataFrame:
    """Return the points along the roads inside the prefectures of `towns`, at least one for each road.

    Args:
        roads: `tables.OSM_ROADS`, whole ways; order does not matter.
        towns: `tables.CENSUS_TOWNS` of one prefecture or several.
        settings: Bounds and density.

    Returns:
        `tables.ROAD_POINTS` in key order. `feature_id` is the `road_id`, or the way under the point where there is none;
        `spacing_m` is the interval on the road's chain, 0 for a lone point.

    Paper: §3.1 (equal intervals by kind and length, 500 m to 5 km, at least some for each road).
    """
    settings = settings or SamplingSettings()
    found = [
        points
        for _, own in towns.groupby("prefecture_code", sort=True)
        if len(points := sample_ground(roads, Ground(own.geometry.to_numpy()), settings=settings))
    ]
    if len(found) < 2:
        return found[0] if found else empty_table(ROAD_POINTS)
    points = pd.concat(found, ignore_index=True)
    return points.drop_duplicates("point_id").sort_values("point_id", ignore_index=True)


def sample_ground(roads: gpd.GeoDataFrame, ground: Ground, *, settings: SamplingSettings) -> gpd.GeoDataFrame:
    """Return the points along the roads on one prefecture's ground; as `sample_roads`."""
    network = _network(roads, ground)
    if not len(network.chains.first):
        return empty_table(ROAD_POINTS)
    tape = tape_of(network.chains)
    chain, away_m, spacing_m = _laid_out(network.chains.road, tape, network.rank, settings)
    lonlat, piece = tape.places(chain, away_m)
    return points_table(
        ROAD_POINTS,
        lonlat=lonlat,
        feature_id=network.feature_ids(chain, piece),
        spacing_m=spacing_m,
        identity=network.identities(chain),
    )


@dataclass(frozen=True)
class _Network:
    """The roads on a prefecture's ground.

    Attributes:
        chains: Their chains; named roads have the numbers 0 to n - 1, the others follow, one a chain.
        rank: `[roads]` importance of each road, 0 the highest: that of its most important way.
        names: `[named roads]` the `road_id`; like the next, in pandas' form: millions of Python strings would be slow.
        way_id: `[pieces]` name of the way that each piece is of.
    """

    chains: Chains
    rank: NDArray[np.int64]
    names: Any
    way_id: Any

    def feature_ids(self, chain: NDArray[np.int64], piece: NDArray[np.int64]) -> Any:
        """Return the road of points on given chains, or the way (by row of its piece) where the road has no name."""
        road = self.chains.road[chain]
        n_named = len(self.names)
        unnamed = np.flatnonzero(road >= n_named)
        row = road.copy()
        row[unnamed] = n_named + np.arange(len(unnamed))
        return pd.concat([pd.Series(self.names), pd.Series(self.way_id[piece[unnamed]])]).array[row]

    def identities(self, chain: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return hashes of what makes the ids of points on given chains.

        A way's number may change when mappers split it, so it is no part of the id; the class and the place do not.
        """
        of_classes = hashes_of(np.array([f"highway rank {rank}" for rank in range(len(ROAD_BASE_M))], dtype=object))
        of_roads = np.concatenate([hashes_of(self.names), of_classes[self.rank[len(self.names) :]]])
        return of_roads[self.chains.road[chain]]


def _network(roads: gpd.GeoDataFrame, ground: Ground) -> _Network:
    lonlat, piece, source = ground.cut(roads.geometry.to_numpy())
    (code, names), (kind, kinds) = pd.factorize(roads["road_id"]), pd.factorize(roads["highway"])
    code, rank = code[source], rank_of(kinds)[kind[source]] if len(kinds) else np.empty(0, dtype=np.int64)
    named, way_id = code >= 0, roads["way_id"].array[source]
    chains = chains_of(lonlat, piece, road=np.where(named, code, len(names) + rank), way_id=way_id)
    nameless = chains.road >= len(names)
    rank_of_named = np.full(len(names), len(ROAD_BASE_M) - 1)
    np.minimum.at(rank_of_named, code[named], rank[named])
    number = chains.road.copy()
    number[nameless] = len(names) + np.arange(int(nameless.sum()))
    ranks = np.concatenate([rank_of_named, chains.road[nameless] - len(names)])
    return _Network(Chains(number, chains.first, chains.lonlat, chains.way), ranks, names.array, way_id)


def _laid_out(
    road: NDArray[np.int64], tape: Tape, rank: NDArray[np.int64], settings: SamplingSettings
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Decide where points stand: `[p]` chain, `[p]` metres from its start, `[p]` interval (0 for a road's lone point)."""
    length_m = tape.length_m
    whole_m = np.bincount(road, weights=length_m, minlength=len(rank)).astype(np.float64)
    wanted_m = road_spacing_m(rank=rank, length_m=whole_m, settings=settings)
    is_long = length_m >= wanted_m[road]
    is_alone = ~is_long & (np.bincount(road, minlength=len(rank)) == 1)[road]  # most streets: one point, in the middle
    on_long = np.where(is_long, points_on(length_m=length_m, spacing_m=wanted_m[road], settings=settings), 0)
    long_chain, long_away_m, long_spacing_m = _centred(np.where(is_alone, 1, on_long), length_m)
    # The short chains of the other roads lie end to end; a road that has nothing else gets at least one point there.
    short = np.flatnonzero(~is_long & ~is_alone)
    short = short[np.lexsort((*_along_a_curve(tape, short), road[short]))]
    short_m = np.bincount(road[short], weights=length_m[short], minlength=len(rank)).astype(np.float64)
    has_no_other = np.bincount(road[long_chain], minlength=len(rank)) == 0
    on_short = points_on(length_m=short_m, spacing_m=wanted_m, settings=settings)
    on_short = np.maximum(on_short, has_no_other & (short_m > 0))
    of_road, short_away_m, short_spacing_m = _centred(on_short, short_m)
    ends_m = np.cumsum(length_m[short])
    place_m = short_away_m + (np.cumsum(short_m) - short_m)[of_road]
    row = np.searchsorted(ends_m, place_m, side="right").clip(max=len(short) - 1)
    from_start_m = np.clip(place_m - (ends_m[row] - length_m[short[row]]), 0.0, length_m[short[row]])
    chain = np.concatenate([long_chain, short[row]])
    total = np.bincount(road[chain], minlength=len(rank))
    spacing_m = np.where(total[road[chain]] > 1, np.concatenate([long_spacing_m, short_spacing_m]), 0.0)
    return chain, np.concatenate([long_away_m, from_start_m]), spacing_m


def _centred(
    count: NDArray[np.int64], length_m: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the middles of `count` equal intervals on each length: `[p]` row, `[p]` metres from its start, `[p]` interval."""
    row = np.repeat(np.arange(len(count)), count)
    turn = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    spacing_m = (length_m / np.maximum(count, 1))[row]
    return row, (turn + 0.5) * spacing_m, spacing_m


def _along_a_curve(tape: Tape, chain: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint64]]:
    """Return keys that order chains so that those that follow each other are near; the last key counts first.

    It is the Z-order of a place in their middle, in steps of about 10 m; then where they start.
    """
    start = tape.lonlat[tape.first[chain]]
    middle, _ = tape.places(chain, tape.length_m[chain] / 2)
    code = np.zeros(len(chain), dtype=np.uint64)
    for shift, value in enumerate((middle + np.array([180.0, 90.0])).T):
        bits = np.round(value * 1e4).astype(np.uint64)
        for step, mask in ((16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F),
                           (2, 0x3333333333333333), (1, 0x5555555555555555)):  # fmt: skip
            bits = (bits | (bits << np.uint64(step))) & np.uint64(mask)
        code |= bits << np.uint64(shift)
    return start[:, 1], start[:, 0], code
