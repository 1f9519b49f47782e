"""Ways joined to chains: an oracle (GEOS' own line merge over single segments), and what must not matter."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.sampling.chains import _numbered, chains_of

corner = st.tuples(st.integers(0, 4), st.integers(0, 4))
way = st.tuples(st.integers(0, 2), st.lists(corner, min_size=1, max_size=7))
ways = st.lists(way, min_size=1, max_size=9)


def chains(drawn):
    """The chains of [(road, [(x, y)])] as {(road, places)}, on a grid of a hundredth of a degree."""
    lonlat = np.array([(139 + x / 100, 35 + y / 100) for _, places in drawn for x, y in places])
    row = np.repeat(np.arange(len(drawn)), [len(places) for _, places in drawn])
    found = chains_of(
        lonlat,
        row,
        road=np.array([road for road, _ in drawn]),
        way_id=np.array([f"way/{number}" for number in range(len(drawn))], dtype=object),
    )
    ends = np.append(found.first, len(found.lonlat))
    whole = np.round((found.lonlat - [139, 35]) * 100).astype(int)
    return [
        (int(road), tuple(map(tuple, whole[start:stop].tolist())))
        for road, start, stop in zip(found.road, ends[:-1], ends[1:], strict=True)
    ]


def merged_by_geos(drawn):
    """The same by another way: single segments, each once, merged by GEOS for each road."""
    found = set()
    for road in {road for road, _ in drawn}:
        pairs = {frozenset(pair) for number, places in drawn if number == road for pair in pairwise(places)}
        pairs = [sorted(pair) for pair in pairs if len(pair) == 2]
        if pairs:
            merged = shapely.line_merge(shapely.multilinestrings(shapely.linestrings(pairs)))
            found |= {
                (road, frozenset(map(frozenset, pairwise(map(tuple, line.coords))))) for line in shapely.get_parts(merged)
            }
    return found


@settings(deadline=None, max_examples=300)
@given(ways)
def test_chains_are_those_of_geos(drawn):
    found = chains(drawn)
    assert {(road, frozenset(map(frozenset, pairwise(places)))) for road, places in found} == merged_by_geos(drawn)
    assert len(found) == len(merged_by_geos(drawn))


@settings(deadline=None, max_examples=200)
@given(ways, st.randoms(use_true_random=False))
def test_cutting_turning_and_reordering_ways_changes_no_chain_nor_its_direction(drawn, dice):
    other = []
    for road, places in drawn:
        cuts = sorted({0, len(places) - 1, *(dice.randrange(len(places)) for _ in range(2))})
        parts = [places[start : end + 1] for start, end in pairwise(cuts)] or [places]
        other += [(road, part[::-1] if dice.random() < 0.5 else part) for part in parts]
    dice.shuffle(other)
    assert sorted(chains(other)) == sorted(chains(drawn))


@settings(deadline=None, max_examples=100)
@given(ways)
def test_each_stretch_names_a_way_that_draws_it(drawn):
    lonlat = np.array([(139 + x / 100, 35 + y / 100) for _, places in drawn for x, y in places])
    row = np.repeat(np.arange(len(drawn)), [len(places) for _, places in drawn])
    names = np.array([f"way/{number}" for number in range(len(drawn))], dtype=object)
    found = chains_of(lonlat, row, road=np.array([road for road, _ in drawn]), way_id=names)
    whole = list(map(tuple, np.round((found.lonlat - [139, 35]) * 100).astype(int).tolist()))
    starts = set(found.first.tolist())
    for vertex in range(1, len(whole)):
        if vertex not in starts:
            road, places = drawn[found.way[vertex]]
            assert {whole[vertex - 1], whole[vertex]} in [set(pair) for pair in pairwise(places)]
            twins = [
                n for n, (r, p) in enumerate(drawn) if r == road and {whole[vertex - 1], whole[vertex]} in map(set, pairwise(p))
            ]
            assert names[found.way[vertex]] <= max(names[twins])


@pytest.mark.parametrize("turn", range(4))
def test_a_ring_starts_at_its_smallest_node_wherever_it_was_cut(turn):
    ring = [(0, 1), (1, 2), (2, 1), (1, 0)]
    drawn = ring[turn:] + ring[: turn + 1]
    assert chains([(0, drawn)]) == [(0, ((0, 1), (1, 0), (2, 1), (1, 2), (0, 1)))]
    assert chains([(0, drawn[:3]), (0, drawn[2:][::-1])]) == [(0, ((0, 1), (1, 0), (2, 1), (1, 2), (0, 1)))]


def test_nothing_drawn_is_nothing():
    nothing = np.empty(0, dtype=np.int64)
    assert len(chains_of(np.empty((0, 2)), nothing, road=nothing, way_id=np.empty(0, dtype=object)).first) == 0
    assert chains([(0, [(1, 1)]), (0, [(2, 2), (2, 2)])]) == []


def test_the_smaller_way_stays_of_two_that_draw_the_same():
    lonlat = np.array([(139, 35), (139.01, 35), (139.01, 35), (139, 35)])
    found = chains_of(lonlat, np.array([0, 0, 1, 1]), road=np.array([0, 0]), way_id=np.array(["way/9", "way/10"], dtype=object))
    assert found.way.tolist() == [1, 1]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 7), min_size=0, max_size=300), st.integers(0, 60))
def test_equal_keys_have_equal_numbers_whatever_bits_tell_them_apart(keys, shift):
    """Keys that differ in their lowest bits only are told apart by the second sort."""
    key = np.array(keys, dtype=np.uint64) << np.uint64(shift)
    number = _numbered(key)
    assert len(set(number.tolist())) == len(set(keys))
    assert {(one, other) for one, other in zip(keys, number.tolist(), strict=True)} == {
        (one, number[keys.index(one)]) for one in keys
    }
