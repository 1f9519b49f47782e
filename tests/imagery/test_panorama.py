"""What lies in the north of a panorama lands in the north view, to the pixel, whatever way the camera looked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.imagery.panorama import HEADINGS_DEG, view_side_px, views_from_flats, views_from_panorama


def _ramp(width, compass_deg):
    """A panorama that carries cos and sin of the heading and the height above the horizon in its three channels."""
    headings = np.radians(compass_deg + ((np.arange(width) + 0.5) / width - 0.5) * 360.0)
    heights = 0.5 - (np.arange(width // 2) + 0.5) / (width // 2)
    pixels = np.empty((width // 2, width, 3))
    pixels[..., 0], pixels[..., 1] = np.cos(headings), np.sin(headings)
    pixels[..., 2] = (heights * 2)[:, None]
    return np.round(pixels * 127 + 127).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(compass_deg=st.floats(-720, 720), width=st.sampled_from([256, 512, 1024]), side=st.integers(16, 160))
def test_every_pixel_shows_the_direction_that_a_pinhole_camera_would_see(compass_deg, width, side):
    strip = views_from_panorama(_ramp(width, compass_deg), compass_deg=compass_deg, side_px=side).astype(float)
    assert strip.shape == (side, 4 * side, 3)
    steps = (np.arange(side) + 0.5) / side * 2 - 1
    for position, heading_deg in enumerate(HEADINGS_DEG):
        view = (strip[:, position * side : (position + 1) * side] - 127) / 127
        expected_deg = heading_deg + np.degrees(np.arctan(steps))
        found_deg = np.degrees(np.arctan2(view[..., 1], view[..., 0]))
        off_deg = (found_deg - expected_deg[None] + 180) % 360 - 180
        assert np.abs(off_deg).max() < 1.5  # one step of the 8-bit colours is 0.5 degrees
        right, down = np.meshgrid(steps, steps)
        up = -np.arctan2(down, np.hypot(right, 1)) / (np.pi / 2)
        assert np.abs(view[..., 2] - up).max() < 0.02


@pytest.mark.parametrize("compass_deg", [0, 45, 90, 123.4, 180, 270, 359.9])
def test_coloured_quarters_land_in_their_views_to_the_edge(panorama, colours, compass_deg):
    strip = views_from_panorama(panorama(1024, compass_deg=compass_deg), compass_deg=compass_deg)
    assert strip.shape == (256, 1024, 3)
    for position, colour in enumerate(colours.values()):
        view = strip[:, position * 256 : (position + 1) * 256]
        inside = view[:, 3:-3].reshape(-1, 3).astype(int)
        shade = inside / np.array(colour)
        assert (np.ptp(shade, axis=1) < 0.06).all()  # the colour's own, at full or at half light, and no neighbour's


@given(compass_deg=st.floats(0, 360), turn=st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_turning_camera_and_compass_together_changes_nothing(compass_deg, turn):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 255, (128, 256, 3), dtype=np.uint8)
    turned = np.roll(pixels, -turn, axis=1)
    one = views_from_panorama(pixels, compass_deg=compass_deg, side_px=32).astype(int)
    two = views_from_panorama(turned, compass_deg=compass_deg + turn / 256 * 360, side_px=32).astype(int)
    assert np.abs(one - two).max() <= 16  # remap interpolates in 32nds of a pixel


def test_views_join_without_a_seam():
    strip = views_from_panorama(_ramp(1024, 77.0), compass_deg=77.0).astype(int)
    for position in (1, 2, 3):
        left, right = strip[:, position * 256 - 1], strip[:, position * 256]
        assert np.abs(left - right).max() <= 4


@pytest.mark.parametrize(("width", "side"), [(1024, 256), (2048, 512), (11_000, 640), (1026, 256), (4, 2)])
def test_nothing_is_enlarged(width, side):
    assert view_side_px(width) == side


def test_flats_have_their_places_and_gaps_are_black_and_told(colours):
    north = np.full((300, 400, 3), colours["N"], dtype=np.uint8)
    south = np.full((500, 200, 3), colours["S"], dtype=np.uint8)
    strip, views = views_from_flats({180: south, 0: north})
    assert views == "N-S-"
    assert strip.shape == (200, 800, 3)
    for position, colour in enumerate((colours["N"], (0, 0, 0), colours["S"], (0, 0, 0))):
        assert (strip[:, position * 200 : (position + 1) * 200] == colour).all()


def test_a_flat_is_cut_to_its_middle():
    wide = np.zeros((100, 300, 3), dtype=np.uint8)
    wide[:, 100:200] = 255
    strip, views = views_from_flats({90: wide})
    assert views == "-E--"
    assert (strip[:, 100:200] == 255).all()
    assert (strip[:, :100] == 0).all()


def _turn_of(compass_deg, pitch_deg, roll_deg):
    """The rotation from the camera to the world, by Rodrigues' formula about one axis after the other."""

    def about(axis, angle_deg):
        x, y, z = axis
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        angle = np.radians(angle_deg)
        return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross

    # clockwise from above is negative about "up"; roll is clockwise from behind: positive about "ahead"
    return about((0, 0, 1), -compass_deg) @ about((1, 0, 0), pitch_deg) @ about((0, 1, 0), roll_deg)


def _directions_seen(width, turn):
    """A float panorama of a leaning camera: each pixel carries the world direction that it shows."""
    around = ((np.arange(width) + 0.5) / width - 0.5) * 2 * np.pi
    above = (0.5 - (np.arange(width // 2) + 0.5) / (width // 2)) * np.pi
    around, above = np.meshgrid(around, above)
    camera = np.stack([np.sin(around) * np.cos(above), np.cos(around) * np.cos(above), np.sin(above)], axis=-1)
    return (camera @ turn.T).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(
    compass_deg=st.floats(-360, 720),
    pitch_deg=st.floats(-44, 44),
    roll_deg=st.floats(-44, 44),
    side=st.sampled_from([64, 170, 250, 400]),
)
def test_whatever_way_the_camera_leans_each_pixel_shows_the_direction_of_a_level_one(compass_deg, pitch_deg, roll_deg, side):
    seen = _directions_seen(1024, _turn_of(compass_deg, pitch_deg, roll_deg))
    strip = views_from_panorama(seen, compass_deg=compass_deg, pitch_deg=pitch_deg, roll_deg=roll_deg, side_px=side)
    steps = (np.arange(side) + 0.5) / side * 2 - 1
    right, down = np.meshgrid(steps, steps)
    for position, heading_deg in enumerate(HEADINGS_DEG):
        heading = np.radians(heading_deg)
        ahead, beside = np.array([np.sin(heading), np.cos(heading), 0]), np.array([np.cos(heading), -np.sin(heading), 0])
        expected = ahead + right[..., None] * beside - down[..., None] * np.array([0, 0, 1.0])
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
        found = strip[:, position * side : (position + 1) * side].astype(float)
        found /= np.linalg.norm(found, axis=-1, keepdims=True)
        off_px = np.degrees(np.linalg.norm(found - expected, axis=-1)) / (360 / 1024)
        assert off_px.max() < 0.25, "a tenth of a pixel, and what eight-bit weights of the interpolation add"


def test_a_level_camera_is_the_limit_of_a_leaning_one(panorama):
    pixels = panorama(1024, compass_deg=123.0)
    level = views_from_panorama(pixels, compass_deg=123.0).astype(int)
    almost = views_from_panorama(pixels, compass_deg=123.0, pitch_deg=1e-6, roll_deg=-1e-6).astype(int)
    assert np.mean(np.abs(level - almost) > 8) < 0.002


def test_a_drawn_panorama_that_leaned_gives_the_views_of_the_upright_one():
    from datetime import UTC, datetime

    from geoloc_pipeline.demo.coverage import Coverage
    from geoloc_pipeline.demo.grow import grow_land
    from geoloc_pipeline.demo.pictures import Renderer
    from geoloc_pipeline.demo.render import Camera

    land = grow_land(seed=3, prefecture_codes=("47",), density=0.02)
    shots, draw = Coverage(land).shots, Renderer(land)
    place = {"lat": float(shots.lat[5]), "lon": float(shots.lon[5]), "heading_deg": 40.0, "seed": 7}
    moment = datetime(2026, 6, 1, 3, tzinfo=UTC)
    upright = draw(Camera(captured_at=moment, **place), True, 1024)
    leaning = draw(Camera(captured_at=moment, pitch_deg=6.0, roll_deg=-4.0, **place), True, 1024)
    expected = views_from_panorama(upright, compass_deg=40.0).astype(int)
    levelled = views_from_panorama(leaning, compass_deg=40.0, pitch_deg=6.0, roll_deg=-4.0).astype(int)
    ignored = views_from_panorama(leaning, compass_deg=40.0).astype(int)
    off, off_ignored = (np.abs(views - expected).mean() for views in (levelled, ignored))
    assert off < 0.4 * off_ignored
