"""The ground of a prefecture: what of the map lies on it, asked of millions of lines and places at once.

The outline of a prefecture has a hundred thousand corners, and nearly every line is far from all of them. So the ground is
divided into cells once, coarse ones first; cells that the border does not touch answer for everything in them, and the exact
outline is asked only about what lies in the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OFF_THE_LINE_DEG = np.array([2e-9, 1e-9])  # no border runs in just this direction
_FINEST_DEG = 0.01  # about a kilometre
_SPLITS, _DEPTH = 8, 2  # a cell is divided into 8 x 8, and each of those again
_OUTSIDE, _INSIDE, _BORDER = 0, 1, 2


class Ground:
    """The union of a prefecture's town blocks.

    It is moved by a fifth of a millimetre, the same for all prefectures: what lies exactly on the line between two of them (a
    road drawn along it, a boundary stone) then lies in one and not in both. Broken polygons are mended first.
    """

    def __init__(self, blocks: NDArray[Any]) -> None:
        """Unite the blocks.

        Args:
            blocks: Polygons and MultiPolygons in WGS 84; overlaps and gaps are allowed.
        """
        broken = ~shapely.is_valid(blocks)
        if broken.any():
            blocks = blocks.copy()
            blocks[broken] = shapely.make_valid(blocks[broken])
        self._area = shapely.transform(shapely.union_all(blocks), lambda lonlat: lonlat + _OFF_THE_LINE_DEG)
        shapely.prepare(self._area)
        self._divide()

    def _divide(self) -> None:
        """Say of each cell of a grid whether it lies inside, outside or on the border."""
        west, south, east, north = self._area.bounds if not self._area.is_empty else (0.0, 0.0, 0.0, 0.0)
        self._origin = np.array([west, south]) - _FINEST_DEG  # one cell of outside all around
        coarsest_deg = _FINEST_DEG * _SPLITS**_DEPTH
        shape = [int((high - low + 2 * _FINEST_DEG) / coarsest_deg) + 1 for low, high in ((south, north), (west, east))]
        cells = np.full(shape, _BORDER, dtype=np.int8)
        for level in range(_DEPTH + 1):
            size_deg = coarsest_deg / _SPLITS**level
            if level:
                cells = cells.repeat(_SPLITS, axis=0).repeat(_SPLITS, axis=1)
            row, column = np.nonzero(cells == _BORDER)
            low_x, low_y = self._origin[0] + column * size_deg, self._origin[1] + row * size_deg
            boxes = shapely.box(low_x, low_y, low_x + size_deg, low_y + size_deg)
            touched = shapely.intersects(self._area, boxes)
            cells[row, column] = np.where(touched, _BORDER, _OUTSIDE)
            touched = np.flatnonzero(touched)
            within = touched[shapely.contains_properly(self._area, boxes[touched])]
            cells[row[within], column[within]] = _INSIDE
        self._cells = cells
        # How many cells are inside (outside) below and left of each corner: any rectangle is answered by four look-ups.
        self._inside, self._outside = (
            np.pad(np.cumsum(np.cumsum(cells == kind, axis=0, dtype=np.int32), axis=1, dtype=np.int32), ((1, 0), (1, 0)))
            for kind in (_INSIDE, _OUTSIDE)
        )

    def _cell_of(self, degrees: NDArray[np.float64], axis: int) -> NDArray[np.int64]:
        cell = np.clip((degrees - self._origin[axis]) / _FINEST_DEG, 0, self._cells.shape[1 - axis] - 1)
        return np.asarray(cell, dtype=np.int64)

    def holds(self, *, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return `[n]` which places lie on the ground (degrees, WGS 84)."""
        kind: NDArray[np.int8] = self._cells[self._cell_of(lat, 1), self._cell_of(lon, 0)]
        held: NDArray[np.bool_] = kind == _INSIDE
        asked = np.flatnonzero(kind == _BORDER)
        held[asked] = shapely.intersects_xy(self._area, lon[asked], lat[asked])
        return held

    def cut(self, lines: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the parts of lines that lie on the ground.

        Args:
            lines: `[n]` LineStrings in WGS 84.

        Returns:
            `[v, 2]` vertices (lon, lat) of the pieces, one piece after the other; `[v]` row of the piece; `[pieces]` row of
            the line that each piece is of. Lines well inside are one piece, vertex by vertex as they were.
        """
        lonlat, line = shapely.get_coordinates(lines, return_index=True)
        is_inside, is_outside = self._judged(lines)
        asked = np.flatnonzero(~is_inside & ~is_outside)
        within = shapely.contains_properly(self._area, lines[asked])
        is_inside[asked[within]] = True
        crossing = asked[~within]
        pieces, source = _cut_lines(lines[crossing], self._area)
        if is_inside.all():
            return lonlat, line, np.arange(len(lines))
        kept = np.flatnonzero(is_inside)
        number = np.cumsum(is_inside) - 1
        chosen = is_inside[line]
        cut_lonlat, cut_line = shapely.get_coordinates(pieces, return_index=True)
        return (
            np.concatenate([lonlat[chosen], cut_lonlat]),
            np.concatenate([number[line[chosen]], cut_line + len(kept)]),
            np.concatenate([kept, crossing[source]]),
        )

    def _judged(self, lines: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return what the cells say: `[n]` surely inside, `[n]` surely outside."""
        bounds = shapely.bounds(lines)
        west, east = self._cell_of(bounds[:, 0], 0), self._cell_of(bounds[:, 2], 0)
        south, north = self._cell_of(bounds[:, 1], 1), self._cell_of(bounds[:, 3], 1)
        n_cells = (east - west + 1) * (north - south + 1)
        inside, outside = (
            sums[north + 1, east + 1] - sums[south, east + 1] - sums[north + 1, west] + sums[south, west] == n_cells
            for sums in (self._inside, self._outside)
        )
        return inside, outside


def _cut_lines(lines: NDArray[Any], area: Any) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the pieces of lines inside an area, and the row of the line that each is of."""
    pieces, source = shapely.get_parts(shapely.intersection(lines, area), return_index=True)
    pieces, inner = shapely.get_parts(pieces, return_index=True)  # a touch may give a collection of lines and points
    is_line = (shapely.get_type_id(pieces) == shapely.GeometryType.LINESTRING) & ~shapely.is_empty(pieces)
    return pieces[is_line], source[inner][is_line]
