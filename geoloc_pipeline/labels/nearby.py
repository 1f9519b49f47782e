"""What lies where a picture was taken: its town block, and the nearest road and landmark within 20 m (paper §3.1).

Candidates are found in a metric plane, a little farther than asked; each candidate's distance is then measured on the
ellipsoid, so labels do not depend on where the plane touches the Earth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from geoloc_pipeline.geo.crs import from_plane, metric_crs, to_plane
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.tables import LABELLED_IMAGES, as_table, empty_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

REACH_M = 20.0
"""A road or landmark within this distance is in the picture (paper §3.1)."""
SHORE_M = 100.0
"""A picture this near the nearest block belongs to it: piers, bridges, boats at the quay (ours)."""
_PLANE_SLACK = 1.01  # the plane is true to 0.5 % a thousand kilometres from its middle (Tokyo's islands)
_IMAGE_COLUMNS = ["image_id", "lat", "lon", "source", "capture_group"]


@dataclass(frozen=True)
class _Places:
    """Pictures in a metric plane, with an index over them.

    Attributes:
        lat: `[n]` degrees.
        lon: `[n]` degrees.
        crs: The plane.
        points: `[n]` points in the plane.
        tree: Over `points`.
    """

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    crs: str
    points: NDArray[Any]
    tree: shapely.STRtree


def label_images(
    images: Sequence[pd.DataFrame],
    towns: gpd.GeoDataFrame,
    roads: gpd.GeoDataFrame,
    landmarks: gpd.GeoDataFrame,
    *,
    prefecture_code: str,
    reach_m: float = REACH_M,
    shore_m: float = SHORE_M,
) -> gpd.GeoDataFrame:
    """Return the pictures that lie in a prefecture, each with everything that can be said of its place.

    A picture lies in the block that holds it; on a line between blocks, in the one with the smaller code; in no block but
    within `shore_m` of one, in the nearest. Pictures elsewhere are not in the table: photo sets are shared by all prefectures.
    The road is the nearest that has an identity (ways without `road_id` are no class and never hide one that is). Distances
    are compared in whole millimetres; among equals the smaller id wins.

    Trap: with the towns of one prefecture alone, a picture just beyond a land border looks like one off the shore. Hand
    over the neighbours' towns too, and it is left to them.

    Args:
        images: Tables of `tables.IMAGES`; a picture that comes twice counts once.
        towns: `tables.CENSUS_TOWNS` of this prefecture, and of its neighbours if there are any.
        roads: `tables.OSM_ROADS` of this prefecture, with its halo.
        landmarks: `tables.OSM_LANDMARKS` of this prefecture, with its halo.
        prefecture_code: JIS X 0401, two digits.
        reach_m: How near a road or landmark must be, metres (paper §3.1: 20 m).
        shore_m: How far outside every block a picture may lie, metres.

    Returns:
        `tables.LABELLED_IMAGES` in key order; a missing code means: nothing within reach.

    Paper: §3.1.
    """
    pictures = _pictures(images)
    if pictures.empty or towns.empty:
        return empty_table(LABELLED_IMAGES)
    block = _blocks(pictures, towns, shore_m)
    prefecture = towns["prefecture_code"].to_numpy(dtype=object)
    ours = (block >= 0) & (prefecture[block] == prefecture_code)
    pictures, block = pictures[ours].reset_index(drop=True), block[ours]
    if pictures.empty:
        return empty_table(LABELLED_IMAGES)
    places = _placed(pictures)
    named = roads[roads["road_id"].notna()]
    road_id, road_m = _nearest(places, named.geometry, named["road_id"].to_numpy(dtype=object), reach_m)
    marks = landmarks["landmark_id"].to_numpy(dtype=object)
    landmark_id, landmark_m = _nearest(places, landmarks.geometry, marks, reach_m)
    # The census leaves some blocks without a name: there is a place, but no town to learn.
    town_code = towns["town_code"].where(towns["town"].notna(), None).to_numpy(dtype=object)[block]
    return as_table(
        LABELLED_IMAGES,
        {
            **{name: pictures[name] for name in _IMAGE_COLUMNS},
            "prefecture_code": [prefecture_code] * len(pictures),
            "municipality_code": towns["municipality_code"].to_numpy(dtype=object)[block],
            "town_code": town_code,
            "road_id": road_id,
            "road_distance_m": road_m,
            "landmark_id": landmark_id,
            "landmark_distance_m": landmark_m,
            "geometry": shapely.points(pictures["lon"], pictures["lat"]),
        },
    )


def _pictures(images: Sequence[pd.DataFrame]) -> pd.DataFrame:
    frames = [pd.DataFrame(frame[_IMAGE_COLUMNS]) for frame in images if len(frame)]
    if not frames:
        return pd.DataFrame(columns=_IMAGE_COLUMNS)
    joined = pd.concat(frames, ignore_index=True)
    return joined.sort_values(_IMAGE_COLUMNS, ignore_index=True).drop_duplicates("image_id", ignore_index=True)


def _placed(pictures: pd.DataFrame) -> _Places:
    lat, lon = pictures["lat"].to_numpy(dtype=np.float64), pictures["lon"].to_numpy(dtype=np.float64)
    crs = metric_crs(lat=(lat.min() + lat.max()) / 2, lon=(lon.min() + lon.max()) / 2)
    points = shapely.points(*to_plane(lat=lat, lon=lon, crs=crs))
    return _Places(lat, lon, crs, points, shapely.STRtree(points))


def _blocks(pictures: pd.DataFrame, towns: gpd.GeoDataFrame, shore_m: float) -> NDArray[np.int64]:
    """Return the row of the town block of each picture; -1 for none."""
    code = towns["town_code"].to_numpy(dtype=object)
    turn = np.argsort(np.argsort(code, kind="stable"), kind="stable")  # rank of each row by code
    points = shapely.points(pictures["lon"], pictures["lat"])
    row, picture = shapely.STRtree(points).query(towns.geometry.to_numpy(), predicate="intersects")
    block = np.full(len(pictures), -1, dtype=np.int64)
    order = np.argsort(-turn[row], kind="stable")  # the smallest code is written last and stays
    block[picture[order]] = row[order]
    west, south, east, north = towns.total_bounds
    rim_deg = 2 * shore_m / 110_000 / np.cos(np.radians(min(max(abs(south), abs(north)), 89.0)))
    near = pictures["lat"].between(south - rim_deg, north + rim_deg) & pictures["lon"].between(west - rim_deg, east + rim_deg)
    stray = np.flatnonzero((block < 0) & near.to_numpy())
    if len(stray) and shore_m > 0:
        places = _placed(pictures.iloc[stray])
        nearest, _ = _nearest(places, towns.geometry, turn, shore_m)
        found = np.array([value is not None for value in nearest])
        block[stray[found]] = np.argsort(code, kind="stable")[nearest[found].astype(np.int64)]
    return block


def _nearest(places: _Places, shapes: gpd.GeoSeries, ids: NDArray[Any], reach_m: float) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the id of the nearest shape within reach of each place, and its distance in metres; None and NaN for none."""
    nearest = np.full(len(places.points), None, dtype=object)
    away_m = np.full(len(places.points), np.nan)
    shape, place, exact_m = _within(places, shapes, reach_m)
    if len(shape):
        found = pd.DataFrame({"place": place, "away_m": exact_m, "id": ids[shape]})
        found = found.sort_values(["place", "away_m", "id"]).drop_duplicates("place")
        nearest[found["place"]] = found["id"]
        away_m[found["place"]] = found["away_m"]
    return nearest, away_m


def _within(
    places: _Places, shapes: gpd.GeoSeries, reach_m: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return all (row of shape, row of place, geodesic metres to the millimetre) that are within reach of each other."""
    plane = shapes.to_crs(places.crs).to_numpy() if len(shapes) else np.empty(0, dtype=object)
    shape, place = places.tree.query(plane, predicate="dwithin", distance=reach_m * _PLANE_SLACK)
    if not len(shape):
        return shape, place, np.empty(0)
    shapely.prepare(plane)
    foot = shapely.get_coordinates(shapely.get_point(shapely.shortest_line(plane[shape], places.points[place]), 0))
    lat, lon = from_plane(x=foot[:, 0], y=foot[:, 1], crs=places.crs)
    exact_m = np.round(distance_m(lat=places.lat[place], lon=places.lon[place], to_lat=lat, to_lon=lon), 3)
    # The way to the plane and back moves a place by less than a millimetre, so what holds a place is at distance 0.
    reached = exact_m <= reach_m
    return shape[reached], place[reached], exact_m[reached]
