"""Calibrated regions hold what they promise, and say so when they cannot promise anything."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.regions import Regions, calibrate_regions, conformal_quantile


def heavy_tailed(chance: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors of a retrieval system: mostly small and in step with the spread, some anywhere in the country."""
    spread = chance.lognormal(0.5, 1.5, n)
    lost = chance.random(n) < 0.15
    return np.where(lost, chance.uniform(300, 1500, n), spread * chance.gamma(2, 0.5, n)), spread


@pytest.mark.parametrize("is_scaled", [True, False])
def test_new_truths_lie_inside_as_often_as_stated(is_scaled: bool):
    chance = np.random.default_rng(0)
    inside = {50: [], 90: []}
    for _ in range(60):
        errors, spread = heavy_tailed(chance, 200)
        regions = calibrate_regions(errors, spread_km=spread if is_scaled else None)
        new_errors, new_spread = heavy_tailed(chance, 500)
        for level, radius in zip((50, 90), regions.radii_km(new_spread), strict=True):
            inside[level].append(np.mean(new_errors <= radius))
    assert np.mean(inside[50]) == pytest.approx(0.5, abs=0.02)
    assert np.mean(inside[90]) == pytest.approx(0.9, abs=0.015)


def test_scaled_regions_are_tighter_where_neighbours_agree():
    errors, spread = heavy_tailed(np.random.default_rng(1), 400)
    small, large = calibrate_regions(errors, spread_km=spread).radii_km([0.1, 50.0])
    assert small[0] < small[1]
    assert (small <= large).all()


def test_the_quantile_is_the_order_statistic_that_theory_asks_for():
    assert conformal_quantile(range(1, 10), level=0.9) == 9  # ceil(10 * 0.9) = 9th of 9
    assert conformal_quantile(range(1, 9), level=0.9) is None  # 8 cannot promise 90 %
    assert conformal_quantile([7.0], level=0.5) == 7.0
    assert conformal_quantile([], level=0.5) is None
    assert conformal_quantile(range(100), level=0.5) == 50  # ceil(50.5) = 51st


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, float("nan")])
def test_a_level_that_is_no_chance_is_refused(level: float):
    with pytest.raises(SettingError, match="between 0 and 1"):
        conformal_quantile([1.0], level=level)


@pytest.mark.parametrize(
    ("n", "words", "known"),
    [
        (0, "too few", (False, False)),
        (5, "only 5", (True, False)),
        (15, "rough", (True, True)),
        (400, "give or take", (True, True)),
    ],
)
def test_too_few_pictures_are_told_and_give_no_radius(n: int, words: str, known: tuple[bool, bool]):
    regions = calibrate_regions(np.arange(n, dtype=float))
    assert words in regions.text()
    assert tuple(bool(np.isfinite(radius[0])) for radius in regions.radii_km(1.0)) == known


def test_errors_that_are_not_known_are_left_out():
    assert calibrate_regions([1.0, np.nan, 3.0, np.inf]).n == 2


def test_regions_survive_being_written_as_json():
    regions = calibrate_regions(np.arange(50.0), spread_km=np.ones(50))
    assert Regions.from_json(json.loads(json.dumps(regions.to_json()))) == regions
