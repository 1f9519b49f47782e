"""Finds text that a camera burned into its pictures: place, date and speed in a line along the top or the bottom.

Such a line is drawn, not seen: its glyphs have hard edges and one pure colour, stand level to the pixel, are equally high and
differ from each other. All of it is asked for, and many glyphs, since a picture that is turned away in error is lost: street
signs, shop signs, windows in a row, roof tiles and crossings pass. So does a provider's own mark ("© 2022 Google", eleven small
glyphs in the lower right corner), which its terms forbid to cut off. What is missed: short dates, one word, grey see-through
marks, ink in the colour of its ground.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Grey = NDArray[np.uint8]
    Boxes = NDArray[np.int64]

STRIP_SHARE = 0.12  # of the height, at the top and at the bottom
WORKING_SIDE_PX = 1280  # larger pictures are reduced to it
FEWEST_GLYPHS, FEWEST_SMALL, SMALL_GLYPH_PX = 8, 12, 11  # tiles of a roof are as small and as even as a date
LOWEST_GLYPH_PX, HIGHEST_GLYPH_PX = 6, 48
HARD_STEPS = (60, 120)  # of 255, between a glyph and its ground; the higher one parts the glyphs of a fat font
COLOUR_SPREAD, SMALL_COLOUR_SPREAD = 6.0, 15.0  # steps between a line's glyphs: thin strokes are blunted, and JPEG spoils them
TINT_SPREAD = 20.0  # the same in any channel: JPEG halves the sharpness of colour
PURITY = 150.0  # least red of light ink, least lack of blue of dark ink
UNEVENNESS_PX = 0.75
LIKENESS = 0.3  # correlation of two glyphs of a line, the median: that of a row of roof tiles is 0.5 to 0.8
_MOST_PARTS = 700  # a strip of leaves falls into thousands; nobody could read a line on it


def find_overlay(pixels: NDArray[np.uint8]) -> str | None:
    """Return where text is burned into a picture, in words; None where there is none.

    A picture twice as wide as high is taken for a panorama and passes: its top and bottom are sky and ground straight up and
    down, which no view shows.

    Args:
        pixels: `[height, width, 3]` uint8, RGB, upright.

    Returns:
        For example "a line of 19 drawn glyphs, 14 px high, at the bottom left".
    """
    height, width = pixels.shape[:2]
    if 1.9 <= width / height <= 2.1:
        return None
    rows = max(int(height * STRIP_SHARE), 2 * LOWEST_GLYPH_PX)
    scale = min(1.0, WORKING_SIDE_PX / max(height, width))
    for where, strip in (("top", pixels[:rows]), ("bottom", pixels[-rows:])):
        if scale < 1.0:
            size = (max(1, round(width * scale)), max(1, round(len(strip) * scale)))
            strip = cv2.resize(np.ascontiguousarray(strip), size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        line = _line(np.ascontiguousarray(strip), is_bottom=where == "bottom")
        if line is not None:
            middle = (line[0, 0] + line[-1, 0] + line[-1, 2]) / 2 / strip.shape[1]
            side = "left" if middle < 0.35 else "right" if middle > 0.65 else "middle"
            return f"a line of {len(line)} drawn glyphs, {np.median(line[:, 3]) / scale:.0f} px high, at the {where} {side}"
    return None


def _line(strip: NDArray[np.uint8], *, is_bottom: bool) -> Boxes | None:
    """Return the boxes (left, top, width, height, ink) of a drawn line's glyphs from left to right; None without a line."""
    for is_light, lift in _lifted(strip):
        for step in HARD_STEPS:
            ink = cv2.threshold(lift, step, 1, cv2.THRESH_BINARY)[1]
            strokes = cv2.reduce(cv2.absdiff(ink[:, 1:], ink[:, :-1]), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)
            if np.count_nonzero(strokes >= 2 * FEWEST_GLYPHS) < LOWEST_GLYPH_PX:
                continue  # no row of pixels crosses as many strokes as a line of glyphs has: most skies end here
            for boxes in _level_rows(_parts(ink)):
                if len(boxes) < _fewest(boxes, strip, is_bottom=is_bottom):
                    continue
                if _is_writing(boxes, ink) and _is_one_colour(boxes, ink, strip, is_light=is_light):
                    return boxes
    return None


def _lifted(strip: NDArray[np.uint8]) -> list[tuple[bool, Grey]]:
    """Return how far fine things stand out of their ground: light ones in red, dark ones in blue.

    White, yellow, red and orange ink is light in red, black, yellow, red and orange ink dark in blue; each shows in one of them
    unless it has the colour of its ground.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (15, 15))
    red, blue = (np.ascontiguousarray(strip[:, :, band]) for band in (0, 2))
    light = cv2.morphologyEx(red, cv2.MORPH_TOPHAT, kernel)
    dark = cv2.morphologyEx(blue, cv2.MORPH_BLACKHAT, kernel)
    return [(True, light.astype(np.uint8, copy=False)), (False, dark.astype(np.uint8, copy=False))]


def _parts(ink: Grey) -> Boxes:
    """Return the boxes of connected ink that may be a glyph."""
    boxes: Boxes = cv2.connectedComponentsWithStats(ink, connectivity=8, ltype=cv2.CV_16U)[2].astype(np.int64)
    wide, high, full = boxes[:, 2], boxes[:, 3], boxes[:, 4]
    may_be = (high >= LOWEST_GLYPH_PX) & (high <= HIGHEST_GLYPH_PX) & (wide <= 2 * high) & (full >= 0.12 * wide * high)
    may_be[0] = False  # the ground
    return boxes[may_be]


def _level_rows(boxes: Boxes) -> list[Boxes]:
    """Return rows of boxes of one height on one level with no wide gaps, the longest of each level."""
    if not FEWEST_GLYPHS <= len(boxes) <= _MOST_PARTS:
        return []
    below, high = boxes[:, 1] + boxes[:, 3], boxes[:, 3]
    slack = np.maximum(1, high // 10)[:, None]
    is_level = (np.abs(below[:, None] - below) <= slack) & (np.abs(high[:, None] - high) <= slack)
    rows: list[Boxes] = []
    seen = np.zeros(len(boxes), dtype=bool)
    for seed in np.argsort(-is_level.sum(axis=1), kind="stable"):
        members = np.flatnonzero(is_level[seed])
        if len(members) < FEWEST_GLYPHS:
            break
        if seen[seed]:
            continue
        seen[members] = True
        row = boxes[members[np.argsort(boxes[members, 0], kind="stable")]]
        gaps = row[1:, 0] - (row[:-1, 0] + row[:-1, 2])
        is_break = (gaps > 2 * high[seed]) | (gaps < -0.3 * high[seed])
        rows.append(max(np.split(row, np.flatnonzero(is_break) + 1), key=len))
    return [row for row in rows if len(row) >= FEWEST_GLYPHS]


def _fewest(boxes: Boxes, strip: NDArray[np.uint8], *, is_bottom: bool) -> int:
    """Return how many glyphs make a line: more where they are small, and in the lower right corner with a provider's mark."""
    high = float(np.median(boxes[:, 3]))
    if high < SMALL_GLYPH_PX:
        return FEWEST_SMALL
    to_right, to_end = strip.shape[1] - (boxes[-1, 0] + boxes[-1, 2]), strip.shape[0] - int((boxes[:, 1] + boxes[:, 3]).max())
    return FEWEST_SMALL if is_bottom and max(to_right, to_end) <= 0.7 * high else FEWEST_GLYPHS


def _is_writing(boxes: Boxes, ink: Grey) -> bool:
    """Return whether boxes stand level to the pixel and hold strokes of many shapes, not blocks or one thing repeated."""
    left, right, high = boxes[0, 0], boxes[-1, 0] + boxes[-1, 2], int(np.median(boxes[:, 3]))
    top = int(np.median(boxes[:, 1]))
    unevenness_px = max(boxes[:, 1].std(), (boxes[:, 1] + boxes[:, 3]).std())
    band = ink[top : top + high, left:right].astype(np.int8)
    strokes = np.count_nonzero(np.diff(band, axis=1, prepend=0) == 1) / high / len(boxes)
    fill = boxes[:, 4] / (boxes[:, 2] * boxes[:, 3])
    covered = boxes[:, 2].sum() / (right - left)
    is_thin = 0.3 <= fill.mean() <= 0.8 and 0.02 <= fill.std() <= 0.17 and 1.1 <= strokes <= 2.1
    return bool(unevenness_px <= UNEVENNESS_PX and is_thin and 0.4 <= covered <= 1.0 and _likeness(boxes, ink) <= LIKENESS)


def _likeness(boxes: Boxes, ink: Grey) -> float:
    shapes = [
        cv2.resize(255 * ink[y : y + high, x : x + wide], (8, 12), interpolation=cv2.INTER_AREA)
        for x, y, wide, high, _ in boxes
    ]
    levels = np.array(shapes, dtype=np.float64).reshape(len(boxes), -1)
    levels -= levels.mean(axis=1, keepdims=True)
    levels /= np.linalg.norm(levels, axis=1, keepdims=True) + 1e-9
    return float(np.median((levels @ levels.T)[~np.eye(len(boxes), dtype=bool)]))


def _is_one_colour(boxes: Boxes, ink: Grey, strip: NDArray[np.uint8], *, is_light: bool) -> bool:
    """Return whether the inmost ink of all boxes has one colour, as pure as pens are."""
    colours = []
    band = 0 if is_light else 2
    for left, top, wide, high, _ in boxes:
        area = np.s_[top : top + high, left : left + wide]
        glyph = strip[area][ink[area] > 0].astype(np.float32)
        purity = glyph[:, 0] if is_light else 255.0 - glyph[:, 2]
        inmost = purity >= np.quantile(purity, 0.85)
        colours.append([*glyph[inmost].mean(axis=0), purity[inmost].mean()])
    spread, purity = np.std(np.array(colours), axis=0), np.mean(np.array(colours), axis=0)[3]
    most = SMALL_COLOUR_SPREAD if np.median(boxes[:, 3]) < SMALL_GLYPH_PX else COLOUR_SPREAD
    return bool(purity >= PURITY and spread[band] <= most and spread.max() <= TINT_SPREAD)
