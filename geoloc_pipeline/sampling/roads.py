"""Points along roads, at equal intervals (paper §3.1), whatever way mappers cut the ways and wherever borders run.

What a road is: ways of one `road_id`; ways without one join into a road where ways of the same class share a node.
Borders: ways are cut at the prefecture's outline first; each prefecture spaces its own part of a road, with half an interval
to the border on either side. So a border can neither double nor lose a point, the points across it are about one interval
apart, and a prefecture's points depend on nothing outside it: sampling several prefectures at once gives the same points as
sampling each alone. What lies outside every town block (the middle of a long bridge) is not sampled: a picture there could
not be labelled.
Short pieces: chains shorter than the road's interval are laid end to end, along a space-filling curve, and sampled as one,
so that a dense street grid gets its share by total length and not one point for each block.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from geoloc_pipeline.sampling.lines import Chains, chains_of, connected, cut_at, outline, places_on
from geoloc_pipeline.sampling.spacing import SamplingSettings, points_on, rank_of, road_spacing_m
from geoloc_pipeline.tables import ROAD_POINTS, as_table, empty_table

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

_ON_THE_LINE_DEG = 2e-7  # places are computed to about a hundredth of this


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
        _sample_inside(roads, outline(own.geometry.to_numpy()), settings)
        for _, own in towns.groupby("prefecture_code", sort=True)
    ]
    found = [points for points in found if len(points)]
    if not found:
        return empty_table(ROAD_POINTS)
    points = pd.concat(found, ignore_index=True).drop_duplicates("point_id")
    return finished(points)


def finished(points: pd.DataFrame) -> gpd.GeoDataFrame:
    """Return points (point_id, lat, lon, feature_id, spacing_m) as a table of `tables.POINTS`, in key order."""
    points = points.sort_values("point_id", ignore_index=True)
    columns: dict[str, Any] = {name: points[name] for name in ROAD_POINTS.column_names if name != "geometry"}
    return as_table(ROAD_POINTS, {**columns, "geometry": shapely.points(points["lon"], points["lat"])})


def point_ids(*, feature: NDArray[Any], lat: NDArray[np.float64], lon: NDArray[np.float64]) -> list[str]:
    """Return ids that depend on the feature and the place rounded to about a metre, and on nothing else."""
    return [
        hashlib.sha256(f"{name}|{y:.5f}|{x:.5f}".encode()).hexdigest()[:16]
        for name, y, x in zip(feature, lat, lon, strict=True)
    ]


def _sample_inside(roads: gpd.GeoDataFrame, area: Any, settings: SamplingSettings) -> pd.DataFrame:
    pieces, source = cut_at(roads.geometry.to_numpy(), area)
    if not len(pieces):
        return pd.DataFrame()
    road_id = roads["road_id"].to_numpy(dtype=object)[source]
    rank = rank_of(roads["highway"].to_numpy(dtype=object))[source]
    road, named = _numbered(pieces, road_id, rank)
    chains = chains_of(pieces, road)
    most_important = pd.Series(rank).groupby(road).min()
    chain, away_m, spacing_m = _laid_out(chains, most_important, settings)
    lonlat = np.round(places_on(chains, chain, away_m), 7)
    at = chains.road[chain]
    feature = np.array([named.get(number) for number in at.tolist()], dtype=object)
    nameless = pd.isna(feature)
    # A way's number may change when mappers split it; the class and the place do not.
    identity = feature.copy()
    identity[nameless] = [f"highway rank {most_important[number]}" for number in at[nameless].tolist()]
    feature[nameless] = _way_below(lonlat[nameless], at[nameless], pieces, road, roads["way_id"].to_numpy(dtype=object)[source])
    return pd.DataFrame(
        {
            "point_id": point_ids(feature=identity, lat=lonlat[:, 1], lon=lonlat[:, 0]),
            "lat": lonlat[:, 1],
            "lon": lonlat[:, 0],
            "feature_id": feature,
            "spacing_m": spacing_m,
        }
    )


def _numbered(pieces: NDArray[Any], road_id: NDArray[Any], rank: NDArray[np.int64]) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Number the roads: `[n]` the number of each piece's road, and the `road_id` of those that have one."""
    nameless = pd.isna(road_id)
    number = np.empty(len(pieces), dtype=np.int64)
    codes, ids = pd.factorize(road_id[~nameless], sort=True)
    number[~nameless] = codes
    number[nameless] = len(ids) + connected(pieces[nameless], rank[nameless])
    return number, {row: str(name) for row, name in enumerate(ids)}


def _laid_out(
    chains: Chains, rank: pd.Series[int], settings: SamplingSettings
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Decide where points stand: `[p]` chain, `[p]` metres from its start, `[p]` interval (0 for a road's lone point)."""
    roads, row = np.unique(chains.road, return_inverse=True)
    whole_m = np.bincount(row, weights=chains.length_m).astype(np.float64)
    wanted_m = road_spacing_m(rank=rank.loc[roads].to_numpy(), length_m=whole_m, settings=settings)
    is_long = chains.length_m >= wanted_m[row]
    count = np.where(is_long, points_on(length_m=chains.length_m, spacing_m=wanted_m[row], settings=settings), 0)
    # Short chains of a road lie end to end on one tape; a road that has nothing else gets at least one point there.
    short_m = np.where(is_long, 0.0, chains.length_m)
    tape_m = np.bincount(row, weights=short_m).astype(np.float64)
    on_tape = points_on(length_m=tape_m, spacing_m=wanted_m, settings=settings)
    on_tape = np.maximum(on_tape, np.bincount(row, weights=count) == 0)
    chain = np.repeat(np.arange(len(count)), count)
    away_m, spacing_m = _centred(count, chains.length_m)
    tape_away_m, tape_spacing_m = _centred(on_tape, tape_m)
    before_m = np.cumsum(tape_m) - tape_m  # where each road's tape starts when the tapes are laid end to end as well
    place_m = tape_away_m + np.repeat(before_m, on_tape)
    ends_m = np.cumsum(short_m)
    tape_chain = np.searchsorted(ends_m, place_m, side="right").clip(max=len(ends_m) - 1)
    tape_chain_m = np.clip(place_m - (ends_m - short_m)[tape_chain], 0.0, chains.length_m[tape_chain])
    total = np.bincount(row, weights=count).astype(np.int64) + on_tape
    chain = np.concatenate([chain, tape_chain])
    spacing_m = np.where(total[row[chain]] > 1, np.concatenate([spacing_m, tape_spacing_m]), 0.0)
    return chain, np.concatenate([away_m, tape_chain_m]), spacing_m


def _centred(count: NDArray[np.int64], length_m: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the middles of `count` equal intervals on each length, one after the other, and the interval of each."""
    which = np.repeat(np.arange(len(count)), count)
    turn = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    spacing_m = (length_m / np.maximum(count, 1))[which]
    return (turn + 0.5) * spacing_m, spacing_m


def _way_below(
    lonlat: NDArray[np.float64], at: NDArray[np.int64], pieces: NDArray[Any], road: NDArray[np.int64], way_id: NDArray[Any]
) -> NDArray[Any]:
    """Return the way that each point stands on, the smallest id where it stands on several."""
    if not len(lonlat):
        return np.empty(0, dtype=object)
    point, piece = shapely.STRtree(pieces).query(shapely.points(lonlat), predicate="dwithin", distance=_ON_THE_LINE_DEG)
    own = road[piece] == at[point]
    below = pd.Series(way_id[piece[own]]).groupby(point[own]).min()
    return np.asarray(below.reindex(np.arange(len(lonlat))), dtype=object)
