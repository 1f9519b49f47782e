"""The ground of a prefecture: quick answers are those of the exact outline."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.sampling.ground import Ground

# Coasts as ragged as a prefecture's: a ring of random reach, up to 40 km, with an island.
coast = st.lists(st.floats(0.02, 0.4), min_size=3, max_size=30)


def land(reach_deg):
    turn = np.linspace(0, 2 * np.pi, len(reach_deg), endpoint=False)
    ring = np.column_stack([139 + np.array(reach_deg) * np.cos(turn), 35 + np.array(reach_deg) * np.sin(turn)])
    return np.array([shapely.make_valid(shapely.Polygon(ring)), shapely.box(139.6, 35.3, 139.615, 35.312)])


@settings(deadline=None, max_examples=25)
@given(coast, st.integers(0, 2**32 - 1))
def test_what_lies_on_the_ground_is_what_lies_in_the_blocks(reach_deg, seed):
    blocks, dice = land(reach_deg), np.random.default_rng(seed)
    lat, lon = dice.uniform(34.5, 35.5, 2000), dice.uniform(138.5, 139.8, 2000)
    assert (Ground(blocks).holds(lat=lat, lon=lon) == shapely.intersects_xy(shapely.union_all(blocks), lon, lat)).all()


@settings(deadline=None, max_examples=25)
@given(coast, st.integers(0, 2**32 - 1))
def test_the_pieces_of_lines_are_their_parts_inside(reach_deg, seed):
    blocks, dice = land(reach_deg), np.random.default_rng(seed)
    start = dice.uniform([138.5, 34.5], [139.8, 35.5], (200, 2))
    lines = shapely.linestrings(
        np.stack([start, start + dice.normal(0, 0.02, (200, 2)), start + dice.normal(0, 0.05, (200, 2))], 1)
    )
    lonlat, row, source = Ground(blocks).cut(lines)
    length = np.hypot(*np.diff(lonlat, axis=0).T) * (row[1:] == row[:-1])
    found = np.bincount(source[row[1:]], weights=length, minlength=200)
    assert np.abs(found - shapely.length(shapely.intersection(lines, shapely.union_all(blocks)))).max() < 1e-7
    assert (np.diff(row) >= 0).all()
    assert set(row.tolist()) == set(range(len(source)))


def test_a_line_well_inside_stays_vertex_by_vertex():
    lines = np.array([shapely.LineString([(139.01, 35.01), (139.0123456, 35.0765432), (139.02, 35.03)])])
    lonlat, row, source = Ground(np.array([shapely.box(138, 34, 140, 36)])).cut(lines)
    assert lonlat.tolist() == shapely.get_coordinates(lines).tolist()
    assert (row.tolist(), source.tolist()) == ([0, 0, 0], [0])


def test_a_broken_block_is_mended_and_no_block_is_no_ground():
    bow_tie = np.array([shapely.Polygon([(139, 35), (139.2, 35.2), (139.2, 35), (139, 35.2)])])
    held = Ground(bow_tie).holds(lat=np.array([35.1, 35.19, 35.1]), lon=np.array([139.01, 139.1, 139.19]))
    assert held.tolist() == [True, False, True]
    lines = np.array([shapely.LineString([(139, 35), (139.1, 35.1)])])
    nothing = Ground(np.empty(0, dtype=object))
    assert not nothing.holds(lat=np.array([35.0]), lon=np.array([139.0])).any()
    assert len(nothing.cut(lines)[2]) == len(nothing.cut(lines[:0])[2]) == 0
