"""What is turned away before it is opened, and why."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.imagery.photo_sieve import COARSEST_PLACE_M, PhotoSieve, is_here
from geoloc_pipeline.sources.photo_files import PictureFile
from geoloc_pipeline.sources.photo_record import Photo

_FILE = PictureFile("a.jpg", 1, datetime(2026, 1, 1, tzinfo=UTC), Path("a.jpg"))


class Tombstones:
    def __init__(self, *ids, group=None):
        self.ids, self.group = set(ids), group

    def holds(self, *, source, source_image_id, capture_group=None):
        return (source, source_image_id) in self.ids or (capture_group is not None and capture_group == self.group)


def _photo(**columns):
    told = {"source": "mp16", "source_image_id": "1", "lat": 35.6, "lon": 139.7, "file": _FILE}
    return Photo(**{**told, **columns})


def _judged(*photos, name="mp16", forgotten=None):
    sieve = PhotoSieve(name, forgotten)
    return list(sieve.wanted(iter(photos))), {row[1]: row[2] for row in sieve.turned_away()}


@pytest.mark.parametrize("accuracy_m", [None, 0.0, COARSEST_PLACE_M])
def test_a_photo_at_home_is_opened(accuracy_m):
    photo = _photo(accuracy_m=accuracy_m)
    assert _judged(photo) == ([(photo, _FILE)], {})


def test_one_without_a_place_is_opened_because_its_exif_may_tell():
    photo = _photo(lat=None, lon=None)
    assert _judged(photo)[0] == [(photo, _FILE)]


def test_a_place_that_may_be_off_by_more_than_half_a_kilometre_is_too_coarse():
    assert _judged(_photo(accuracy_m=COARSEST_PLACE_M + 0.1)) == ([], {"1": "coarse_place"})


def test_of_several_reasons_abroad_goes_before_forgotten_before_coarse_before_the_lists_fault():
    troubles = {"accuracy_m": 9e9, "fault": ("file_missing", "x"), "file": None}
    gone = Tombstones(("mp16", "1"))
    assert _judged(_photo(lat=48.0, **troubles), forgotten=gone)[1] == {"*": "outside_country"}
    assert _judged(_photo(**troubles), forgotten=gone)[1] == {"1": "forgotten"}
    assert _judged(_photo(**troubles))[1] == {"1": "coarse_place"}
    assert _judged(_photo(fault=("file_missing", "x"), file=None))[1] == {"1": "file_missing"}


def test_what_is_forgotten_keeps_its_place_without_its_file():
    one, two = _photo(), _photo(source_image_id="2")
    kept, told = _judged(one, two, forgotten=Tombstones(("mp16", "1")))
    assert (kept, told) == ([(one, None), (two, _FILE)], {"1": "forgotten"})


def test_a_group_and_the_provider_that_a_picture_comes_from_are_asked_for_too():
    by_group = _photo(capture_group="flickr:7@N01")
    assert _judged(by_group, forgotten=Tombstones(group="flickr:7@N01"))[1] == {"1": "forgotten"}
    taken_over = _photo(origin_id="mapillary:55")
    assert _judged(taken_over, forgotten=Tombstones(("mapillary", "55")))[1] == {"1": "forgotten"}
    assert _judged(taken_over, forgotten=Tombstones(("mapillary", "5")))[1] == {}


@given(lat=st.floats(-90, 90), lon=st.floats(-180, 180))
def test_only_what_lies_here_is_opened_whatever_its_place(lat, lon):
    kept, told = _judged(_photo(source="local", lat=lat, lon=lon), name="local")
    assert bool(kept) == is_here(lat, lon) == (told == {})
