"""Panoramas and flat pictures into one strip: north, east, south and west at 90 degrees, joined in this order (paper §3.1).

A heading h lies in an equirectangular picture at u = ((h - compass) / 360 + 0.5) mod 1, where `compass` is the direction of the
centre column. Where the provider says how the camera leaned (roll, pitch), the views are level all the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

HEADINGS_DEG = (0, 90, 180, 270)
VIEW_LETTERS = "NESW"
LARGEST_VIEW_PX = 640  # the side of Google's static images, which the paper joined

GRID_CELLS = 80  # along a view's side, where directions are computed; in between they are interpolated
STEEPEST_COARSE_DEG = 20.0  # a view's lower edge is then 25 degrees away from the pole

cv2.setNumThreads(1)  # the collector's own threads are the parallelism


def view_side_px(source_width_px: int) -> int:
    """Return the side of a view from a panorama: a quarter of its width, at most 640.

    A quarter of the circle fills the view, so nothing is enlarged on average: its centre shrinks by a fifth, its edges grow by
    as much. Even, so that codecs with halved colour lose nothing.
    """
    return max(2, min(LARGEST_VIEW_PX, source_width_px // 4) // 2 * 2)


def views_from_panorama(
    pixels: NDArray[np.uint8],
    *,
    compass_deg: float,
    pitch_deg: float = 0.0,
    roll_deg: float = 0.0,
    side_px: int | None = None,
) -> NDArray[np.uint8]:
    """Return the four views of a panorama, joined; level, however the camera leaned.

    Args:
        pixels: `[height, width, 3]` uint8, equirectangular, 360 by 180 degrees.
        compass_deg: Compass direction of its centre column, clockwise from north.
        pitch_deg: Upward tilt of the optical axis.
        roll_deg: Clockwise turn of the camera about its axis, seen from behind it.
        side_px: Side of one view; by default `view_side_px`.

    Returns:
        `[side, 4 * side, 3]` uint8: views to N, E, S, W, each 90 degrees wide and high.

    Paper:
        §3.1 joins pictures of the four directions. Cutting them out of one panorama is ours: same directions, no seams in time.
    """
    height, width = pixels.shape[:2]
    side = side_px or view_side_px(width)
    if pitch_deg or roll_deg:
        columns, rows = _leaning_maps(side, width, height, _turn(compass_deg, pitch_deg, roll_deg))
    else:
        columns, rows = _strip_maps(side, width, height)
        columns = columns + np.float32((0.5 - compass_deg / 360.0) % 1.0 * width)
    np.subtract(columns, width, out=columns, where=columns >= width)  # inside the picture remap is fast; the seam wraps around
    # cv2.remap reads beyond the left and right edge on the other side; rows never come near the poles
    return cv2.remap(pixels, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)  # type: ignore[no-any-return]


def _turn(compass_deg: float, pitch_deg: float, roll_deg: float) -> NDArray[np.float64]:
    """Return the rotation from the camera (x right, y ahead, z up) to the world (x east, y north, z up), `[3, 3]`."""
    heading, pitch, roll = np.radians([compass_deg, pitch_deg, roll_deg])
    about_up = [[np.cos(heading), np.sin(heading), 0.0], [-np.sin(heading), np.cos(heading), 0.0], [0.0, 0.0, 1.0]]
    about_right = [[1.0, 0.0, 0.0], [0.0, np.cos(pitch), -np.sin(pitch)], [0.0, np.sin(pitch), np.cos(pitch)]]
    about_axis = [[np.cos(roll), 0.0, np.sin(roll)], [0.0, 1.0, 0.0], [-np.sin(roll), 0.0, np.cos(roll)]]
    turn: NDArray[np.float64] = np.array(about_up) @ np.array(about_right) @ np.array(about_axis)
    return turn


def _leaning_maps(
    side: int, width: int, height: int, turn: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where in a leaning panorama each pixel of the strip lies; both `[side, 4 * side]`, px.

    Directions are turned on a coarse grid and the places in between interpolated: off by less than a tenth of a source pixel
    (tested). Where a view comes near a pole of the picture, its columns fan out, and every pixel is computed.
    """
    lean_deg = float(np.degrees(np.arccos(np.clip(turn[2, 2], -1.0, 1.0))))
    step = 1 if lean_deg > STEEPEST_COARSE_DEG else max(1, side // GRID_CELLS)
    count = -(-side // step) + 2  # one more at either end: at its border a resized grid is flat
    tangent = ((np.arange(count) - 0.5) * step / side) * 2.0 - 1.0  # at the middle of each step
    right, down = np.meshgrid(tangent, tangent)
    maps = []
    for heading_deg in HEADINGS_DEG:
        heading = np.radians(heading_deg)
        world = np.stack([np.sin(heading) + right * np.cos(heading), np.cos(heading) - right * np.sin(heading), -down], axis=-1)
        x, y, z = np.moveaxis(world @ turn, -1, 0)  # the transposed rotation: from the world to the camera
        middle = np.arctan2(*(np.array([np.sin(heading), np.cos(heading), 0.0]) @ turn)[:2])
        around = (np.arctan2(x, y) - middle + np.pi) % (2.0 * np.pi) - np.pi  # without a seam inside the view
        places = np.stack([around, np.arctan2(z, np.hypot(x, y))], axis=-1).astype(np.float32)
        fine = cv2.resize(places, (count * step, count * step), interpolation=cv2.INTER_LINEAR) if step > 1 else places
        fine = fine[step : step + side, step : step + side]
        column = (fine[..., 0] + np.float32(middle)) * np.float32(width / (2.0 * np.pi)) + np.float32(width / 2.0 - 0.5)
        row = np.float32(height / 2.0 - 0.5) - fine[..., 1] * np.float32(height / np.pi)
        np.add(column, width, out=column, where=column < 0)
        maps.append((column, np.clip(row, 0, height - 1)))
    columns, rows = (np.concatenate(parts, axis=1) for parts in zip(*maps, strict=True))
    return columns, rows


@lru_cache(maxsize=8)
def _strip_maps(side: int, width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where in a panorama each pixel of the strip lies, were north at column 0; both `[side, 4 * side]`, px."""
    steps = (
        np.arange(side, dtype=np.float64) + 0.5
    ) / side * 2.0 - 1.0  # tan of the angle from the middle: -1 to 1 at 45 degrees
    right, down = np.meshgrid(steps, steps)
    around = np.arctan(right)
    below = np.arctan(down * np.cos(around))
    views = [(np.radians(heading_deg) + around) / (2.0 * np.pi) % 1.0 for heading_deg in HEADINGS_DEG]
    columns = np.concatenate(views, axis=1) * width - 0.5
    rows = np.tile((below / np.pi + 0.5) * height - 0.5, (1, len(HEADINGS_DEG)))
    return columns.astype(np.float32), rows.astype(np.float32)


def views_from_flats(flats: Mapping[int, NDArray[np.uint8]], *, side_px: int | None = None) -> tuple[NDArray[np.uint8], str]:
    """Return flat pictures side by side in the order N, E, S, W, and which of them there are.

    Each is cut to its middle square. Every direction has its place: where there is no picture it is black, and the mask says
    so.

    Args:
        flats: `[height, width, 3]` uint8 pictures by heading (0, 90, 180, 270); at least one.
        side_px: Side of one view; by default that of the smallest picture, so that nothing is enlarged, at most 640.

    Returns:
        `[side, 4 * side, 3]` uint8, and the mask, such as `N-S-`.
    """
    side = side_px or max(2, min(LARGEST_VIEW_PX, *(min(picture.shape[:2]) for picture in flats.values())) // 2 * 2)
    strip = np.zeros((side, 4 * side, 3), dtype=np.uint8)
    mask = ""
    for position, heading_deg in enumerate(HEADINGS_DEG):
        picture = flats.get(heading_deg)
        mask += "-" if picture is None else VIEW_LETTERS[position]
        if picture is not None:
            height, width = picture.shape[:2]
            edge = min(height, width)
            top, left = (height - edge) // 2, (width - edge) // 2
            square = picture[top : top + edge, left : left + edge]
            method = cv2.INTER_AREA if edge > side else cv2.INTER_LINEAR
            strip[:, position * side : (position + 1) * side] = cv2.resize(square, (side, side), interpolation=method)
    return strip, mask
