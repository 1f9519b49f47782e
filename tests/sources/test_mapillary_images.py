"""Entities: the computed goes before the measured, anything may be missing, and the tilt is the one that was drawn."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.mirror import DEMO_TOKEN, Mirror
from geoloc_pipeline.demo.mirror_transports import mirror_transport
from geoloc_pipeline.demo.pictures import camera_of
from geoloc_pipeline.sources.mapillary_images import FIELDS, THUMBNAILS_PX, download_url, page_url, read_shot, tilt_of


def _entity(image_id, **further):
    return {
        "id": image_id,
        "geometry": {"type": "Point", "coordinates": [139.767, 35.681]},
        "compass_angle": 10.0,
        "captured_at": 1507560881000,
        "sequence": "seq",
        "camera_type": "spherical",
        "computed_rotation": [1.5, 0.1, -0.1],
        "thumb_1024_url": f"https://cdn.example.org/1024/{image_id}.jpg?oh=S1GNED&oe=1",
        "thumb_2048_url": f"https://cdn.example.org/2048/{image_id}.jpg?oh=S1GNED&oe=1",
        **further,
    }


def test_the_computed_place_and_compass_go_before_the_cameras():
    place = {"type": "Point", "coordinates": [139.5, 35.5]}
    creator = {"username": "mapper", "id": "9"}
    shot = read_shot(_entity("1", computed_geometry=place, computed_compass_angle=-0.5, creator=creator))
    assert (shot.lat, shot.lon) == (35.5, 139.5)
    assert shot.compass_deg == 359.5
    assert shot.captured_at == datetime(2017, 10, 9, 14, 54, 41, tzinfo=UTC)
    assert (shot.is_pano, shot.sequence_id, shot.creator) == (True, "seq", "mapper")
    assert (shot.licence, shot.attribution) == ("CC-BY-SA-4.0", "mapper via Mapillary, CC BY-SA 4.0")
    assert shot.page_url == page_url("1") == "https://www.mapillary.com/app/?pKey=1"


@given(compass_deg=st.floats(-1e6, 1e6))
def test_a_compass_stays_within_its_circle(compass_deg):
    said_deg = read_shot({"id": "1", "compass_angle": compass_deg}).compass_deg
    assert 0.0 <= said_deg < 360.0
    assert (said_deg - compass_deg + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("key", [key for key in _entity("1") if key != "id"])
@pytest.mark.parametrize("value", ["absent", None, "strange", {}, [], float("nan"), 1e30, [1e300] * 3, [None] * 3])
def test_any_key_but_the_id_may_be_absent_or_strange(key, value):
    entity = _entity("1")
    if value == "absent":
        del entity[key]
    else:
        entity[key] = value
    shot = read_shot(entity)
    assert shot.image_id == "1"
    if key == "geometry":
        assert shot.lat is None
        assert shot.lon is None
    if key == "compass_angle" and value != 1e30:
        assert shot.compass_deg is None
    if key == "computed_rotation":
        assert (shot.pitch_deg, shot.roll_deg) == (0.0, 0.0)
    assert download_url(entity, width_px=1024)


def test_only_an_id_is_enough():
    shot = read_shot({"id": 5})
    assert (shot.image_id, shot.captured_at, shot.is_pano) == ("5", None, False)
    assert download_url({"id": 5}, width_px=1024) is None
    assert shot.attribution == "unknown user via Mapillary, CC BY-SA 4.0"


def test_the_smallest_picture_that_is_wide_enough_is_taken():
    entity = _entity("1", thumb_original_url="https://original", thumb_256_url="https://256")
    links = [download_url(entity, width_px=width) for width in (100, 256, 257, 1024, 2000, 5000)]
    small, middle, large = "https://256", entity["thumb_1024_url"], entity["thumb_2048_url"]
    assert links == [small, small, middle, middle, large, "https://original"]
    assert set(THUMBNAILS_PX) <= set(FIELDS)
    assert download_url(_entity("1"), width_px=9000) == large  # the largest there is


def test_a_link_that_leads_nowhere_is_none():
    assert download_url({"thumb_1024_url": "file:///etc/passwd", "thumb_2048_url": "http//x"}, width_px=1) is None


def _rotation_vector(*, heading_deg, pitch_deg, roll_deg):
    """Turn a level camera that looks north by heading, pitch and roll, each by its own axis, and say it as OpenSfM does."""
    right, ahead, up = np.eye(3)  # of a camera that looks north: east, north, up
    about_up = Rotation.from_rotvec(-math.radians(heading_deg) * up)  # a compass turns clockwise
    about_right = Rotation.from_rotvec(math.radians(pitch_deg) * right)
    about_axis = Rotation.from_rotvec(math.radians(roll_deg) * ahead)  # right goes down
    right, ahead, up = (about_up * about_right * about_axis).apply([right, ahead, up])
    return Rotation.from_matrix(np.array([right, -up, ahead])).as_rotvec()


@given(heading_deg=st.floats(0, 360), pitch_deg=st.floats(-31, 31), roll_deg=st.floats(-31, 31))
def test_pitch_and_roll_come_back_whatever_the_heading(heading_deg, pitch_deg, roll_deg):
    vector = _rotation_vector(heading_deg=heading_deg, pitch_deg=pitch_deg, roll_deg=roll_deg)
    assert tilt_of(vector.tolist()) == pytest.approx((pitch_deg, roll_deg), abs=1e-6)


def test_a_camera_that_looks_north_at_the_horizon_is_level():
    assert tilt_of([math.pi / 2, 0.0, 0.0]) == pytest.approx((0.0, 0.0))  # as OpenSfM's documentation has it
    assert tilt_of([math.pi / 2 - 0.1, 0.0, 0.0]) == pytest.approx((math.degrees(0.1), 0.0))  # it would look straight up at 0


@given(heading_deg=st.floats(0, 360), tilt_deg=st.floats(46, 180), is_roll=st.booleans())
def test_a_camera_that_lies_on_its_side_is_not_believed(heading_deg, tilt_deg, is_roll):
    turned = {"pitch_deg": 0.0, "roll_deg": tilt_deg} if is_roll else {"pitch_deg": tilt_deg, "roll_deg": 0.0}
    assert tilt_of(_rotation_vector(heading_deg=heading_deg, **turned).tolist()) == (0.0, 0.0)


def test_the_mirrors_entities_tell_how_its_pictures_were_drawn(tmp_path):
    mirror = Mirror(tmp_path, grow_land(seed=3, prefecture_codes=("47",), density=0.05))
    driven = mirror.coverage.only("mapillary")
    computed = np.flatnonzero(driven.shots.is_computed)
    with httpx.Client(transport=mirror_transport(mirror), headers={"Authorization": f"OAuth {DEMO_TOKEN}"}) as client:
        for row in computed[:: len(computed) // 40]:
            url = f"https://graph.mapillary.com/{driven.shots.image_id[row]}"
            shot = read_shot(client.get(url, params={"fields": ",".join(FIELDS)}).json())
            camera = camera_of(driven, int(row))
            assert (shot.pitch_deg, shot.roll_deg) == pytest.approx((camera.pitch_deg, camera.roll_deg), abs=1e-4)
            assert shot.compass_deg == pytest.approx(camera.heading_deg, abs=1e-4)
    assert np.abs(driven.shots.roll_deg[computed]).max() > 1.0
