"""Near places, against every distance measured one by one."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.evaluation.near import Places
from geoloc_pipeline.geo.sphere import distance_m


@pytest.fixture(scope="module")
def world() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    chance = np.random.default_rng(1)
    places = {"lat": chance.uniform(34, 35, 300), "lon": chance.uniform(138, 139, 300)}
    asked = {"lat": chance.uniform(33.9, 35.1, 50), "lon": chance.uniform(137.9, 139.1, 50)}
    away_m = distance_m(lat=asked["lat"][:, None], lon=asked["lon"][:, None], to_lat=places["lat"], to_lon=places["lon"])
    return places, asked, away_m / 1000


def test_the_nearest_is_as_far_as_the_least_of_all_geodesics(world):
    places, asked, away_km = world
    assert Places(**places).nearest_km(**asked) == pytest.approx(away_km.min(axis=1), rel=1e-6)


@pytest.mark.parametrize("limit_km", [1.0, 5.0, 25.0])
def test_all_within_a_limit_are_those_whose_geodesic_is(world, limit_km: float):
    places, asked, away_km = world
    found = Places(**places)
    assert found.within(**asked, limit_km=limit_km) == [np.flatnonzero(row <= limit_km).tolist() for row in away_km]
    assert found.count_within(**asked, limit_km=limit_km).tolist() == (away_km <= limit_km).sum(axis=1).tolist()


def test_among_no_places_nothing_is_near():
    nowhere = Places(lat=[], lon=[])
    assert np.isinf(nowhere.nearest_km(lat=[35.0], lon=[139.0])).all()
    assert nowhere.within(lat=[35.0], lon=[139.0], limit_km=25.0) == [[]]
    assert nowhere.count_within(lat=[35.0], lon=[139.0], limit_km=25.0).tolist() == [0]
