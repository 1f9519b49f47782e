"""Calibrated regions hold what they promise, and say so when they cannot promise anything."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.regions import (
    LEAST_OF_A_CLASS,
    Regions,
    Signs,
    calibrate_regions,
    class_edges,
    conformal_quantile,
)


def drawn(chance: np.random.Generator, n: int) -> tuple[np.ndarray, Signs]:
    """Errors of a retrieval system: in step with the reach where neighbours agree, anywhere where they do not."""
    agreement, reach_km = chance.beta(3, 1, n), chance.lognormal(1, 1, n)
    lost = chance.random(n) > agreement
    return np.where(lost, chance.uniform(300, 1500, n), reach_km * chance.gamma(2, 0.5, n)), Signs(agreement, reach_km)


def even(n: int) -> Signs:
    return Signs(np.ones(n), np.ones(n))


def test_new_truths_lie_inside_as_often_as_stated_also_among_the_doubtful_alone():
    chance = np.random.default_rng(0)
    inside = {50: [], 90: []}
    doubtful = {50: [], 90: []}
    for _ in range(60):
        regions = calibrate_regions(*drawn(chance, 400))
        errors, signs = drawn(chance, 1000)
        for level, radius in zip((50, 90), regions.radii_km(signs), strict=True):
            inside[level].append(np.mean(errors <= radius))
            doubtful[level].append(np.mean((errors <= radius)[signs.agreement < 0.6]))
    for level in (50, 90):
        assert np.mean(inside[level]) == pytest.approx(level / 100, abs=0.02)
        assert np.mean(doubtful[level]) == pytest.approx(level / 100, abs=0.04)


def test_regions_are_tighter_where_neighbours_agree_and_stand_near():
    regions = calibrate_regions(*drawn(np.random.default_rng(1), 600))
    small, large = regions.radii_km(Signs(np.array([0.99, 0.99, 0.2]), np.array([0.1, 10.0, 10.0])))
    assert small[0] < small[1] <= small[2]
    assert large[0] < large[1] < large[2]
    assert (small <= large).all()


def test_classes_are_about_equal_and_never_too_small_or_cut_through_equals():
    chance = np.random.default_rng(0)
    for agreement in (chance.random(400), chance.random(95), np.ones(300), np.repeat([0.1, 0.5, 1.0], [10, 200, 90])):
        edges = class_edges(agreement)
        counts = np.bincount(np.searchsorted(np.asarray(edges), agreement, side="right"), minlength=len(edges) + 1)
        assert counts.min() >= min(LEAST_OF_A_CLASS, len(agreement))
        assert list(edges) == sorted(set(edges))
    assert len(class_edges(chance.random(400))) == 4
    assert class_edges(np.ones(300)) == class_edges(chance.random(50)) == class_edges([]) == ()


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
    regions = calibrate_regions(np.arange(n, dtype=float), even(n))
    assert words in regions.text()
    assert tuple(bool(np.isfinite(radius[0])) for radius in regions.radii_km(even(1))) == known


def test_errors_that_are_not_known_are_left_out():
    assert calibrate_regions([1.0, np.nan, 3.0, np.inf], even(4)).n == 2


def test_regions_survive_being_written_as_json():
    regions = calibrate_regions(*drawn(np.random.default_rng(0), 300))
    assert len(regions.edges) == 4
    assert Regions.from_json(json.loads(json.dumps(regions.to_json(), allow_nan=False))) == regions


def test_what_an_earlier_version_wrote_is_not_mistaken_for_radii():
    old = Regions.from_json({"n": 377, "factor_50": 0.9, "factor_90": 40.2, "is_scaled": True})
    assert np.isnan(old.radii_km(even(1))).all()
    assert old.text().startswith("No region")
