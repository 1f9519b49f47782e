"""Near points become one: DBSCAN in metres, wide clusters cut, centroids on the sphere (paper §3.1).

DBSCAN joins whatever can be reached in small steps; in a city it joins everything, and the centroid of a city is where nobody
wants a picture. The paper does not say what it did; here a cluster wider than `widest_m` is cut along a fixed grid on the
ground, whose cells are as wide as `widest_m` from corner to corner. A fixed grid, rather than k-means or halving: a new
street at one end of a city then moves the sample points of its own cell and no others, and two prefectures that see only
their own side of a city still cut it alike. Where the grid leaves two halves of a small bunch, nearest centroids
closer than `eps_m` are joined again if together they are not too wide.

Guarantee: no point is farther than `widest_m` from the sample point that stands for it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely
from sklearn.cluster import DBSCAN
from sklearn.neighbors import BallTree

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M, distance_m, unit_vectors
from geoloc_pipeline.tables import SAMPLE_POINTS, as_table, empty_table

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

HALO_M = 2_000.0
"""Points of neighbouring prefectures within this distance of our box take part, so that both sides of a border agree."""


@dataclass(frozen=True)
class ClusterSettings:
    """How near points become one.

    Attributes:
        eps_m: Points with a chain of steps no longer than this between them are one cluster (ours; the paper gives no value).
        widest_m: Clusters with a wider box, corner to corner, are cut; 500 m is the shortest interval of §3.1.
    """

    eps_m: float = 100.0
    widest_m: float = 500.0

    def __post_init__(self) -> None:
        if not 0 < self.eps_m <= self.widest_m <= HALO_M / 4:
            cure = f"0 < eps_m <= widest_m <= {HALO_M / 4:.0f} must hold, or prefectures could disagree about their border"
            raise SettingError(setting="eps_m, widest_m", value=(self.eps_m, self.widest_m), cure=cure)


def cluster_points(
    road_points: gpd.GeoDataFrame,
    landmark_points: gpd.GeoDataFrame,
    towns: gpd.GeoDataFrame,
    *,
    prefecture_code: str,
    settings: ClusterSettings | None = None,
    halo: gpd.GeoDataFrame | None = None,
) -> gpd.GeoDataFrame:
    """Return the prefecture's sample points: one for each cluster of its road and landmark points.

    A cluster across a border belongs to the prefecture of the member nearest its centroid. With the neighbours' points as
    `halo`, both sides come to the same clusters and each cluster is kept by exactly one of them.

    Args:
        road_points: `tables.ROAD_POINTS` of this prefecture.
        landmark_points: `tables.LANDMARK_POINTS` of this prefecture.
        towns: `tables.CENSUS_TOWNS` of this prefecture; its box tells which points of the halo are near.
        prefecture_code: JIS X 0401, two digits.
        settings: Distances.
        halo: Points of neighbouring prefectures (`tables.POINTS`); far ones are ignored.

    Returns:
        `tables.SAMPLE_POINTS` in key order; `point_id` depends on the members only.

    Paper: §3.1 (one set of points, DBSCAN, centroid of each cluster). The cut of wide clusters is ours.
    """
    settings = settings or ClusterSettings()
    own = pd.concat([road_points[["point_id", "lat", "lon"]], landmark_points[["point_id", "lat", "lon"]]])
    points = own.assign(ours=True)
    if halo is not None and len(halo):
        near = _near(halo, towns)
        points = pd.concat([points, near[~near["point_id"].isin(own["point_id"])].assign(ours=False)])
    if own.empty:
        return empty_table(SAMPLE_POINTS)
    points = points.drop_duplicates("point_id").sort_values("point_id", ignore_index=True)
    lat, lon = points["lat"].to_numpy(dtype=np.float64), points["lon"].to_numpy(dtype=np.float64)
    cluster = clusters_of(lat=lat, lon=lon, settings=settings)
    centre = _centroids(lat, lon, cluster)
    away_m = distance_m(lat=lat, lon=lon, to_lat=centre[cluster, 0], to_lon=centre[cluster, 1])
    members = points.assign(cluster=cluster, away_m=np.round(away_m, 3)).sort_values(["cluster", "away_m", "point_id"])
    kept = members.groupby("cluster")["ours"].first()  # of the member nearest the centroid
    members = members[kept[members["cluster"]].to_numpy()].sort_values(["cluster", "point_id"])
    groups = members.groupby("cluster")
    number = groups.size().index.to_numpy()
    return _table(
        prefecture_code,
        point_id=groups["point_id"].agg(_hash_of).to_list(),
        centre=np.round(centre[number], 7),
        n_members=groups.size().to_numpy(),
        radius_m=groups["away_m"].max().to_numpy(),
    )


def _near(halo: pd.DataFrame, towns: gpd.GeoDataFrame) -> pd.DataFrame:
    west, south, east, north = towns.total_bounds
    rim_deg = HALO_M / 110_000
    rim_lon_deg = rim_deg / np.cos(np.radians(min(max(abs(south), abs(north)) + rim_deg, 89.0)))
    in_box = halo["lat"].between(south - rim_deg, north + rim_deg) & halo["lon"].between(west - rim_lon_deg, east + rim_lon_deg)
    return halo.loc[in_box, ["point_id", "lat", "lon"]]


def _hash_of(ids: pd.Series[str]) -> str:
    return hashlib.sha256("|".join(ids).encode()).hexdigest()[:16]


def _table(prefecture_code: str, *, point_id: list[str], centre: NDArray[np.float64], n_members: Any, radius_m: Any) -> Any:
    frame = as_table(
        SAMPLE_POINTS,
        {
            "point_id": point_id,
            "lat": centre[:, 0],
            "lon": centre[:, 1],
            "prefecture_code": [prefecture_code] * len(point_id),
            "n_members": n_members,
            "radius_m": radius_m,
            "geometry": shapely.points(centre[:, 1], centre[:, 0]),
        },
    )
    return frame.sort_values("point_id", ignore_index=True)


def clusters_of(*, lat: NDArray[np.float64], lon: NDArray[np.float64], settings: ClusterSettings) -> NDArray[np.int64]:
    """Return the cluster of each place, from 0; nothing is noise.

    Args:
        lat: `[n]` degrees.
        lon: `[n]` degrees.
        settings: Distances.

    Returns:
        `[n]` cluster numbers. Which places share a number does not depend on their order.
    """
    # min_samples=1: every place is a core, so DBSCAN drops none as noise (paper §3.1 keeps roads with a single point).
    dbscan = DBSCAN(eps=settings.eps_m / MEAN_EARTH_RADIUS_M, min_samples=1, metric="haversine", algorithm="ball_tree")
    cluster = dbscan.fit_predict(np.radians(np.column_stack([lat, lon])))
    wide = _width_m(lat, lon, cluster)[cluster] > settings.widest_m
    if not wide.any():
        return np.asarray(cluster, dtype=np.int64)
    # By cell alone, not by cluster and cell: two arms of one city may look like two clusters from one side of a border.
    _, cell = np.unique(_cells(lat[wide], lon[wide], settings.widest_m), axis=0, return_inverse=True)
    cut = cluster.astype(np.int64)
    cut[wide] = cluster.max() + 1 + _joined(lat[wide], lon[wide], cell.ravel(), settings)
    return np.asarray(np.unique(cut, return_inverse=True)[1], dtype=np.int64)


def _cells(lat: NDArray[np.float64], lon: NDArray[np.float64], diagonal_m: float) -> NDArray[np.int64]:
    """Return (row, column) of places on a grid that is fixed to the Earth; cells have at most this diagonal."""
    side_deg = diagonal_m / np.sqrt(2) / 111_700  # the longest degree of latitude, at the pole
    row = np.floor(lat / side_deg).astype(np.int64)
    widest_deg = np.minimum(np.abs(row), np.abs(row + 1)) * side_deg  # the parallel of the row that is nearest the equator
    column = np.floor(lon / (side_deg / np.cos(np.radians(widest_deg)))).astype(np.int64)
    return np.column_stack([row, column])


def _width_m(lat: NDArray[np.float64], lon: NDArray[np.float64], cluster: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the width of each cluster's box, corner to corner, metres."""
    box = pd.DataFrame({"lat": lat, "lon": lon}).groupby(cluster).agg(["min", "max"])
    low, high = box.xs("min", axis=1, level=1), box.xs("max", axis=1, level=1)
    return distance_m(lat=low["lat"], lon=low["lon"], to_lat=high["lat"], to_lon=high["lon"])


def _joined(
    lat: NDArray[np.float64], lon: NDArray[np.float64], cell: NDArray[np.int64], settings: ClusterSettings
) -> NDArray[np.int64]:
    """Join pairs of cells that are each other's nearest, nearer than `eps_m`, and not too wide together."""
    centre = _centroids(lat, lon, cell)
    if len(centre) < 2:
        return cell
    away, nearest = BallTree(np.radians(centre), metric="haversine").query(np.radians(centre), k=2)
    me = np.arange(len(centre))
    other = np.where(nearest[:, 0] == me, nearest[:, 1], nearest[:, 0])
    close = away[:, 1] * MEAN_EARTH_RADIUS_M < settings.eps_m
    mutual = (other[other] == me) & close
    partner = np.where(mutual, np.minimum(me, other), me)
    fits = _width_m(lat, lon, np.unique(partner[cell], return_inverse=True)[1]) <= settings.widest_m
    kept = fits[np.searchsorted(np.unique(partner), partner)]
    return np.where(kept, partner, me)[cell]


def _centroids(lat: NDArray[np.float64], lon: NDArray[np.float64], cluster: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return `[clusters, 2]` (lat, lon) of the spherical mean of each cluster, in degrees."""
    sums = np.column_stack([np.bincount(cluster, weights=axis) for axis in unit_vectors(lat=lat, lon=lon).T])
    lat_rad, lon_rad = np.arctan2(sums[:, 2], np.hypot(sums[:, 0], sums[:, 1])), np.arctan2(sums[:, 1], sums[:, 0])
    return np.asarray(np.degrees(np.column_stack([lat_rad, lon_rad])), dtype=np.float64)


def coverage_m(points: gpd.GeoDataFrame, sample_points: gpd.GeoDataFrame) -> float:
    """Return how far the worst-served point is from its nearest sample point, in metres.

    Args:
        points: Any of `tables.POINTS`.
        sample_points: `tables.SAMPLE_POINTS`.

    Returns:
        Metres; 0 when there are no points, infinity when there are points and no sample point.
    """
    if points.empty:
        return 0.0
    if sample_points.empty:
        return float("inf")
    tree = BallTree(np.radians(sample_points[["lat", "lon"]].to_numpy(dtype=np.float64)), metric="haversine")
    nearest = tree.query(np.radians(points[["lat", "lon"]].to_numpy(dtype=np.float64)), k=1)[1][:, 0]
    served = sample_points.iloc[nearest]
    return float(np.max(distance_m(lat=points["lat"], lon=points["lon"], to_lat=served["lat"], to_lon=served["lon"])))
