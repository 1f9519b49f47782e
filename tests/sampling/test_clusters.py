"""Near points become one."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.sphere import distance_m, spherical_mean, unit_vectors
from geoloc_pipeline.sampling.clusters import (
    ClusterSettings,
    cluster_points,
    clusters_of,
    coverage_m,
    dense_clusters,
    separation_m,
)
from geoloc_pipeline.tables import ROAD_POINTS, SAMPLE_POINTS, as_table, check_table, empty_table

LAT, LON = 35.6, 139.7
DEG_M = 111_195.0
NOTHING = empty_table(ROAD_POINTS)


def points_of(metres, name="p"):
    """Points from `[n, 2]` metres east and north of one place."""
    metres = np.asarray(metres, dtype=np.float64).reshape(-1, 2)
    lat = LAT + metres[:, 1] / DEG_M
    lon = LON + metres[:, 0] / DEG_M / np.cos(np.radians(LAT))
    ids = [f"{name}{east:.3f}/{north:.3f}" for east, north in metres]
    columns = {"point_id": ids, "lat": lat, "lon": lon, "feature_id": ids, "spacing_m": np.zeros(len(ids))}
    return as_table(ROAD_POINTS, {**columns, "geometry": shapely.points(lon, lat)}).drop_duplicates("point_id")


metres = st.lists(st.tuples(st.integers(-900, 900), st.integers(-900, 900)), min_size=1, max_size=60)


@settings(deadline=None, max_examples=12)
@given(metres)
def test_clusters_that_are_not_wide_are_the_components_of_steps_within_eps(places):
    points = points_of(places)
    lat, lon = points["lat"].to_numpy(), points["lon"].to_numpy()
    got, _ = clusters_of(lat=lat, lon=lon, settings=ClusterSettings(eps_m=100, widest_m=500))
    away = distance_m(lat=lat[:, None], lon=lon[:, None], to_lat=lat, to_lon=lon)
    _, expected = connected_components(away <= 99.5)
    _, generous = connected_components(away <= 100.5)
    for number in set(expected):
        own = expected == number
        certain = len(set(generous[own])) == 1 and (generous == generous[own][0]).sum() == own.sum()
        box_m = distance_m(lat=lat[own].min(), lon=lon[own].min(), to_lat=lat[own].max(), to_lon=lon[own].max())
        if certain and box_m < 499:
            assert len(set(got[own])) == 1
            assert (got == got[own][0]).sum() == own.sum()


@settings(deadline=None, max_examples=40)
@given(metres, st.integers(1, 20), st.integers(1, 30))
def test_asked_about_some_places_at_a_time_the_clusters_are_the_same(places, spread, at_once):
    points = points_of(np.array(places) * spread / 10)
    places = unit_vectors(lat=points["lat"], lon=points["lon"])
    whole = dense_clusters(places, eps_m=100)
    parts = dense_clusters(places, eps_m=100, at_once=at_once)
    assert len(set(zip(whole.tolist(), parts.tolist(), strict=True))) == whole.max() + 1 == parts.max() + 1


@settings(deadline=None, max_examples=12)
@given(metres, st.integers(0, 10))
def test_no_point_is_farther_than_the_stated_distance_from_its_sample_point(places, spread):
    points = points_of(np.array(places) * spread / 10)
    sample = cluster_points(points, NOTHING, prefecture_code="13")
    check_table(SAMPLE_POINTS, sample)
    assert sample["n_members"].sum() == len(points)
    assert sample["radius_m"].max() <= ClusterSettings().reach_m
    assert coverage_m(points, sample) <= sample["radius_m"].max() + 0.01


@settings(deadline=None, max_examples=60)
@given(metres, st.integers(0, 10), st.floats(1, 60))
def test_no_two_sample_points_are_closer_than_the_stated_distance(places, spread, apart_m):
    """Rings around bunches, arms beside arms, single points at the lines of the grid: all at once."""
    ring = [(300 * np.cos(turn), 300 * np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 40)]
    points = points_of([*(np.array(places) * spread / 10).tolist(), *ring])
    sample = cluster_points(points, NOTHING, prefecture_code="13", settings=ClusterSettings(apart_m=apart_m))
    assert separation_m(sample) >= apart_m
    assert sample["n_members"].sum() == len(points)


def test_a_ring_around_a_bunch_has_one_sample_point_with_it():
    ring = [(170 * np.cos(turn), 170 * np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 40)]
    sample = cluster_points(points_of([(0, 0), (5, 5), *ring]), NOTHING, prefecture_code="13")
    assert sample["n_members"].to_list() == [42]


def test_separation_of_one_point_and_of_two():
    assert separation_m(empty_table(SAMPLE_POINTS)) == float("inf")
    two = cluster_points(points_of([(0, 0), (700, 0)]), NOTHING, prefecture_code="13")
    assert separation_m(two) == pytest.approx(700, rel=0.01)


def test_a_city_is_not_one_cluster():
    grid = np.stack(np.meshgrid(np.arange(0, 3000, 80), np.arange(0, 3000, 80)), axis=-1)
    sample = cluster_points(points_of(grid), NOTHING, prefecture_code="13")
    assert 3000**2 / 500**2 < len(sample) < 2 * 3000**2 / 350**2
    assert sample["radius_m"].max() < 300


def test_a_bunch_on_a_line_of_the_cutting_grid_is_not_left_in_halves():
    """A road of points every 50 m: the cut may not leave sample points nearer than stated."""
    sample = cluster_points(points_of([(x, (x % 3) * 5) for x in range(0, 5000, 50)]), NOTHING, prefecture_code="13")
    assert 50 <= separation_m(sample) < 400


def test_the_centroid_is_the_mean_on_the_sphere():
    points = points_of([(0, 0), (60, 0), (0, 60)])
    sample = cluster_points(points, NOTHING, prefecture_code="13").iloc[0]
    lat, lon = spherical_mean(lat=points["lat"], lon=points["lon"])
    assert float(distance_m(lat=lat, lon=lon, to_lat=sample["lat"], to_lon=sample["lon"])) < 0.02
    assert (sample["n_members"], sample["prefecture_code"]) == (3, "13")


@settings(deadline=None, max_examples=12)
@given(metres, st.integers(0, 8), st.randoms(use_true_random=False))
def test_order_and_kind_of_points_say_nothing(places, spread, dice):
    points = points_of(np.array(places) * spread / 8)
    order = list(range(len(points)))
    dice.shuffle(order)
    mixed = points.iloc[order]
    half = len(points) // 2
    one = cluster_points(points, NOTHING, prefecture_code="13")
    other = cluster_points(mixed.iloc[:half], mixed.iloc[half:], prefecture_code="13")
    assert one["point_id"].to_list() == other["point_id"].to_list()
    assert np.abs(one[["lat", "lon"]].to_numpy() - other[["lat", "lon"]].to_numpy()).max() < 2e-7


@settings(deadline=None, max_examples=12)
@given(metres, st.integers(1, 40), st.integers(-300, 300))
def test_prefectures_that_see_each_others_halo_come_to_what_one_land_without_borders_has(places, spread, border_m):
    """Dense bunches, sparse ones and whole cities across the border: nothing doubled, nothing lost, nothing moved."""
    points = points_of(np.array(places) * spread / 10)
    border = LON + border_m / DEG_M / np.cos(np.radians(LAT))
    west, east = points[points["lon"] < border], points[points["lon"] >= border]
    whole = cluster_points(points, NOTHING, prefecture_code="13")
    one = cluster_points(west, NOTHING, prefecture_code="13", halo=east)
    other = cluster_points(east, NOTHING, prefecture_code="14", halo=west)
    assert sorted([*one["point_id"], *other["point_id"]]) == sorted(whole["point_id"])


def test_a_new_street_at_one_end_of_a_city_moves_no_sample_point_at_the_other():
    city = [(x, y) for x in range(0, 4000, 80) for y in range(0, 800, 80)]
    before = cluster_points(points_of(city), NOTHING, prefecture_code="13")
    after = cluster_points(points_of([*city, (3990, 810)]), NOTHING, prefecture_code="13")
    assert len(set(before["point_id"]) - set(after["point_id"])) <= 2
    assert len(before) > 20


def test_no_points_give_an_empty_table_even_with_a_halo():
    for halo in (None, points_of([(0, 0)])):
        sample = cluster_points(NOTHING, NOTHING, prefecture_code="13", halo=halo)
        check_table(SAMPLE_POINTS, sample)
        assert sample.empty


def test_coverage_of_nothing_and_by_nothing():
    assert coverage_m(NOTHING, empty_table(SAMPLE_POINTS)) == 0
    assert coverage_m(points_of([(0, 0)]), empty_table(SAMPLE_POINTS)) == float("inf")


@pytest.mark.parametrize("wrong", [{"eps_m": 0}, {"eps_m": 600}, {"widest_m": 501}, {"apart_m": 0}, {"apart_m": 63}])
def test_distances_that_cannot_work_are_told(wrong):
    with pytest.raises(SettingError, match="_m"):
        ClusterSettings(**wrong)
