"""Added, moved, removed: as a patient person would count them, from either side."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.geo.sphere import destination, distance_m
from geoloc_pipeline.sampling.changes import MOVED_M, compare_points

_LAT, _LON = 35.68, 139.76


def _points(rows):
    return pd.DataFrame(rows, columns=["point_id", "lat", "lon"]).astype({"point_id": "str", "lat": float, "lon": float})


def _at(away_m, bearing_deg=40.0):
    lat, lon = destination(lat=_LAT, lon=_LON, bearing_deg=bearing_deg, away_m=away_m)
    return float(lat), float(lon)


_rows = st.lists(
    st.tuples(st.integers(0, 40), st.floats(0, 0.02), st.floats(0, 0.02)),
    max_size=14,
    unique_by=(lambda row: row[0], lambda row: (round(row[1], 6), round(row[2], 6))),
)


def _table(rows):
    # the place belongs to the id, as with hashes; jitter keeps distances from being equal
    return _points([(f"p{number:02}", _LAT + x + number * 1.7e-5, _LON + y + number**2 * 3.1e-7) for number, x, y in rows])


@settings(max_examples=60, deadline=None)
@given(_rows, _rows)
def test_the_counts_are_those_of_a_patient_person(one, other):
    before, after = _table(one), _table(other)
    gone = before[~before["point_id"].isin(after["point_id"])]
    new = after[~after["point_id"].isin(before["point_id"])]
    away_m = distance_m(
        lat=gone["lat"].to_numpy()[:, None], lon=gone["lon"].to_numpy()[:, None], to_lat=new["lat"], to_lon=new["lon"]
    )
    pairs = [
        away_m[i, j]
        for i in range(len(gone))
        for j in range(len(new))
        if away_m[i, j] <= MOVED_M and away_m[i].min() == away_m[i, j] == away_m[:, j].min()
    ]
    changes = compare_points(before.sample(frac=1, random_state=1), after.sample(frac=1, random_state=2))
    # haversine and geodesic may disagree on which of two is nearer by one part in 200: such worlds prove nothing
    rows = [np.sort(line)[:2] for line in (*away_m, *away_m.T) if len(line) > 1]
    if all(second > first * 1.01 for first, second in rows):
        assert changes.moved_m.tolist() == pytest.approx(sorted(pairs))
    assert changes.kept + changes.added + changes.moved == len(after)
    assert changes.kept + changes.removed + changes.moved == len(before)
    back = compare_points(after, before)
    assert (back.added, back.removed, back.kept) == (changes.removed, changes.added, changes.kept)
    assert 0 <= changes.changed_share <= 1
    assert (changes.changed_share == 0) == (set(before["point_id"]) == set(after["point_id"]))


def test_a_step_is_a_move_and_a_leap_is_none():
    before = _points([("a", _LAT, _LON), ("b", *_at(5_000))])
    after = _points([("c", *_at(120)), ("b", *_at(5_000))])
    changes = compare_points(before, after)
    assert (changes.kept, changes.added, changes.moved, changes.removed) == (1, 0, 1, 0)
    assert changes.moved_m == pytest.approx([120.0])
    assert changes.changed_share == 0.5
    leap = compare_points(before, _points([("c", *_at(MOVED_M + 1)), ("b", *_at(5_000))]))
    assert (leap.added, leap.moved, leap.removed) == (1, 0, 1)


def test_at_first_all_are_added_and_at_last_all_removed():
    points = _points([("a", _LAT, _LON), ("b", *_at(5_000))])
    none = points[:0]
    first, last, never = (compare_points(*pair) for pair in ((none, points), (points, none), (none, none)))
    assert (first.added, first.changed_share) == (2, 1.0)
    assert (last.removed, last.changed_share) == (2, 1.0)
    assert (never.kept, never.changed_share) == (0, 0.0)
