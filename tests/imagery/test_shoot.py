"""From downloaded bytes to one archived picture, whichever way a provider gives them."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from geoloc_pipeline.imagery.choose import Choice
from geoloc_pipeline.imagery.shoot import archive_choice
from geoloc_pipeline.imagery.webp import place_in_webp
from geoloc_pipeline.sources.street_view import Picture, Shot

_AT = datetime(2026, 11, 3, tzinfo=UTC)


def _picture(image_id, contents, **told):
    known = {
        "lat": 35.0,
        "lon": 139.0,
        "compass_deg": 0.0,
        "captured_at": _AT,
        "is_pano": True,
        "sequence_id": "s",
        "creator": "c",
    }
    known |= {"licence": "CC-BY-SA-4.0", "attribution": "c via X", "page_url": f"https://x/{image_id}"} | told
    return Picture(Shot(image_id=image_id, **known), contents if isinstance(contents, dict) else {None: contents}, _AT)


def _archived(choice, pictures, **options):
    options = {"source": "x", "side_px": None, "rejections": []} | options
    return archive_choice(choice, {picture.shot.image_id: picture for picture in pictures}, **options)


@pytest.fixture
def squares(as_jpeg, colours):
    """A picture of each direction, by heading."""
    made = {}
    for heading, colour in zip((0, 90, 180, 270), colours.values(), strict=True):
        pixels = np.full((96, 96, 3), colour, dtype=np.uint8)
        pixels[::8] //= 2
        made[heading] = as_jpeg(pixels)
    return made


def _colours_of(data):
    strip = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    side = strip.shape[0]
    return [np.median(strip[:, n * side + 4 : (n + 1) * side - 4].reshape(-1, 3), axis=0).tolist() for n in range(4)]


def test_views_that_a_provider_cuts_itself_are_joined_in_the_order_n_e_s_w(squares, colours):
    shuffled = {heading: squares[heading] for heading in (180, 0, 270, 90)}
    outcome = _archived(Choice("p", 35.0, 139.0, pano_id="a"), [_picture("a", shuffled)])
    assert outcome.picture.row["views"] == "NESW"
    for found, colour in zip(_colours_of(outcome.picture.data), colours.values(), strict=True):
        assert np.abs(np.array(found) - colour).max() < 20


def test_a_panorama_that_leaned_is_levelled(as_jpeg, panorama):
    level = panorama(512)
    level[:128] //= 3  # the sky is darker
    upright = _archived(Choice("p", 35.0, 139.0, pano_id="a"), [_picture("a", as_jpeg(level))])
    leaned = _archived(Choice("p", 35.0, 139.0, pano_id="a"), [_picture("a", as_jpeg(level), pitch_deg=12.0)])
    assert upright.picture.data != leaned.picture.data
    north = np.asarray(Image.open(io.BytesIO(leaned.picture.data))).astype(int)[:, :128].mean(axis=(1, 2))
    level_north = np.asarray(Image.open(io.BytesIO(upright.picture.data))).astype(int)[:, :128].mean(axis=(1, 2))
    horizon, level_horizon = int(np.argmax(np.diff(north[8:-8]))), int(np.argmax(np.diff(level_north[8:-8])))
    assert horizon != level_horizon


def test_what_is_known_of_several_flat_pictures_is_joined(squares):
    one = _picture("1", squares[0], is_pano=False, lat=35.0, lon=139.0, licence="CC-BY-SA-4.0", attribution="a via X")
    other = _picture("2", squares[90], is_pano=False, lat=35.0002, lon=139.0, licence="etalab-2.0", attribution="b via X")
    outcome = _archived(Choice("p", 35.0, 139.0, flats=((0, "1"), (90, "2"))), [one, other])
    row = outcome.picture.row
    assert (row["views"], row["source_image_id"], row["origin_id"]) == ("NE--", "1+2", "x:1+2")
    assert row["licence"] == "CC-BY-SA-4.0 AND etalab-2.0"
    assert row["attribution"] == "a via X; b via X"
    assert row["lat"] == pytest.approx(35.0001, abs=1e-9)
    assert row["content_sha256"].count("+") == 1
    assert place_in_webp(outcome.picture.data) == pytest.approx((row["lat"], row["lon"]), abs=1e-7)


def test_former_rejections_are_kept_and_nothing_usable_is_no_picture():
    former = [("x", "2", "gone", "why")]
    outcome = _archived(Choice("p", 35.0, 139.0, flats=((0, "1"), (90, "2"))), [_picture("1", b"<html>")], rejections=former)
    assert outcome.picture is None
    assert [rejection[2] for rejection in outcome.rejections] == ["gone", "not_an_image"]
    assert former == [("x", "2", "gone", "why")]


@pytest.mark.parametrize(("told", "reason"), [({"lat": None}, "no_place"), ({"compass_deg": None}, "no_compass")])
def test_a_panorama_without_place_or_compass_cannot_be_used(as_jpeg, panorama, told, reason):
    outcome = _archived(Choice("p", 35.0, 139.0, pano_id="a"), [_picture("a", as_jpeg(panorama(256)), **told)])
    assert [rejection[2] for rejection in outcome.rejections] == [reason]
