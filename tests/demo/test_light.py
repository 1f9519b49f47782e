"""Light: dusk is darker than noon, walls in the sun are brighter, and the camera brings any scene to its exposure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from geoloc_pipeline.demo.light import Light, exposed, light_of

NOON = datetime(2026, 6, 10, 3, 0, tzinfo=UTC)


def light(when: datetime = NOON, seed: int = 1, brightness: float = 1.0) -> Light:
    return light_of(lat=35.0, lon=135.0, captured_at=when, seed=seed, brightness=brightness)


def values(one: Light) -> list[Any]:
    return [np.asarray(value).tolist() for value in vars(one).values()]


def test_the_same_moment_has_the_same_light_and_another_seed_another_weather() -> None:
    assert values(light()) == values(light())
    assert values(light()) != values(light(seed=2))


@pytest.mark.parametrize("seed", range(6))
def test_dusk_is_darker_and_warmer_than_noon(seed: int) -> None:
    noon, dusk = light(seed=seed), light(NOON.replace(hour=10), seed)
    assert dusk.sun[2] < 0.3 < 0.9 < noon.sun[2]
    assert dusk.sun_colour[0] < 0.9 * noon.sun_colour[0]
    assert dusk.sun_colour[2] / dusk.sun_colour[0] < noon.sun_colour[2] / noon.sun_colour[0]


def test_the_sun_stands_east_in_the_morning_south_at_noon_and_west_in_the_evening() -> None:
    for hour, axis, sign in ((22, 0, 1), (3, 1, -1), (8, 0, -1)):
        assert light(NOON.replace(month=9, hour=hour)).sun[axis] * sign > 0.3


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_the_sun_never_sets_and_is_a_unit_vector(hour: int) -> None:
    sun = light(NOON.replace(hour=hour)).sun
    assert np.linalg.norm(sun) == pytest.approx(1.0)
    assert sun[2] >= np.sin(np.radians(2.99))


def test_a_wall_towards_the_sun_is_brighter_than_one_away_from_it() -> None:
    clear = next(one for one in (light(NOON.replace(hour=6), seed) for seed in range(20)) if one.cloud_cover < 0.3)
    towards = np.array([[clear.sun[0], clear.sun[1], 0.0]]) / np.hypot(*clear.sun[:2])
    assert (clear.on(towards) > clear.on(-towards) + 0.1).all()


def test_snow_lies_in_february_alone() -> None:
    assert light(NOON.replace(month=2)).snow == 1.0
    assert light(NOON.replace(month=7)).snow == 0.0


@pytest.mark.parametrize("level", [40, 120, 200])
def test_the_camera_brings_a_scene_to_its_exposure_and_never_turns_bright_to_dark(level: int) -> None:
    one = light(seed=4)
    image = np.full((90, 180, 3), level, dtype=np.uint8)
    table = exposed(image, one)
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    assert (np.diff(table.astype(int), axis=0) >= 0).all()
    assert abs(float(table[level].mean()) - one.exposure) < 30
