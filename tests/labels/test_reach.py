"""Distances from places to shapes, against an oracle that closes in on the nearest spot on the ellipsoid."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.labels.reach import Places, corners_of, nearest, within

DEG_M = 111_195.0


def shape_of(kind, rng, *, lat, lon, corners):
    """A wild shape of some hundred metres."""

    def around(x_m, y_m, size_m, n):
        angle = (np.arange(n) + rng.uniform(0.1, 0.9, n)) * 2 * np.pi / n  # all around: from 5 on, no side crosses another
        radius = size_m * rng.uniform(0.4, 1, n)
        x, y = x_m + radius * np.cos(angle), y_m + radius * np.sin(angle)
        return np.column_stack([lon + x / DEG_M / np.cos(np.radians(lat)), lat + y / DEG_M])

    x_m, y_m = rng.uniform(-150, 150, 2)
    ring = around(x_m, y_m, 120, corners if "Line" in kind else max(corners, 5))
    if kind == "Point":
        return shapely.Point(ring[0])
    if kind == "LineString":
        return shapely.LineString(ring)
    if kind == "MultiLineString":
        return shapely.MultiLineString([ring, around(-x_m, y_m, 60, 2)])
    area = shapely.Polygon(ring).difference(shapely.Polygon(around(x_m, y_m, 30, 5)))
    other = [shapely.Polygon(around(x_m + 300, y_m, 50, 5))] if kind == "MultiPolygon" else []
    return shapely.MultiPolygon([*shapely.get_parts(area), *other])


kinds = st.sampled_from(["Point", "LineString", "MultiLineString", "Polygon", "MultiPolygon"])
drawn = st.lists(st.tuples(kinds, st.sampled_from([2, 7, 90])), min_size=1, max_size=5)


@settings(deadline=None, max_examples=20)
@given(drawn, st.integers(0, 10_000), st.sampled_from([0.0, 24.3, -35.0, 45.5, 78.0]), st.sampled_from([20.0, 100.0]))
def test_what_is_within_reach_and_how_far_it_is_are_the_oracles(true_distance_m, drawn, seed, lat, reach_m):
    rng, lon = np.random.default_rng(seed), 139.7
    shapes = np.array([shape_of(kind, rng, lat=lat, lon=lon, corners=corners) for kind, corners in drawn], dtype=object)
    spots_m = rng.uniform(-250, 250, (4, 2))
    at = {"lat": lat + spots_m[:, 1] / DEG_M, "lon": lon + spots_m[:, 0] / DEG_M / np.cos(np.radians(lat))}
    shape, place, away_m = within(Places.at(**at), shapes, reach_m=reach_m)
    found = dict(zip(zip(shape.tolist(), place.tolist(), strict=True), away_m, strict=True))
    assert len(found) == len(shape), "no pair comes twice"
    for item in range(len(shapes)):
        for spot in range(4):
            true_m = true_distance_m(at["lon"][spot], at["lat"][spot], shapes[item])
            if (item, spot) in found:
                assert found[item, spot] == pytest.approx(true_m, abs=0.0015)
            else:
                assert true_m > reach_m - 0.0015
    row, nearest_m = nearest(Places.at(**at), shapes, np.array([f"s{n}" for n in range(len(shapes))]), reach_m=reach_m)
    for spot in range(4):
        mine = sorted((away, item) for (item, other), away in found.items() if other == spot)
        assert (row[spot], nearest_m[spot]) == ((mine[0][1], mine[0][0]) if mine else (-1, pytest.approx(np.nan, nan_ok=True)))


def test_work_in_batches_gives_what_work_at_once_gives():
    """700 places beside a river of 1,500 corners: more than is looked at at once."""
    rng = np.random.default_rng(3)
    river = np.column_stack([np.linspace(139.7, 139.71, 1500), 35.6 + np.cumsum(rng.normal(0, 2e-6, 1500))])
    shapes = np.array([shapely.LineString(river), shapely.LineString(river[::-1] + np.array([0, 1e-4]))], dtype=object)
    spots = river[rng.integers(0, 1500, 700)] + rng.normal(0, 5e-5, (700, 2))
    ids = np.array(["a", "b"], dtype=object)
    whole = nearest(Places.at(lat=spots[:, 1], lon=spots[:, 0]), shapes, ids, reach_m=20)
    parts = [nearest(Places.at(lat=some[:, 1], lon=some[:, 0]), shapes, ids, reach_m=20) for some in np.split(spots, 70)]
    assert (whole[0] >= 0).sum() > 500
    np.testing.assert_array_equal(whole[0], np.concatenate([part[0] for part in parts]))
    np.testing.assert_array_equal(whole[1], np.concatenate([part[1] for part in parts]))


def test_the_smallest_id_wins_among_equals_whatever_the_order_of_shapes():
    cross = [shapely.LineString([(139.7, 35.6), (139.7 + x, 35.6 + y)]) for x, y in ((1, 0), (0, 1), (-1, 0))]
    place = Places.at(lat=np.array([35.5999]), lon=np.array([139.7]))
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        ids = np.array(["c", "a", "b"], dtype=object)[order]
        row, _ = nearest(place, np.array(cross, dtype=object)[order], ids, reach_m=20)
        assert ids[row[0]] == "a"


def test_corners_of_shapes_lie_one_shape_after_another():
    shapes = [
        shapely.Point(5, 5),
        shapely.box(0, 0, 1, 1).difference(shapely.box(0.4, 0.4, 0.6, 0.6)),
        shapely.MultiLineString([[(0, 0), (1, 0)], [(3, 3), (4, 4), (4, 5)]]),
    ]
    corners = corners_of(np.array(shapes, dtype=object))
    assert corners.first.tolist() == [0, 1, 11, 16]
    for shape, first, last in zip(shapes, corners.first, corners.first[1:], strict=False):
        np.testing.assert_array_equal(corners.at[first:last], shapely.get_coordinates(shape))
        sides = shapely.linestrings(np.stack([corners.at[first:last], (corners.at + corners.step)[first:last]], axis=1))
        assert shapely.length(sides).sum() == pytest.approx(shape.length)


def test_nothing_is_within_reach_of_nothing():
    nobody, nowhere = Places.at(lat=np.empty(0), lon=np.empty(0)), np.empty(0, dtype=object)
    here = Places.at(lat=np.array([35.6]), lon=np.array([139.7]))
    some = np.array([shapely.Point(139.7, 35.6), shapely.box(139, 35, 140, 36)], dtype=object)
    ids = np.array(["a", "b"], dtype=object)
    assert [len(column) for column in within(nobody, some, reach_m=20)] == [0, 0, 0]
    assert nearest(here, nowhere, ids[:0], reach_m=20)[0].tolist() == [-1]
    assert nearest(nobody, some, ids, reach_m=20)[0].tolist() == []
    assert nearest(here, some, ids, reach_m=20)[0].tolist() == [0]
