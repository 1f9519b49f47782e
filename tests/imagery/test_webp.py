"""The place survives encoding, everywhere on Earth; nothing else is written."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.imagery.webp import encode_webp, place_in_webp

_PIXELS = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)


@settings(max_examples=300)
@given(lat=st.floats(-90, 90), lon=st.floats(-180, 180))
@example(lat=0.0, lon=0.0)
@example(lat=-0.0, lon=-0.0)
@example(lat=90.0, lon=180.0)
@example(lat=-90.0, lon=-180.0)
@example(lat=35.0 + 59.99999 / 3600, lon=139.0 + 59.99999 / 60)
@example(lat=-1e-9, lon=1e-9)
def test_the_place_is_right_within_a_centimetre_anywhere(lat, lon):
    back = place_in_webp(encode_webp(_PIXELS, lat=lat, lon=lon))
    assert back is not None
    assert distance_m(lat=lat, lon=lon, to_lat=back[0], to_lon=back[1]) < 0.01
    assert np.sign(back[0]) in {np.sign(lat), 0}


@given(lat=st.floats(-90, 90), lon=st.floats(-180, 180))
def test_seconds_never_reach_sixty(lat, lon):
    with Image.open(io.BytesIO(encode_webp(_PIXELS, lat=lat, lon=lon))) as image:
        gps = image.getexif().get_ifd(0x8825)
    for degrees, minutes, seconds in (gps[2], gps[4]):
        assert degrees == int(degrees)
        assert minutes in range(60)
        assert 0 <= seconds < 60


def test_a_picture_says_its_place_and_nothing_else():
    with Image.open(io.BytesIO(encode_webp(_PIXELS, lat=35.0, lon=139.0))) as image:
        exif = image.getexif()
        assert set(exif) == {0x8825}
        assert set(exif.get_ifd(0x8825)) == {0, 1, 2, 3, 4, 18}
        assert exif.get_ifd(0x8825)[18] == "WGS-84"
        assert image.format == "WEBP"
        assert "xmp" not in image.info


def chunks_of(data):
    """The chunks of a RIFF file, in order: [(name, contents)]."""
    assert (data[:4], data[8:12], int.from_bytes(data[4:8], "little")) == (b"RIFF", b"WEBP", len(data) - 8)
    at, chunks = 12, []
    while at < len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        chunks.append((data[at : at + 4], data[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return chunks


@given(height=st.integers(1, 40), width=st.integers(1, 40), lat=st.floats(-90, 90), lon=st.floats(-180, 180))
def test_the_file_holds_pixels_and_place_and_no_other_chunk(height, width, lat, lon):
    header, pixels, exif = chunks_of(encode_webp(np.resize(_PIXELS, (height, width, 3)), lat=lat, lon=lon))
    assert [header[0], pixels[0], exif[0]] == [b"VP8X", b"VP8 ", b"EXIF"]  # lossy; no ICCP, XMP, ALPH, ANIM
    assert header[1][0] == 0b1000  # of the features, EXIF alone
    assert len(exif[1]) < 250  # six GPS tags; no thumbnail


def test_same_picture_same_bytes_and_another_place_changes_no_pixel():
    one, again, other = (encode_webp(_PIXELS, lat=lat, lon=139.0) for lat in (35.0, 35.0, -35.0))
    assert one == again != other
    pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in (one, other)]
    assert np.array_equal(*pixels)


def test_the_quality_is_the_papers(shared_data):
    photo = np.asarray(Image.open(shared_data / "photos" / "lund" / "01.jpg").convert("RGB"))
    data = encode_webp(photo, lat=35.0, lon=139.0)
    error = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float) - photo
    noise_db = 10 * np.log10(255**2 / (error**2).mean())
    assert noise_db > 33
    best = io.BytesIO()
    Image.fromarray(photo).save(best, "WEBP", quality=90, method=6)
    assert len(data) < 1.1 * best.tell()


@pytest.mark.parametrize(("lat", "lon"), [(91, 0), (0, 181), (float("nan"), 0), (0, float("inf"))])
def test_what_is_no_place_is_not_written(lat, lon):
    with pytest.raises(SettingError, match="latitude first"):
        encode_webp(_PIXELS, lat=lat, lon=lon)


def test_a_picture_too_large_for_webp_is_refused_before():
    with pytest.raises(SettingError, match="16383"):
        encode_webp(np.zeros((1, 16384, 3), dtype=np.uint8), lat=0, lon=0)


def test_a_picture_without_place_has_none():
    stream = io.BytesIO()
    Image.fromarray(_PIXELS).save(stream, "WEBP")
    assert place_in_webp(stream.getvalue()) is None
