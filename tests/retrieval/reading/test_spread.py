"""How far neighbours stand from an answer, against distances counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.reading.spread import likeness, signs_of, spread_km


def test_the_spread_is_the_distance_that_holds_half_of_the_weight(found):
    lat = np.array([[35.0, 35.1, 35.2, 35.3, 36.0]])
    neighbours = found(lat, np.full((1, 5), 139.0), np.full((1, 5), 0.5))
    expected = distance_m(lat=35.0, lon=139.0, to_lat=35.2, to_lon=139.0) / 1000
    assert spread_km(neighbours, lat=[35.0], lon=[139.0])[0] == pytest.approx(float(expected))
    assert spread_km(found(lat[:, :1], lat[:, :1], lat[:, :1] * 0), lat=lat[:, 0], lon=lat[:, 0])[0] == 0.0


def test_likeness_is_the_similarity_at_a_rank_of_those_that_are_there(found):
    lat = np.array([[35.0, np.nan, 35.0], [35.0, 35.0, np.nan]])
    neighbours = found(lat, lat + 100, np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.0]]))
    assert likeness(neighbours, rank=1) == pytest.approx([0.9, 0.6])
    assert likeness(neighbours, rank=2) == pytest.approx([0.7, 0.5])
    assert np.isnan(likeness(neighbours, rank=3)).all()
    assert np.isnan(likeness(found(lat[:, :0], lat[:, :0], lat[:, :0]))).all()


def test_agreement_is_the_mean_share_within_three_distances_and_reach_the_median_of_those_near(found):
    away_deg = np.array([[0.0, 0.1, 0.5, 3.0]])  # 0, 11, 56 and 334 km
    neighbours = found(35.0 + away_deg, np.full((1, 4), 139.0), np.full((1, 4), 0.5))
    signs = signs_of(neighbours, lat=[35.0], lon=[139.0])
    assert signs.agreement[0] == pytest.approx((1 / 4 + 2 / 4 + 3 / 4) / 3)
    assert signs.reach_km[0] == pytest.approx(11.1, abs=0.1)
    alone = signs_of(neighbours, lat=[26.0], lon=[127.0])
    assert (alone.agreement[0], alone.reach_km[0]) == (0.0, 100.0)


def test_absent_neighbours_give_no_sign(found):
    lat = np.array([[35.0, 35.1, math.nan]])
    padded = found(lat, np.full((1, 3), 139.0), np.array([[0.9, 0.8, 0.99]]))
    plain = found(lat[:, :2], np.full((1, 2), 139.0), np.array([[0.9, 0.8]]))
    for one, two in zip(*(signs_of(each, lat=[35.0], lon=[139.0]) for each in (padded, plain)), strict=True):
        assert one == pytest.approx(two)
