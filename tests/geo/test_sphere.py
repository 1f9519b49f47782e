"""Distances against an independent formula; means against symmetry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M, destination, distance_m, spherical_mean, step_m, unit_vectors

LAT, LON = st.floats(-89, 89), st.floats(-180, 180)


def test_tokyo_to_osaka_is_as_published_geodesics_say() -> None:
    found = distance_m(lat=35.681236, lon=139.767125, to_lat=34.702485, to_lon=135.495951)
    assert float(found) == pytest.approx(403_000, rel=0.005)


@given(LAT, LON, LAT, LON)
def test_geodesics_stay_within_half_a_percent_of_the_great_circle(lat: float, lon: float, to_lat: float, to_lon: float) -> None:
    a, b = unit_vectors(lat=lat, lon=lon), unit_vectors(lat=to_lat, lon=to_lon)
    angle = 2 * np.arcsin(min(1.0, float(np.linalg.norm(a - b)) / 2))
    sphere_m = angle * MEAN_EARTH_RADIUS_M
    if angle < 3.0:  # near the antipode the two figures may differ by the flattening's length
        assert float(distance_m(lat=lat, lon=lon, to_lat=to_lat, to_lon=to_lon)) == pytest.approx(
            sphere_m, rel=0.0057, abs=0.01
        )


def test_distances_broadcast_like_numpy() -> None:
    found = distance_m(lat=np.zeros((3, 1)), lon=np.zeros((3, 1)), to_lat=np.arange(4.0), to_lon=0.0)
    assert found.shape == (3, 4)
    assert np.allclose(found[0], found[2])


@given(LAT, LON, st.floats(0, 360), st.floats(10, 100_000))
def test_the_mean_of_two_places_lies_between_them(lat: float, lon: float, bearing_deg: float, away_m: float) -> None:
    to_lat, to_lon = destination(lat=lat, lon=lon, bearing_deg=bearing_deg, away_m=away_m)
    mid_lat, mid_lon = spherical_mean(lat=[lat, to_lat], lon=[lon, to_lon])
    ends = distance_m(lat=[lat, to_lat], lon=[lon, to_lon], to_lat=mid_lat, to_lon=mid_lon)
    assert np.allclose(ends, away_m / 2, rtol=0.01, atol=1)


def test_the_mean_across_the_antimeridian_is_near_it() -> None:
    _, lon = spherical_mean(lat=[10, 10], lon=[179, -179])
    assert abs(abs(lon) - 180) < 1e-6


def test_a_heavy_place_pulls_the_mean_to_itself() -> None:
    lat, lon = spherical_mean(lat=[35, 26], lon=[139, 127], weights=[1, 0])
    assert (lat, lon) == pytest.approx((35, 139))


def test_places_that_cancel_each_other_give_the_first() -> None:
    assert spherical_mean(lat=[0, 0], lon=[0, 180]) == pytest.approx((0, 0))


@given(st.floats(-80, 80), st.floats(-180, 180), st.floats(-1, 1), st.floats(-1, 1))
def test_short_steps_are_geodesic_to_a_millionth(lat, lon, north_km, east_km):
    to_lat, to_lon = lat + north_km * 0.009, lon + east_km * 0.009 / np.cos(np.radians(lat))
    one, other = (np.array([value]) for value in (lat, lon)), (np.array([value]) for value in (to_lat, to_lon))
    (lat, lon), (to_lat, to_lon) = one, other
    exact = distance_m(lat=lat, lon=lon, to_lat=to_lat, to_lon=to_lon)
    assert step_m(lat=lat, lon=lon, to_lat=to_lat, to_lon=to_lon) == pytest.approx(exact, rel=1e-6, abs=1e-6)
