"""EXIF as cameras write it, and as nobody should."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from geoloc_pipeline.sources.exif import author_of, copyright_of, place_of, taken_at_of


def _photo(gps=None, top=None, inner=None):
    exif = Image.Exif()
    for tag, value in (top or {}).items():
        exif[tag] = value
    if inner:
        exif.get_ifd(0x8769).update(inner)
    if gps is not None:
        exif.get_ifd(0x8825).update(gps)
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG", exif=exif)
    return Image.open(io.BytesIO(stream.getvalue())).getexif()


def _dms(*parts):
    return tuple(IFDRational(round(part * 1000), 1000) for part in parts)


def test_the_sign_comes_from_the_reference():
    gps = {1: "S", 2: _dms(33, 51, 31.2), 3: "W", 4: _dms(70, 30, 0)}
    lat, lon = place_of(_photo(gps))
    assert lat == pytest.approx(-33.858667, abs=1e-6)
    assert lon == pytest.approx(-70.5)


def test_zero_is_a_place():
    assert place_of(_photo({1: "N", 2: _dms(0, 0, 0), 3: "E", 4: _dms(0, 0, 0)})) == (0.0, 0.0)


def test_degrees_alone_and_decimal_minutes_are_understood():
    assert place_of(_photo({1: "N", 2: _dms(35, 30.5, 0), 3: "E", 4: _dms(139.5, 0, 0)})) == pytest.approx(
        (35.508333, 139.5), abs=1e-5
    )


@pytest.mark.parametrize(
    "gps",
    [
        None,
        {},
        {1: "N", 2: _dms(35, 0, 0)},
        {1: "N", 2: (IFDRational(0, 0),) * 3, 3: "E", 4: _dms(139, 0, 0)},
        {1: "N", 2: _dms(91, 0, 0), 3: "E", 4: _dms(139, 0, 0)},
        {1: "N", 2: _dms(35, 0, 0), 3: "E", 4: _dms(181, 0, 0)},
        {1: "N", 2: (IFDRational(2**31, 1),) * 3, 3: "E", 4: _dms(139, 0, 0)},
    ],
)
def test_what_is_no_place_is_none(gps):
    assert place_of(_photo(gps)) is None


def test_the_gps_clock_goes_before_the_cameras():
    gps = {7: _dms(8, 15, 29.6), 29: "2026:05:04"}
    inner = {36867: "2020:01:01 00:00:00", 36881: "+09:00"}
    assert taken_at_of(_photo(gps, inner=inner)) == datetime(2026, 5, 4, 8, 15, 30, tzinfo=UTC)
    assert taken_at_of(_photo(inner=inner)) == datetime(2019, 12, 31, 15, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "inner", [{}, {36867: "2020:01:01 00:00:00"}, {36867: "0000:00:00 00:00:00", 36881: "+09:00"}, {36867: "x", 36881: "y"}]
)
def test_a_clock_without_zone_or_sense_is_none(inner):
    assert taken_at_of(_photo(inner=inner)) is None


def test_author_and_copyright_are_read_without_padding():
    exif = _photo(top={315: "Sample Photographer\x00  ", 33432: "(c) nobody"})
    assert author_of(exif) == "Sample Photographer"
    assert copyright_of(exif) == "(c) nobody"
    assert author_of(_photo()) is None
    assert copyright_of(_photo()) is None


def test_real_photos_are_where_they_were_taken(shared_data):
    for path in sorted((shared_data / "photos" / "lund").glob("*.jpg")):
        with Image.open(path) as image:
            lat, lon = place_of(image.getexif())
        assert 55.69 < lat < 55.72
        assert 13.18 < lon < 13.22


_RATIONAL = st.builds(IFDRational, st.integers(-(2**33), 2**33), st.integers(-(2**33), 2**33))
_ANYTHING = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=9), st.binary(max_size=9), _RATIONAL)
_VALUE = st.one_of(_ANYTHING, st.lists(_ANYTHING, max_size=4).map(tuple))


@given(
    gps=st.dictionaries(st.sampled_from([1, 2, 3, 4, 7, 29]), _VALUE),
    inner=st.dictionaries(st.sampled_from([36867, 36881]), _VALUE),
)
def test_absurd_values_are_no_place_and_no_time_never_a_crash(gps, inner):
    exif = Image.Exif()
    exif.get_ifd(0x8825).update(gps)
    exif.get_ifd(0x8769).update(inner)
    place, moment = place_of(exif), taken_at_of(exif)
    assert place is None or (abs(place[0]) <= 90 and abs(place[1]) <= 180)
    assert moment is None or moment.tzinfo is UTC
