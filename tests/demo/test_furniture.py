"""Street furniture: each kind where its posts are, in its town's colours, with wires only between neighbours."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from geoloc_pipeline.demo.furniture import add_furniture
from geoloc_pipeline.demo.light import light_of
from geoloc_pipeline.demo.shapes import Frame, Shapes
from geoloc_pipeline.demo.style import GUARDRAIL_ORANGE, style_of
from geoloc_pipeline.demo.surroundings import Posts

LIGHT = light_of(lat=35.0, lon=135.0, captured_at=datetime(2026, 6, 8, 3, tzinfo=UTC), seed=1, brightness=1.0)
STYLE = style_of(prefecture_code="35", municipality_code="35203", lat=34.2)
KINDS = ("kerbs", "rails", "poles", "signs", "arrows")


def posts(*places: tuple[float, float], slots: tuple[int, ...] | None = None) -> Posts:
    """Posts along a road from west to east, to the south of them."""
    at = np.array(places, dtype=np.float64).reshape(-1, 2)
    count = len(at)
    along, inward = np.tile([1.0, 0.0], (count, 1)), np.tile([0.0, -1.0], (count, 1))
    slot = np.arange(count) if slots is None else np.array(slots)
    nothing = np.zeros(count, dtype=np.int64)
    return Posts(at, along, inward, np.arange(count) + 40, nothing, nothing + 2, slot, nothing)


def drawn(style: Any = STYLE, **kinds: Posts) -> np.ndarray:
    shapes = Shapes()
    scene = SimpleNamespace(styles=(style,), **{name: kinds.get(name, posts()) for name in KINDS})
    add_furniture(shapes, scene, LIGHT, 9)  # type: ignore[arg-type]
    frame = Frame(np.full((256, 512, 3), 255, dtype=np.uint8), 512)
    shapes.paint(frame, 2.4, np.eye(3), np.zeros(3), np.inf)
    return frame.image


def mask(image: np.ndarray) -> np.ndarray:
    return (image < 250).any(axis=2)


def test_an_empty_street_is_empty() -> None:
    assert not mask(drawn()).any()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_stands_in_its_direction_and_is_the_same_twice(kind: str) -> None:
    image = drawn(**{kind: posts((3.0, 9.0))})
    np.testing.assert_array_equal(image, drawn(**{kind: posts((3.0, 9.0))}))
    rows, columns = np.nonzero(mask(image))
    assert len(rows) > 5
    assert abs(columns.mean() - (256 + np.arctan2(3.0, 9.0) / (2 * np.pi) * 512)) < 8
    assert rows.max() <= 128 + np.arctan(2.4 / 7.5) * 256 / np.pi + 2


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_nearer_is_larger(kind: str) -> None:
    near, far = (mask(drawn(**{kind: posts((0.5, y))})).sum() for y in (6.0, 19.0))
    assert near > 2 * far > 0


@pytest.mark.parametrize("far", [10.0, 40.0])
def test_guardrails_are_orange_where_the_prefecture_paints_them_so(far: float) -> None:
    colour = np.array(GUARDRAIL_ORANGE) / np.linalg.norm(GUARDRAIL_ORANGE)
    for style, expected in ((STYLE, True), (replace(STYLE, rail_colour=(200.0, 200.0, 200.0)), False)):
        image = drawn(style, rails=posts(*[(4.0 * k, far) for k in range(-3, 4)]))
        solid = image[mask(image)].astype(float)
        likeness = (solid @ colour) / np.linalg.norm(solid, axis=1)
        assert (np.median(likeness) > 0.96) == expected


def test_kerbs_alternate_between_the_towns_two_colours() -> None:
    style = replace(STYLE, kerb_colours=((250.0, 0.0, 0.0), (0.0, 0.0, 250.0)))
    image = drawn(style, kerbs=posts(*[(2.0 * k, 6.0) for k in range(-4, 5)])).astype(int)
    red, blue = image[..., 0] > image[..., 2] + 60, image[..., 2] > image[..., 0] + 60
    seen = np.where(red.sum(axis=0) > blue.sum(axis=0), 1, 2)[(red | blue).any(axis=0)]  # column by column
    changes = np.count_nonzero(np.diff(seen))
    assert changes == 8


def test_wires_hang_between_neighbours_alone() -> None:
    places = ((-15.0, 12.0), (15.0, 12.0))
    joined, parted = drawn(poles=posts(*places, slots=(3, 4))), drawn(poles=posts(*places, slots=(3, 5)))
    assert mask(joined)[:, 256].any()
    assert not mask(parted)[:, 256].any()


def test_poles_carry_the_municipalitys_colours() -> None:
    images = [
        drawn(replace(STYLE, first_colour=colour), poles=posts((0.0, 8.0))) for colour in ((250.0, 0.0, 0.0), (0.0, 0.0, 250.0))
    ]
    changed = np.abs(images[0].astype(int) - images[1]).sum(axis=2) > 150
    assert changed.sum() > 30
