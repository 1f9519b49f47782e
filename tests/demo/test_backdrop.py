"""Backdrop: the sun where it stands, hills at the horizon, the same in a window as in the whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from geoloc_pipeline.demo.backdrop import noise_tile, paint_hills, paint_sky
from geoloc_pipeline.demo.light import Light, light_of
from geoloc_pipeline.demo.shapes import Frame
from geoloc_pipeline.demo.style import style_of

MORNING = datetime(2026, 9, 10, 0, 30, tzinfo=UTC)
STYLE = style_of(prefecture_code="35", lat=34.0)
LEVEL = np.eye(3)


def clear_light() -> Light:
    return replace(light_of(lat=35.0, lon=135.0, captured_at=MORNING, seed=1, brightness=1.0), cloud_cover=0.0)


def frame(width: int = 512) -> Frame:
    return Frame(np.full((width // 2, width, 3), 7, dtype=np.uint8), width)


def about_up(angle_deg: float) -> np.ndarray:
    turn = np.radians(angle_deg)
    return np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1.0]])


@pytest.mark.parametrize("heading_deg", [0.0, 60.0, 200.0])
def test_the_sky_is_brightest_where_the_sun_stands(heading_deg: float) -> None:
    view, light = frame(), clear_light()
    paint_sky(view, light, 1, about_up(heading_deg))
    glare = np.where(view.image[:128].sum(axis=2) >= view.image[:128].sum(axis=2).max() - 2)
    azimuth, height = np.degrees(np.arctan2(*light.sun[:2])), np.degrees(np.arcsin(light.sun[2]))
    angles = np.radians((glare[1] + 0.5) / 512 * 360)
    column = np.degrees(np.angle(np.exp(1j * angles).mean())) % 360
    assert abs((column - (azimuth - heading_deg + 180) + 180) % 360 - 180) < 6
    assert abs(90 - (glare[0].mean() + 0.5) / 256 * 180 - height) < 6


def test_the_sky_is_the_same_twice_and_its_clouds_belong_to_the_picture() -> None:
    cloudy = replace(clear_light(), cloud_cover=0.6)
    skies = []
    for seed in (1, 1, 2):
        view = frame(256)
        paint_sky(view, cloudy, seed, LEVEL)
        skies.append(view.image)
    np.testing.assert_array_equal(skies[0], skies[1])
    assert (skies[0] != skies[2]).mean() > 0.1


def test_sky_and_hills_leave_the_ground_alone() -> None:
    view = frame()
    paint_sky(view, clear_light(), 1, LEVEL)
    paint_hills(view, clear_light(), STYLE, 5, LEVEL)
    assert (view.image[:128] != 7).any(axis=2).mean() > 0.999
    assert (view.image[170:] == 7).all()


def test_hills_stand_on_the_horizon_as_high_as_the_place_has_them() -> None:
    rows = {}
    for height_deg in (1.0, 8.0):
        bare, hilly = frame(), frame()
        paint_hills(hilly, clear_light(), replace(STYLE, ridge_height_deg=height_deg), 5, LEVEL)
        changed = (bare.image != hilly.image).any(axis=2)
        assert changed[128].all()
        rows[height_deg] = 128 - np.argmax(changed, axis=0)
        assert rows[height_deg].max() < height_deg * 2.3 / 180 * 256 + 2
    assert rows[8.0].mean() > 3 * rows[1.0].mean()


def test_hills_belong_to_the_skyline_not_to_the_picture() -> None:
    views = [frame(), frame(), frame()]
    for view, skyline in zip(views, (5, 5, 6), strict=True):
        paint_hills(view, clear_light(), STYLE, skyline, LEVEL)
    np.testing.assert_array_equal(views[0].image, views[1].image)
    assert (views[0].image != views[2].image).any()


def test_a_window_shows_the_same_as_the_whole_picture_there() -> None:
    whole, window = frame(), Frame(np.full((96, 160, 3), 7, dtype=np.uint8), 512, left_px=184, top_px=64)
    for view in (whole, window):
        paint_sky(view, replace(clear_light(), cloud_cover=0.5), 3, about_up(20.0))
        paint_hills(view, clear_light(), STYLE, 5, about_up(20.0))
    np.testing.assert_allclose(window.image[4:-4, 4:-4].astype(int), whole.image[68:156, 188:340], atol=2)


def test_the_noise_repeats_without_a_seam() -> None:
    tile = noise_tile()
    assert abs(float(tile.mean())) < 1e-4
    assert float(tile.std()) == pytest.approx(1.0, abs=1e-3)
    seam, inside = np.abs(tile[0] - tile[-1]).mean(), np.abs(np.diff(tile, axis=0)).mean()
    assert seam < 1.5 * inside
