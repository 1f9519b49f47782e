"""How far neighbours stand from an answer, against distances counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.spread import likeness, spread_km


def test_the_spread_is_the_distance_that_holds_half_of_the_weight(found):
    lat = np.array([[35.0, 35.1, 35.2, 35.3, 36.0]])
    neighbours = found(lat, np.full((1, 5), 139.0), np.full((1, 5), 0.5))
    expected = distance_m(lat=35.0, lon=139.0, to_lat=35.2, to_lon=139.0) / 1000
    assert spread_km(neighbours, lat=[35.0], lon=[139.0])[0] == pytest.approx(float(expected))
    assert spread_km(found(lat[:, :1], lat[:, :1], lat[:, :1] * 0), lat=lat[:, 0], lon=lat[:, 0])[0] == 0.0


def test_likeness_is_the_mean_of_the_best_that_are_there(found):
    lat = np.array([[35.0, np.nan, 35.0], [35.0, 35.0, np.nan]])
    assert likeness(found(lat, lat + 100, np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.0]]))) == pytest.approx([0.8, 0.55])
