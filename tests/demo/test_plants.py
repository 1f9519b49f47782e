"""Plants: palms in the south, pink in spring, white in winter, nearer ones larger, all on the ground."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from geoloc_pipeline.demo.light import Light, light_of
from geoloc_pipeline.demo.lots import loose_posts
from geoloc_pipeline.demo.plants import add_trees
from geoloc_pipeline.demo.shapes import Frame, Shapes
from geoloc_pipeline.demo.style import Style, style_of

PLAIN = style_of(prefecture_code="13", lat=35.7)
KINDS = {
    "palm": replace(PLAIN, palm_share=1.0, conifer_share=0.0), "conifer": replace(PLAIN, palm_share=0.0, conifer_share=1.0),
    "broadleaf": replace(PLAIN, palm_share=0.0, conifer_share=0.0),
}  # fmt: skip


def light(month: int = 6) -> Light:
    return light_of(lat=35.0, lon=135.0, captured_at=datetime(2026, month, 8, 3, tzinfo=UTC), seed=1, brightness=1.0)


def drawn(style: Style, places: list[tuple[float, float]], month: int = 6, first_key: int = 0) -> np.ndarray:
    shapes, keys = Shapes(), np.arange(len(places)) + first_key
    at = np.array(places, dtype=np.float64).reshape(-1, 2)
    add_trees(shapes, loose_posts(at, keys, keys * 0), (style,), light(month), 9)
    frame = Frame(np.full((256, 512, 3), 255, dtype=np.uint8), 512)
    shapes.paint(frame, 2.4, np.eye(3), np.zeros(3), np.inf)
    return frame.image


def mask(image: np.ndarray) -> np.ndarray:
    return (image < 250).any(axis=2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_tree_stands_in_its_direction_on_the_ground_and_is_the_same_twice(kind: str) -> None:
    image = drawn(KINDS[kind], [(0.0, 15.0)])
    np.testing.assert_array_equal(image, drawn(KINDS[kind], [(0.0, 15.0)]))
    rows, columns = np.nonzero(mask(image))
    assert abs(columns.mean() - 256) < 3
    foot = 128 + np.arctan(2.4 / 15.0) * 256 / np.pi
    assert abs(rows.max() - foot) < 2
    assert rows.min() < 122


@pytest.mark.parametrize("kind", KINDS)
def test_a_nearer_tree_is_larger(kind: str) -> None:
    sizes = [mask(drawn(KINDS[kind], [(0.0, far)])).sum() for far in (8.0, 16.0, 40.0, 80.0)]
    assert all(near > 1.5 * far for near, far in itertools.pairwise(sizes))
    assert sizes[-1] > 0


def test_nothing_grows_from_nothing() -> None:
    assert not mask(drawn(PLAIN, [])).any()


def colours(style: Style, month: int) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    image = drawn(style, [(12 * np.sin(a), 12 * np.cos(a)) for a in turn.tolist()], month)
    return image[mask(image)].astype(float)


def test_leaves_are_green_in_summer_and_not_in_winter() -> None:
    def green(month: int) -> float:
        red, leaf, blue = colours(KINDS["broadleaf"], month).T
        return float(((leaf > red) & (leaf > blue)).mean())

    assert green(7) > 0.7
    assert green(1) < green(7) - 0.25


def test_cherries_are_pink_in_april() -> None:
    def pink(month: int) -> float:
        red, leaf, blue = colours(KINDS["broadleaf"], month).T
        return float(((red > leaf + 10) & (blue > leaf)).mean())

    assert pink(4) > 0.1 > pink(7) + 0.08


def test_snow_lies_on_conifers_of_the_north_alone() -> None:
    north, south = (replace(KINDS["conifer"], snow_depth=depth) for depth in (1.0, 0.0))
    assert colours(north, 2).mean() > colours(south, 2).mean() + 30
    np.testing.assert_array_equal(colours(north, 7), colours(south, 7))
