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
    from geoloc_pipeline.demo.style import Colour
    from geoloc_pipeline.demo.surroundings import Floats, Surroundings

    Singles = NDArray[np.float32]
    Image = NDArray[np.uint8]

_NEAR_M_PX, _NEAR_SIDE_PX = 0.1, 800  # the near map reaches 40 m
_FAR_M_PX, _FAR_SIDE_PX = 1.25, 480  # the far map reaches 300 m
_SIDEWALK = np.array([166.0, 162.0, 156.0])
_SNOW = np.array([236.0, 240.0, 246.0])
_EARTH = np.array([152.0, 138.0, 112.0])
_PAINT = np.array([232.0, 232.0, 226.0])
_SUBPIXEL_BITS = 3


def paint_ground(image: Image, scene: Surroundings, light: Light, eye_m: float, turn: Floats, car: Floats | None) -> None:
    """Paints everything below the horizon.

    Args:
        image: `[w / 2, w, 3]` panorama; changed in place.
        scene: Roads, houses and their plots.
        light: Sun and season.
        eye_m: Height of the lens above the ground.
        turn: `[3, 3]` from directions of the camera to directions of the world.
        car: `[5]` direction (x, y) and colour of the roof of the car below the lens, or None.
    """
    height, width = image.shape[:2]
    tilt_deg = np.degrees(np.arccos(np.clip(turn[2, 2], -1.0, 1.0)))
    steep_deg = np.degrees(np.arctan(eye_m / (_NEAR_SIDE_PX / 2 * _NEAR_M_PX * 0.97)))
    horizon = int(np.floor((0.5 - tilt_deg / 180.0) * height))
    steep = int(np.ceil((0.5 + (tilt_deg + steep_deg) / 180.0) * height))
    first, last = max(horizon - 1, 0), min(steep + 1, height)
    east, north, down = _ground_hits(width, first, turn)
    band = last - first
    chart = _chart(scene, light, _NEAR_M_PX)
    if car is not None:
        _draw_car_roof(chart, car, eye_m)
    near = _looked_up(chart, east, north, eye_m / _NEAR_M_PX)
    far = _looked_up(_chart(scene, light, _FAR_M_PX), east[:band], north[:band], eye_m / _FAR_M_PX)
    reach = eye_m * np.hypot(east[:band], north[:band])
    far = np.where((reach < _NEAR_SIDE_PX / 2 * _NEAR_M_PX * 0.97)[..., None], near[:band], far)
    fade = np.exp(-reach / np.float32(light.haze_m))[..., None]
    hazed = far * fade + (light.horizon * 0.94).astype(np.float32) * (1 - fade)
    np.copyto(image[first:last], hazed.astype(np.uint8), where=(down[:band] > 0)[..., None])
    image[last:] = near[band:]


@lru_cache(maxsize=8)
def _rays(width: int) -> tuple[Singles, Singles, Singles, Singles]:
    """Gives sine and cosine of each column's azimuth, and of each row's elevation."""
    azimuth = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    elevation = (0.5 - (np.arange(width // 2) + 0.5) / (width // 2)) * np.pi
    sin_a, cos_a, sin_e, cos_e = (f(angle).astype(np.float32) for angle in (azimuth, elevation) for f in (np.sin, np.cos))
    return sin_a, cos_a, sin_e, cos_e


def _ground_hits(width: int, first: int, turn: Floats) -> tuple[Singles, Singles, Singles]:
    """Gives where the pixels from a row on meet the ground.

    Returns:
        `[rows, width]` metres east and north per metre of eye height, and how steeply downwards (not above 0: never).
    """
    sin_a, cos_a, sin_e, cos_e = _rays(width)
    sin_e, cos_e = sin_e[first:, None], cos_e[first:, None]
    east, north, up = (
        cos_e * (sin_a * np.float32(row[0]) + cos_a * np.float32(row[1])) + sin_e * np.float32(row[2]) for row in turn
    )
    down = -up
    slope = np.reciprocal(np.maximum(down, np.float32(1e-3)))
    east *= slope
    north *= slope
    return east, north, down


def _looked_up(chart: Image, east: Singles, north: Singles, pixels: float) -> Image:
    """Reads a chart where the rays meet it."""
    middle = np.float32((chart.shape[0] - 1) / 2)
    x, y = east * np.float32(pixels) + middle, middle - north * np.float32(pixels)
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
    pieces = scene.pieces
    is_near = metres == _NEAR_M_PX
    reach = _side_px(metres) / 2 * metres * 1.45
    foot = np.clip(-(pieces.start_m * pieces.along).sum(axis=1), 0.0, np.hypot(*(pieces.end_m - pieces.start_m).T))
    shown = np.hypot(*(pieces.start_m + pieces.along * foot[:, None]).T) < reach + pieces.half_m
    rows = np.flatnonzero(shown & (pieces.rank >= (0 if is_near else 2)))
    rows = rows[np.argsort(pieces.rank[rows], kind="stable")]
    asphalts = [_tone(_snowed(style.asphalt_colour, winter * 0.45), lit) for style in scene.styles]
    sidewalk, earth = _tone(_snowed(_SIDEWALK, winter), lit), _tone(_EARTH, lit)
    strips = _Strips()
    for row in rows[pieces.sidewalk_m[rows] > 0].tolist():
        strips.add(pieces.start_m[row], pieces.end_m[row], float(pieces.half_m[row] + pieces.sidewalk_m[row]), sidewalk)
    for row in rows.tolist():
        tone = asphalts[pieces.style[row]] if pieces.rank[row] else earth
        strips.add(pieces.start_m[row], pieces.end_m[row], float(pieces.half_m[row]), tone)
    if is_near:
        _add_paint(strips, scene, rows[pieces.rank[rows] > 0].tolist(), asphalts, lit, winter)
    strips.draw(chart, metres)


class _Strips:
    """Straight strips of ground, kept in the order in which they lie over each other."""

    def __init__(self) -> None:
        """Starts with bare ground."""
        self._ends: list[tuple[Floats, Floats]] = []
        self._half_m: list[float] = []
        self._tones: list[list[int]] = []

    def add(self, start_m: Floats, end_m: Floats, half_m: float, tone: list[int]) -> None:
        """Lays a strip from one `[2]` place to another."""
        self._ends.append((start_m, end_m))
        self._half_m.append(half_m)
        self._tones.append(tone)

    def draw(self, chart: Image, metres: float) -> None:
        """Draws all strips; wide ones get round ends, which close the gaps at bends."""
        if not self._ends:
            return
        ends, half = np.array(self._ends), np.array(self._half_m)[:, None]
        step = ends[:, 1] - ends[:, 0]
        normal = np.column_stack([-step[:, 1], step[:, 0]]) / np.maximum(np.hypot(*step.T), 1e-6)[:, None] * half
        corners = np.stack([ends[:, 0] + normal, ends[:, 1] + normal, ends[:, 1] - normal, ends[:, 0] - normal], axis=1)
        dots = _pixels(ends, metres)
        limit = int(1.5 * chart.shape[0]) << _SUBPIXEL_BITS
        inside = (np.abs(dots - limit // 3).max(axis=2) < limit).tolist()
        rows = zip(_pixels(corners, metres), dots.tolist(), inside, self._half_m, self._tones, strict=True)
        for points, pair, is_inside, wide, tone in rows:
            smooth = cv2.LINE_AA if wide / metres < 45 else cv2.LINE_8
            cv2.fillConvexPoly(chart, points, tone, smooth, _SUBPIXEL_BITS)
            if wide > 1.3 and wide / metres > 4:
                for dot, has_dot in zip(pair, is_inside, strict=True):
                    if has_dot:
                        radius = int(wide / metres * (1 << _SUBPIXEL_BITS))
                        cv2.circle(chart, dot, radius, tone, -1, cv2.LINE_8, _SUBPIXEL_BITS)


def _add_paint(
    strips: _Strips, scene: Surroundings, rows: list[int], asphalts: list[list[int]], lit: Floats, winter: float
) -> None:
    """Lays edge strips and edge lines, the middles over them, then centre lines and crossings."""
    pieces = scene.pieces
    paints = [[_tone(_snowed(c, winter * 0.6), lit) for c in (s.lane_colour, _PAINT, s.centre_colour)] for s in scene.styles]
    across = np.column_stack([pieces.along[:, 1], -pieces.along[:, 0]])
    wide = np.minimum(0.16 * pieces.half_m + 0.3, 1.3)
    for row in rows:
        lane, white, _ = paints[pieces.style[row]]
        half, edge = float(pieces.half_m[row]), float(wide[row])
        for side in (-1.0, 1.0):
            for offset, width, tone in ((half - edge / 2 - 0.05, edge, lane), (half - edge - 0.15, 0.17, white)):
                shift = across[row] * (offset * side)
                strips.add(pieces.start_m[row] + shift, pieces.end_m[row] + shift, width / 2, tone)
    for row in rows:
        middle = float(pieces.half_m[row] - wide[row] - 0.25)
        strips.add(pieces.start_m[row], pieces.end_m[row], middle, asphalts[pieces.style[row]])
    for row in rows:
        _, white, centre = paints[pieces.style[row]]
        if pieces.rank[row] >= 3:
            _add_centre_line(strips, scene, row, centre)
        if pieces.rank[row] >= 2:
            _add_crossings(strips, scene, row, white)


def _add_centre_line(strips: _Strips, scene: Surroundings, row: int, tone: list[int]) -> None:
    """Lays dashes, or one line where overtaking is not allowed: on the largest roads."""
    pieces = scene.pieces
    start, along, (first, last) = pieces.start_m[row], pieces.along[row], pieces.chain_m[row]
    if pieces.rank[row] >= 5:
        strips.add(start, pieces.end_m[row], 0.11, tone)
        return
    abeam = first - float(start @ along)
    for dash in np.arange(np.ceil(max(first, abeam - 45.0) / 8.0) * 8.0, min(last, abeam + 45.0) - 1.0, 8.0).tolist():
        begin = start + along * (dash - first)
        strips.add(begin, begin + along * min(4.0, last - dash), 0.11, tone)


def _add_crossings(strips: _Strips, scene: Surroundings, row: int, white: list[int]) -> None:
    """Lays zebra stripes 9 m inside each end of a way."""
    pieces = scene.pieces
    start, along, half = pieces.start_m[row], pieces.along[row], float(pieces.half_m[row])
    across = np.array([along[1], -along[0]])
    first, last = pieces.chain_m[row]
    for chain in (9.0, float(pieces.way_length_m[row]) - 9.0):
        middle = start + along * (chain - first)
        if not first <= chain < last or pieces.way_length_m[row] < 40.0 or np.abs(middle).max() > 45.0:
            continue
        for offset in np.arange(-half + 0.5, half - 0.3, 0.9).tolist():
            strips.add(middle - along * 1.5 + across * offset, middle + along * 1.5 + across * offset, 0.22, white)


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
    cv2.copyTo(cv2.convertScaleAbs(chart, alpha=deep), mask, chart)


def _draw_car_roof(chart: Image, car: Floats, eye_m: float) -> None:
    """Draws the roof below the lens: at 1.5 m height it hides more ground than it is large."""
    grow = min(eye_m / max(eye_m - 1.5, 0.4), 1.9)
    along, across = car[:2], np.array([car[1], -car[0]])
    for half_long, half_wide, shade in ((1.25, 0.66, 1.0), (1.08, 0.54, 0.88)):
        corners = [along * a * half_long + across * b * half_wide for a, b in ((1, -1), (1, 1), (-1, 1), (-1, -1))]
        points = _pixels(np.stack(corners) * grow, _NEAR_M_PX)
        cv2.fillConvexPoly(chart, points, (car[2:5] * shade).tolist(), cv2.LINE_AA, _SUBPIXEL_BITS)
