"""Which picture for which point: decided from coverage alone, before anything is downloaded.

A point gets the nearest free panorama within the radius; without one, for each of the four directions the flat picture that
looks nearest to it (at most 45 degrees off, of two the nearer to the point); without any, nothing. A picture serves one point:
points choose in the order of their ids, and who comes later takes the next best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.imagery.panorama import HEADINGS_DEG
from geoloc_pipeline.sources.mapillary_coverage import Coverage

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

LARGEST_TURN_DEG = 45.0

Point = tuple[str, float, float]
"""point_id, lat, lon in degrees."""


@dataclass(frozen=True)
class Choice:
    """What one point gets.

    Attributes:
        point_id: The point.
        lat: Its latitude in degrees.
        lon: Its longitude in degrees.
        pano_id: The panorama, empty for flat pictures.
        flats: Flat pictures by heading, as (heading in degrees, id), in the order N, E, S, W; empty for a panorama.
        reason: Why there is nothing: `nothing_within_radius` or `already_taken`; empty when there is something.
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
    points: Sequence[Point], coverage: Coverage, *, radius_m: float, taken: Collection[int] = ()
) -> list[Choice]:
    """Return what every point gets.

    Args:
        points: In the order in which they choose.
        coverage: Every picture that may be within reach of any of them.
        radius_m: How far a picture may be from its point, metres.
        taken: Pictures that serve others already.

    Returns:
        One choice a point, in the same order.
    """
    near = _Neighbourhood(coverage, radius_m=radius_m)
    taken = set(taken)
    choices = []
    for point_id, lat, lon in points:
        rows, away_m = near.around(lat=lat, lon=lon)
        free = np.array([int(coverage.image_id[row]) not in taken for row in rows], dtype=bool)
        choice = _choose(point_id, lat, lon, coverage, rows[free], away_m[free])
        if choice.reason and not free.all():
            choice = Choice(point_id, lat, lon, reason="already_taken")
        taken.update(int(image_id) for image_id in choice.image_ids)
        choices.append(choice)
    return choices


def _choose(point_id: str, lat: float, lon: float, coverage: Coverage, rows: np.ndarray, away_m: np.ndarray) -> Choice:
    # `rows` come nearest first, ties by id
    panos = rows[coverage.is_pano[rows]]
    if len(panos):
        return Choice(point_id, lat, lon, pano_id=str(coverage.image_id[panos[0]]))
    is_usable = ~coverage.is_pano[rows] & np.isfinite(coverage.compass_deg[rows])
    flats, away_m = rows[is_usable], away_m[is_usable]
    chosen: list[tuple[int, str]] = []
    for heading_deg in HEADINGS_DEG:
        turn_deg = np.abs((coverage.compass_deg[flats] - heading_deg + 180.0) % 360.0 - 180.0)
        order = np.lexsort((coverage.image_id[flats], away_m, turn_deg))
        if len(order) and turn_deg[order[0]] <= LARGEST_TURN_DEG:
            chosen.append((heading_deg, str(coverage.image_id[flats[order[0]]])))
    if not chosen:
        return Choice(point_id, lat, lon, reason="nothing_within_radius")
    return Choice(point_id, lat, lon, flats=tuple(chosen))


class _Neighbourhood:
    """Finds the pictures around a place: a coarse grid in degrees, then geodesic distance."""

    def __init__(self, coverage: Coverage, *, radius_m: float) -> None:
        self._coverage, self._radius_m = coverage, radius_m
        self._step_lat = radius_m / 110_000.0
        widest_deg = float(np.abs(coverage.lat).max(initial=0.0)) + self._step_lat
        self._step_lon = radius_m / (110_000.0 * max(0.01, np.cos(np.radians(min(widest_deg, 89.0)))))
        rows, columns = self._cell(coverage.lat, coverage.lon)
        order = np.lexsort((columns, rows))
        self._cells: dict[tuple[int, int], np.ndarray] = {}
        keys = np.stack([rows[order], columns[order]], axis=1)
        cuts = np.flatnonzero((keys[1:] != keys[:-1]).any(axis=1)) + 1
        for group in np.split(order, cuts):
            if len(group):
                self._cells[int(rows[group[0]]), int(columns[group[0]])] = group

    def _cell(self, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.floor(lat / self._step_lat).astype(np.int64), np.floor(lon / self._step_lon).astype(np.int64)

    def around(self, *, lat: float, lon: float) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of the coverage within the radius and their distances in metres, nearest first, ties by id."""
        row, column = (int(part[0]) for part in self._cell(np.array([lat]), np.array([lon])))
        cells = [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        rows = np.concatenate([np.array([], dtype=np.int64), *(self._cells[cell] for cell in cells if cell in self._cells)])
        rows = rows.astype(np.int64)
        away_m = distance_m(lat=lat, lon=lon, to_lat=self._coverage.lat[rows], to_lon=self._coverage.lon[rows])
        rows, away_m = rows[away_m <= self._radius_m], away_m[away_m <= self._radius_m]
        order = np.lexsort((self._coverage.image_id[rows], away_m))
        return rows[order], away_m[order]


def within_reach(coverage: Coverage, points: Sequence[Point], *, radius_m: float) -> Coverage:
    """Return the pictures that may lie within the radius of a point; coarse, so that a city's tiles fit into memory.

    Args:
        coverage: Pictures of one tile.
        points: Those near the tile or more.
        radius_m: How far a picture may be from its point, metres.

    Returns:
        Every picture within the radius of a point, and a few beyond it.
    """
    if not len(coverage) or not points:
        return Coverage.empty()
    lat, lon = np.array([point[1] for point in points]), np.array([point[2] for point in points])
    step_lat = radius_m / 110_000.0
    widest_deg = min(89.0, float(np.abs(lat).max()) + step_lat)
    step_lon = step_lat / np.cos(np.radians(widest_deg))

    def cells(at_lat: np.ndarray, at_lon: np.ndarray, *, down: int = 0, right: int = 0) -> np.ndarray:
        rows, columns = np.floor(at_lat / step_lat).astype(np.int64), np.floor(at_lon / step_lon).astype(np.int64)
        return np.asarray((rows + down) * 2**32 + columns + right)

    wanted = np.unique(np.concatenate([cells(lat, lon, down=down, right=right) for down in (-1, 0, 1) for right in (-1, 0, 1)]))
    return coverage.take(np.isin(cells(coverage.lat, coverage.lon), wanted))
