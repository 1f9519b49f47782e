"""Street furniture as polygons: kerbs, guardrails, poles with wires and banners, signs, arrow poles.

Belongs here: what the road's keeper and the power company put up.
Does not belong here: where it stands (`lots.py`), plants, houses, vehicles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.demo.chance import uniform
from geoloc_pipeline.demo.lots import KERB_M, RAIL_M
from geoloc_pipeline.demo.shapes import cards, discs, facing, uprights

if TYPE_CHECKING:
    from geoloc_pipeline.demo.light import Light
    from geoloc_pipeline.demo.shapes import Shapes
    from geoloc_pipeline.demo.style import Style
    from geoloc_pipeline.demo.surroundings import Floats, Ints, Posts, Surroundings

_RED = np.array([206.0, 40.0, 36.0])
_WHITE = np.array([240.0, 240.0, 236.0])
_BLUE = np.array([28.0, 80.0, 170.0])
_STEEL = np.array([176.0, 180.0, 184.0])
_KERB_TOP_M, _RAIL_FOLDS_M = 20.0, 28.0  # farther, the tops of kerbs and the folds of rails are less than a pixel


def add_furniture(shapes: Shapes, scene: Surroundings, light: Light, seed: int) -> None:
    """Adds everything that stands between houses and carriageway.

    Args:
        shapes: Takes the polygons.
        scene: Where things stand.
        light: Sun and season.
        seed: The land's chance.
    """
    _add_kerbs(shapes, scene.kerbs, scene.styles, light)
    _add_rails(shapes, scene.rails, scene.styles, light)
    _add_poles(shapes, scene.poles, scene.styles, light, seed)
    _add_wires(shapes, scene.poles, scene.styles)
    _add_signs(shapes, scene.signs, scene.styles, light, seed)
    _add_arrows(shapes, scene.arrows, light)


def _coloured(posts: Posts, styles: tuple[Style, ...], name: str) -> Floats:
    """Reads a colour of each thing's town."""
    return np.array([getattr(style, name) for style in styles], dtype=np.float64)[posts.style]


def _lit(light: Light, direction: Floats, at_m: Floats) -> Floats:
    """Gives the light on upright planes, on the side that the camera sees."""
    side = np.where((direction * at_m).sum(axis=1) > 0, -1.0, 1.0)[:, None]
    return light.on(np.column_stack([direction * side, np.zeros(len(at_m))]))


def _add_kerbs(shapes: Shapes, kerbs: Posts, styles: tuple[Style, ...], light: Light) -> None:
    """Adds kerb stones in the municipality's two colours, in turns."""
    pairs = np.array([style.kerb_colours for style in styles], dtype=np.float64)
    colour = pairs[kerbs.style, kerbs.slot % 2]
    light_in, up = _lit(light, kerbs.inward, kerbs.at_m), light.on(np.array([[0.0, 0.0, 1.0]]))
    rows, begin, end = _fields(kerbs, KERB_M)
    inward = kerbs.inward[rows]
    side = uprights(begin + inward * 0.12, end + inward * 0.12, 0.0, 0.2)
    shapes.add(side, (colour * 0.86 * light_in)[rows])
    near = np.flatnonzero(np.hypot(*kerbs.at_m[rows].T) < _KERB_TOP_M)
    rows, side, begin, end, inward = rows[near], side[near], begin[near], end[near], inward[near]
    tops = np.concatenate([side[:, 3:1:-1], uprights(end - inward * 0.16, begin - inward * 0.16, 0.2, 0.2)[:, :2]], axis=1)
    shapes.add(tops, np.clip(colour * up, 0, 255)[rows], nearer_m=0.01)


def _fields(posts: Posts, length_m: float) -> tuple[Ints, Floats, Floats]:
    """Cuts fields of kerb or rail into parts short enough to be drawn straight: a panorama bends what is near.

    Returns:
        Rows of `posts`, and `[n, 2]` both ends.
    """
    far = np.maximum(np.hypot(*posts.at_m.T), 0.5)
    count = np.clip(np.ceil(length_m / (0.22 * far)), 1, 6).astype(np.int64)
    rows = np.repeat(np.arange(len(posts)), count)
    step = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    begin = posts.at_m[rows] + posts.along[rows] * (length_m * (step / count[rows] - 0.5))[:, None]
    return rows, begin, begin + posts.along[rows] * (length_m / count[rows])[:, None]


def _add_rails(shapes: Shapes, rails: Posts, styles: tuple[Style, ...], light: Light) -> None:
    """Adds guardrails: posts, and a beam in three shades that read as its folds."""
    colour = _coloured(rails, styles, "rail_colour")
    height = np.array([style.rail_height_m for style in styles])[rails.style]
    lit = _lit(light, rails.inward, rails.at_m)
    shapes.add(cards(rails.at_m, 0.07, 0.0, height - 0.1), colour * 0.6 * lit, nearer_m=-0.1)
    rows, begin, end = _fields(rails, RAIL_M)
    is_far = np.hypot(*rails.at_m[rows].T) > _RAIL_FOLDS_M
    folds = ((0.52, 0.36, 0.84, ~is_far), (0.36, 0.16, 1.06, ~is_far), (0.16, 0.0, 0.95, ~is_far), (0.52, 0.0, 0.96, is_far))
    for low, high, shade, which in folds:
        some = rows[which]
        quads = uprights(begin[which], end[which], (height - low)[some], (height - high)[some])
        shapes.add(quads, np.clip(colour * shade * lit, 0, 255)[some])


def _add_poles(shapes: Shapes, poles: Posts, styles: tuple[Style, ...], light: Light, seed: int) -> None:
    """Adds concrete poles with cross-arms, transformers, a plate at eye height and the municipality's banner."""
    if len(poles) == 0:
        return
    colour = _coloured(poles, styles, "pole_colour")
    first, second = (_coloured(poles, styles, name) for name in ("first_colour", "second_colour"))
    right = facing(poles.at_m)
    lit = light.on(np.column_stack([-poles.at_m / np.hypot(*poles.at_m.T)[:, None], np.zeros(len(poles))]))
    shapes.add(cards(poles.at_m, 0.17, 0.0, 10.5), colour * lit)
    shapes.add(uprights(poles.at_m + right * 0.04, poles.at_m + right * 0.17, 0.0, 10.5), colour * lit * 0.72, nearer_m=0.01)
    for low, tone in ((0.9, second), (1.5, first), (2.1, second)):
        shapes.add(cards(poles.at_m, 0.21, low, low + 0.6), tone * lit, nearer_m=0.02)
    arm = poles.inward * 1.1
    for height in (8.8, 9.7):
        shapes.add(uprights(poles.at_m - arm, poles.at_m + arm, height, height + 0.14), np.array([96.0, 92.0, 86.0]))
    carrier = poles.where(uniform(seed, 81, poles.key) < 0.3)
    shapes.add(cards(carrier.at_m, 0.45, 7.2, 8.3), np.array([142.0, 146.0, 148.0]), nearer_m=0.3)
    _add_banners(shapes, poles, styles, light, first, second)


def _add_banners(shapes: Shapes, poles: Posts, styles: tuple[Style, ...], light: Light, first: Floats, second: Floats) -> None:
    """Hangs a banner in the municipality's colours and pattern from each pole, read along the road."""
    root, tip = poles.at_m + poles.inward * 0.2, poles.at_m + poles.inward * 1.2
    step = tip - root
    lit = 0.25 + 0.75 * _lit(light, poles.along, poles.at_m)
    shapes.add(uprights(root, tip, 3.1, 5.5), first * lit, nearer_m=0.05)
    pattern = np.array([style.banner_pattern for style in styles])[poles.style]
    halves, stripes, disc, corner = (np.flatnonzero(pattern == k) for k in range(4))
    shapes.add(uprights(root, tip, 3.1, 4.3)[halves], (second * lit)[halves], nearer_m=0.06)
    for low in (3.5, 4.3, 5.1):
        shapes.add(uprights(root, tip, low, low + 0.32)[stripes], (second * lit)[stripes], nearer_m=0.06)
    across = step / np.hypot(*step.T)[:, None]
    shapes.add(discs((root + tip) / 2, across, 0.42, 4.4, 0.62)[disc], (second * lit)[disc], nearer_m=0.06)
    triangle = uprights(root, tip, 3.1, 5.5)[:, :3]
    shapes.add(triangle[corner], (second * lit)[corner], nearer_m=0.06)


def _add_wires(shapes: Shapes, poles: Posts, styles: tuple[Style, ...]) -> None:
    """Hangs wires between neighbouring poles of a row."""
    if len(poles) < 2:
        return
    order = np.lexsort((poles.slot, poles.line))
    row = poles.where(order)
    joined = np.flatnonzero((row.line[1:] == row.line[:-1]) & (row.slot[1:] == row.slot[:-1] + 1))
    a, b, inward, style = row.at_m[joined], row.at_m[joined + 1], row.inward[joined], row.style[joined]
    wires = np.array([s.wires for s in styles])[style]
    share = np.linspace(0.0, 1.0, 17)
    for wire in range(int(wires.max(initial=0))):
        has = wires > wire
        aside = inward[has] * (-1.0 + 0.62 * (wire % 4))
        height = 9.8 - 0.9 * (wire // 4) - 0.05 * (wire % 3)
        sag = (0.5 + 0.18 * (wire % 3)) * 4 * share * (1 - share)
        line = np.empty((int(has.sum()), len(share), 3))
        line[..., :2] = (a[has] + aside)[:, None, :] + (b - a)[has][:, None, :] * share[None, :, None]
        line[..., 2] = height - sag
        parts = np.stack([line[:, k : k + 5] for k in (0, 4, 8, 12)], axis=1).reshape(-1, 5, 3)  # each hides what is behind it
        shapes.add_lines(parts, np.array([52.0, 52.0, 56.0]))


def _add_signs(shapes: Shapes, signs: Posts, styles: tuple[Style, ...], light: Light, seed: int) -> None:
    """Adds traffic signs, and plates in the municipality's colours with stripes for lettering."""
    if len(signs) == 0:
        return
    dice = uniform(seed, 82, signs.key)
    first, second = (_coloured(signs, styles, name) for name in ("first_colour", "second_colour"))
    lit = 0.3 + 0.7 * _lit(light, signs.along, signs.at_m)
    shapes.add(cards(signs.at_m, 0.05, 0.0, 3.3), _STEEL * 0.8)
    plate = dice < 0.6
    a, b = signs.at_m - signs.inward * 0.85, signs.at_m + signs.inward * 0.85
    shapes.add(uprights(a, b, 2.2, 3.5)[plate], (first * lit)[plate], nearer_m=0.03)
    letters = np.where((np.abs(first - second).sum(axis=1) < 60)[:, None], _WHITE, second)
    step = b - a
    for low, left, right in ((3.05, 0.1, 0.9), (2.65, 0.1, 0.7), (2.35, 0.1, 0.55)):
        quads = uprights(a + step * left, a + step * right, low, low + 0.22)
        shapes.add(quads[plate], (letters * lit)[plate], nearer_m=0.04)
    round_sign = (dice >= 0.6) & (dice < 0.84)
    rim = np.where((dice < 0.74)[:, None], _RED, _BLUE)
    face = np.where((dice < 0.74)[:, None], _WHITE, _BLUE * 1.1)
    for radius, tone, nearer in ((0.5, rim, 0.03), (0.36, face, 0.04), (0.14, _BLUE * 0.4 + rim * 0.6, 0.05)):
        ring = discs(signs.at_m, signs.inward, radius, 3.0, radius)
        shapes.add(ring[round_sign], (tone * lit)[round_sign], nearer_m=nearer)
    stop = dice >= 0.84
    triangle = uprights(signs.at_m - signs.inward * 0.6, signs.at_m + signs.inward * 0.6, 2.4, 3.4)[:, 1:].copy()
    triangle[:, 0, :2] = signs.at_m
    shapes.add(triangle[stop], (_RED * lit)[stop], nearer_m=0.03)
    _add_guides(shapes, signs.where((signs.rank >= 4) & (signs.slot % 2 == 0)), light)


def _add_guides(shapes: Shapes, signs: Posts, light: Light) -> None:
    """Hangs the big blue boards over main roads."""
    a, b = signs.at_m + signs.inward * 1.0, signs.at_m + signs.inward * 4.6
    lit = 0.3 + 0.7 * _lit(light, signs.along, signs.at_m) if len(signs) else np.zeros((0, 3))
    shapes.add(cards(signs.at_m, 0.13, 0.0, 6.9), _STEEL)
    shapes.add(uprights(signs.at_m, b, 6.6, 6.8), _STEEL)
    shapes.add(uprights(a, b, 5.2, 7.3), _BLUE * lit, nearer_m=0.03)
    step = b - a
    for low, left, right in ((6.6, 0.15, 0.6), (5.9, 0.4, 0.85), (5.5, 0.15, 0.5)):
        shapes.add(uprights(a + step * left, a + step * right, low, low + 0.3), _WHITE * lit, nearer_m=0.04)


def _add_arrows(shapes: Shapes, arrows: Posts, light: Light) -> None:
    """Adds the poles that show the road's edge under snow: red and white, with an arrow pointing down at the edge."""
    if len(arrows) == 0:
        return
    lit = 0.3 + 0.7 * _lit(light, arrows.along, arrows.at_m)
    for band in range(6):
        tone = (_RED if band % 2 else _WHITE) * lit
        shapes.add(cards(arrows.at_m, 0.12, band * 0.9, band * 0.9 + 0.9), tone)
    tip = arrows.at_m + arrows.inward * 1.5
    shapes.add(uprights(arrows.at_m, tip, 5.2, 5.4), _WHITE * lit)
    left, right = tip - arrows.inward * 0.32, tip + arrows.inward * 0.32
    for low, high, tone in ((4.5, 5.3, _WHITE), (3.7, 4.5, _RED)):
        shapes.add(uprights(left, right, low, high), tone * lit, nearer_m=0.02)
    head = uprights(tip - arrows.inward * 0.75, tip + arrows.inward * 0.75, 2.8, 3.75)[:, 1:].copy()
    head[:, 0, :2] = tip
    shapes.add(head, _RED * lit, nearer_m=0.02)
