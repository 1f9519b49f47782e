"""Polygons in space and the painter that lays them on a panorama, the farthest first.

Belongs here: the stock of polygons and lines of one picture, projection to an equirectangular grid, painting, and leaving out
what nearer walls hide.
Does not belong here: what the polygons stand for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
    _Open = tuple[bool, Singles, Floats, Floats]
    _Lot = tuple[Floats, Floats, float, Floats | None]

cv2.setNumThreads(1)  # panoramas are drawn by one process a core; OpenCV's own threads would only fight them
_SUBPIXEL_BITS = 4
_NEAREST_M = 0.5  # what touches the lens is left out
_SMALLEST_PX = 0.6  # area below which nobody would miss a thing
_DIRECTIONS = 512
_DEPTHS = 24
_FIRST_M, _LAST_M = 2.0, 130.0
_WIDEST = 128  # what fills more directions than that is never taken for hidden
_OPEN, _TOP_MARGIN = np.float32(-1e6), np.float32(0.008)


@dataclass(frozen=True)
class Frame:
    """A window of an equirectangular grid.

    Attributes:
        image: `[h, w, 3]`; painters change it in place.
        width_px: Columns of the whole grid, all around; it has half as many rows.
        left_px: Column of the grid that the window begins with.
        top_px: Row of the grid that the window begins with.
    """

    image: NDArray[np.uint8]
    width_px: int
    left_px: int = 0
    top_px: int = 0


class Walls:
    """Walls that stand on the ground and hide what is painted before them: how high they reach, by direction and distance."""

    def __init__(self, from_m: Floats, to_m: Floats, high_m: Floats, far_m: Floats, eye_m: float) -> None:
        """Notes walls from `[n, 2]` to `[n, 2]`.

        Args:
            from_m: Feet.
            to_m: Other feet.
            high_m: `[n]` heights.
            far_m: `[n]` distances that order them.
            eye_m: Height of the lens.
        """
        self._eye_m = np.float32(eye_m)
        ground = np.stack([from_m.T, to_m.T], axis=1).astype(np.float32)
        low, high, far = _span(ground)
        first = np.ceil(low - 0.5).astype(np.int64)  # directions whose middle the wall covers
        count = np.maximum(np.ceil(high - 0.5).astype(np.int64) - first, 0)
        count[count > _DIRECTIONS // 2] = 0
        row = np.repeat(np.arange(len(count)), count)
        direction = (np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count) + first[row]) % _DIRECTIONS
        rise = high_m.astype(np.float32) - self._eye_m
        top = rise / np.where(rise > 0, far.max(axis=0), far.min(axis=0))
        depth = np.maximum(np.ceil(_depth(far_m)), 1).astype(np.int64)
        ring = np.full((_DEPTHS + 1, _DIRECTIONS + _WIDEST), _OPEN, dtype=np.float32)
        np.maximum.at(ring.reshape(-1), depth[row] * ring.shape[1] + direction, top[row])
        np.maximum.accumulate(ring, axis=0, out=ring)
        ring[:, _DIRECTIONS:] = ring[:, :_WIDEST]
        self._lowest = [ring]  # the lowest top among 1, 2, 4 ... neighbouring directions
        for level in range(_WIDEST.bit_length() - 2):  # up to half of `_WIDEST`, of which two reach all of it
            last = self._lowest[-1]
            self._lowest.append(np.minimum(last[:, : -(1 << level)], last[:, 1 << level :]))

    def hide(self, ground_m: Singles, high_m: Singles, far_m: Floats) -> Bools:
        """Tells which things stand wholly behind walls.

        Args:
            ground_m: `[2, k, n]` corners seen from above.
            high_m: `[n]` heights of their tops, or `[k, n]` of each corner.
            far_m: `[n]` distances that order them.

        Returns:
            `[n]`.
        """
        low, high, far = _span(ground_m)
        first = np.floor(low - 0.5).astype(np.int64)
        count = np.ceil(high - 0.5).astype(np.int64) + 1 - first
        first %= _DIRECTIONS
        top = ((high_m - self._eye_m) / far).max(axis=0) + _TOP_MARGIN
        depth = np.floor(_depth(far_m - 0.05)).astype(np.int64)
        hidden = np.zeros(len(count), dtype=bool)
        start = 1
        for level, ring in enumerate(self._lowest):
            rows = np.flatnonzero((count >= start) & (count < 2 * start))
            start *= 2
            if len(rows):
                at, deep = first[rows], depth[rows]
                hidden[rows] = np.minimum(ring[deep, at], ring[deep, at + count[rows] - (1 << level)]) > top[rows]
        return hidden


def _span(ground_m: Singles) -> tuple[Singles, Singles, Singles]:
    """Gives the first and last direction of `[2, k, n]` places, clockwise from the north, and all distances, `[k, n]`."""
    x, y = ground_m
    azimuth = (cv2.phase(y, x) if x.size else x) * np.float32(_DIRECTIONS / (2 * np.pi))
    azimuth -= np.float32(_DIRECTIONS) * np.rint((azimuth - azimuth[:1]) * np.float32(1 / _DIRECTIONS))
    return azimuth.min(axis=0), azimuth.max(axis=0), np.maximum(np.sqrt(x * x + y * y), np.float32(0.1))


def _depth(far_m: Floats) -> Floats:
    """Counts distance in steps that grow with it."""
    steps: Floats = np.log(np.clip(far_m, _FIRST_M, _LAST_M) / _FIRST_M) * (_DEPTHS / np.log(_LAST_M / _FIRST_M))
    return steps


class Shapes:
    """All polygons of one picture, in metres around the camera's foot."""

    def __init__(self) -> None:
        """Starts with nothing to paint."""
        self._stock: dict[tuple[int, bool], list[_Lot]] = {}
        self._walls: Walls | None = None
        self._seen: list[_Open] | None = None  # worked out by the first painting, after which nothing is added

    def add(self, corners_m: Floats, colour: Floats, *, nearer_m: float = 0.0, far_m: Floats | None = None) -> None:
        """Takes convex polygons with the same number of corners.

        Args:
            corners_m: `[n, k, 3]`, k from 3; x east, y north, z above the ground.
            colour: `[n, 3]` or `[3]`, lit, 0 to 255.
            nearer_m: How much earlier than their distance they hide others, for what lies on a wall.
            far_m: `[n]` distances that decide who hides whom; the middle's where it is left out.
        """
        if len(corners_m):
            self._stock.setdefault((corners_m.shape[1], False), []).append((corners_m, colour, nearer_m, far_m))

    def add_lines(self, points_m: Floats, colour: Floats) -> None:
        """Takes thin lines, `[n, k, 3]`, painted over everything farther than their middle."""
        if len(points_m):
            self._stock.setdefault((points_m.shape[1], True), []).append((points_m, colour, 0.0, None))

    def stand_behind(self, walls: Walls) -> None:
        """Leaves out what those walls hide; they are polygons of this stock themselves."""
        self._walls = walls

    def paint(self, frame: Frame, eye_m: float, turn: Floats, haze: Floats, haze_m: float) -> None:
        """Paints everything, far to near.

        Args:
            frame: Changed in place.
            eye_m: Height of the lens above the ground.
            turn: `[3, 3]` from directions of the camera to directions of the world.
            haze: Colour that distant things fade to.
            haze_m: Distance of 63 % fading.
        """
        polygons: list[NDArray[np.int32]] = []
        far: list[Floats] = []
        colours: list[Floats] = []
        is_line: list[bool] = []
        for line, corners, colour, distance in self._open():
            points, rows = _projected(corners, eye_m, turn, frame)
            polygons.extend(points)
            is_line.extend([line] * len(rows))
            colours.append(colour[rows])
            far.append(distance[rows])
        if not polygons:
            return
        distance = np.concatenate(far)
        fade = np.exp(-np.clip(distance, 0, None) / haze_m)[:, None]
        tones = np.clip(np.concatenate(colours) * fade + haze * (1 - fade), 0, 255).astype(np.int64).tolist()
        image, fill, draw, smooth = frame.image, cv2.fillConvexPoly, cv2.polylines, cv2.LINE_AA
        for row in np.argsort(-distance, kind="stable").tolist():
            if is_line[row]:
                draw(image, [polygons[row]], False, tones[row], 1, smooth, _SUBPIXEL_BITS)
            else:
                fill(image, polygons[row], tones[row], smooth, _SUBPIXEL_BITS)

    def _open(self) -> list[_Open]:
        """Gives what no wall hides: one entry for all with the same number of corners."""
        if self._seen is None:
            self._seen = []
            for (_, line), lots in sorted(self._stock.items(), key=lambda item: item[0]):
                corners, colour, distance = _stacked(lots)
                if self._walls is not None:
                    rows = np.flatnonzero(~self._walls.hide(corners[:2], corners[2], distance))
                    corners, colour, distance = corners[..., rows], colour[rows], distance[rows]
                self._seen.append((line, corners, colour, distance))
        return self._seen


def _stacked(lots: list[_Lot]) -> tuple[Singles, Floats, Floats]:
    """Joins polygons that were added together into `[3, k, n]` corners, colours and the distances that order them."""
    corners = np.ascontiguousarray(np.concatenate([lot[0] for lot in lots]).T, dtype=np.float32)
    colour = np.empty((corners.shape[2], 3))
    x, y = corners[:2].mean(axis=1)
    distance = np.sqrt(x * x + y * y).astype(np.float64)
    start = 0
    for added, tone, nearer_m, far_m in lots:
        end = start + len(added)
        colour[start:end] = tone
        if far_m is not None:
            distance[start:end] = far_m
        distance[start:end] -= nearer_m
        start = end
    return corners, colour, distance


def _projected(corners_m: Singles, eye_m: float, turn: Floats, frame: Frame) -> tuple[NDArray[np.int32], Ints]:
    """Projects `[3, k, n]` corners to the window; a polygon that crosses the grid's seam comes twice, once at each side.

    Returns:
        `[m, k, 2]` columns and rows of the window in fixed point, and the `[m]` polygons they came from.
    """
    width, scale = frame.width_px, np.float32(frame.width_px / (2 * np.pi))
    flat = corners_m.reshape(3, -1) - np.array([[0.0], [0.0], [eye_m]], dtype=np.float32)
    x, y, z = (turn.T.astype(np.float32) @ flat).reshape(corners_m.shape)
    level = np.sqrt(x * x + y * y)
    column = (cv2.phase(-y, -x) if x.size else x) * scale - np.float32(0.5)  # the seam lies behind the camera
    column -= np.float32(width) * np.rint((column - column[:1]) * np.float32(1 / width))
    row = np.float32(width / 2 - 0.5 - frame.top_px) - (cv2.phase(-z, level) if x.size else x) * scale  # from straight down
    left, right, top, bottom = column.min(axis=0), column.max(axis=0), row.min(axis=0), row.max(axis=0)
    fine = (level.min(axis=0) > _NEAREST_M) & (right - left < width * 0.3)
    fine &= (right - left) * (bottom - top) > _SMALLEST_PX
    fine &= (bottom > -1) & (top < frame.image.shape[0])
    over, under = np.flatnonzero(fine & (right > width - 1)), np.flatnonzero(fine & (left < 0))
    rows = np.concatenate([np.flatnonzero(fine), over, under])
    shift = np.full(len(rows), -frame.left_px, dtype=np.float32)
    shift[len(rows) - len(over) - len(under) :] += np.repeat([-width, width], [len(over), len(under)])
    inside = (right[rows] + shift > -1) & (left[rows] + shift < frame.image.shape[1])
    rows, shift = rows[inside], shift[inside]
    points = np.stack([column[:, rows] + shift, row[:, rows]]) * np.float32(1 << _SUBPIXEL_BITS)
    return np.ascontiguousarray(np.rint(points).astype(np.int32).T), rows


def uprights(from_m: Floats, to_m: Floats, low_m: Floats | float, high_m: Floats | float) -> Floats:
    """Builds `[n, 4, 3]` upright quadrilaterals over the ground lines from `[n, 2]` to `[n, 2]`."""
    quads = np.empty((len(from_m), 4, 3))
    quads[:, 0, :2] = quads[:, 3, :2] = from_m
    quads[:, 1, :2] = quads[:, 2, :2] = to_m
    quads[:, 0, 2] = quads[:, 1, 2] = low_m
    quads[:, 2, 2] = quads[:, 3, 2] = high_m
    return quads


def cards(at_m: Floats, half_m: Floats | float, low_m: Floats | float, high_m: Floats | float) -> Floats:
    """Builds `[n, 4, 3]` upright quadrilaterals that face the camera, `half_m` to each side of `[n, 2]`."""
    reach = facing(at_m) * np.reshape(half_m, (-1, 1))
    return uprights(at_m - reach, at_m + reach, low_m, high_m)


_OCTAGON = np.arange(8) * (np.pi / 4) + np.pi / 8


def discs(at_m: Floats, right: Floats, half_m: Floats | float, middle_m: Floats | float, tall_m: Floats | float) -> Floats:
    """Builds `[n, 8, 3]` upright octagons.

    Args:
        at_m: `[n, 2]` middles on the ground.
        right: `[n, 2]` unit vectors in the plane of the disc.
        half_m: Radius along `right`.
        middle_m: Height of the middle.
        tall_m: Radius upwards.

    Returns:
        Corners.
    """
    ring = np.empty((len(at_m), 8, 3))
    ring[..., :2] = at_m[:, None, :] + right[:, None, :] * (np.reshape(half_m, (-1, 1)) * np.cos(_OCTAGON))[..., None]
    ring[..., 2] = np.reshape(middle_m, (-1, 1)) + np.reshape(tall_m, (-1, 1)) * np.sin(_OCTAGON)
    return ring


def facing(at_m: Floats) -> Floats:
    """Gives `[n, 2]` unit vectors to the right, seen from the camera."""
    right: Floats = np.column_stack([at_m[:, 1], -at_m[:, 0]]) / np.maximum(np.hypot(*at_m.T), 1e-6)[:, None]
    return right
