"""Lots: rows keep their pitch and side, and what must not meet keeps apart."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geoloc_pipeline.demo.lots import Line, Row, buildings, infill, is_clear, lined_up, loose_posts, near
from geoloc_pipeline.demo.style import style_of
from geoloc_pipeline.demo.surroundings import Buildings, Monument, Pieces, Posts

STYLE = style_of(prefecture_code="13", municipality_code="13101", lat=35.7, people_per_km2=9000.0)


def road(*ends: tuple[float, float, float, float], rank: int = 2, half_m: float = 3.0) -> Pieces:
    places = np.array(ends, dtype=np.float64)
    start, end = places[:, :2], places[:, 2:]
    length = np.hypot(*(end - start).T)
    count = len(places)
    return Pieces(
        start_m=start, end_m=end, along=(end - start) / length[:, None], chain_m=np.column_stack([length * 0, length]),
        half_m=np.full(count, half_m), sidewalk_m=np.full(count, 1.0), rank=np.full(count, rank),
        way=np.arange(count) + 70, style=np.zeros(count, dtype=np.int64), way_length_m=length,
    )  # fmt: skip


def line(pieces: Pieces, seed: int = 3) -> Line:
    return Line(seed, pieces, (STYLE,), lambda points: np.zeros(len(points), dtype=np.int64))


def nobody() -> Buildings:
    none = np.zeros(0, dtype=np.int64)
    return infill(3, loose_posts(np.zeros((0, 2)), none, none), (STYLE,))


def grown(pieces: Pieces, clearings: tuple[Monument, ...] = (), behind: Buildings | None = None, seed: int = 3) -> Buildings:
    return buildings(line(pieces, seed), nobody() if behind is None else behind, 110.0, 45.0, clearings)


CROSSING = road((-200.0, 4.0, 200.0, 4.0), (30.0, -200.0, 20.0, 200.0), (-60.0, 200.0, -45.0, -200.0))


def test_a_row_keeps_its_pitch_its_offset_and_its_reach() -> None:
    pieces = road((-100.0, 2.0, 100.0, 2.0))
    (posts,) = lined_up(line(pieces), [Row(9, np.array([5.0]), np.array([3.5]), 30.0, (-1, 1))])
    assert np.hypot(*posts.at_m.T).max() < 30.0
    assert set(np.round(posts.at_m[:, 1], 6)) == {-1.5, 5.5}
    for side in np.unique(posts.line):
        x = np.sort(posts.at_m[posts.line == side, 0])
        assert len(x) > 8
        np.testing.assert_allclose(np.diff(x), 5.0)
    np.testing.assert_allclose(posts.at_m[:, 1] + posts.inward[:, 1] * 3.5, 2.0)


def test_rows_lined_up_together_are_those_lined_up_alone() -> None:
    count = len(CROSSING.rank)
    rows = [
        Row(2, np.full(count, 2.0), np.full(count, 3.1), 40.0, (-1, 1)),
        Row(4, np.full(count, 30.0), np.full(count, 3.7), 110.0, (-1,)),
        Row(5, np.zeros(count), np.full(count, 3.7), 110.0, (-1, 1)),
    ]
    together = lined_up(line(CROSSING), rows)
    assert [len(posts) > 0 for posts in together] == [True, True, False]
    for one, row in zip(together, rows, strict=True):
        (alone,) = lined_up(line(CROSSING), [row])
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, vars(alone)[name])


def test_keys_of_all_things_differ() -> None:
    count = len(CROSSING.rank)
    rows = [Row(salt, np.full(count, 4.0), np.full(count, 3.0), 80.0, (-1, 1)) for salt in (2, 3, 4)]
    keys = np.concatenate([posts.key for posts in lined_up(line(CROSSING), rows)])
    assert len(np.unique(keys)) == len(keys) > 100


def test_no_two_houses_overlap_and_none_stands_on_a_road() -> None:
    houses = grown(CROSSING)
    assert len(houses) > 30
    shapes = [shapely.Polygon(corners) for corners in houses.corners_m()]
    one, other = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    assert max((shapes[a].intersection(shapes[b]).area for a, b in zip(one, other, strict=True) if a != b), default=0.0) < 0.1
    for start, end in zip(CROSSING.start_m, CROSSING.end_m, strict=True):
        carriageway = shapely.LineString([start, end]).buffer(3.0, cap_style="flat")
        assert max(carriageway.intersection(shape).area for shape in shapes) < 0.1


def test_houses_are_the_same_twice_and_others_with_another_seed() -> None:
    one, two, other = grown(CROSSING), grown(CROSSING), grown(CROSSING, seed=4)
    np.testing.assert_array_equal(one.corners_m(), two.corners_m())
    assert len(one) != len(other) or (one.floors != other.floors).any()


def test_a_landmark_keeps_its_ground_and_houses_of_a_road_go_before_those_behind() -> None:
    free = Monument("hall", (0.0, 18.0), (30.0, 30.0), 1, 0)
    assert np.hypot(*(grown(CROSSING, (free,)).at_m - np.array(free.at_m)).T).min() > 15.0
    here = grown(CROSSING)
    at = here.at_m + 0.5
    count = len(at)
    behind = infill(3, loose_posts(at, np.arange(count) + 10**9, np.zeros(count, dtype=np.int64)), (STYLE,))
    assert len(behind) > 5
    assert set(here.key) == set(grown(CROSSING, behind=behind).key)


@pytest.mark.parametrize(("offset", "free"), [(0.0, False), (2.9, False), (3.05, False), (3.3, True), (30.0, True)])
def test_a_thing_is_clear_of_a_carriageway_by_its_distance(offset: float, free: bool) -> None:
    pieces = road((-50.0, 0.0, 50.0, 0.0))
    assert is_clear(pieces, np.array([[5.0, offset]]), np.zeros((1, 1)))[0] == free


def test_only_pieces_that_come_near_are_kept() -> None:
    pieces = road((-500.0, 20.0, 500.0, 20.0), (-500.0, 90.0, 500.0, 90.0), (60.0, 0.0, 200.0, 0.0))
    assert near(pieces, 50.0).way.tolist() == [70]
    assert near(pieces, 70.0).way.tolist() == [70, 72]


def test_loose_posts_belong_to_no_road() -> None:
    posts: Posts = loose_posts(np.ones((3, 2)), np.arange(3), np.zeros(3, dtype=np.int64))
    assert (posts.rank == -1).all()
    np.testing.assert_allclose(np.hypot(*posts.along.T), 1.0)
