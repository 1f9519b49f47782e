"""Polygons in space and the painter that lays them on a panorama, the farthest first.

Belongs here: the stock of polygons and lines of one picture, projection to an equirectangular grid, painting.
Does not belong here: what the polygons stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    _Lot = tuple[Floats, Floats, float, Floats | None]

cv2.setNumThreads(1)  # panoramas are drawn by one process a core; OpenCV's own threads would only fight them
_SUBPIXEL_BITS = 4
_NEAREST_M = 0.5  # what touches the lens is left out


class Shapes:
    """All polygons of one picture, in metres around the camera's eye."""

    def __init__(self) -> None:
        """Starts with nothing to paint."""
        self._stock: dict[tuple[int, bool], list[_Lot]] = {}

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

    def paint(self, image: NDArray[np.uint8], eye_m: float, turn: Floats, haze: Floats, haze_m: float) -> None:
        """Paints everything, far to near.

        Args:
            image: `[w / 2, w, 3]` equirectangular; changed in place.
            eye_m: Height of the lens above the ground.
            turn: `[3, 3]` from directions of the camera to directions of the world.
            haze: Colour that distant things fade to.
            haze_m: Distance of 63 % fading.
        """
        polygons: list[NDArray[np.int32]] = []
        far: list[Floats] = []
        colours: list[Floats] = []
        is_line: list[bool] = []
        for (_, line), lots in sorted(self._stock.items(), key=lambda item: item[0]):
            corners, colour, distance = _stacked(lots)  # one projection for all with the same number of corners
            points, rows = _projected(corners, eye_m, turn, image.shape[1])
            polygons.extend(points)
            is_line.extend([line] * len(rows))
            colours.append(colour[rows])
            far.append(distance[rows])
        if not polygons:
            return
        distance = np.concatenate(far)
        fade = np.exp(-np.clip(distance, 0, None) / haze_m)[:, None]
        tones = np.clip(np.concatenate(colours) * fade + haze * (1 - fade), 0, 255).astype(np.int64).tolist()
        for row in np.argsort(-distance, kind="stable").tolist():
            if is_line[row]:
                cv2.polylines(image, [polygons[row]], False, tones[row], 1, cv2.LINE_AA, _SUBPIXEL_BITS)
            else:
                cv2.fillConvexPoly(image, polygons[row], tones[row], cv2.LINE_AA, _SUBPIXEL_BITS)


def _stacked(lots: list[_Lot]) -> tuple[Floats, Floats, Floats]:
    """Joins polygons that were added together into corners, colours and the distances that order them."""
    corners = np.concatenate([lot[0] for lot in lots])
    colour = np.empty((len(corners), 3))
    middle = corners[..., :2].mean(axis=1)
    distance = np.hypot(middle[:, 0], middle[:, 1])
    start = 0
    for added, tone, nearer_m, far_m in lots:
        end = start + len(added)
        colour[start:end] = tone
        if far_m is not None:
            distance[start:end] = far_m
        distance[start:end] -= nearer_m
        start = end
    return corners, colour, distance


def _projected(corners_m: Floats, eye_m: float, turn: Floats, width: int) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Projects polygons to the grid; one that crosses the seam comes twice, once at each side.

    Returns:
        `[m, k, 2]` columns and rows in fixed point, and the `[m]` polygons they came from.
    """
    x, y, z = np.moveaxis((corners_m - np.array([0.0, 0.0, eye_m])) @ turn, -1, 0)
    level = np.hypot(x, y)
    column = np.arctan2(x, y) * (width / (2 * np.pi)) + (width / 2 - 0.5)
    drift = column - column[:, :1]
    column -= width * np.rint(drift / width)
    row = np.arctan2(z, level) * (-width / (2 * np.pi)) + (width / 4 - 0.5)
    left, right = column.min(axis=1), column.max(axis=1)
    fine = (level.min(axis=1) > _NEAREST_M) & (right - left < width * 0.3)
    kept = np.flatnonzero(fine)
    over, under = np.flatnonzero(fine & (right > width - 1)), np.flatnonzero(fine & (left < 0))
    rows = np.concatenate([kept, over, under])
    shift = np.concatenate([np.zeros(len(kept)), np.full(len(over), -width), np.full(len(under), width)])
    points = np.stack([column[rows] + shift[:, None], row[rows]], axis=-1)
    return np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32), rows


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
