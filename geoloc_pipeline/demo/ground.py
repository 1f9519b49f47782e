"""The ground: roads, paint, plots and shadows, drawn from above and then seen from the lens.

Belongs here: the two maps from above (a fine one near, a coarse one far) and how they are looked up by direction.
Does not belong here: what rises from the ground.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from geoloc_pipeline.demo.backdrop import noise_tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.light import Light
    from geoloc_pipeline.demo.shapes import Frame
    from geoloc_pipeline.demo.style import Colour, Style
    from geoloc_pipeline.demo.surroundings import Floats, Pieces, Surroundings

    Singles = NDArray[np.float32]
    Image = NDArray[np.uint8]

_NEAR_M_PX, _NEAR_SIDE_PX = 0.1, 800  # the near map reaches 40 m
_NEAR_REACH_M = _NEAR_SIDE_PX / 2 * _NEAR_M_PX * 0.97
_FAR_M_PX, _FAR_SIDE_PX = 1.25, 480  # the far map reaches 300 m
_CLEAR_SHARE = 0.015  # so near, haze is left out
_BELOW_DEG = 32.0  # steeper than this, a pixel of the near map is as large as two of the picture
_SNOW = np.array([236.0, 240.0, 246.0])
_EARTH = np.array([152.0, 138.0, 112.0])
_PAINT = np.array([232.0, 232.0, 226.0])
_SUBPIXEL_BITS = 3


def draw_charts(scene: Surroundings, light: Light, eye_m: float, car: Floats | None) -> tuple[Image, Image]:
    """Draws the near and the far map from above, north up, the camera in the middle.

    Args:
        scene: Roads, houses and their plots.
        light: Sun and season.
        eye_m: Height of the lens above the ground.
        car: `[5]` direction (x, y) and colour of the roof of the car below the lens, or None.

    Returns:
        `[800, 800, 3]` and `[480, 480, 3]` RGB.
    """
    near, far = (_chart(scene, light, metres) for metres in (_NEAR_M_PX, _FAR_M_PX))
    if car is not None:
        _draw_car_roof(near, car, eye_m)
    return near, far


def paint_ground(frame: Frame, charts: tuple[Image, Image], light: Light, eye_m: float, turn: Floats) -> None:
    """Paints everything below the horizon.

    What lies steeply below the lens is looked up at half the resolution: there the map from above is coarser than the picture.

    Args:
        frame: Changed in place; its left and top are even.
        charts: Of `draw_charts`.
        light: Haze.
        eye_m: Height of the lens above the ground.
        turn: `[3, 3]` from directions of the camera to directions of the world.
    """
    height = frame.width_px // 2
    tilt_deg = np.degrees(np.arccos(np.clip(turn[2, 2], -1.0, 1.0)))
    steep_deg = np.degrees(np.arctan(eye_m / _NEAR_REACH_M))
    top, bottom = frame.top_px, frame.top_px + frame.image.shape[0]
    horizon, last, below = (
        int(np.floor((0.5 + degrees / 180.0) * height)) for degrees in (-tilt_deg, tilt_deg + steep_deg, tilt_deg + _BELOW_DEG)
    )
    first = min(max(horizon - 1, top), bottom)
    below = min(max(-(-below // 2) * 2, first), bottom)
    last = min(max(last + 2, first), below)
    if first < below:
        _paint_plain(frame, charts, light, eye_m, turn, (first, last, below))
    if below < bottom:
        half = _ground_hits(frame, (below // 2, -(-bottom // 2)), 2, turn)
        small = _looked_up(charts[0], *half[:2], eye_m / _NEAR_M_PX)
        large = cv2.resize(small, (small.shape[1] * 2, small.shape[0] * 2), interpolation=cv2.INTER_LINEAR)
        frame.image[below - top :] = large[below % 2 :][: bottom - below, : frame.image.shape[1]]


def _paint_plain(
    frame: Frame, charts: tuple[Image, Image], light: Light, eye_m: float, turn: Floats, rows: tuple[int, int, int]
) -> None:
    """Paints the ground from the horizon to what is near, hazier the farther it is.

    Rows are counted on the whole grid: the first one, the first where nothing far is seen any more, and the one after the last.
    """
    first, last, end = rows
    east, north, down = _ground_hits(frame, (first, end), 1, turn)
    band, start = last - first, first - frame.top_px
    reach = cv2.magnitude(east, north)
    reach *= np.float32(eye_m)
    ground = _looked_up(charts[0], east, north, eye_m / _NEAR_M_PX)
    if band:
        far = _looked_up(charts[1], east[:band], north[:band], eye_m / _FAR_M_PX)
        cv2.copyTo(far, cv2.compare(reach[:band], _NEAR_REACH_M, cv2.CMP_GE), ground[:band])
    clear = np.flatnonzero(reach.max(axis=1) > _CLEAR_SHARE * light.haze_m)  # below these rows haze changes nothing
    hazy = int(clear[-1]) + 1 if len(clear) else 0
    if hazy:
        fade = cv2.exp(reach[:hazy] * np.float32(-1.0 / light.haze_m))
        haze = np.empty_like(ground[:hazy])
        cv2.rectangle(haze, (0, 0), (haze.shape[1], hazy), _tone(light.horizon, np.full(3, 0.94)), -1)
        ground[:hazy] = cv2.blendLinear(ground[:hazy], haze, fade, 1 - fade)
    seen = int(np.count_nonzero(down.min(axis=1) <= 0))  # only the first rows may see the sky in places
    target = frame.image[start : start + end - first]
    target[seen:] = ground[seen:]
    if seen:
        cv2.copyTo(ground[:seen], cv2.compare(down[:seen], 0.0, cv2.CMP_GT), target[:seen])


@lru_cache(maxsize=8)
def _rays(width: int) -> tuple[Singles, Singles, Singles, Singles]:
    """Gives sine and cosine of each column's azimuth, and of each row's elevation."""
    azimuth = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    elevation = (0.5 - (np.arange(width // 2) + 0.5) / (width // 2)) * np.pi
    sin_a, cos_a, sin_e, cos_e = (f(angle).astype(np.float32) for angle in (azimuth, elevation) for f in (np.sin, np.cos))
    return sin_a, cos_a, sin_e, cos_e


def _ground_hits(frame: Frame, rows: tuple[int, int], step: int, turn: Floats) -> tuple[Singles, Singles, Singles]:
    """Gives where the pixels of some rows meet the ground; rows and columns are counted in steps of one or two pixels.

    Returns:
        `[rows, columns]` metres east and north per metre of eye height, and how steeply downwards (not above 0: never).
    """
    left, right = frame.left_px // step, -(-(frame.left_px + frame.image.shape[1]) // step)
    sin_a, cos_a, sin_e, cos_e = _rays(frame.width_px // step)
    sin_a, cos_a = sin_a[left:right], cos_a[left:right]
    sin_e, cos_e = sin_e[rows[0] : rows[1], None], cos_e[rows[0] : rows[1], None]
    east, north, down = (
        cos_e * (sin_a * np.float32(row[0]) + cos_a * np.float32(row[1])) + sin_e * np.float32(row[2])
        for row in (turn[0], turn[1], -turn[2])
    )
    slope = np.reciprocal(np.maximum(down, np.float32(1e-3)))
    east *= slope
    north *= slope
    return east, north, down


def _looked_up(chart: Image, east: Singles, north: Singles, pixels: float) -> Image:
    """Reads a chart where the rays meet it."""
    middle = np.float32((chart.shape[0] - 1) / 2)
    x, y = cv2.convertMaps(east * np.float32(pixels) + middle, middle - north * np.float32(pixels), cv2.CV_16SC2)
    return np.asarray(cv2.remap(chart, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def _chart(scene: Surroundings, light: Light, metres: float) -> Image:
    """Draws the ground from above, north up, the camera in the middle."""
    style = scene.styles[scene.home]
    winter = style.snow_depth * light.snow
    lit = light.on(np.array([[0.0, 0.0, 1.0]]))[0]
    dry = 0.35 * max(0.0, np.cos(2 * np.pi * (light.year_fraction - 0.04)))
    base = np.array(style.ground_colour) * (1 - dry) + np.array([168.0, 148.0, 104.0]) * dry
    side = _side_px(metres)
    chart = np.empty((side, side, 3), dtype=np.uint8)
    cv2.rectangle(chart, (0, 0), (side, side), _tone(_snowed(base, winter), lit), -1)
    if metres == _NEAR_M_PX:
        _draw_plots(chart, scene, lit, winter, metres)
    _draw_roads(chart, scene, lit, winter, metres)
    if metres == _NEAR_M_PX:
        if light.cloud_cover < 0.75:
            _draw_shadows(chart, scene, light)
        cv2.add(chart, _grain(), dst=chart)
        cv2.subtract(chart, _grain()[::-1], dst=chart)
    return chart


@lru_cache(maxsize=1)
def _grain() -> Image:
    """Gives the roughness that is laid over the near map."""
    tile = np.tile(noise_tile(0.6), (4, 4))[:_NEAR_SIDE_PX, :_NEAR_SIDE_PX]
    return np.repeat(np.clip(tile * 7, 0, 40).astype(np.uint8)[..., None], 3, axis=2)


def _tone(colour: Floats | Colour, lit: Floats) -> list[int]:
    """Gives a lit colour as the numbers that OpenCV wants."""
    tone: list[int] = np.clip(np.asarray(colour) * lit, 0, 255).astype(np.int64).tolist()
    return tone


def _snowed(colour: Floats | Colour, winter: float) -> Floats:
    """Lays snow over a colour."""
    return np.asarray(colour) * (1 - winter) + _SNOW * winter


def _side_px(metres: float) -> int:
    """Gives the side of the chart of that scale."""
    return _NEAR_SIDE_PX if metres == _NEAR_M_PX else _FAR_SIDE_PX


def _pixels(points_m: Floats, metres: float) -> NDArray[np.int32]:
    """Turns metres around the camera into the chart's fixed-point pixels."""
    half = (_side_px(metres) - 1) / 2
    pixel = np.stack([half + points_m[..., 0] / metres, half - points_m[..., 1] / metres], axis=-1)
    return np.round(np.clip(pixel, -20_000, 20_000) * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _draw_plots(chart: Image, scene: Surroundings, lit: Floats, winter: float, metres: float) -> None:
    """Draws a plot around each house: concrete, gravel or garden."""
    houses = scene.buildings
    grown = houses.where(np.hypot(*houses.at_m.T) < 62.0)
    if len(grown) == 0:
        return
    out = grown.front * (grown.half_depth_m + grown.setback_m)[:, None]
    side = grown.along * (grown.half_width_m + 1.0)[:, None]
    back = grown.front * (grown.half_depth_m + 1.0)[:, None]
    corners = np.stack([out - side, out + side, side - back, -side - back], axis=1) + grown.at_m[:, None, :]
    kinds = np.array([[150.0, 146.0, 140.0], [164.0, 154.0, 138.0], [104.0, 124.0, 80.0]])
    colours = _snowed(kinds[grown.key % 3], winter)
    for points, colour in zip(_pixels(corners, metres), colours, strict=True):
        cv2.fillConvexPoly(chart, points, _tone(colour, lit), cv2.LINE_8, _SUBPIXEL_BITS)


def _draw_roads(chart: Image, scene: Surroundings, lit: Floats, winter: float, metres: float) -> None:
    """Draws sidewalks, carriageways and their paint.

    The middle of every carriageway is laid once more over all edge paint, so that no edge runs across a junction.
    """
    is_near = metres == _NEAR_M_PX
    reach = _side_px(metres) / 2 * metres
    pieces = scene.pieces
    low, high = np.minimum(pieces.start_m, pieces.end_m), np.maximum(pieces.start_m, pieces.end_m)
    beside = (pieces.half_m + pieces.sidewalk_m + 0.5)[:, None] + reach
    shown = ((low < beside) & (high > -beside)).all(axis=1) & (pieces.rank >= (0 if is_near else 2))
    rows = np.flatnonzero(shown)
    pieces = pieces.where(rows[np.argsort(pieces.rank[rows], kind="stable")])
    asphalts = np.array([_tone(_snowed(style.asphalt_colour, winter * 0.45), lit) for style in scene.styles])[pieces.style]
    pavings = np.array([_tone(_snowed(style.paving_colour, winter * 0.6), lit) for style in scene.styles])
    earth = _tone(_EARTH, lit)
    strips = _Strips()
    walked = pieces.where(pieces.sidewalk_m > 0)
    strips.add(walked.start_m, walked.end_m, walked.half_m + walked.sidewalk_m, pavings[walked.style])
    strips.add(pieces.start_m, pieces.end_m, pieces.half_m, np.where(pieces.rank[:, None] > 0, asphalts, earth))
    if is_near:
        paved = pieces.rank > 0
        _add_paint(strips, pieces.where(paved), scene.styles, asphalts[paved], lit, winter)
    strips.draw(chart, metres)


class _Strips:
    """Straight strips of ground, kept in the order in which they lie over each other."""

    def __init__(self) -> None:
        """Starts with bare ground."""
        self._lots: list[tuple[Floats, Floats, Floats, NDArray[np.int64]]] = []

    def add(self, start_m: Floats, end_m: Floats, half_m: Floats | float, tone: NDArray[np.int64] | list[int]) -> None:
        """Lays strips from `[n, 2]` places to others; widths and tones are one for each or one for all."""
        count = len(start_m)
        half, tones = np.broadcast_to(half_m, (count,)), np.broadcast_to(np.asarray(tone, dtype=np.int64), (count, 3))
        self._lots.append((start_m, end_m, half, tones))

    def draw(self, chart: Image, metres: float) -> None:
        """Draws all strips; wide ones get round ends, which close the gaps at bends."""
        start, end, half, tones = (np.concatenate(part) for part in zip(*self._lots, strict=True))
        reach = (chart.shape[0] / 2 + 2) * metres + half[:, None]
        shown = (np.minimum(start, end) < reach).all(axis=1) & (np.maximum(start, end) > -reach).all(axis=1)
        start, end, half, tones = start[shown], end[shown], half[shown], tones[shown]
        step = end - start
        normal = np.column_stack([-step[:, 1], step[:, 0]]) / np.maximum(np.hypot(*step.T), 1e-6)[:, None] * half[:, None]
        corners = _pixels(np.stack([start + normal, end + normal, end - normal, start - normal], axis=1), metres)
        ends = np.stack([start, end], axis=1)
        is_round = (half > 1.3) & (half / metres > 4)
        dotted = is_round[:, None] & (np.abs(ends) < reach[shown, None]).all(axis=2)
        dots, radii = _pixels(ends, metres).tolist(), (half / metres * (1 << _SUBPIXEL_BITS)).astype(np.int64).tolist()
        smooth = np.where(half / metres < 45, cv2.LINE_AA, cv2.LINE_8).tolist()
        rows = zip(corners, tones.tolist(), smooth, dots, dotted.tolist(), radii, strict=True)
        for points, tone, line, pair, has_dots, radius in rows:
            cv2.fillConvexPoly(chart, points, tone, line, _SUBPIXEL_BITS)
            for dot, has_dot in zip(pair, has_dots, strict=True):
                if has_dot:
                    cv2.circle(chart, dot, radius, tone, -1, cv2.LINE_8, _SUBPIXEL_BITS)


def _add_paint(
    strips: _Strips, pieces: Pieces, styles: tuple[Style, ...], asphalts: NDArray[np.int64], lit: Floats, winter: float
) -> None:
    """Lays edge strips and edge lines, the middles over them, then centre lines and crossings."""
    cans = [(style.lane_colour, _PAINT, style.centre_colour) for style in styles]
    paints = np.array([[_tone(_snowed(colour, winter * 0.6), lit) for colour in can] for can in cans])
    lane, white, centre = paints[pieces.style].transpose(1, 0, 2)
    across = np.column_stack([pieces.along[:, 1], -pieces.along[:, 0]])[:, None, :]
    edge = np.minimum(0.16 * pieces.half_m + 0.3, 1.3)
    inner, outer = pieces.half_m - edge - 0.15, pieces.half_m - edge / 2 - 0.05
    offset = np.stack([-outer, -inner, outer, inner], axis=1)[..., None]
    start, end = (at[:, None, :] + across * offset for at in (pieces.start_m, pieces.end_m))
    half = np.stack([edge / 2, np.full(len(edge), 0.085)] * 2, axis=1)
    tones = np.stack([lane, white, lane, white], axis=1)
    strips.add(start.reshape(-1, 2), end.reshape(-1, 2), half.reshape(-1), tones.reshape(-1, 3))
    strips.add(pieces.start_m, pieces.end_m, pieces.half_m - edge - 0.25, asphalts)
    for row in np.flatnonzero(pieces.rank >= 3).tolist():
        _add_centre_line(strips, pieces, row, centre[row])
    zebra = np.flatnonzero((pieces.rank >= 2) & (pieces.way_length_m >= 40.0))
    for chain in (np.full(len(zebra), 9.0), pieces.way_length_m[zebra] - 9.0):
        middle = pieces.start_m[zebra] + pieces.along[zebra] * (chain - pieces.chain_m[zebra, 0])[:, None]
        here = (pieces.chain_m[zebra, 0] <= chain) & (chain < pieces.chain_m[zebra, 1]) & (np.abs(middle).max(axis=1) < 45.0)
        for row, place in zip(zebra[here].tolist(), middle[here], strict=True):
            _add_crossing(strips, place, pieces.along[row], float(pieces.half_m[row]), white[row])


def _add_centre_line(strips: _Strips, pieces: Pieces, row: int, tone: NDArray[np.int64]) -> None:
    """Lays dashes, or one line where overtaking is not allowed: on the largest roads."""
    start, along, (first, last) = pieces.start_m[row], pieces.along[row], pieces.chain_m[row]
    if pieces.rank[row] >= 5:
        strips.add(start[None], pieces.end_m[row][None], 0.11, tone)
        return
    abeam = first - float(start @ along)
    dashes = np.arange(np.ceil(max(first, abeam - 45.0) / 8.0) * 8.0, min(last, abeam + 45.0) - 1.0, 8.0)[:, None]
    strips.add(start + along * (dashes - first), start + along * (np.minimum(dashes + 4.0, last) - first), 0.11, tone)


def _add_crossing(strips: _Strips, middle: Floats, along: Floats, half_m: float, white: NDArray[np.int64]) -> None:
    """Lays zebra stripes over a carriageway, 9 m inside an end of its way."""
    stripes = middle + np.array([along[1], -along[0]]) * np.arange(-half_m + 0.5, half_m - 0.3, 0.9)[:, None]
    strips.add(stripes - along * 1.5, stripes + along * 1.5, 0.22, white)


def _draw_shadows(chart: Image, scene: Surroundings, light: Light) -> None:
    """Darkens what houses and trees keep the sun from, on the near chart."""
    houses = scene.buildings
    mask = np.zeros(chart.shape[:2], dtype=np.uint8)
    level = max(float(np.hypot(light.sun[0], light.sun[1])), 1e-6)
    away = -light.sun[:2] / level
    reach = np.minimum((houses.floors * 2.9 + 0.5) * level / max(float(light.sun[2]), 0.05), 45.0)
    base = houses.corners_m()
    both = np.concatenate([base, base + away * reach[:, None, None]], axis=1)
    for points in _pixels(both[np.hypot(*houses.at_m.T) < 40.0 + reach + 10.0], _NEAR_M_PX):
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 255, cv2.LINE_8, _SUBPIXEL_BITS)
    spots = _pixels(scene.trees.at_m + away * 2.0, _NEAR_M_PX)
    for spot in spots.tolist():
        cv2.circle(mask, spot, int(1.7 / _NEAR_M_PX * (1 << _SUBPIXEL_BITS)), 255, -1, cv2.LINE_8, _SUBPIXEL_BITS)
    deep = 0.52 + 0.48 * light.cloud_cover / 0.75
    left, top, wide, high = cv2.boundingRect(mask)
    shaded = (slice(top, top + high), slice(left, left + wide))
    if wide:
        cv2.copyTo(cv2.convertScaleAbs(chart[shaded], alpha=deep), mask[shaded], chart[shaded])


def _draw_car_roof(chart: Image, car: Floats, eye_m: float) -> None:
    """Draws the roof below the lens: at 1.5 m height it hides more ground than it is large."""
    grow = min(eye_m / max(eye_m - 1.5, 0.4), 1.9)
    along, across = car[:2], np.array([car[1], -car[0]])
    for half_long, half_wide, shade in ((1.25, 0.66, 1.0), (1.08, 0.54, 0.88)):
        corners = [along * a * half_long + across * b * half_wide for a, b in ((1, -1), (1, 1), (-1, 1), (-1, -1))]
        points = _pixels(np.stack(corners) * grow, _NEAR_M_PX)
        cv2.fillConvexPoly(chart, points, (car[2:5] * shade).tolist(), cv2.LINE_AA, _SUBPIXEL_BITS)
