"""Lines that can be measured."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.sampling.lines import chains_of, connected, cut_at, outline, places_on

GEOD = pyproj.Geod(ellps="WGS84")
steps = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=12).filter(lambda s: s[0] != s[1])


def line(places):
    return shapely.LineString([(139.7 + x / 1000, 35.6 + y / 1000) for x, y in places])


def chains_in_words(chains):
    parts = np.split(chains.lonlat, chains.first[1:])
    return [(int(road), part.round(7).tolist()) for road, part in zip(chains.road, parts, strict=True)]


@settings(deadline=None, max_examples=12)
@given(st.lists(steps, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_cutting_turning_doubling_and_shuffling_ways_changes_no_chain(ways, dice):
    whole = [line(way) for way in ways]
    cut = []
    for way in ways:
        at = dice.randrange(len(way))
        cut += [part if dice.random() < 0.5 else part[::-1] for part in (way[: at + 1], way[at:]) if len(set(part)) > 1]
    cut += dice.sample(cut, k=1)
    dice.shuffle(cut)
    one = chains_of(np.array(whole), np.zeros(len(whole), dtype=np.int64))
    other = chains_of(np.array([line(way) for way in cut]), np.zeros(len(cut), dtype=np.int64))
    assert chains_in_words(one) == chains_in_words(other)


def test_chains_end_where_three_segments_meet_and_nowhere_else():
    tee = np.array([line([(0, 0), (1, 0)]), line([(1, 0), (2, 0), (3, 0)]), line([(2, 0), (2, 5)])])
    assert len(chains_of(tee, np.zeros(3, dtype=np.int64)).length_m) == 3
    assert len(chains_of(tee, np.array([0, 0, 1])).length_m) == 2  # another road is no junction


def test_a_ring_of_two_ways_is_one_chain_of_its_whole_length():
    ring = [(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
    chains = chains_of(np.array([line(ring[:3]), line(ring[2:][::-1])]), np.array([4, 4]))
    assert chains.road.tolist() == [4]
    assert chains.length_m[0] == pytest.approx(GEOD.geometry_length(line(ring)), abs=0.01)


@settings(deadline=None, max_examples=12)
@given(st.lists(steps, min_size=1, max_size=5), st.floats(0, 1))
def test_a_place_at_a_distance_is_at_that_geodesic_distance(ways, share):
    chains = chains_of(np.array([line(way) for way in ways]), np.arange(len(ways)))
    rows = np.arange(len(chains.length_m))
    for (_, vertices), at, away_m in zip(
        chains_in_words(chains), places_on(chains, rows, chains.length_m * share), chains.length_m * share, strict=True
    ):
        whole = shapely.LineString(vertices)
        before = shapely.ops.substring(whole, 0, whole.project(shapely.Point(at))) if whole.is_simple else None
        if before is not None and before.length:
            assert GEOD.geometry_length(before) == pytest.approx(away_m, abs=0.02)
        assert whole.distance(shapely.Point(at)) < 1e-7  # vertices are rounded in words


def test_lines_connect_through_any_shared_node_of_their_own_kind():
    lines = np.array([line([(0, 0), (1, 0), (2, 0)]), line([(1, 0), (1, 5)]), line([(1, 5), (1, 9)]), line([(7, 7), (8, 8)])])
    assert connected(lines, np.zeros(4, dtype=np.int64)).tolist() == [0, 0, 0, 1]
    same = connected(lines, np.array([0, 1, 0, 0]))
    assert len(set(same.tolist())) == 4


def test_no_lines_have_no_components():
    assert connected(np.empty(0, dtype=object), np.empty(0, dtype=np.int64)).tolist() == []


def test_a_cut_keeps_what_is_inside_and_says_where_it_came_from():
    area = outline(np.array([shapely.box(139.7, 35.6, 139.702, 35.61), shapely.box(139.702, 35.6, 139.704, 35.61)]))
    lines = np.array(
        [line([(1, 1), (3, 1)]), line([(-1, 2), (9, 2)]), line([(8, 1), (9, 1)]), line([(1, -1), (1, 1), (3, -1)])]
    )
    pieces, source = cut_at(lines, area)
    assert source.tolist() == [0, 1, 3]
    assert shapely.length(pieces).round(6).tolist()[:2] == [0.002, 0.004]
    assert all(area.buffer(1e-9).contains(piece) for piece in pieces)


def test_a_broken_town_block_is_mended():
    bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    assert outline(np.array([bow_tie])).area == pytest.approx(2.0)
