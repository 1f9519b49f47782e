"""Which pictures must stay together: those of one capture group, and those at one place, followed to the end.

A place is not a cell of a grid: two pictures a metre apart are at one place wherever a line would run. Pictures nearer to each
other than a distance are linked, and so is everything that can be reached over links. The links themselves are never listed,
a crowded square has millions: pictures in one small cell are linked anyway, and of two cells it is enough to know whether any
two of their pictures are near.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pyproj
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

_ELLIPSOID = pyproj.Geod(ellps="WGS84")
_MOST_M_PER_DEG, _LEAST_M_PER_DEG = 111_695.0, 110_570.0  # of latitude; of longitude, times the cosine of the latitude
_DIAGONAL = 1.4143  # of a square, a little more than it is
_CROWDED = 4096  # pairs of pictures in two cells from which on a tree is quicker
_AT_ONCE = 1_000_000


def linked_groups(*, lat: Floats, lon: Floats, stratum: Ints, capture: Ints, place_m: float) -> Ints:
    """Return the group of each picture: linked by a common capture group or place, within its stratum.

    Args:
        lat: `[n]` degrees.
        lon: `[n]` degrees.
        stratum: `[n]` 0, 1, …: pictures of different strata are never linked.
        capture: `[n]` 0, 1, …: number of the capture group.
        place_m: Pictures nearer than this are at one place, metres.

    Returns:
        `[n]` number of the group.
    """
    place = linked_places(lat=lat, lon=lon, stratum=stratum, nearer_m=place_m)
    n_captures = int(capture.max(initial=-1)) + 1
    own_capture = np.unique(stratum * n_captures + capture, return_inverse=True)[1]
    n_places = int(place.max(initial=-1)) + 1
    size = n_places + int(own_capture.max(initial=-1)) + 1
    return _components(size, place, n_places + own_capture)[place]


def linked_places(*, lat: Floats, lon: Floats, stratum: Ints, nearer_m: float) -> Ints:
    """Return the place of each picture: pictures nearer to each other than `nearer_m` are at one place, and so on.

    Trap: nothing is linked across the 180th meridian.

    Args:
        lat: `[n]` degrees.
        lon: `[n]` degrees.
        stratum: `[n]` 0, 1, …: pictures of different strata are never linked.
        nearer_m: Straight distance, metres; differs from the geodesic by a millimetre over 10 km.

    Returns:
        `[n]` number of the place.
    """
    if not len(lat):
        return np.empty(0, dtype=np.int64)
    key, width, across = _cells(lat, lon, stratum, nearer_m)
    keys, cell = np.unique(key, return_inverse=True)
    order = np.argsort(cell, kind="stable")
    first = np.searchsorted(cell[order], np.arange(len(keys) + 1))
    points = earth_centred_m(lat=lat, lon=lon)[order]
    place = np.arange(len(keys))
    for rows, columns in sorted(product(range(3), range(-across, across + 1)), key=lambda step: step[0] ** 2 + step[1] ** 2):
        if (rows, columns) <= (0, 0):
            continue
        beside = np.searchsorted(keys, keys + rows * width + columns).clip(max=len(keys) - 1)
        pair = np.flatnonzero((keys[beside] == keys + rows * width + columns) & (place[beside] != place))
        linked = pair[_any_near(points, first, pair, beside[pair], nearer_m)]
        if len(linked):
            place = _components(len(keys), place[linked], place[beside[linked]])[place]
    return place[cell]


def earth_centred_m(*, lat: Floats, lon: Floats) -> Floats:
    """Return places on the ellipsoid as `[n, 3]` metres from the Earth's centre."""
    phi, lam = np.radians(lat), np.radians(lon)
    normal = _ELLIPSOID.a / np.sqrt(1 - _ELLIPSOID.es * np.sin(phi) ** 2)
    across = normal * np.cos(phi)
    return np.stack([across * np.cos(lam), across * np.sin(lam), normal * (1 - _ELLIPSOID.es) * np.sin(phi)], axis=-1)


def _cells(lat: Floats, lon: Floats, stratum: Ints, nearer_m: float) -> tuple[Ints, int, int]:
    """Return each picture's cell, what lies between the numbers of a cell and the next row's, and columns to look across.

    Cells are so small that any two pictures in one are nearer than `nearer_m`, wherever in the stratum they lie.
    """
    side_m = nearer_m / _DIAGONAL
    widest, narrowest = (np.cos(np.radians(min(float(end), 89.9))) for end in (np.abs(lat).min(), np.abs(lat).max() + 0.01))
    across = int(_DIAGONAL * widest / narrowest * _MOST_M_PER_DEG / _LEAST_M_PER_DEG) + 1
    row = np.floor(lat * (_MOST_M_PER_DEG / side_m)).astype(np.int64)
    column = np.floor(lon * (_MOST_M_PER_DEG * widest / side_m)).astype(np.int64)
    row, column = row - row.min(), column - column.min()
    width = int(column.max()) + 2 * across + 1
    return (stratum * (int(row.max()) + 3) + row) * width + column, width, across


def _any_near(points: Floats, first: Ints, one: Ints, other: Ints, nearer_m: float) -> NDArray[np.bool_]:
    """Return which pairs of cells have a picture in the one nearer than `nearer_m` to a picture in the other."""
    size, other_size = np.diff(first)[one], np.diff(first)[other]
    found = np.zeros(len(one), dtype=bool)
    for crowd in np.flatnonzero(size * other_size > _CROWDED).tolist():
        tree = KDTree(points[first[one[crowd]] : first[one[crowd] + 1]])
        beside = points[first[other[crowd]] : first[other[crowd] + 1]]
        found[crowd] = np.isfinite(tree.query(beside, distance_upper_bound=nearer_m)[0]).any()
    few = np.flatnonzero(size * other_size <= _CROWDED)
    batch = np.cumsum((size * other_size)[few]) // _AT_ONCE  # so that memory does not grow with the work
    for pair in np.split(few, np.flatnonzero(np.diff(batch)) + 1):
        n_each = size[pair] * other_size[pair]
        opens = np.cumsum(n_each) - n_each
        turn = np.arange(n_each.sum()) - np.repeat(opens, n_each)
        left, right = np.divmod(turn, np.repeat(other_size[pair], n_each))
        way = points[np.repeat(first[one[pair]], n_each) + left] - points[np.repeat(first[other[pair]], n_each) + right]
        near = np.einsum("ij,ij->i", way, way) < nearer_m**2
        found[pair] = np.logical_or.reduceat(near, opens) if len(pair) else False
    return found


def _components(size: int, one: Ints, other: Ints) -> Ints:
    """Return the component of each of `size` nodes, given the ends of the links."""
    links = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(size, size))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)
