"""A plan is only added to: who has a picture keeps it, whatever comes and goes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.imagery.choose import Choice
from geoloc_pipeline.imagery.plan import Plan, plan_path, read_plan, refresh_plan, release, write_plan
from geoloc_pipeline.sources.street_view import Coverage

_RADIUS_M = 150.0
_LAT, _LON = 35.68, 139.76


def _panoramas(places):
    numbers = [str(number) for number in range(1, len(places) + 1)]
    lat, lon = ([place[axis] for place in places] for axis in (0, 1))
    return Coverage.of(image_id=numbers, lat=lat, lon=lon, is_pano=[True] * len(places))


class Collection:
    """Plans one set of points after the other; every chunk that was planned is archived unless told otherwise."""

    def __init__(self, pictures, chunk_points=3):
        self.pictures, self.chunk_points, self.plan, self.asked = pictures, chunk_points, Plan(), []

    def come(self, points, unfinished=(), barred=()):
        wanted = {point_id for point_id, _, _ in points}
        standing = set(range(len(self.plan.chunks))) - set(unfinished)
        places = {
            choice.point_id: self.pictures[int(choice.pano_id) - 1]
            for number in standing
            for choice in self.plan.chunks[number]
            if choice.point_id not in wanted and not choice.reason
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
            barred=barred,
        )
        return self.settled

    @property
    def settled(self):
        """What every point has now, by point."""
        good = [choice for choice in self.plan.planned if not choice.reason]
        assert not {choice.reason for choice in self.plan.planned} - {"", "bad"}
        names = [choice.point_id for choice in (*good, *self.plan.nothing)]
        assert len(names) == len(set(names)), "a point stands twice"
        return {choice.point_id: choice for choice in (*good, *self.plan.nothing)}


_offset = st.floats(-0.004, 0.004)
_place = st.tuples(_offset, _offset).map(lambda away: (_LAT + away[0], _LON + away[1]))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_whatever_comes_and_goes_every_point_has_its_place_and_who_has_a_picture_keeps_it(data):
    pictures = data.draw(st.lists(_place, max_size=12))
    places = data.draw(st.lists(_place, min_size=1, max_size=12))
    barred = data.draw(st.sets(st.integers(1, 12).map(str), max_size=2))
    everyone = [(f"p{number:02}", *place) for number, place in enumerate(places)]
    collection, before, before_chunks, bad_before = Collection(pictures), {}, (), set()
    for _ in range(4):
        points = [point for point in everyone if data.draw(st.booleans())]
        unfinished = [number for number, _ in enumerate(before_chunks) if data.draw(st.sampled_from([False, False, True]))]
        mine = collection.come(points, unfinished, barred)
        wanted = {point_id for point_id, _, _ in points}
        assert wanted <= set(mine)
        assert {choice.point_id for choice in collection.plan.nothing} <= wanted
        pictures_of = [image_id for choice in collection.plan.planned for image_id in choice.image_ids]
        assert len(pictures_of) == len(set(pictures_of)), "a picture serves two points, or was given out again after it was bad"
        assert not barred & set(pictures_of)
        assert bad_before <= {choice for choice in collection.plan.planned if choice.reason}, "a bad picture was forgotten"
        owners = collection.plan.owners()
        assert owners == {choice.pano_id: choice for choice in mine.values() if choice.pano_id}
        for image_id, choice in owners.items():
            at = collection.pictures[int(image_id) - 1]
            assert distance_m(lat=choice.lat, lon=choice.lon, to_lat=at[0], to_lon=at[1]) <= _RADIUS_M * (1 + 1e-6)
        for point_id in wanted & set(before):
            assert mine[point_id] == before[point_id], "a settled point got something else"
        assert not set(before) & {point_id for new in collection.asked for point_id in new} & wanted
        for number, chunk in enumerate(before_chunks):
            if number not in unfinished:
                assert [c.pano_id for c in collection.plan.chunks[number]] == [c.pano_id for c in chunk]
            else:
                assert {c.point_id for c in collection.plan.chunks[number] if not c.reason} <= wanted
        again = collection.plan
        collection.come(points, unfinished, barred)
        assert collection.plan is again
        assert collection.asked == []
        if points:
            collection.plan = release(again, data.draw(st.sets(st.sampled_from(sorted(mine)))))
        before, before_chunks = collection.settled, collection.plan.chunks
        bad_before = {choice for choice in collection.plan.planned if choice.reason}
        assert [[c.pano_id for c in chunk] for chunk in before_chunks] == [[c.pano_id for c in chunk] for chunk in again.chunks]


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


def test_a_released_point_looks_three_times_and_then_has_nothing():
    collection = Collection([(_LAT + 0.0001 * number, _LON) for number in range(5)])
    points = [("a", _LAT, _LON)]
    seen = []
    for _ in range(3):
        seen.append(collection.come(points)["a"].pano_id)
        assert collection.plan.owners()[seen[-1]].point_id == "a"
        collection.plan = release(collection.plan, ["a"])
        assert collection.plan.owners() == {}
    assert seen == ["1", "2", "3"]
    assert collection.come(points)["a"].reason == "all_bad"
    assert collection.asked == []
    assert [choice.reason for choice in collection.plan.planned] == ["bad"] * 3
    assert [len(chunk) for chunk in collection.plan.chunks] == [1, 1, 1]


def test_how_often_a_point_looks_is_the_callers_to_say():
    collection = Collection([(_LAT, _LON), (_LAT + 0.0001, _LON)])
    collection.come([("a", _LAT, _LON), ("b", _LAT, _LON)])
    plan = release(collection.plan, ["a"], most_looks=1)
    assert [(choice.point_id, choice.reason) for choice in plan.nothing] == [("a", "all_bad")]
    assert {choice.point_id for choice in plan.owners().values()} == {"b"}


def test_who_has_no_picture_cannot_be_released():
    collection = Collection([(_LAT, _LON)])
    collection.come([("a", _LAT, _LON), ("b", _LAT, _LON)])
    assert release(collection.plan, ["b", "stranger"]) is collection.plan
    once = release(collection.plan, ["a"])
    assert release(once, ["a"]) is once


def test_what_is_barred_goes_to_nobody():
    collection = Collection([(_LAT, _LON), (_LAT + 0.0005, _LON)])
    assert collection.come([("a", _LAT, _LON)], barred={"1"})["a"].pano_id == "2"
    assert collection.come([("a", _LAT, _LON), ("b", _LAT, _LON)], barred={"1"})["b"].reason == "already_taken"


def test_a_released_point_may_inherit_and_a_bad_picture_is_not_inherited():
    collection = Collection([(_LAT, _LON), (_LAT + 0.0008, _LON)])
    collection.come([("a", _LAT, _LON), ("b", _LAT + 0.0009, _LON)])
    collection.plan = release(collection.plan, ["a"])
    mine = collection.come([("a", _LAT, _LON)])  # the neighbour has gone
    assert mine["a"].pano_id == "2"
    assert collection.asked == []
    collection.plan = release(collection.plan, ["a"])
    assert collection.come([("c", _LAT, _LON)])["c"].reason == "already_taken"


def test_who_inherits_from_a_point_does_not_inherit_its_bad_pictures():
    collection = Collection([(_LAT, _LON), (_LAT + 0.0005, _LON)])
    collection.come([("a", _LAT, _LON)])
    collection.plan = release(collection.plan, ["a"])
    collection.come([("a", _LAT, _LON)])
    assert collection.come([("c", _LAT, _LON)])["c"].pano_id == "2"
    assert [(c.point_id, c.pano_id, c.reason) for c in collection.plan.planned] == [("a", "1", "bad"), ("c", "2", "")]


_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_degrees = st.floats(-180, 180)
_served = st.builds(Choice, _words, _degrees, _degrees, pano_id=_words, reason=st.sampled_from(["", "bad"])) | st.builds(
    Choice,
    _words,
    _degrees,
    _degrees,
    flats=st.dictionaries(st.sampled_from([0, 90, 180, 270]), _words, min_size=1).map(lambda ids: tuple(sorted(ids.items()))),
)
_unserved = st.builds(Choice, _words, _degrees, _degrees, reason=_words)
_plans = st.builds(
    Plan, st.lists(st.lists(_served, max_size=3).map(tuple), max_size=4).map(tuple), st.lists(_unserved, max_size=4).map(tuple)
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return plan_path(tmp_path_factory.mktemp("plans"), source="mapillary", radius_m=150.0, edition="")


@settings(max_examples=60, deadline=None)
@given(_plans)
def test_a_plan_reads_back_as_it_was_written_and_the_same_plan_is_the_same_bytes(path, plan):
    write_plan(path, plan)
    content = path.read_bytes()
    assert read_plan(path) == plan
    write_plan(path, read_plan(path))
    assert path.read_bytes() == content


def test_where_there_is_no_plan_it_is_empty(tmp_path):
    assert read_plan(tmp_path / "some.plan") == Plan()


@settings(max_examples=150, deadline=None)
@given(plan=_plans, cut=st.floats(0, 1), flip=st.integers(1, 255), tail=st.booleans())
def test_a_spoilt_plan_reads_as_an_empty_one_and_never_as_another(path, plan, cut, flip, tail):
    write_plan(path, plan)
    content = bytearray(path.read_bytes())
    at = min(len(content) - 1, int(cut * len(content)))
    if tail:
        del content[at:]
    else:
        content[at] ^= flip
    path.write_bytes(content)
    assert read_plan(path) == Plan()


@pytest.mark.parametrize("text", ["", "[", '{"chunks": [], "nothing": []}'])
def test_a_file_of_another_kind_is_no_plan(tmp_path, text):
    path = tmp_path / "some.plan"
    path.write_text(text)
    assert read_plan(path) == Plan()


def test_other_settings_have_a_plan_of_their_own(tmp_path):
    paths = Counter(
        plan_path(tmp_path, source=source, radius_m=radius_m, edition=edition)
        for source in ("mapillary", "panoramax")
        for radius_m in (100.0, 150.0)
        for edition in ("", "2027")
    )
    assert len(paths) == 8
