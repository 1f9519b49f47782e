"""Who must stay together with whom, against following every pair."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from geoloc_pipeline.labels.groups import earth_centred_m, linked_groups, linked_places

GEOD = pyproj.Geod(ellps="WGS84")
FIXED = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)


def scattered(seed, *, n, lat, spread_m):
    rng = np.random.default_rng(seed)
    east_m, north_m = rng.normal(0, spread_m, (2, n))
    return {"lat": lat + north_m / 111_195, "lon": 139.0 + east_m / 111_195 / np.cos(np.radians(lat))}


def apart_m(lat, lon):
    lats, lons = (np.broadcast_to(value, (len(lat),) * 2) for value in (lat, lon))
    return np.asarray(GEOD.inv(lons, lats, lons.T, lats.T)[2])


def same(labels):
    return np.equal.outer(labels, labels)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10_000),
    st.integers(1, 150),
    st.sampled_from([0.0, 24.3, -33.0, 45.5, 70.0]),
    st.sampled_from([50.0, 500.0, 5000.0, 500_000.0]),
    st.sampled_from([20.0, 100.0, 1000.0]),
    st.sampled_from([1, 3]),
)
def test_places_are_what_following_every_near_pair_finds(seed, n, lat, spread_m, nearer_m, strata):
    at, stratum = scattered(seed, n=n, lat=lat, spread_m=spread_m), np.random.default_rng(seed).integers(0, strata, n)
    near = (apart_m(**at) < nearer_m) & same(stratum)
    expected = connected_components(near, directed=False)[1]
    found = linked_places(**at, stratum=stratum, nearer_m=nearer_m)
    np.testing.assert_array_equal(same(found), same(expected))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 120), st.sampled_from([1, 10, 200]))
def test_groups_follow_places_and_capture_groups_in_turn(seed, n, captures):
    rng = np.random.default_rng(seed)
    at, stratum, capture = scattered(seed, n=n, lat=35.0, spread_m=800), rng.integers(0, 2, n), rng.integers(0, captures, n)
    linked = ((apart_m(**at) < 100) | same(capture)) & same(stratum)
    expected = connected_components(linked, directed=False)[1]
    np.testing.assert_array_equal(same(linked_groups(**at, stratum=stratum, capture=capture, place_m=100)), same(expected))


@pytest.mark.parametrize("gap_m", [99.9, 100.1])
def test_two_crowds_are_one_place_when_a_single_pair_is_near(gap_m):
    """400 pictures on a line of 20 m, 400 on another that goes on `gap_m` behind it: 160,000 pairs, one decides."""
    north_m = np.concatenate([np.linspace(0, 20, 400), 20 + gap_m + np.linspace(0, 20, 400)])
    lon, lat, _ = GEOD.fwd(np.full(800, 139.7), np.full(800, 35.6), np.zeros(800), north_m)
    place = linked_places(lat=lat, lon=lon, stratum=np.zeros(800, dtype=np.int64), nearer_m=100)
    assert len(np.unique(place)) == (1 if gap_m < 100 else 2)


def test_nothing_is_linked_to_nothing():
    nothing, none = np.empty(0), np.empty(0, dtype=np.int64)
    assert linked_places(lat=nothing, lon=nothing, stratum=none, nearer_m=100).tolist() == []
    assert linked_groups(lat=nothing, lon=nothing, stratum=none, capture=none, place_m=100).tolist() == []


def test_earth_centred_metres_are_those_of_the_reference_system():
    lat, lon = np.array([0.0, 35.6, -45.0, 89.0]), np.array([0.0, 139.7, -70.0, 10.0])
    expected = np.column_stack(FIXED.transform(lon, lat, np.zeros(4)))
    np.testing.assert_allclose(earth_centred_m(lat=lat, lon=lon), expected, atol=1e-6)
