"""JSON read without trust, and coverage that comes back as it was kept."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.sources.street_view import Coverage
from geoloc_pipeline.sources.street_view_json import (
    compass_of,
    coverage_as_json,
    coverage_from_json,
    list_of,
    moment_of,
    number_of,
    object_of,
    order_ms,
    place_of,
    text_of,
)

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
pictures = st.fixed_dictionaries(
    {
        "lat": st.floats(-90, 90),
        "lon": st.floats(-180, 180),
        "compass_deg": st.floats(0, 359.9) | st.just(math.nan),
        "captured_ms": st.integers(0, 4 * 10**12),
        "is_pano": st.booleans(),
        "quality": st.floats(-50, 0, width=32) | st.just(math.nan),
        "sequence_id": st.text(max_size=8),
    }
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), pictures, max_size=6))
def test_coverage_comes_back_as_it_was_kept(found) -> None:
    columns = {name: [picture[name] for picture in found.values()] for name in (next(iter(found.values())) if found else ())}
    whole = Coverage.of(image_id=list(found), **{"lat": [], "lon": [], **columns})
    content = coverage_as_json(whole)
    again = coverage_from_json(content)
    assert bool(content) == bool(found)
    assert again.image_id.tolist() == whole.image_id.tolist()
    assert again.sequence_id.tolist() == whole.sequence_id.tolist()
    assert np.array_equal(again.captured_ms, whole.captured_ms)
    assert np.array_equal(again.is_pano, whole.is_pano)
    assert again.is_outdoor.all()
    for name, grid in (("lat", 1e-7), ("lon", 1e-7), ("compass_deg", 0.01), ("quality", 0.01)):
        np.testing.assert_allclose(getattr(again, name), getattr(whole, name), atol=grid)
    assert coverage_as_json(again) == content


def test_kept_coverage_that_was_cut_or_changed_is_told_to_be_spoilt() -> None:
    content = coverage_as_json(
        Coverage.of(image_id=["a", "b"], lat=[35.0, 36.0], lon=[139.0, 140.0], compass_deg=[1.0, math.nan])
    )
    for length in range(1, len(content)):
        with pytest.raises(ValueError, match="no kept coverage"):
            coverage_from_json(content[:length])
    for former, spoilt in (
        (b"35.0,", b""),
        (b'"lat":[', b'"lax":['),
        (b"35.0", b'"x"'),
        (b"0,0", b"0,[1]"),
        (b'["a","b"]', b'"ab"'),
    ):
        assert former in content
        with pytest.raises(ValueError, match="no kept coverage"):
            coverage_from_json(content.replace(former, spoilt, 1))


@given(junk)
def test_any_json_value_can_be_read_as_any_kind(value) -> None:
    number, text = number_of(value), text_of(value)
    assert number is None or math.isfinite(number)
    assert text is None or text.strip() == text != ""
    assert isinstance(object_of(value), dict)
    assert isinstance(list_of(value), list)
    assert moment_of(value) is None or moment_of(value).tzinfo is UTC
    assert isinstance(order_ms(value), int)
    place = place_of(lat=value, lon=value)
    assert place is None or abs(place[0]) <= 90


def test_numbers_may_be_strings_and_ids_numbers() -> None:
    assert [number_of(value) for value in ("35.6", 35.6, "-1e2", True, "", "nan", None, [1], 10**400)] == [
        35.6, 35.6, -100.0, None, None, None, None, None, None,
    ]  # fmt: skip
    assert [text_of(value) for value in (" a ", 12, True, "", "  ", 1.5, None)] == ["a", "12", None, None, None, None, None]


def test_a_direction_is_below_a_full_turn_whatever_turns_it_was_given_with() -> None:
    told = (361, "-90", 360, 719.5, -1e-300, None, "north")
    assert [compass_of(value) for value in told] == [1.0, 270.0, 0.0, 359.5, 0.0, None, None]


def test_a_time_without_a_zone_tells_the_order_but_not_the_moment() -> None:
    assert moment_of("2022-11-05T10:00:00+09:00") == datetime(2022, 11, 5, 1, tzinfo=UTC)
    assert moment_of("2022-11-05T01:00:00Z") == datetime(2022, 11, 5, 1, tzinfo=UTC)
    assert moment_of("2016-03-23 09:33:51.000") is None
    assert order_ms("2016-03-23 09:33:51.000") == datetime(2016, 3, 23, 9, 33, 51, tzinfo=UTC).timestamp() * 1000
    assert order_ms("1970-01-01 00:00:00.000") == order_ms("not a time") == order_ms("0000-00-00 00:00:00") == 0
