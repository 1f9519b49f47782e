"""Monuments: every kind looks its own, stands where it stands, and is larger from nearby."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest

from geoloc_pipeline.demo.light import light_of
from geoloc_pipeline.demo.monuments import add_monuments
from geoloc_pipeline.demo.shapes import Frame, Shapes
from geoloc_pipeline.demo.style import style_of
from geoloc_pipeline.demo.surroundings import Monument

SHAPES = ("tower", "torii", "station", "castle", "hall", "grove", "board")
LIGHT = light_of(lat=35.0, lon=135.0, captured_at=datetime(2026, 6, 8, 3, tzinfo=UTC), seed=1, brightness=1.0)
STYLES = (style_of(prefecture_code="13", municipality_code="13101", lat=35.7),)


def drawn(*marks: Monument) -> np.ndarray:
    shapes = Shapes()
    scene = SimpleNamespace(monuments=marks, styles=STYLES)
    add_monuments(shapes, scene, LIGHT)  # type: ignore[arg-type]
    frame = Frame(np.full((256, 512, 3), 255, dtype=np.uint8), 512)
    shapes.paint(frame, 2.4, np.eye(3), np.zeros(3), np.inf)
    return frame.image


def mark(shape: str, x: float, y: float, key: int = 77) -> Monument:
    return Monument(shape, (x, y), (12.0, 8.0), key, 0)


def mask(image: np.ndarray) -> np.ndarray:
    return (image < 235).any(axis=2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("azimuth_deg", [0.0, 100.0, -60.0])
def test_a_monument_stands_in_its_direction_and_is_the_same_twice(shape: str, azimuth_deg: float) -> None:
    angle = np.radians(azimuth_deg)
    one = mark(shape, 40 * np.sin(angle), 40 * np.cos(angle))
    image = drawn(one)
    np.testing.assert_array_equal(image, drawn(one))
    rows, columns = np.nonzero(mask(image))
    assert len(rows) > 3
    assert abs(columns.mean() - (256 + azimuth_deg / 360 * 512)) < 12
    assert rows.max() <= 128 + np.arctan(2.4 / 30.0) * 256 / np.pi + 2


@pytest.mark.parametrize("shape", SHAPES)
def test_a_nearer_monument_is_larger(shape: str) -> None:
    near, far = (mask(drawn(mark(shape, 0.0, y))).sum() for y in (25.0, 75.0))
    assert near > 2 * far


def test_no_two_kinds_look_alike() -> None:
    images = [drawn(mark(shape, 0.0, 30.0)).astype(int) for shape in SHAPES]
    for number, one in enumerate(images):
        for other in images[number + 1 :]:
            assert (np.abs(one - other).sum(axis=2) > 60).sum() > 30


def test_gates_and_towers_are_vermilion_and_boards_wear_the_municipalitys_colour() -> None:
    for shape in ("torii", "tower"):
        red, green, blue = drawn(mark(shape, 0.0, 15.0)).astype(int).reshape(-1, 3).T
        assert ((red > 2 * green) & (red > 2 * blue)).sum() > 40
    board = drawn(mark("board", 0.0, 6.0)).reshape(-1, 3).astype(float)
    hues = [np.array(colour) / np.linalg.norm(colour) for colour in (STYLES[0].first_colour, STYLES[0].second_colour)]
    solid = board[(board < 235).any(axis=1)]
    likeness = np.stack([solid @ hue for hue in hues]).max(axis=0) / np.linalg.norm(solid, axis=1)
    assert (likeness > 0.97).sum() > 20
