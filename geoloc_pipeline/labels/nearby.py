"""What lies where a picture was taken: its town block, and the nearest road and landmark within 20 m (paper §3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from geoloc_pipeline.labels.reach import Places, nearest
from geoloc_pipeline.tables import LABELLED_IMAGES, as_table, empty_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

REACH_M = 20.0
"""A road or landmark within this distance is in the picture (paper §3.1)."""
SHORE_M = 100.0
"""A picture this near the nearest block belongs to it: piers, bridges, boats at the quay (ours)."""
TOWN_REACH_M = 150.0
"""A picture whose place may be off by more names no town block: blocks of Tokyo are 300 m across in the median (ours), so
that the next block would be as likely."""
_IMAGE_COLUMNS = ["image_id", "lat", "lon", "source", "capture_group", "accuracy_m"]


def label_images(
    images: Sequence[pd.DataFrame],
    towns: gpd.GeoDataFrame,
    roads: gpd.GeoDataFrame,
    landmarks: gpd.GeoDataFrame,
    *,
    prefecture_code: str,
    neighbours: Callable[[], Iterable[gpd.GeoDataFrame]] | None = None,
    reach_m: float = REACH_M,
    shore_m: float = SHORE_M,
) -> gpd.GeoDataFrame:
    """Return the pictures that lie in a prefecture, each with everything that can be said of its place.

    A picture lies in the block that holds it, where blocks overlap or meet in the one with the smaller code. One in no block
    but within `shore_m` of one (off the shore, in a gap between blocks) lies in the nearest, and `town_distance_m` says how
    far off. Pictures elsewhere are not in the table: photo sets are shared by all prefectures.
    The road is the nearest that has an identity (ways without `road_id` are no class and never hide one that is). Distances
    are geodesic and compared in whole millimetres; among equals the smaller id wins.
    A picture whose place may be off by more than `reach_m` (its `accuracy_m`) gets neither road nor landmark, and by more than
    `TOWN_REACH_M` no town: the nearest to a wrong place is a wrong label. Its municipality stays. One whose accuracy nobody
    tells is taken at its word.

    Trap: without `neighbours`, a picture just beyond a land border looks like one off the shore. With them it belongs to
    whoever's block holds it or is nearest, by the same rule on both sides.

    Args:
        images: Tables of `tables.IMAGES`; a picture that comes twice counts once, one without a position lies nowhere.
        towns: `tables.CENSUS_TOWNS` of this prefecture.
        roads: `tables.OSM_ROADS` of this prefecture, with its halo.
        landmarks: `tables.OSM_LANDMARKS` of this prefecture, with its halo.
        prefecture_code: JIS X 0401, two digits.
        neighbours: Gives the neighbours' `tables.CENSUS_TOWNS`; asked once, and only for a picture just outside the blocks.
        reach_m: How near a road or landmark must be, metres (paper §3.1: 20 m).
        shore_m: How far outside every block a picture may lie, metres.

    Returns:
        `tables.LABELLED_IMAGES` in key order; a missing code means: nothing within reach.

    Paper: §3.1.
    """
    pictures = _pictures(images, towns, shore_m)
    if pictures.empty:
        return empty_table(LABELLED_IMAGES)
    places = Places.at(lat=pictures["lat"].to_numpy(dtype=np.float64), lon=pictures["lon"].to_numpy(dtype=np.float64))
    block, block_m = _blocks(places, towns, neighbours or tuple, shore_m)
    ours = block >= 0
    pictures, places, block = pictures[ours].reset_index(drop=True), places.some(ours), block[ours]
    # The census leaves some blocks without a name: there is a place, but no town to learn.
    town_code = towns["town_code"].where(towns["town"].notna(), None).to_numpy(dtype=object)
    off_m = pictures["accuracy_m"].fillna(0.0).to_numpy(dtype=np.float64)
    is_exact = off_m <= reach_m
    road_id, road_m = _labels(places, roads, "road_id", reach_m, is_exact)
    landmark_id, landmark_m = _labels(places, landmarks, "landmark_id", reach_m, is_exact)
    return as_table(
        LABELLED_IMAGES,
        {
            **{name: pictures[name] for name in _IMAGE_COLUMNS if name != "accuracy_m"},
            "prefecture_code": [prefecture_code] * len(pictures),
            "municipality_code": towns["municipality_code"].to_numpy(dtype=object)[block],
            "town_code": np.where(off_m <= TOWN_REACH_M, town_code[block], None),
            "town_distance_m": block_m[ours],
            "road_id": road_id,
            "road_distance_m": road_m,
            "landmark_id": landmark_id,
            "landmark_distance_m": landmark_m,
            "geometry": places.points,
        },
    )


def _pictures(images: Sequence[pd.DataFrame], towns: gpd.GeoDataFrame, shore_m: float) -> pd.DataFrame:
    """Return the pictures in the box around the blocks, each once, in key order."""
    frames = [pd.DataFrame(frame[_IMAGE_COLUMNS]) for frame in images if len(frame)]
    if not frames or towns.empty:
        return pd.DataFrame(columns=_IMAGE_COLUMNS)
    joined = pd.concat(frames, ignore_index=True)
    again = joined["image_id"].duplicated(keep=False)
    if again.any():  # the first by content stays, whatever the order of the tables
        once = joined[again].sort_values(_IMAGE_COLUMNS).drop_duplicates("image_id")
        joined = pd.concat([joined[~again], once])
    west, south, east, north = towns.total_bounds
    rim_deg = 2 * shore_m / 110_000 / np.cos(np.radians(min(max(abs(south), abs(north)), 89.0)))
    is_near = joined["lat"].between(south - rim_deg, north + rim_deg) & joined["lon"].between(west - rim_deg, east + rim_deg)
    return joined[is_near].sort_values("image_id", ignore_index=True)


def _blocks(
    places: Places, towns: gpd.GeoDataFrame, neighbours: Callable[[], Iterable[gpd.GeoDataFrame]], shore_m: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the row of the town block of each place, -1 for none of ours, and how far outside it the place lies in metres."""
    shapes, code = towns.geometry.to_numpy(), towns["town_code"].to_numpy(dtype=object)
    block = np.full(len(places.lat), -1, dtype=np.int64)
    away_m = np.zeros(len(places.lat))
    row, place = places.inside(shapes)
    order = np.argsort(np.argsort(code, kind="stable"), kind="stable")[row].argsort(kind="stable")[::-1]
    block[place[order]] = row[order]  # the smallest code is written last and stays
    stray = np.flatnonzero(block < 0)
    near, near_m = nearest(places.some(stray), shapes, code, reach_m=shore_m)
    stray, near, near_m = stray[near >= 0], near[near >= 0], near_m[near >= 0]
    is_ours = np.ones(len(stray), dtype=bool)
    for theirs in neighbours() if len(stray) else ():
        their_code = theirs["town_code"].to_numpy(dtype=object)
        row, their_m = nearest(places.some(stray), theirs.geometry.to_numpy(), their_code, reach_m=shore_m)
        found = np.flatnonzero(row >= 0)
        is_smaller = np.array([their_code[row[item]] < code[near[item]] for item in found], dtype=bool)
        is_ours[found[(their_m[found] < near_m[found]) | ((their_m[found] == near_m[found]) & is_smaller)]] = False
    block[stray[is_ours]], away_m[stray[is_ours]] = near[is_ours], near_m[is_ours]
    return block, away_m


def _labels(
    places: Places, frame: gpd.GeoDataFrame, name: str, reach_m: float, is_exact: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the id in column `name` of the nearest shape within reach of each exact place, and its distance in metres."""
    has_id = frame[name].notna().to_numpy()
    ids = frame[name].array[has_id]
    row, away_m = nearest(places.some(is_exact), frame.geometry.to_numpy()[has_id], ids, reach_m=reach_m)
    found, found_m = np.full(len(is_exact), None, dtype=object), np.full(len(is_exact), np.nan)
    at = np.flatnonzero(is_exact)[row >= 0]
    found[at], found_m[at] = ids[row[row >= 0]], away_m[row >= 0]
    return found, found_m
