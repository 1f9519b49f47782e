"""Chains on a tape: lengths and places are geodesic."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.sampling.chains import chains_of
from geoloc_pipeline.sampling.lines import tape_of

GEOD = pyproj.Geod(ellps="WGS84")
# Up to 20 km from corner to corner, so that long steps occur, which are measured in parts.
steps = st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), min_size=2, max_size=8, unique=True)


def tape_through(ways):
    lonlat = np.array([(139.7 + x / 1000, 35.6 + y / 1000) for places in ways for x, y in places])
    row = np.repeat(np.arange(len(ways)), [len(places) for places in ways])
    names = np.array([f"way/{number}" for number in range(len(ways))], dtype=object)
    return tape_of(chains_of(lonlat, row, road=np.arange(len(ways)), way_id=names))


@settings(deadline=None, max_examples=60)
@given(st.lists(steps, min_size=1, max_size=5))
def test_the_length_of_a_chain_is_the_geodesic_length_of_the_line_in_small_steps(ways):
    tape = tape_through(ways)
    for row, length_m in enumerate(tape.length_m):
        line = shapely.LineString(tape.lonlat[tape.first[row] : tape.first[row + 1]])
        assert GEOD.geometry_length(shapely.segmentize(line, 1e-4)) == pytest.approx(length_m, rel=1e-7, abs=1e-3)


@settings(deadline=None, max_examples=60)
@given(st.lists(steps, min_size=1, max_size=5), st.floats(0, 1))
def test_a_place_at_a_distance_is_at_that_distance_along_the_chain(ways, share):
    tape = tape_through(ways)
    rows = np.arange(len(tape.length_m))
    places, _ = tape.places(rows, tape.length_m * share)
    for row, place in zip(rows, places, strict=True):
        line = shapely.LineString(tape.lonlat[tape.first[row] : tape.first[row + 1]])
        assert line.distance(shapely.Point(place)) < 1e-9
        before = shapely.ops.substring(line, 0, line.project(shapely.Point(place))) if line.is_simple else None
        if before is not None and before.length:
            assert GEOD.geometry_length(shapely.segmentize(before, 1e-4)) == pytest.approx(tape.length_m[row] * share, abs=0.01)


def test_a_place_names_the_way_below_it():
    tape = tape_through([[(0, 0), (90, 0)]])
    joined = tape_of(
        chains_of(
            np.array([(139.0, 35.0), (139.01, 35.0), (139.01, 35.0), (139.05, 35.0)]),
            np.array([0, 0, 1, 1]),
            road=np.array([0, 0]),
            way_id=np.array(["way/1", "way/2"], dtype=object),
        )
    )
    assert len(tape.length_m) == len(joined.length_m) == 1
    assert joined.places(np.array([0, 0]), joined.length_m[0] * np.array([0.1, 0.9]))[1].tolist() == [0, 1]
