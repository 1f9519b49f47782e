"""Points in landmarks."""

from __future__ import annotations

import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.sampling.landmarks import sample_landmarks
from geoloc_pipeline.tables import LANDMARK_POINTS, check_table

GEOD = pyproj.Geod(ellps="WGS84")


def area_of(shape):
    return abs(GEOD.geometry_area_perimeter(shape)[0])


def blob(lon, lat, size_deg, squash):
    return shapely.affinity.scale(shapely.Point(lon, lat).buffer(size_deg, quad_segs=6), yfact=squash)


blobs = st.builds(blob, st.floats(139.5, 140.5), st.floats(35.2, 36), st.floats(0.0001, 0.3), st.floats(0.05, 1))


@pytest.fixture(scope="session")
def land(towns_of):
    return towns_of(p13=shapely.box(138, 34, 142, 37))


@settings(deadline=None, max_examples=12)
@given(st.lists(blobs, min_size=1, max_size=4))
def test_every_landmark_has_points_on_it_in_a_grid_of_500_m_to_5_km(landmarks_of, land, shapes):
    marks = landmarks_of([(f"way/{n}", shape, area_of(shape)) for n, shape in enumerate(shapes)])
    points = sample_landmarks(marks, land)
    check_table(LANDMARK_POINTS, points)
    for n, shape in enumerate(shapes):
        own = points[points["feature_id"] == f"way/{n}"]
        assert len(own) >= 1
        assert shapely.dwithin(shape, own.geometry.to_numpy(), 1e-6).all()
        if len(own) > 1:
            assert own["spacing_m"].between(500, 5000).all()
            one = own.iloc[[0] * (len(own) - 1)]
            away = distance_m(lat=one["lat"], lon=one["lon"], to_lat=own["lat"].iloc[1:], to_lon=own["lon"].iloc[1:])
            assert away.min() >= own["spacing_m"].iloc[0] * 0.999
        else:
            assert own["spacing_m"].to_list() == [0.0]


@settings(deadline=None, max_examples=12)
@given(blobs, st.floats(139.4, 140.6))
def test_a_border_through_a_landmark_neither_doubles_nor_loses_a_point(landmarks_of, land, towns_of, shape, border):
    marks = landmarks_of([("relation/1", shape, area_of(shape))])
    whole = sample_landmarks(marks, land)
    west = sample_landmarks(marks, towns_of(p13=shapely.box(138, 34, border, 37)))
    east = sample_landmarks(marks, towns_of(p14=shapely.box(border, 34, 142, 37)))
    assert sorted([*west["point_id"], *east["point_id"]]) == sorted(whole["point_id"])


def test_a_node_is_its_own_point(landmarks_of, land):
    points = sample_landmarks(landmarks_of([("node/1", shapely.Point(139.7, 35.7), 0)]), land)
    assert points[["lat", "lon", "feature_id", "spacing_m"]].to_numpy().tolist() == [[35.7, 139.7, "node/1", 0.0]]


def test_a_small_horseshoe_has_its_point_on_itself(landmarks_of, land):
    shape = shapely.LineString([(139.7, 35.7), (139.702, 35.7), (139.702, 35.702), (139.7, 35.702)]).buffer(0.0002)
    points = sample_landmarks(landmarks_of([("way/1", shape, area_of(shape))]), land)
    assert len(points) == 1
    assert shape.contains(points.geometry.iloc[0])


def test_larger_landmarks_get_more_points(landmarks_of, land):
    sizes = [0.001, 0.01, 0.05, 0.3]
    shapes = [shapely.box(139, 35, 139 + size, 35 + size) for size in sizes]
    points = sample_landmarks(landmarks_of([(f"way/{n}", s, area_of(s)) for n, s in enumerate(shapes)]), land)
    counts = points["feature_id"].value_counts().sort_index().to_list()
    assert counts == sorted(set(counts))


def test_order_says_nothing_and_elsewhere_is_left_out(landmarks_of, land):
    marks = landmarks_of([(f"node/{n}", shapely.Point(139 + n, 35.5), 0) for n in range(6)])
    one, other = sample_landmarks(marks, land), sample_landmarks(marks.iloc[::-1], land)
    assert one.equals(other)
    assert sorted(one["feature_id"]) == ["node/0", "node/1", "node/2", "node/3"]


def test_nothing_gives_an_empty_table(landmarks_of, land):
    marks = landmarks_of([("node/1", shapely.Point(100, 0), 0)])
    for table, towns in ((marks, land), (marks.iloc[:0], land), (marks, land.iloc[:0])):
        points = sample_landmarks(table, towns)
        check_table(LANDMARK_POINTS, points)
        assert points.empty
