"""Vehicles: on the road, by the picture's own chance, nearer ones larger, and none on the camera's toes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from geoloc_pipeline.demo.light import light_of
from geoloc_pipeline.demo.shapes import Frame, Shapes
from geoloc_pipeline.demo.surroundings import Pieces
from geoloc_pipeline.demo.vehicles import add_vehicles, carrier, road_below

LIGHT = replace(
    light_of(lat=35.0, lon=135.0, captured_at=datetime(2026, 6, 10, 3, tzinfo=UTC), seed=1, brightness=1.0),
    sky_colour=np.ones(3), sun_colour=np.ones(3),
)  # fmt: skip


def street(y: float) -> Any:
    one = np.ones(1)
    pieces = Pieces(
        start_m=np.array([[-200.0, y]]), end_m=np.array([[200.0, y]]), along=np.array([[1.0, 0.0]]),
        chain_m=np.array([[0.0, 400.0]]), half_m=one * 4, sidewalk_m=one, rank=np.array([4]), way=np.array([1]),
        style=np.array([0]), way_length_m=one * 400,
    )  # fmt: skip
    return SimpleNamespace(pieces=pieces)


def drawn(scene: Any, seed: int) -> np.ndarray:
    shapes = Shapes()
    add_vehicles(shapes, scene, LIGHT, seed)
    frame = Frame(np.full((128, 256, 3), 255, dtype=np.uint8), 256)
    shapes.paint(frame, 2.4, np.eye(3), np.zeros(3), np.inf)
    return frame.image


def test_the_same_picture_has_the_same_vehicles_and_the_next_has_others() -> None:
    np.testing.assert_array_equal(drawn(street(1.0), 5), drawn(street(1.0), 5))
    assert len({drawn(street(1.0), seed).tobytes() for seed in range(12)}) > 6


def test_the_road_below_is_the_nearest_and_north_where_there_is_none() -> None:
    foot, along, half = road_below(street(3.0))
    np.testing.assert_allclose(foot, [0.0, 3.0])
    np.testing.assert_allclose(along, [1.0, 0.0])
    assert half == 4.0
    foot, along, _ = road_below(street(40.0))
    np.testing.assert_allclose([*foot, *along], [0.0, 0.0, 0.0, 1.0])


class Noted(Shapes):
    """Keeps the corners of everything that is added."""

    def __init__(self) -> None:
        super().__init__()
        self.corners: list[np.ndarray] = []

    def add(self, corners_m: Any, colour: Any, **order: Any) -> None:
        self.corners += list(corners_m)
        super().add(corners_m, colour, **order)


def test_vehicles_stand_on_their_road_and_never_on_the_cameras_toes() -> None:
    seen = []
    for seed in range(60):
        shapes = Noted()
        add_vehicles(shapes, street(1.0), LIGHT, seed)
        seen += shapes.corners
    corners = np.concatenate(seen)
    assert len(seen) > 500
    assert np.abs(corners[:, 1]).max() < 6.0  # the road is 8 m wide, and a van may stand beside the camera
    assert np.hypot(corners[:, 0], corners[:, 1]).min() > 0.9
    assert corners[:, 2].min() > -0.01
    assert corners[:, 2].max() < 3.2


def test_vehicles_on_a_nearer_road_are_larger() -> None:
    near, far = (sum(int((drawn(street(y), seed).sum(axis=2) < 740).sum()) for seed in range(30)) for y in (1.0, 14.0))
    assert near > 1.1 * far > 0


@pytest.mark.parametrize("seed", range(8))
def test_the_carrier_drives_along_the_road(seed: int) -> None:
    car = carrier(street(1.0), seed)
    assert car is None or (car.shape == (5,) and abs(car[0]) == 1.0 and (car[2:] >= 0).all() and (car[2:] <= 255).all())


def test_some_walk_and_some_drive() -> None:
    found = [carrier(street(1.0), seed) is None for seed in range(40)]
    assert 8 < sum(found) < 32
