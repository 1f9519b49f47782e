"""A plan is only added to: who has a picture keeps it, whatever comes and goes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.imagery.choose import Choice
from geoloc_pipeline.imagery.plan import Plan, plan_path, read_plan, refresh_plan, write_plan
from geoloc_pipeline.sources.mapillary_coverage import Coverage

_RADIUS_M = 150.0
_LAT, _LON = 35.68, 139.76


def _panoramas(places):
    rows = np.arange(len(places), dtype=np.int64)
    lat, lon = (np.array([place[axis] for place in places], dtype=np.float64) for axis in (0, 1))
    empty = np.array([""] * len(places), dtype=object)
    return Coverage(rows + 1, lat, lon, np.full(len(rows), np.nan), rows * 0, rows >= 0, empty)


class Collection:
    """Plans one set of points after the other; every chunk that was planned is archived unless told otherwise."""

    def __init__(self, pictures, chunk_points=3):
        self.pictures, self.chunk_points, self.plan, self.asked = pictures, chunk_points, Plan(), []

    def come(self, points, unfinished=()):
        wanted = {point_id for point_id, _, _ in points}
        standing = set(range(len(self.plan.chunks))) - set(unfinished)
        places = {
            choice.point_id: self.pictures[int(choice.pano_id) - 1]
            for number in standing
            for choice in self.plan.chunks[number]
            if choice.point_id not in wanted
        }

        def coverage_of(new):
            self.asked.append([point_id for point_id, _, _ in new])
            return _panoramas(self.pictures)

        self.asked = []
        self.plan = refresh_plan(
            self.plan,
            points,
            standing=standing,
            places=places,
            coverage_of=coverage_of,
            radius_m=_RADIUS_M,
            chunk_points=self.chunk_points,
        )
        return {choice.point_id: choice for choice in (*self.plan.planned, *self.plan.nothing)}


_offset = st.floats(-0.004, 0.004)
_place = st.tuples(_offset, _offset).map(lambda away: (_LAT + away[0], _LON + away[1]))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_whatever_comes_and_goes_every_point_has_its_place_and_who_has_a_picture_keeps_it(data):
    pictures = data.draw(st.lists(_place, max_size=12))
    places = data.draw(st.lists(_place, min_size=1, max_size=12))
    everyone = [(f"p{number:02}", *place) for number, place in enumerate(places)]
    collection, before, before_chunks = Collection(pictures), {}, ()
    for _ in range(4):
        points = [point for point in everyone if data.draw(st.booleans())]
        unfinished = [number for number, _ in enumerate(before_chunks) if data.draw(st.sampled_from([False, False, True]))]
        mine = collection.come(points, unfinished)
        wanted = {point_id for point_id, _, _ in points}
        kept = [choice.point_id for choice in (*collection.plan.planned, *collection.plan.nothing)]
        assert len(kept) == len(set(kept)), "a point stands twice"
        assert wanted <= set(kept)
        assert {choice.point_id for choice in collection.plan.nothing} <= wanted
        pictures_of = [image_id for choice in collection.plan.planned for image_id in choice.image_ids]
        assert len(pictures_of) == len(set(pictures_of)), "a picture serves two points"
        for choice in collection.plan.planned:
            at = collection.pictures[int(choice.pano_id) - 1]
            assert distance_m(lat=choice.lat, lon=choice.lon, to_lat=at[0], to_lon=at[1]) <= _RADIUS_M
        for point_id in wanted & set(before):
            assert mine[point_id] == before[point_id], "a settled point got something else"
        assert not set(before) & {point_id for new in collection.asked for point_id in new} & wanted
        for number, chunk in enumerate(before_chunks):
            if number not in unfinished:
                assert [c.pano_id for c in collection.plan.chunks[number]] == [c.pano_id for c in chunk]
            else:
                assert {c.point_id for c in collection.plan.chunks[number]} <= wanted
        again = collection.plan
        collection.come(points, unfinished)
        assert collection.plan == again
        assert collection.asked == []
        before, before_chunks = mine, collection.plan.chunks


def test_a_point_that_moved_takes_the_picture_that_it_left_and_one_that_moved_far_does_not():
    east = 0.001 / np.cos(np.radians(_LAT))
    collection = Collection([(_LAT, _LON), (_LAT + 0.01, _LON)])
    collection.come([("a", _LAT, _LON), ("b", _LAT + 0.01, _LON)])
    mine = collection.come([("c", _LAT, _LON + east), ("d", _LAT + 0.015, _LON)])  # 111 m away, and 556 m
    assert (mine["c"].pano_id, mine["c"].lon) == ("1", _LON + east)
    assert mine["d"].reason == "nothing_within_radius"
    assert "a" not in mine
    assert mine["b"].pano_id == "2"  # vanished, and nobody took its picture
    assert collection.asked == [["d"]]


def test_a_point_that_comes_back_finds_its_own_again_unless_another_has_it():
    collection = Collection([(_LAT, _LON), (_LAT + 0.0005, _LON)])
    point, other = ("a", _LAT, _LON), ("b", _LAT + 0.0004, _LON)
    first = collection.come([point])
    collection.come([])
    assert collection.come([point]) == first
    assert collection.asked == []
    assert collection.come([other])["b"].pano_id == "1"
    assert collection.come([point, other])["a"].pano_id == "2"


def test_what_was_planned_for_a_vanished_point_and_never_fetched_is_free_for_others():
    collection = Collection([(_LAT, _LON)])
    collection.come([("a", _LAT, _LON)])
    mine = collection.come([("b", _LAT, _LON)], unfinished=[0])
    assert (set(mine), mine["b"].pano_id) == ({"b"}, "1")
    assert collection.asked == [["b"]]


_PLAN = Plan(
    ((Choice("a", 35.1, 139.2, pano_id="10"),), (), (Choice("b", 0.1 + 0.2, 139.0, flats=((0, "1"), (90, "2"))),)),
    (Choice("c", 35.0, 139.0, reason="already_taken"),),
)


def test_a_plan_reads_back_as_it_was_written(tmp_path):
    path = plan_path(tmp_path, radius_m=150.0, edition="")
    assert read_plan(path) == Plan()
    write_plan(path, _PLAN)
    assert read_plan(path) == _PLAN


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", '{"chunks": [[[1]]], "nothing": []}', '{"chunks": 3, "nothing": []}'])
def test_a_spoilt_plan_is_made_anew(tmp_path, text):
    path = plan_path(tmp_path, radius_m=150.0, edition="")
    path.write_text(text)
    assert read_plan(path) == Plan()


def test_other_settings_have_a_plan_of_their_own(tmp_path):
    paths = {plan_path(tmp_path, radius_m=radius_m, edition=edition) for radius_m in (100.0, 150.0) for edition in ("", "2027")}
    assert len(paths) == 4
