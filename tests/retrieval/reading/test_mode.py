"""The mode finds the cluster, whatever bandwidth it is given, and takes in all of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M, destination, distance_m, unit_vectors
from geoloc_pipeline.retrieval.reading.mode import cluster_means, density_peaks


def read(lat: np.ndarray, lon: np.ndarray, bandwidth_km: float) -> tuple[float, float]:
    vectors, there = unit_vectors(lat=lat, lon=lon)[None], np.ones((1, len(lat)), dtype=bool)
    even = np.full((1, len(lat)), 1.0 / len(lat))
    peaks = density_peaks(vectors, even, score=even, present=there, bandwidth_km=bandwidth_km)
    x, y, z = cluster_means(vectors, even, peaks=peaks, present=there, bandwidth_km=bandwidth_km)[0]
    return float(np.degrees(np.arctan2(z, np.hypot(x, y)))), float(np.degrees(np.arctan2(y, x)))


def cluster(n: int, sigma_km: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    east_km, north_km = chance.normal(0, sigma_km, (2, n))
    lat = 36.0 + np.degrees(1000 * north_km / MEAN_EARTH_RADIUS_M)
    return lat, 138.0 + np.degrees(1000 * east_km / MEAN_EARTH_RADIUS_M) / np.cos(np.radians(lat))


@settings(max_examples=40, deadline=None)
@given(sigma_km=st.floats(0.05, 60.0), seed=st.integers(0, 1000))
def test_where_all_agree_the_mode_is_the_mean_of_all_whatever_the_bandwidth(sigma_km: float, seed: int):
    lat, lon = cluster(100, sigma_km, seed)
    mean = unit_vectors(lat=lat, lon=lon).mean(axis=0)
    centre = np.degrees(np.arctan2(mean[2], np.hypot(*mean[:2]))), np.degrees(np.arctan2(mean[1], mean[0]))
    for bandwidth_km in (sigma_km / 2, 2 * sigma_km, 10 * sigma_km):
        found = read(lat, lon, bandwidth_km)
        away_km = distance_m(lat=found[0], lon=found[1], to_lat=centre[0], to_lon=centre[1]) / 1000
        assert away_km <= 0.1 * sigma_km  # a standard error of the mean; nearly always it is the same place


@settings(max_examples=40, deadline=None)
@given(inliers=st.integers(50, 100), away_km=st.floats(150.0, 2000.0), bearing=st.floats(0, 360), seed=st.integers(0, 1000))
def test_another_cluster_farther_than_forty_sigma_cannot_pull_it(inliers: int, away_km: float, bearing: float, seed: int):
    lat, lon = cluster(inliers, 3.0, seed)
    mean = unit_vectors(lat=lat, lon=lon).mean(axis=0)
    other = cluster(100 - inliers - (inliers == 50), 3.0, seed + 1)
    there = destination(lat=36.0, lon=138.0, bearing_deg=bearing, away_m=1000 * away_km)
    moved = other[0] + there[0] - 36.0, other[1] + there[1] - 138.0
    found = read(np.append(lat, moved[0]), np.append(lon, moved[1]), bandwidth_km=25.0)
    centre = np.degrees(np.arctan2(mean[2], np.hypot(*mean[:2]))), np.degrees(np.arctan2(mean[1], mean[0]))
    assert distance_m(lat=found[0], lon=found[1], to_lat=centre[0], to_lon=centre[1]) < 1.0


def test_of_equally_dense_places_the_more_similar_one_wins():
    vectors = unit_vectors(lat=np.array([43.0, 26.0]), lon=np.array([141.0, 127.0]))[None]
    even, there = np.full((1, 2), 0.5), np.ones((1, 2), dtype=bool)
    for score, winner in (([[0.9, 0.8]], 0), ([[0.8, 0.9]], 1)):
        assert density_peaks(vectors, even, score=np.array(score), present=there, bandwidth_km=5.0)[0] == winner


def test_a_cluster_without_direction_has_no_mean():
    vectors = unit_vectors(lat=np.zeros(2), lon=np.array([0.0, 180.0]))[None]
    there = np.ones((1, 2), dtype=bool)
    mean = cluster_means(vectors, np.ones((1, 2)), peaks=np.array([0]), present=there, bandwidth_km=20_000.0)
    assert mean[0] == pytest.approx(np.zeros(3), abs=1e-9)
