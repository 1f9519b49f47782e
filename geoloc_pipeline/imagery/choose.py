"""Which picture for which point: decided from coverage alone, before anything is downloaded.

The rule. Points choose in the order in which they are given; a picture serves one point, who comes later takes the next best.
1. Only pictures within the radius count.
2. A full panorama goes before flat pictures. Of several panoramas: the nearest ring of 10 m (a camera's GPS is not truer than
   that), outdoor before indoor, the newest, the best by the provider's own rating (unrated last), the nearest, the smallest id.
3. Without a panorama, each of N, E, S and W gets a flat picture that looks at most 45 degrees off. Of several: the nearest
   ring, outdoor, the least turned (in bands of 15 degrees), the newest, the best rated, the nearest, the smallest id. What
   is newest in one direction is mostly of the same drive as in the others, so that light and season agree.

A strict nearest-first would take a flat picture 3 m away before a panorama 8 m away, and lose three directions: so what a
picture shows goes before how near it is, and only a difference in distance that a camera's GPS can tell goes before its age.

Distances are `geo.sphere.step_m`: within a millionth of the geodesic for radii up to a kilometre, 0.2 mm at 150 m. Nobody looks
across the antimeridian.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.geo.sphere import step_m
from geoloc_pipeline.imagery.panorama import HEADINGS_DEG
from geoloc_pipeline.sources.street_view import Coverage, Point

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    Whole = NDArray[np.int64]
    Real = NDArray[np.float64]

LARGEST_TURN_DEG = 45.0
RING_M = 10.0
TURN_BAND_DEG = 15.0

_WISHES = 16  # the length from which a point's list is cut at the next ring; who comes to the end of a cut list gets it whole
_PAIRS_AT_ONCE = 2**20
_POINTS_AT_ONCE = 2**16
_SMALLEST_DEGREE_M = 110_000.0  # no degree of latitude is shorter
_LOWEST_ROW_M = 20.0  # lower rows would outgrow the precision of the keys


@dataclass(frozen=True, slots=True)
class Choice:
    """What one point gets.

    Attributes:
        point_id: The point.
        lat: Its latitude in degrees.
        lon: Its longitude in degrees.
        pano_id: The panorama, empty for flat pictures.
        flats: Flat pictures by heading, as (heading in degrees, id), in the order N, E, S, W; empty for a panorama.
        reason: Empty when all is well. Why there is nothing: `nothing_within_radius`, `already_taken` or `all_bad`. With
            pictures, `bad`: they were fetched, were unusable, and serve nobody (see `plan`).
    """

    point_id: str
    lat: float
    lon: float
    pano_id: str = ""
    flats: tuple[tuple[int, str], ...] = ()
    reason: str = ""

    @property
    def image_ids(self) -> tuple[str, ...]:
        """The pictures to fetch, each once."""
        return (self.pano_id,) if self.pano_id else tuple(dict.fromkeys(image_id for _, image_id in self.flats))

    @property
    def source_image_id(self) -> str:
        """The provider's id, several joined by `+`; of a point that gets nothing, the point."""
        return "+".join(self.image_ids) or self.point_id


def choose_pictures(
    points: Sequence[Point], coverage: Coverage, *, radius_m: float, taken: Collection[str] = ()
) -> list[Choice]:
    """Return what every point gets.

    A million points among five million pictures take 15 s of one core. Memory follows what is kept of the lists, about 16
    pictures a point and direction, however many there are.

    Args:
        points: In the order in which they choose.
        coverage: Every picture that may be within reach of any of them.
        radius_m: How far a picture may be from its point, metres.
        taken: Pictures that serve others already, or nobody.

    Returns:
        One choice a point, in the same order.
    """
    lat, lon = _places(points)
    taken = taken if isinstance(taken, (set, frozenset)) else set(taken)
    gone = np.fromiter((image_id in taken for image_id in coverage.image_id), bool, len(coverage)) if taken else None
    is_taken = bytearray(gone.tobytes() if gone is not None else len(coverage))
    everyone = np.arange(len(points))
    panos, near_pano = _served(everyone, lat, lon, _panoramas(coverage), is_taken, radius_m=radius_m)
    rest = np.flatnonzero(panos[:, 0] < 0)
    flats, near_flat = _served(rest, lat, lon, _flats(coverage), is_taken, radius_m=radius_m)
    near_pano[rest] |= near_flat
    looked_for = zip(flats.tolist(), np.any(flats >= 0, axis=1).tolist(), near_pano[rest].tolist(), strict=True)
    choices, ids = [], coverage.image_id
    for point, pano in zip(points, panos[:, 0].tolist(), strict=True):
        if pano >= 0:
            choices.append(Choice(*point, ids[pano]))
            continue
        rows, is_served, is_near = next(looked_for)
        if is_served:
            found = tuple((heading, ids[row]) for heading, row in zip(HEADINGS_DEG, rows, strict=True) if row >= 0)
            choices.append(Choice(*point, "", found))
        else:
            choices.append(Choice(*point, "", (), "already_taken" if is_near else "nothing_within_radius"))
    return choices


def within_reach(coverage: Coverage, points: Sequence[Point], *, radius_m: float) -> Coverage:
    """Return the pictures that may lie within the radius of a point; coarse, so that a city's tiles fit into memory.

    Args:
        coverage: Pictures of one area.
        points: Those near the area or more.
        radius_m: How far a picture may be from its point, metres.

    Returns:
        Every picture within the radius of a point, and a few beyond it.
    """
    first, last = _Rows(*_places(points), radius_m=radius_m).around(coverage.lat, coverage.lon)
    return coverage.take(np.any(last > first, axis=0))


def _places(points: Sequence[Point]) -> tuple[Real, Real]:
    count = len(points)
    return (
        np.fromiter((point[1] for point in points), np.float64, count),
        np.fromiter((point[2] for point in points), np.float64, count),
    )


@dataclass(frozen=True)
class _Views:
    """What pictures offer: a panorama all directions at once, a flat one the direction (between two: both) that it looks in.

    All arrays are `[n]`: the row of the coverage, the place, which of `HEADINGS_DEG` it looks in (0 for panoramas), and how
    good it is among those of its ring (smaller is better; equal where only distance and id decide).
    """

    row: Whole
    lat: Real
    lon: Real
    direction: Whole
    rank: Whole
    n_directions: int


def _panoramas(coverage: Coverage) -> _Views:
    rows = np.flatnonzero(coverage.is_pano)
    return _views(coverage, rows, rows * 0, rows * 0, n_directions=1)


def _flats(coverage: Coverage) -> _Views:
    usable = np.flatnonzero(~coverage.is_pano & np.isfinite(coverage.compass_deg))
    found = []
    for direction, heading_deg in enumerate(HEADINGS_DEG):
        turn_deg = np.abs((coverage.compass_deg[usable] - heading_deg + 180.0) % 360.0 - 180.0)
        looks = turn_deg <= LARGEST_TURN_DEG
        band = (turn_deg[looks] // TURN_BAND_DEG).astype(np.int64)
        found.append((usable[looks], np.full(len(band), direction), band))
    rows, directions, bands = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return _views(coverage, rows, directions, bands, n_directions=len(HEADINGS_DEG))


def _views(coverage: Coverage, rows: Whole, directions: Whole, bands: Whole, *, n_directions: int) -> _Views:
    quality = coverage.quality[rows]
    keys = (  # the last counts most
        np.where(np.isnan(quality), np.float32(np.inf), -quality),
        -coverage.captured_ms[rows],
        bands,
        ~coverage.is_outdoor[rows],
    )
    order = np.lexsort(keys)
    differs = np.zeros(len(rows), dtype=bool)
    for key in keys:
        differs[1:] |= key[order[1:]] != key[order[:-1]]
    rank = np.empty(len(rows), dtype=np.int64)
    rank[order] = np.cumsum(differs)
    return _Views(rows, coverage.lat[rows], coverage.lon[rows], directions, rank, n_directions)


class _Rows:
    """Finds what may lie within the radius: rows of the map, at least as high as the radius, each sorted by longitude."""

    def __init__(self, lat: Real, lon: Real, *, radius_m: float) -> None:
        self._step_deg = max(radius_m, _LOWEST_ROW_M) / _SMALLEST_DEGREE_M
        keys = self.keys(lat, lon)
        self.order = np.argsort(keys, kind="stable")
        self._keys = keys[self.order]

    def keys(self, lat: Real, lon: Real) -> Real:
        """Return what places are sorted by: the row, then the longitude."""
        return self._row(lat) * 512.0 + lon

    def _row(self, lat: Real) -> Real:
        return np.floor(lat / self._step_deg)

    def around(self, lat: Real, lon: Real) -> tuple[Whole, Whole]:
        """Return `[3, n]` first positions in `order` and `[3, n]` ends: what may be near a place, by row."""
        widest = np.radians(np.minimum(89.0, np.abs(lat) + self._step_deg))
        reach_deg = self._step_deg / np.maximum(0.01, np.cos(widest))
        rows = (self._row(lat) + np.array([[-1.0], [0.0], [1.0]])) * 512.0 + lon
        return np.searchsorted(self._keys, rows - reach_deg), np.searchsorted(self._keys, rows + reach_deg, side="right")


@dataclass(frozen=True)
class _Wishes:
    """Lists of rows of the coverage, best first; `[point, direction]`: where each begins, its length, whether it was cut."""

    rows: NDArray[np.int32]
    first: Whole
    count: Whole
    is_cut: NDArray[np.bool_]
    has_near: NDArray[np.bool_]  # [point]: something is within the radius, free or not


class _Wishing:
    """Lists for points what they would take of some views, in which order."""

    def __init__(self, views: _Views, is_taken: bytearray, *, radius_m: float) -> None:
        self._radius_m, self.n_directions = radius_m, views.n_directions
        self._grid = _Rows(views.lat, views.lon, radius_m=radius_m)
        order = self._grid.order
        self._row, self._lat, self._lon = views.row[order], views.lat[order], views.lon[order]
        self._direction, self._rank = views.direction[order], views.rank[order]
        self._is_free = np.frombuffer(bytes(is_taken), dtype=np.bool_)[self._row] == 0
        self._n_rings, self._n_ranks = int(radius_m // RING_M) + 1, int(views.rank.max(initial=0)) + 1

    def lists(self, lat: Real, lon: Real, *, shortest: int) -> _Wishes:
        """Return the points' lists, whole, or cut at the end of a ring once they have `shortest` pictures."""
        near = np.argsort(self._grid.keys(lat, lon), kind="stable")  # blocks of the map: what one reads lies together
        first, last = self._grid.around(lat[near], lon[near])
        some = np.flatnonzero((last > first).any(axis=0))
        near, first, last = near[some], first[:, some], last[:, some]
        shape = (len(lat), self.n_directions)
        begin, count, is_cut = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool)
        has_near, found, length = np.zeros(len(lat), bool), [np.empty(0, np.int32)], 0
        weight = np.cumsum((last - first).sum(axis=0) + self.n_directions * self._n_rings)
        for part in np.split(np.arange(len(near)), np.flatnonzero(np.diff(weight // _PAIRS_AT_ONCE)) + 1):
            who = near[part]
            rows, many, is_cut[who], has_near[who] = self._block(
                lat[who], lon[who], first[:, part], last[:, part], shortest=shortest
            )
            begin[who] = length + (np.cumsum(many) - many.ravel()).reshape(many.shape)
            count[who] = many
            found.append(rows)
            length += len(rows)
        return _Wishes(np.concatenate(found), begin, count, is_cut, has_near)

    def _block(
        self, lat: Real, lon: Real, first: Whole, last: Whole, *, shortest: int
    ) -> tuple[NDArray[np.int32], Whole, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return the lists of some points one after the other, and, as in `_Wishes`, count, is_cut and has_near."""
        point = np.repeat(np.arange(len(lat)), (last - first).sum(axis=0))
        view = _ranges(first.T.ravel(), (last - first).T.ravel())
        away_m = step_m(lat=lat[point], lon=lon[point], to_lat=self._lat[view], to_lon=self._lon[view])
        is_near = away_m <= self._radius_m
        has_near = np.bincount(point[is_near], minlength=len(lat)) > 0
        mine = np.flatnonzero(is_near & self._is_free[view])
        point, view, away_m = point[mine], view[mine], away_m[mine]
        slot = point * self.n_directions + self._direction[view]
        ring = (away_m // RING_M).astype(np.int64)
        shape = (len(lat) * self.n_directions, self._n_rings)
        so_far = np.bincount(slot * self._n_rings + ring, minlength=shape[0] * shape[1]).reshape(shape).cumsum(axis=1)
        end = np.minimum((so_far < shortest).sum(axis=1), self._n_rings - 1)  # the last ring of the list
        kept = np.flatnonzero(ring <= end[slot])
        slot, ring, view, away_m = slot[kept], ring[kept], view[kept], away_m[kept]
        key = (slot * self._n_rings + ring) * self._n_ranks + self._rank[view]
        rows = self._row[view].astype(np.int32)
        rows = rows[np.lexsort((rows, away_m, key))]
        count = np.take_along_axis(so_far, end[:, None], axis=1)
        return rows, count.reshape(-1, self.n_directions), (so_far[:, -1:] > count).reshape(-1, self.n_directions), has_near


def _ranges(first: Whole, count: Whole) -> Whole:
    """Return the whole numbers from each `first` on, so many as `count` says, one range after the other."""
    return np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())


def _served(
    who: Whole, lat: Real, lon: Real, views: _Views, is_taken: bytearray, *, radius_m: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return which row of the coverage each point gets in each direction (-1: none), and whether any view is within its radius.

    Marks the rows as taken.
    """
    wishing = _Wishing(views, is_taken, radius_m=radius_m)
    lat, lon = lat[who], lon[who]
    wishes = wishing.lists(lat, lon, shortest=_WISHES)
    some = np.flatnonzero(wishes.count.any(axis=1))
    served = np.full((len(who), views.n_directions), -1, dtype=np.int64)
    found = []
    for point, lists in zip(some.tolist(), _read(wishes, some), strict=True):
        mine = []
        for direction, rows in enumerate(lists):
            row = _first_free(rows, is_taken)
            if row < 0 and rows and wishes.is_cut[point, direction]:
                whole = wishing.lists(lat[point : point + 1], lon[point : point + 1], shortest=len(is_taken) + 1)
                row = _first_free(next(_read(whole, some[:1] * 0))[direction], is_taken)
            mine.append(row)
        for row in mine:  # only now: one that looks between two directions may serve its point twice
            if row >= 0:
                is_taken[row] = 1
        found.append(mine)
    served[some] = np.array(found, dtype=np.int64).reshape(-1, views.n_directions)
    return served, wishes.has_near


def _first_free(rows: list[int], is_taken: bytearray) -> int:
    for row in rows:
        if not is_taken[row]:
            return row
    return -1


def _read(wishes: _Wishes, points: Whole) -> Iterator[list[list[int]]]:
    """Yield the points' lists, some points at a time as Python's own numbers, which a loop reads fastest."""
    for start in range(0, len(points), _POINTS_AT_ONCE):
        some = points[start : start + _POINTS_AT_ONCE]
        count = wishes.count[some]
        rows = wishes.rows[_ranges(wishes.first[some].ravel(), count.ravel())].tolist()
        ends = np.cumsum(count).reshape(count.shape)
        for stops in np.stack([ends - count, ends], axis=2).tolist():
            yield [rows[begin:end] for begin, end in stops]
