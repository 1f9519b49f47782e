"""Facades: houses where they stand, hidden ones left out without a trace, colours of their town."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from geoloc_pipeline.demo.facades import add_houses
from geoloc_pipeline.demo.light import light_of
from geoloc_pipeline.demo.shapes import Frame, Shapes
from geoloc_pipeline.demo.style import style_of
from geoloc_pipeline.demo.surroundings import Buildings

LIGHT = light_of(lat=35.0, lon=135.0, captured_at=datetime(2026, 6, 8, 3, tzinfo=UTC), seed=1, brightness=1.0)
STYLE = style_of(prefecture_code="35", municipality_code="35203", lat=34.2)
EYE_M = 2.4


def houses(*places: tuple[float, float], floors: int = 2, setback_m: float = 0.5, keys: Any = None) -> Buildings:
    """Houses that look south."""
    at = np.array(places, dtype=np.float64).reshape(-1, 2)
    count = len(at)
    one = np.ones(count)
    along, front = np.tile([-1.0, 0.0], (count, 1)), np.tile([0.0, -1.0], (count, 1))
    key = np.arange(count) + 500 if keys is None else np.array(keys)
    return Buildings(at, along, front, one * 5, one * 4, one * setback_m, np.full(count, floors), key, key * 0, key * 0 + 2)


class Noted(Shapes):
    """Counts what is added, and may do without walls that hide."""

    def __init__(self, *, sees_through: bool = False) -> None:
        super().__init__()
        self.count, self._sees_through = 0, sees_through

    def add(self, corners_m: Any, colour: Any, **order: Any) -> None:
        self.count += len(corners_m)
        super().add(corners_m, colour, **order)

    def stand_behind(self, walls: Any) -> None:
        if not self._sees_through:
            super().stand_behind(walls)


def drawn(some: Buildings, style: Any = STYLE, shapes: Shapes | None = None, width: int = 512) -> np.ndarray:
    shapes = shapes or Shapes()
    add_houses(shapes, some, (style,), LIGHT, 9, EYE_M)
    frame = Frame(np.full((width // 2, width, 3), 255, dtype=np.uint8), width)
    shapes.paint(frame, EYE_M, np.eye(3), np.zeros(3), np.inf)
    return frame.image


def mask(image: np.ndarray) -> np.ndarray:
    return (image < 252).any(axis=2)


def test_nothing_is_drawn_of_nothing() -> None:
    assert not mask(drawn(houses())).any()


@pytest.mark.parametrize("floors", [1, 2, 3, 6, 12])
def test_a_house_fills_its_angle_and_its_storeys(floors: int) -> None:
    image = drawn(houses((0.0, 24.0), floors=floors))
    np.testing.assert_array_equal(image, drawn(houses((0.0, 24.0), floors=floors)))
    rows, columns = np.nonzero(mask(image))
    per_rad = 512 / (2 * np.pi)
    side = np.arctan(5.0 / 20.0) * per_rad
    assert 256 - side * 1.3 - 2 < columns.min() < 256 - side + 2
    assert 256 + side - 2 < columns.max() < 256 + side * 1.3 + 2
    assert abs(rows.max() - (128 + np.arctan(EYE_M / 20.0) * per_rad)) < 2
    top = 128 - np.arctan((floors * 2.9 + 0.4 - EYE_M) / 20.6) * per_rad
    assert top - 4.7 / 20 * per_rad - 2 < rows.min() < top + 2


def test_a_nearer_house_is_larger() -> None:
    sizes = [mask(drawn(houses((0.0, far)))).sum() for far in (15.0, 30.0, 60.0, 100.0)]
    assert all(near > 2 * far for near, far in itertools.pairwise(sizes))


def test_a_house_behind_a_tower_costs_nothing_and_one_beside_it_does() -> None:
    counts = []
    for places in (((0.0, 15.0),), ((0.0, 15.0), (0.0, 60.0)), ((0.0, 15.0), (50.0, 60.0))):
        shapes = Noted()
        add_houses(shapes, houses(*places, floors=9), (STYLE,), LIGHT, 9, EYE_M)
        counts.append(shapes.count)
    assert counts[0] == counts[1] < counts[2]


def test_what_walls_hide_is_not_missed() -> None:
    dice = np.random.default_rng(4)
    places = [(float(x), float(y)) for x, y in dice.uniform(-90, 90, (60, 2)) if np.hypot(x, y) > 12]
    some = replace(houses(*places), floors=dice.integers(1, 7, len(places)))
    hiding, open_ = (drawn(some, shapes=Noted(sees_through=through), width=1024).astype(int) for through in (False, True))
    assert (np.abs(hiding - open_).max(axis=2) > 24).mean() < 2e-4


def test_walls_wear_the_colours_of_the_town_and_windows_break_them() -> None:
    style = replace(STYLE, wall_colours=((250.0, 20.0, 20.0),), pitched_share=0.0)
    image = drawn(houses((0.0, 24.0), floors=6), style).astype(int)
    rows, _ = np.nonzero(mask(image))
    storeys = image[rows.min() + 6 : 122, 245:268].reshape(-1, 3)  # without roof and shop
    red = (storeys[:, 0] > 3 * storeys[:, 1]) & (storeys[:, 0] > 60)
    assert 0.3 < red.mean() < 0.85


def test_pitched_and_flat_roofs_differ_above_the_eaves() -> None:
    tops = {}
    for share in (0.0, 1.0):
        rows, _ = np.nonzero(mask(drawn(houses((0.0, 20.0)), replace(STYLE, pitched_share=share, has_water_tanks=False))))
        tops[share] = rows.min()
    assert tops[1.0] < tops[0.0] - 2


def test_a_garden_wall_stands_before_a_house_that_stands_back() -> None:
    near, back = (drawn(houses((0.0, 24.0), setback_m=setback)) for setback in (0.5, 5.0))
    rows_near, rows_back = (np.nonzero(mask(image))[0].max() for image in (near, back))
    assert rows_back > rows_near + 2
