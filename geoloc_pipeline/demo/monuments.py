"""Landmarks as polygons: towers, shrine gates, stations, castles, halls, groves and shop boards.

Belongs here: what people would name when they say where they are.
Does not belong here: what a landmark is drawn as (`scenery.py` reads the tags).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.demo.chance import uniform
from geoloc_pipeline.demo.shapes import cards, discs, facing, uprights

if TYPE_CHECKING:
    from geoloc_pipeline.demo.light import Light
    from geoloc_pipeline.demo.shapes import Shapes
    from geoloc_pipeline.demo.style import Style
    from geoloc_pipeline.demo.surroundings import Floats, Monument, Surroundings

_VERMILION = np.array([214.0, 58.0, 36.0])
_WHITE = np.array([240.0, 240.0, 236.0])
_TILE = np.array([66.0, 70.0, 78.0])
_GLASS = np.array([60.0, 74.0, 90.0])


def add_monuments(shapes: Shapes, scene: Surroundings, light: Light) -> None:
    """Adds all landmarks in sight.

    Args:
        shapes: Takes the polygons.
        scene: Which landmarks stand where.
        light: Sun.
    """
    for mark in scene.monuments:
        at = np.array([mark.at_m])
        lit = light.on(np.column_stack([-at / max(float(np.hypot(*at[0])), 1e-6), [[0.2]]]))[0]
        _DRAWN[mark.shape](shapes, mark, at, lit, scene.styles[mark.style])


def _add_tower(shapes: Shapes, mark: Monument, at: Floats, lit: Floats, style: Style) -> None:
    """Adds a tapering tower in red and white bands with a deck."""
    high = 34.0 + 26.0 * float(uniform(mark.key, 1)[0])
    right = facing(at)
    levels = 8
    for level in range(levels):
        low, top = high * level / levels, high * (level + 1) / levels
        wide, narrow = 4.2 * (1 - level / levels) ** 1.4 + 0.35, 4.2 * (1 - (level + 1) / levels) ** 1.4 + 0.35
        quad = uprights(at - right * wide, at + right * wide, low, top)
        quad[:, 2, :2], quad[:, 3, :2] = at + right * narrow, at - right * narrow
        shapes.add(quad, (_WHITE if level % 2 else _VERMILION) * lit)
    shapes.add(cards(at, 3.4, high * 0.58, high * 0.58 + 3.0), np.array(style.first_colour) * lit, nearer_m=0.1)
    shapes.add(cards(at, 3.1, high * 0.58 + 1.0, high * 0.58 + 2.2), _GLASS * lit, nearer_m=0.2)


def _add_torii(shapes: Shapes, mark: Monument, at: Floats, lit: Floats, style: Style) -> None:
    """Adds a shrine gate with trees behind."""
    grand = 1.0 + 0.8 * float(uniform(mark.key, 2)[0])
    right, wide, high = facing(at), 2.6 * grand, 5.6 * grand
    _add_grove(shapes, mark, at * (1 + 5.0 / max(float(np.hypot(*at[0])), 5.0)), lit, style)
    for side in (-1.0, 1.0):
        shapes.add(cards(at + right * (wide * side), 0.28 * grand, 0.0, high), _VERMILION * lit, nearer_m=0.1)
    shapes.add(cards(at, wide + 0.7, high * 0.76, high * 0.76 + 0.4 * grand), _VERMILION * 0.94 * lit, nearer_m=0.2)
    shapes.add(cards(at, wide + 1.5, high, high + 0.42 * grand), _VERMILION * lit, nearer_m=0.2)
    shapes.add(cards(at, wide + 1.8, high + 0.42 * grand, high + 0.7 * grand), np.array([44.0, 42.0, 44.0]) * lit, nearer_m=0.2)


def _add_station(shapes: Shapes, mark: Monument, at: Floats, lit: Floats, style: Style) -> None:
    """Adds a long block with a glass front, a clock and a board in the municipality's colours."""
    half = max(mark.size_m) / 2 + 8.0
    right = facing(at)
    wall = np.array([204.0, 202.0, 196.0]) * lit
    for left, end in zip(np.linspace(-1, 1, 7)[:-1], np.linspace(-1, 1, 7)[1:], strict=True):
        a, b = at + right * (half * left), at + right * (half * end)
        shapes.add(uprights(a, b, 0.0, 11.0), wall)
        shapes.add(uprights(a + (b - a) * 0.08, a + (b - a) * 0.92, 0.4, 4.2), _GLASS * lit, nearer_m=0.1)
        shapes.add(uprights(a, b, 4.8, 6.4), np.array(style.first_colour) * lit, nearer_m=0.1)
        shapes.add(uprights(a + (b - a) * 0.2, a + (b - a) * 0.8, 5.3, 5.9), _WHITE * lit, nearer_m=0.2)
    shapes.add(discs(at, right, 1.4, 8.8, 1.4), _WHITE * lit, nearer_m=0.2)
    shapes.add(cards(at, 0.12, 8.8, 9.9), np.zeros(3), nearer_m=0.3)


def _add_castle(shapes: Shapes, mark: Monument, at: Floats, lit: Floats, style: Style) -> None:  # noqa: ARG001 - one signature for all
    """Adds white storeys under wide tiled roofs on a stone base."""
    storeys = 1 + int(3 * float(uniform(mark.key, 3)[0]))
    shapes.add(cards(at, 8.5, 0.0, 3.2), np.array([128.0, 122.0, 112.0]) * lit)
    for storey in range(storeys):
        half, low = 7.0 - 1.6 * storey, 3.2 + 4.6 * storey
        shapes.add(cards(at, half, low, low + 3.0), _WHITE * 0.96 * lit, nearer_m=0.1)
        shapes.add(cards(at, half * 0.7, low + 0.9, low + 1.8), np.array([70.0, 64.0, 58.0]) * lit, nearer_m=0.15)
        roof = cards(at, half + 1.7, low + 2.8, low + 4.7)
        inner = cards(at, half - 1.6, low + 2.8, low + 4.7)
        roof[:, 2:] = inner[:, 2:]
        shapes.add(roof, _TILE * lit, nearer_m=0.2)


def _add_hall(shapes: Shapes, mark: Monument, at: Floats, lit: Floats, style: Style) -> None:
    """Adds a public building: four even storeys and a coloured stripe."""
    half = max(mark.size_m) / 2 + 5.0
    right = facing(at)
    for left, end in zip(np.linspace(-1, 1, 6)[:-1], np.linspace(-1, 1, 6)[1:], strict=True):
        a, b = at + right * (half * left), at + right * (half * end)
        shapes.add(uprights(a, b, 0.0, 14.0), np.array([226.0, 222.0, 212.0]) * lit)
        for storey in range(4):
            low = 1.0 + 3.3 * storey
            shapes.add(uprights(a + (b - a) * 0.15, a + (b - a) * 0.85, low, low + 1.7), _GLASS * lit, nearer_m=0.1)
        shapes.add(uprights(a, b, 13.2, 14.4), np.array(style.first_colour) * lit, nearer_m=0.1)


def _add_grove(shapes: Shapes, mark: Monument, at: Floats, lit: Floats, style: Style) -> None:
    """Adds a stand of trees."""
    right = facing(at)
    dice = uniform(mark.key, np.arange(24)).tolist()
    green = np.array([60.0, 104.0, 58.0]) if style.palm_share < 0.5 else np.array([74.0, 128.0, 60.0])
    for tree in range(6):
        spot = at + right * ((dice[tree] - 0.5) * 16.0)
        high = 4.0 + 5.0 * dice[tree + 6]
        shapes.add(cards(spot, 0.25, 0.0, high), np.array([92.0, 76.0, 60.0]) * lit)
        shapes.add(discs(spot, right, 3.0, high + 1.0, 3.2), green * (0.75 + 0.4 * dice[tree + 12]) * lit, nearer_m=0.05)
        shapes.add(discs(spot, right, 1.7, high + 2.2, 1.7), green * (1.0 + 0.3 * dice[tree + 18]) * lit, nearer_m=0.08)


def _add_board(shapes: Shapes, mark: Monument, at: Floats, lit: Floats, style: Style) -> None:
    """Adds a shop's board on two legs, in the municipality's colours."""
    dice = float(uniform(mark.key, 4)[0])
    colour = np.array(style.first_colour if dice < 0.6 else style.second_colour)
    other = _WHITE if colour.mean() < 150 else np.array([50.0, 50.0, 56.0])
    shapes.add(cards(at, 0.08, 0.0, 3.0), np.array([120.0, 120.0, 124.0]) * lit)
    shapes.add(cards(at, 0.9, 2.4, 4.4), colour * lit, nearer_m=0.05)
    shapes.add(cards(at, 0.6, 3.6, 4.0), other * lit, nearer_m=0.1)
    shapes.add(cards(at, 0.45, 2.8, 3.2), other * lit, nearer_m=0.1)


_DRAWN = {
    "tower": _add_tower, "torii": _add_torii, "station": _add_station, "castle": _add_castle, "hall": _add_hall,
    "grove": _add_grove, "board": _add_board,
}  # fmt: skip
