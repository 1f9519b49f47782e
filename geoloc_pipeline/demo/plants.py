"""Trees as polygons: broadleaf crowns with their seasons, conifers, and palms.

Belongs here: anything that grows.
Does not belong here: where it grows (`scenery.py`, `lots.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.demo.chance import uniform
from geoloc_pipeline.demo.shapes import cards, discs, facing

if TYPE_CHECKING:
    from geoloc_pipeline.demo.light import Light
    from geoloc_pipeline.demo.shapes import Shapes
    from geoloc_pipeline.demo.style import Style
    from geoloc_pipeline.demo.surroundings import Floats, Posts

_TRUNK = np.array([96.0, 78.0, 62.0])
_SNOW = np.array([236.0, 240.0, 246.0])
# places of a crown's clumps: aside, up (in crown radii), size, brightness
_CLUMPS = (
    (0.0, -0.15, 0.95, 0.72), (-0.5, 0.0, 0.62, 0.84), (0.52, 0.05, 0.6, 0.78), (-0.2, 0.45, 0.6, 1.05), (0.28, 0.5, 0.5, 1.0),
)  # fmt: skip
_LAST_CLUMPS_M = 60.0  # the upper clumps are drawn up to here
_FRONDS = np.radians([-20.0, 18.0, 62.0, 118.0, 162.0, 200.0, 90.0])


def add_trees(shapes: Shapes, trees: Posts, styles: tuple[Style, ...], light: Light, seed: int) -> None:
    """Adds all trees, each of the kind that grows in its town.

    Args:
        shapes: Takes the polygons.
        trees: Where they stand.
        styles: Looks.
        light: Sun and season.
        seed: The land's chance.
    """
    if len(trees) == 0:
        return
    dice = uniform(seed, 91, trees.key)
    palm_share, conifer_share, snow = (
        np.array([getattr(style, name) for style in styles])[trees.style]
        for name in ("palm_share", "conifer_share", "snow_depth")
    )
    palm = dice < palm_share
    conifer = ~palm & (dice < palm_share + conifer_share)
    size = 0.75 + 0.6 * uniform(seed, 92, trees.key)
    lit = light.on(np.column_stack([-trees.at_m / np.hypot(*trees.at_m.T)[:, None], np.full(len(trees), 0.4)]))
    white = snow * light.snow
    _add_palms(shapes, trees.at_m[palm], size[palm], lit[palm])
    _add_conifers(shapes, trees.at_m[conifer], size[conifer], lit[conifer], white[conifer])
    broad = ~palm & ~conifer
    leaf = _leaf(uniform(seed, 93, trees.key)[broad], light.year_fraction, snow[broad], palm_share[broad])
    _add_broadleaves(shapes, trees.at_m[broad], size[broad], leaf * (1 - white[broad, None]), white[broad], lit[broad])


def _leaf(dice: Floats, year: float, cold: Floats, warm: Floats) -> Floats:
    """Gives the crowns' colours by season: cherry pink in spring, green, yellow and red in autumn, bare grey in winter."""
    green = np.array([76.0, 118.0, 52.0]) + np.outer(dice - 0.5, [40.0, 40.0, 10.0])
    shift = 0.035 * cold  # spring comes later and autumn earlier in the north
    spring = np.exp(-(((year - 0.265 - shift) / 0.025) ** 2)) * (dice < 0.35) * (warm < 0.5)
    autumn = np.exp(-(((year - 0.86 + shift) / 0.05) ** 2)) * (dice > 0.3) * (warm < 0.5)
    winter = np.exp(-((((year - 0.04 + 0.5) % 1.0 - 0.5) / 0.11) ** 2)) * (dice > 0.4) * (warm < 0.5)
    turned = np.where((dice > 0.65)[:, None], [206.0, 164.0, 40.0], [176.0, 66.0, 36.0])
    mixed: Floats = green
    for share, colour in (
        (spring, np.array([242.0, 196.0, 210.0])),
        (autumn, turned),
        (winter, np.array([120.0, 108.0, 96.0])),
    ):
        mixed = mixed * (1 - share[:, None]) + colour * share[:, None]
    return mixed


def _add_broadleaves(shapes: Shapes, at: Floats, size: Floats, leaf: Floats, white: Floats, lit: Floats) -> None:
    """Adds round crowns of five clumps, lighter on top."""
    right, radius = facing(at), 2.1 * size
    middle = 2.2 * size + radius
    shapes.add(cards(at, 0.14 * size, 0.0, middle), _TRUNK * lit)
    far = np.hypot(*at.T)
    for index, (aside, up, share, bright) in enumerate(_CLUMPS):
        tone = np.clip((leaf * bright + _SNOW * (white * (0.5 + 0.4 * bright))[:, None]) * lit, 0, 255)
        ring = discs(at + right * (radius * aside)[:, None], right, radius * share, middle + radius * up, radius * share * 0.9)
        some = np.flatnonzero(far < (_LAST_CLUMPS_M if index >= 3 else np.inf))
        shapes.add(ring[some], tone[some], nearer_m=0.05 * (index + 1), far_m=far[some])


def _add_conifers(shapes: Shapes, at: Floats, size: Floats, lit: Floats, white: Floats) -> None:
    """Adds three skirts, one over the other."""
    shapes.add(cards(at, 0.16 * size, 0.0, 2.0), _TRUNK * lit)
    for index, (low, high, half) in enumerate(((1.2, 5.0, 2.0), (3.2, 7.0, 1.5), (5.2, 9.0, 1.0))):
        card = cards(at, half * size, low * size, high * size)
        skirt = np.stack([card[:, 0], card[:, 1], (card[:, 2] + card[:, 3]) / 2], axis=1)
        green = np.array([44.0, 84.0, 56.0]) * (0.85 + 0.12 * index)
        tone = (green * (1 - 0.6 * white[:, None]) + _SNOW * 0.6 * white[:, None]) * lit
        shapes.add(skirt, tone, nearer_m=0.05 * (index + 1), far_m=np.hypot(*at.T))


def _add_palms(shapes: Shapes, at: Floats, size: Floats, lit: Floats) -> None:
    """Adds tall bare trunks with a crown of drooping fronds."""
    right, height, far = facing(at), 6.6 * size, np.hypot(*at.T)
    shapes.add(cards(at, 0.19 * size, 0.0, height), np.array([150.0, 132.0, 108.0]) * lit)
    for index, turn in enumerate(_FRONDS.tolist()):
        reach = 2.7 * size
        corners = np.empty((len(at), 4, 3))
        for corner, (out, lift) in enumerate(((0.0, -0.12), (0.55, 0.16), (1.0, -0.36), (0.5, -0.16))):
            aside, up = np.cos(turn) * out, np.sin(turn) * out * 0.75 + lift + 0.1
            corners[:, corner, :2] = at + right * (reach * aside)[:, None]
            corners[:, corner, 2] = height + reach * up
        shapes.add(corners, np.array([72.0, 128.0, 52.0]) * (0.8 + 0.06 * index) * lit, nearer_m=0.1, far_m=far)
