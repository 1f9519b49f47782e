"""Near points become one: DBSCAN in metres, wide clusters cut, centroids on the sphere (paper §3.1).

DBSCAN joins whatever can be reached in small steps; in a city it joins everything, and the centroid of a city is where nobody
wants a picture. The paper does not say what it did; here a cluster wider than `widest_m` is cut along a fixed grid on the
ground, whose cells are as wide as `widest_m` from corner to corner. A fixed grid, rather than k-means or halving: a new
street at one end of a city then moves the sample points of its own cell and no others, and two prefectures that see only
their own side of a city still cut it alike.
Centroids of interlocked clusters, or of two cells' edges, can come to lie beside each other. Where two are closer than
`apart_m`, all clusters whose centroids lie in one of their cells become one, and its centroid is drawn into the cell's core.

Guarantees: no point is farther than `reach_m` from the sample point that stands for it, and hardly any farther than `widest_m`;
no two sample points are closer than `apart_m`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.cluster import DBSCAN

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M, distance_m, unit_vectors
from geoloc_pipeline.sampling.points import hashes_of, hex_of
from geoloc_pipeline.tables import SAMPLE_POINTS, as_table, empty_table

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

HALO_M = 2_500.0
"""Points of neighbouring prefectures within this distance of our box can play a part in a cluster of ours."""
_CLOSER_M = 1.0  # so much sooner than `apart_m` centroids count as too close, for what rounding and the sphere may take


@dataclass(frozen=True)
class ClusterSettings:
    """How near points become one.

    Attributes:
        eps_m: Points with a chain of steps no longer than this between them are one cluster (ours; the paper gives no value).
        widest_m: Clusters with a wider box, corner to corner, are cut; 500 m is the shortest interval of §3.1.
        apart_m: No two sample points are closer.
    """

    eps_m: float = 100.0
    widest_m: float = 500.0
    apart_m: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.eps_m <= self.widest_m <= HALO_M / 5:
            cure = f"0 < eps_m <= widest_m <= {HALO_M / 5:.0f} must hold, or prefectures could disagree about their border"
            raise SettingError(setting="eps_m, widest_m", value=(self.eps_m, self.widest_m), cure=cure)
        if not 0 < self.apart_m <= self.widest_m / 8:
            cure = f"it must be above 0 and at most an eighth of widest_m, {self.widest_m / 8:g}: cells need a core"
            raise SettingError(setting="apart_m", value=self.apart_m, cure=cure)

    @property
    def reach_m(self) -> float:
        """No point is farther from the sample point that stands for it: its old centroid is in the same cell."""
        return 2 * self.widest_m


def cluster_points(
    road_points: gpd.GeoDataFrame,
    landmark_points: gpd.GeoDataFrame,
    *,
    prefecture_code: str,
    settings: ClusterSettings | None = None,
    halo: gpd.GeoDataFrame | None = None,
) -> gpd.GeoDataFrame:
    """Return the prefecture's sample points: one for each cluster of its road and landmark points.

    A cluster across a border belongs to the prefecture of the member nearest its centroid. With the neighbours' points as
    `halo`, both sides come to the same clusters and each cluster is kept by exactly one of them; without it, the clusters end
    at the border.

    Args:
        road_points: `tables.ROAD_POINTS` of this prefecture.
        landmark_points: `tables.LANDMARK_POINTS` of this prefecture.
        prefecture_code: JIS X 0401, two digits.
        settings: Distances.
        halo: Points of neighbouring prefectures (`tables.POINTS`); those farther than `HALO_M` play no part.

    Returns:
        `tables.SAMPLE_POINTS` in key order; `point_id` depends on the members only.

    Paper: §3.1 (one set of points, DBSCAN, centroid of each cluster). The cut of wide clusters is ours.
    """
    settings = settings or ClusterSettings()
    name, lat, lon = _columns([road_points, landmark_points])
    if not len(name):
        return empty_table(SAMPLE_POINTS)
    ours = np.ones(len(name), dtype=bool)
    if halo is not None and len(halo):
        their_name, their_lat, their_lon = _columns([halo[_near(halo, lat=lat, lon=lon)]])
        new = ~np.isin(their_name, name)
        name, ours = np.concatenate([name, their_name[new]]), np.concatenate([ours, np.zeros(int(new.sum()), dtype=bool)])
        lat, lon = np.concatenate([lat, their_lat[new]]), np.concatenate([lon, their_lon[new]])
    order = np.argsort(name)
    return _table(prefecture_code, name[order], lat[order], lon[order], ours[order], settings)


def _columns(tables: list[gpd.GeoDataFrame]) -> tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.float64]]:
    """Return hashes of the ids, latitudes and longitudes of the points of all tables, each id once."""
    name, first = np.unique(np.concatenate([hashes_of(table["point_id"].to_numpy()) for table in tables]), return_index=True)
    lat, lon = (np.concatenate([table[axis].to_numpy(dtype=np.float64) for table in tables])[first] for axis in ("lat", "lon"))
    return name, lat, lon


def _near(halo: pd.DataFrame, *, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> pd.Series[bool]:
    rim_deg = HALO_M / 110_000
    rim_lon_deg = rim_deg / np.cos(np.radians(min(np.abs(lat).max() + rim_deg, 89.0)))
    in_box = halo["lat"].between(lat.min() - rim_deg, lat.max() + rim_deg)
    return in_box & halo["lon"].between(lon.min() - rim_lon_deg, lon.max() + rim_lon_deg)


def _table(
    prefecture_code: str,
    name: NDArray[np.uint64],
    lat: NDArray[np.float64],
    lon: NDArray[np.float64],
    ours: NDArray[np.bool_],
    settings: ClusterSettings,
) -> Any:
    """Return the clusters of points, in the order of their names, that are ours, as a table."""
    cluster, centre = clusters_of(lat=lat, lon=lon, settings=settings)
    away_m = np.round(distance_m(lat=lat, lon=lon, to_lat=centre[cluster, 0], to_lon=centre[cluster, 1]), 3)
    order = np.lexsort((name, away_m, cluster))
    first = np.flatnonzero(np.append(True, np.diff(cluster[order]) > 0))
    kept = ours[order][first]  # whose is the member nearest the centroid?
    size = np.diff(np.append(first, len(order)))
    with np.errstate(over="ignore"):
        members = np.asarray(np.add.reduceat(name[order], first), dtype=np.uint64) ^ size.astype(np.uint64)
    columns = pd.DataFrame(
        {
            "point_id": hex_of(members),
            "lat": centre[:, 0],
            "lon": centre[:, 1],
            "n_members": size,
            "radius_m": np.maximum.reduceat(away_m[order], first),
        }
    )
    columns = columns[kept].sort_values("point_id", ignore_index=True)
    geometry = shapely.points(columns["lon"], columns["lat"])
    return as_table(SAMPLE_POINTS, {**columns, "prefecture_code": [prefecture_code] * len(columns), "geometry": geometry})


def clusters_of(
    *, lat: NDArray[np.float64], lon: NDArray[np.float64], settings: ClusterSettings
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the cluster of each place, from 0, and the place that stands for each cluster; nothing is noise.

    Args:
        lat: `[n]` degrees, n >= 1.
        lon: `[n]` degrees.
        settings: Distances.

    Returns:
        `[n]` cluster numbers, and `[clusters, 2]` (lat, lon) to seven decimals. Which places share a number does not depend
        on their order.
    """
    places = unit_vectors(lat=lat, lon=lon)
    cluster = dense_clusters(places, eps_m=settings.eps_m)
    wide = _width_m(lat, lon, cluster)[cluster] > settings.widest_m
    if wide.any():
        # By cell alone, not by cluster and cell: two arms of one city may look like two clusters from one side of a border.
        cluster[wide] = cluster.max() + 1 + _numbered(_cells(lat[wide], lon[wide], settings.widest_m))
        cluster = np.unique(cluster, return_inverse=True)[1]
    return _kept_apart(places, cluster, settings)


def dense_clusters(places: NDArray[np.float64], *, eps_m: float, at_once: int = 300_000) -> NDArray[np.int64]:
    """Return DBSCAN's clusters, from 0; nothing is noise.

    DBSCAN lists every neighbour of every place before it begins. So that a country fits into memory, it is asked about some
    places at a time: places in cells that do not touch, directly or through others, cannot be in one cluster.

    Args:
        places: `[n, 3]` unit vectors.
        eps_m: Places with a chain of steps no longer than this between them are one cluster.
        at_once: How many places DBSCAN is asked about at once, unless more of them hang together.

    Returns:
        `[n]` cluster numbers.
    """
    # The chord below an arc of eps: a k-d tree in three dimensions then finds what a tree of great circles would, in half
    # the time. min_samples=1: every place is a core, so DBSCAN drops none as noise (paper §3.1 keeps every road).
    dbscan = DBSCAN(eps=_chord(eps_m), min_samples=1, metric="euclidean", algorithm="kd_tree")
    if len(places) <= at_once:
        return np.asarray(dbscan.fit_predict(places), dtype=np.int64)
    land = _lands(places, _chord(eps_m))
    order = np.argsort(land, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(land[order])) + 1, len(order))
    cluster = np.empty(len(places), dtype=np.int64)
    first = done = 0
    while done < len(order):
        until = int(ends[min(int(np.searchsorted(ends, done + at_once)), len(ends) - 1)])
        some = order[done:until]
        found = dbscan.fit_predict(places[some])
        cluster[some] = found + first
        first, done = first + int(found.max()) + 1, until
    return cluster


def _lands(places: NDArray[np.float64], side: float) -> NDArray[np.int64]:
    """Return a number for each place, equal wherever cells of this side that hold places touch, directly or through others."""
    x, y, z = np.floor((places + 1.0) / side).astype(np.int64).T
    wide = int(2 / side) + 3  # one more than there are cells, so that the last does not touch the next row's first
    keys, cell = np.unique((x * wide + y) * wide + z, return_inverse=True)
    beside = [(a * wide + b) * wide + c for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1)]
    ends = []
    for offset in beside[14:]:  # the thirteen that lie after the cell itself
        other = np.searchsorted(keys, keys + offset).clip(max=len(keys) - 1)
        found = np.flatnonzero(keys[other] == keys + offset)
        ends.append(np.stack([found, other[found]]))
    links = np.concatenate(ends, axis=1)
    touching = coo_array((np.ones(links.shape[1], dtype=np.int8), (links[0], links[1])), shape=(len(keys), len(keys)))
    return np.asarray(connected_components(touching, directed=False)[1][cell], dtype=np.int64)


def _kept_apart(
    places: NDArray[np.float64], cluster: NDArray[np.int64], settings: ClusterSettings
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Join the clusters of cells in which centroids come too close to another, and draw theirs away from the cell's edges."""
    centre = _centroids(places, cluster)
    tree = cKDTree(unit_vectors(lat=centre[:, 0], lon=centre[:, 1]))
    close = np.unique(tree.query_pairs(_chord(settings.apart_m + _CLOSER_M), output_type="ndarray"))
    if not len(close):
        return cluster, centre
    cells = _cells(centre[:, 0], centre[:, 1], settings.widest_m)
    cell = _numbered(cells)
    crowded = np.isin(cell, cell[close])
    joined = np.where(crowded, len(cell) + cell, np.arange(len(cell)))
    kinds, number = np.unique(joined, return_inverse=True)
    cluster = np.asarray(number[cluster], dtype=np.int64)
    centre = _centroids(places, cluster)
    is_joined = kinds >= len(cell)
    of_cell = np.empty((int(cell.max()) + 1, 2), dtype=np.int64)
    of_cell[cell] = cells
    centre[is_joined] = _in_core(centre[is_joined], of_cell[kinds[is_joined] - len(cell)], settings)
    return cluster, centre


def _in_core(centre: NDArray[np.float64], cells: NDArray[np.int64], settings: ClusterSettings) -> NDArray[np.float64]:
    """Move places (lat, lon) to the nearest place in their cells that is `apart_m` from every edge."""
    side_deg, width_deg = _sides_deg(cells[:, 0], settings.widest_m)
    margin_deg = (settings.apart_m + _CLOSER_M) / 110_574  # the shortest degree of latitude, so nowhere too small
    low = cells * np.column_stack([np.full(len(cells), side_deg), width_deg])
    farthest = np.maximum(np.abs(low[:, 0]), np.abs(low[:, 0] + side_deg))
    lon_margin_deg = margin_deg / np.cos(np.radians(farthest))
    lat = np.clip(centre[:, 0], low[:, 0] + margin_deg, low[:, 0] + side_deg - margin_deg)
    lon = np.clip(centre[:, 1], low[:, 1] + lon_margin_deg, low[:, 1] + width_deg - lon_margin_deg)
    return np.asarray(np.round(np.column_stack([lat, lon]), 7), dtype=np.float64)


def _cells(lat: NDArray[np.float64], lon: NDArray[np.float64], diagonal_m: float) -> NDArray[np.int64]:
    """Return (row, column) of places on a grid that is fixed to the Earth; cells have at most this diagonal."""
    side_deg = _sides_deg(np.zeros(1, dtype=np.int64), diagonal_m)[0]
    row = np.floor(lat / side_deg).astype(np.int64)
    return np.column_stack([row, np.floor(lon / _sides_deg(row, diagonal_m)[1]).astype(np.int64)])


def _sides_deg(row: NDArray[np.int64], diagonal_m: float) -> tuple[float, NDArray[np.float64]]:
    """Return the height of the grid's cells and the width of those in given rows, in degrees."""
    side_deg = diagonal_m / np.sqrt(2) / 111_700  # the longest degree of latitude, at the pole
    widest_deg = np.minimum(np.abs(row), np.abs(row + 1)) * side_deg  # the parallel of the row that is nearest the equator
    return side_deg, side_deg / np.cos(np.radians(widest_deg))


def _numbered(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a number from 0 for each (row, column), the same for the same cell."""
    return np.asarray(np.unique(cells[:, 0] * 2**31 + cells[:, 1], return_inverse=True)[1], dtype=np.int64)


def _width_m(lat: NDArray[np.float64], lon: NDArray[np.float64], cluster: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the width of each cluster's box, corner to corner, metres."""
    order = np.argsort(cluster, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(cluster[order]) > 0))
    (south, west), (north, east) = (
        (reduce(lat[order], first), reduce(lon[order], first)) for reduce in (np.minimum.reduceat, np.maximum.reduceat)
    )
    return distance_m(lat=south, lon=west, to_lat=north, to_lon=east)


def _chord(arc_m: float) -> float:
    """Return the chord below an arc on the unit sphere."""
    return float(2 * np.sin(arc_m / MEAN_EARTH_RADIUS_M / 2))


def _centroids(places: NDArray[np.float64], cluster: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return `[clusters, 2]` (lat, lon) of the spherical mean of each cluster, in degrees to seven decimals."""
    x, y, z = (np.bincount(cluster, weights=axis) for axis in places.T)
    lat, lon = np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)
    return np.asarray(np.round(np.degrees(np.column_stack([lat, lon])), 7), dtype=np.float64)


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
    nearest = cKDTree(_vectors(sample_points)).query(_vectors(points))[1]
    served = sample_points.iloc[nearest]
    return float(np.max(distance_m(lat=points["lat"], lon=points["lon"], to_lat=served["lat"], to_lon=served["lon"])))


def separation_m(sample_points: gpd.GeoDataFrame) -> float:
    """Return the distance of the two sample points that are closest, in metres; infinity for fewer than two."""
    if len(sample_points) < 2:
        return float("inf")
    nearest = cKDTree(_vectors(sample_points)).query(_vectors(sample_points), k=2)[1][:, 1]
    other = sample_points.iloc[nearest]
    lat, lon = sample_points["lat"], sample_points["lon"]
    return float(np.min(distance_m(lat=lat, lon=lon, to_lat=other["lat"], to_lon=other["lon"])))


def _vectors(points: pd.DataFrame) -> NDArray[np.float64]:
    return unit_vectors(lat=points["lat"].to_numpy(dtype=np.float64), lon=points["lon"].to_numpy(dtype=np.float64))
