"""The rule of intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.osm.tags import ROAD_CLASSES
from geoloc_pipeline.sampling.spacing import (
    ROAD_BASE_M,
    SamplingSettings,
    landmark_spacing_m,
    points_on,
    rank_of,
    road_spacing_m,
)

lengths = st.floats(0.01, 5e6)
ranks = st.integers(0, len(ROAD_BASE_M) - 1)
densities = st.sampled_from([0.2, 1.0, 3.0])


def points_of(length_m, rank, settings):
    length, interval = np.array([length_m]), np.array([0.0])
    interval = road_spacing_m(rank=np.array([rank]), length_m=length, settings=settings)
    return int(points_on(length_m=length, spacing_m=interval, settings=settings)[0])


def test_every_road_class_of_the_map_has_a_rule_in_the_same_order():
    assert list(ROAD_BASE_M) == list(ROAD_CLASSES)
    assert list(ROAD_BASE_M.values()) == sorted(ROAD_BASE_M.values())


def test_a_class_without_a_rule_ranks_last():
    assert rank_of(["trunk", "residential", "track"]).tolist() == [1, 6, 6]


@given(lengths, ranks, densities)
def test_intervals_that_come_out_are_500_m_to_5_km(length_m, rank, density):
    settings = SamplingSettings(density=density)
    count = points_of(length_m, rank, settings)
    if length_m >= settings.shortest_m:
        assert count >= 1
        assert settings.shortest_m <= length_m / count <= settings.longest_m
    else:
        assert count <= 1


@given(lengths, lengths, ranks)
def test_a_longer_road_never_has_fewer_points(one, other, rank):
    settings = SamplingSettings()
    assert points_of(min(one, other), rank, settings) <= points_of(max(one, other), rank, settings)


@given(lengths, ranks, ranks)
def test_a_more_important_road_never_has_fewer_points(length_m, one, other):
    settings = SamplingSettings()
    assert points_of(length_m, max(one, other), settings) <= points_of(length_m, min(one, other), settings)


@given(st.floats(0, 1e10), st.floats(0, 1e10))
def test_a_larger_landmark_has_a_wider_grid_within_the_bounds(one, other):
    spacing = landmark_spacing_m(area_m2=np.array(sorted([one, other])), settings=SamplingSettings())
    assert 500 <= spacing[0] <= spacing[1] <= 5000


@pytest.mark.parametrize("wrong", [{"shortest_m": 0}, {"shortest_m": 3000}, {"density": 0}, {"density": float("nan")}])
def test_settings_that_cannot_work_are_told(wrong):
    with pytest.raises(SettingError):
        SamplingSettings(**wrong)
