"""Which shapes lie within reach of which places, in metres on the ellipsoid.

Shapes stay in degrees: nothing is projected. What could be within reach is found in degrees, a little farther than asked.
What is straight in degrees is straight in the plane that touches the ellipsoid at a place as well, so the nearest spot of each
such shape is found in the place's own plane, and the way to that spot is measured on the ellipsoid. So labels do not depend
on where a plane touches the Earth, and the cost is reading the shapes once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyproj
import shapely

from geoloc_pipeline.geo.sphere import distance_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

_LEAST_M_PER_DEG = 110_500.0  # of latitude, and of longitude at the equator: a little less than anywhere on WGS 84
_PLANE_SLACK = 1.001  # true to a few millionths this near the place where the plane touches
_AT_ONCE = 400_000  # corners that are looked at at once: some 50 MB
_ELLIPSOID = pyproj.Geod(ellps="WGS84")
_AREAS = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)
_MANY_CORNERS = 64  # from here on it pays to let GEOS look whether any of a shape's corners is near


@dataclass(frozen=True, eq=False)
class Places:
    """Places with an index over them.

    Attributes:
        lat: `[n]` degrees.
        lon: `[n]` degrees.
        points: `[n]` points (x = lon, y = lat).
    """

    lat: Floats
    lon: Floats
    points: NDArray[Any]
    _boxes: dict[float, shapely.STRtree] = field(default_factory=dict, repr=False)

    @classmethod
    def at(cls, *, lat: Floats, lon: Floats) -> Places:
        """Return the places at `lat`, `lon` in degrees."""
        return cls(lat, lon, shapely.points(lon, lat))

    def some(self, rows: NDArray[Any]) -> Places:
        """Return the places in these rows."""
        return Places(self.lat[rows], self.lon[rows], self.points[rows])

    @cached_property
    def tree(self) -> shapely.STRtree:
        """An index over the points."""
        return shapely.STRtree(self.points)

    def reach_deg(self, reach_m: float) -> tuple[float, float]:
        """Return at least how many degrees of longitude and of latitude measure `reach_m` at every one of the places."""
        north = reach_m / _LEAST_M_PER_DEG
        return north / np.cos(np.radians(min(float(np.abs(self.lat).max()) + 0.01, 89.9))), north

    def boxes(self, reach_m: float) -> shapely.STRtree:
        """Return an index over the boxes around the places that hold all within `reach_m`."""
        if reach_m not in self._boxes:
            east, north = self.reach_deg(reach_m)
            around = shapely.box(self.lon - east, self.lat - north, self.lon + east, self.lat + north)
            self._boxes[reach_m] = shapely.STRtree(around)
        return self._boxes[reach_m]

    def inside(self, areas: NDArray[Any]) -> tuple[Ints, Ints]:
        """Return (row of area, row of place) of all places in or on the line of an area."""
        area, place = self.tree.query(areas, predicate="intersects")
        return area, place


class Corners(NamedTuple):
    """The corners of shapes, those of one shape after another.

    Attributes:
        first: `[shapes + 1]` row of each shape's first corner.
        at: `[corners, 2]` lon, lat in degrees.
        step: `[corners, 2]` from there to the next corner of the same line or ring, degrees; 0 from its last one.
    """

    first: Ints
    at: Floats
    step: Floats


def nearest(places: Places, shapes: NDArray[Any], ids: Any, *, reach_m: float) -> tuple[Ints, Floats]:
    """Return the nearest shape within reach of each place.

    Distances are compared in whole millimetres; among equals the shape with the smallest id wins.

    Args:
        places: `[n]` places.
        shapes: `[m]` points, lines or areas in WGS 84 (x = lon, y = lat); distance 0 inside an area.
        ids: `[m]` id of each shape; anything that is indexed like an array.
        reach_m: How near a shape must be, metres.

    Returns:
        `[n]` row of the shape, -1 for none, and `[n]` distance in metres, NaN for none.
    """
    row = np.full(len(places.lat), -1, dtype=np.int64)
    away_m = np.full(len(places.lat), np.nan)
    shape, place, found_m = within(places, shapes, reach_m=reach_m)
    order = np.lexsort((found_m, place))
    shape, place, found_m = shape[order], place[order], found_m[order]
    opens = np.diff(place, prepend=-1) > 0
    is_least = found_m == found_m[opens][np.cumsum(opens) - 1]
    shape, place, found_m = shape[is_least], place[is_least], found_m[is_least]
    same = place[1:] == place[:-1]
    is_tied = np.r_[False, same] | np.r_[same, False] if len(place) else same
    rank = np.zeros(len(place), dtype=np.int64)
    rank[is_tied] = np.unique(np.asarray(ids[shape[is_tied]], dtype=object), return_inverse=True)[1]
    order = np.lexsort((rank, place))[::-1]  # what is written last stays
    row[place[order]] = shape[order]
    away_m[place] = found_m
    return row, away_m


def within(places: Places, shapes: NDArray[Any], *, reach_m: float) -> tuple[Ints, Ints, Floats]:
    """Return all (row of shape, row of place, metres to the millimetre) that are within reach of each other.

    Args:
        places: `[n]` places.
        shapes: `[m]` points, lines or areas in WGS 84 (x = lon, y = lat); distance 0 inside an area.
        reach_m: How near they must be, metres.

    Returns:
        Three arrays of the same length, in no particular order.
    """
    shape, place = _candidates(places, shapes, reach_m)
    areas = np.flatnonzero(np.isin(shapely.get_type_id(shapes), _AREAS))
    area, place_inside = places.inside(shapes[areas])
    is_inside = np.isin(shape * len(places.lat) + place, areas[area] * len(places.lat) + place_inside)
    chosen, which = np.unique(shape[~is_inside], return_inverse=True)
    reached, away_m = _ways_m(places, place[~is_inside], corners_of(shapes[chosen]), which, reach_m)
    shape = np.concatenate([areas[area], shape[~is_inside][reached]])
    place = np.concatenate([place_inside, place[~is_inside][reached]])
    return shape, place, np.concatenate([np.zeros(len(area)), away_m])


def _candidates(places: Places, shapes: NDArray[Any], reach_m: float) -> tuple[Ints, Ints]:
    """Return (row of shape, row of place) of all that may be within reach of each other, and some more."""
    if not len(places.lat) or not len(shapes):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    has_many = shapely.get_num_coordinates(shapes) >= _MANY_CORNERS
    few, many = np.flatnonzero(~has_many), np.flatnonzero(has_many)
    shape, place = places.boxes(reach_m).query(shapes[few])
    other, other_place = places.tree.query(shapes[many], predicate="dwithin", distance=max(places.reach_deg(reach_m)))
    return np.concatenate([few[shape], many[other]]), np.concatenate([place, other_place])


def corners_of(shapes: NDArray[Any]) -> Corners:
    """Return the corners of points, lines and the rings of areas, of each shape in turn.

    Args:
        shapes: `[n]` geometries, single or multi, not empty.

    Returns:
        The corners.
    """
    n_corners = shapely.get_num_coordinates(shapes)
    parts = shapely.get_parts(shapes) if (shapely.get_type_id(shapes) != shapely.GeometryType.LINESTRING).any() else shapes
    is_area = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
    n_rings = np.where(is_area, shapely.get_num_interior_rings(parts) + 1, 1)
    lines = np.empty(n_rings.sum(), dtype=object)
    of_area = np.repeat(is_area, n_rings)
    lines[of_area], lines[~of_area] = shapely.get_rings(parts[is_area]), parts[~is_area]
    at, line = shapely.get_coordinates(lines, return_index=True)
    step = np.zeros_like(at)
    step[:-1] = np.where((line[1:] == line[:-1])[:, None], at[1:] - at[:-1], 0.0)
    return Corners(np.concatenate([[0], np.cumsum(n_corners)]), at, step)


def _ways_m(places: Places, place: Ints, corners: Corners, shape: Ints, reach_m: float) -> tuple[Ints, Floats]:
    """Return which of the pairs (place, shape) are within reach of each other, and their distance in metres."""
    pairs, spots = [np.empty(0, dtype=np.int64)], [np.empty((0, 2))]
    batch = np.cumsum(np.diff(corners.first)[shape]) // _AT_ONCE  # so that memory does not grow with the work
    for some in np.split(np.arange(len(shape)), np.flatnonzero(np.diff(batch)) + 1) if len(shape) else ():
        spot, plane_m = _spots(places, place[some], corners, shape[some])
        pairs.append(some[plane_m <= reach_m * _PLANE_SLACK])
        spots.append(spot[plane_m <= reach_m * _PLANE_SLACK])
    pair, spot = np.concatenate(pairs), np.concatenate(spots)
    lat, lon = places.lat[place[pair]], places.lon[place[pair]]
    away_m = np.round(distance_m(lat=lat, lon=lon, to_lat=spot[:, 1], to_lon=spot[:, 0]), 3)
    return pair[away_m <= reach_m], away_m[away_m <= reach_m]


def _spots(places: Places, place: Ints, corners: Corners, shape: Ints) -> tuple[Floats, Floats]:
    """Return the spot (lon, lat) of each shape that is nearest to the place beside it, and its distance in metres.

    Both in the plane that touches the ellipsoid at the place; what is straight in degrees is straight there.
    """
    n_sides = np.diff(corners.first)[shape]
    opens = np.cumsum(n_sides) - n_sides
    side = np.arange(n_sides.sum()) + np.repeat(corners.first[shape] - opens, n_sides)
    east_m, north_m = (np.repeat(scale, n_sides) for scale in _m_per_deg(places.lat[place]))
    x = (corners.at[side, 0] - np.repeat(places.lon[place], n_sides)) * east_m
    y = (corners.at[side, 1] - np.repeat(places.lat[place], n_sides)) * north_m
    along_x, along_y = corners.step[side, 0] * east_m, corners.step[side, 1] * north_m
    length = along_x**2 + along_y**2
    share = np.clip(-(x * along_x + y * along_y) / np.where(length > 0, length, 1.0), 0.0, 1.0)
    squared = (x + share * along_x) ** 2 + (y + share * along_y) ** 2
    least = np.minimum.reduceat(squared, opens)
    hits = np.flatnonzero(squared == np.repeat(least, n_sides))
    best = hits[np.searchsorted(hits, opens)]
    return corners.at[side[best]] + share[best, None] * corners.step[side[best]], np.sqrt(least)


def _m_per_deg(lat: Floats) -> tuple[Floats, Floats]:
    """Return the metres that a degree of longitude, and one of latitude, measure on the ellipsoid at each latitude."""
    phi = np.radians(lat)
    bulge = 1 - _ELLIPSOID.es * np.sin(phi) ** 2
    east = np.cos(phi) * _ELLIPSOID.a / np.sqrt(bulge)
    north = _ELLIPSOID.a * (1 - _ELLIPSOID.es) / bulge**1.5
    return np.radians(east), np.radians(north)
