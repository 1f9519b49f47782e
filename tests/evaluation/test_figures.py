"""The figures and their intervals, against NumPy's and against a bootstrap that copies rows."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.evaluation.figures import (
    error_figures,
    figure_intervals,
    figure_names,
    median_interval,
    place_of,
    share_interval,
)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 101])
def test_figures_are_numpys(n: int):
    errors = np.random.default_rng(n).lognormal(3, 2, n)
    found = error_figures(errors)
    assert list(found) == figure_names()
    assert found["median_km"] == pytest.approx(np.median(errors))
    assert found["mean_km"] == pytest.approx(errors.mean())
    assert [found["p90_km"], found["p95_km"]] == pytest.approx(np.percentile(errors, [90, 95]))
    assert found["within_5_km_pct"] == pytest.approx(100 * np.mean(errors <= 5))
    assert found["beyond_500_km_pct"] == pytest.approx(100 * np.mean(errors > 500))


def test_an_error_of_exactly_a_limit_is_within_it_and_no_failure():
    found = error_figures([25.0, 200.0])
    assert (found["within_25_km_pct"], found["beyond_200_km_pct"]) == (50.0, 0.0)


def test_no_errors_have_no_figures():
    assert np.isnan(list(error_figures([]).values())).all()
    assert np.isnan(list(figure_intervals([], group=[]).values())).all()
    assert np.isnan(share_interval([], group=[])).all()


def test_all_intervals_agree_with_a_bootstrap_that_copies_rows():
    chance = np.random.default_rng(5)
    errors, groups = chance.lognormal(3, 1.5, 90), chance.integers(0, 30, 90)
    names = np.unique(groups)
    draws = [
        list(error_figures(np.concatenate([errors[groups == name] for name in chance.choice(names, len(names))])).values())
        for _ in range(2000)
    ]
    found = np.array(list(figure_intervals(errors, group=groups, draws=2000).values()))
    assert pytest.approx(np.percentile(draws, [2.5, 97.5], axis=0), rel=0.12, abs=1.5) == found.T


def test_the_interval_of_a_share_agrees_with_that_of_the_same_share_of_errors():
    chance = np.random.default_rng(6)
    errors, groups = chance.lognormal(3, 1.5, 80), chance.integers(0, 20, 80)
    assert share_interval(errors <= 25, group=groups) == pytest.approx(
        figure_intervals(errors, group=groups)["within_25_km_pct"]
    )


def test_the_interval_of_a_median_holds_the_median_and_repeats_itself():
    errors = np.random.default_rng(1).lognormal(1, 1, 200)
    groups = np.arange(200) // 4
    low, high = median_interval(errors, group=groups)
    assert low < np.median(errors) < high
    assert (low, high) == median_interval(errors, group=groups)
    assert median_interval([], group=[]) == pytest.approx((np.nan, np.nan), nan_ok=True)


def test_pictures_that_are_right_and_wrong_together_widen_the_interval():
    by_place = np.repeat(np.random.default_rng(2).lognormal(1, 1, 20), 20)
    low, high = median_interval(by_place, group=np.repeat(np.arange(20), 20))
    narrow_low, narrow_high = median_interval(by_place, group=np.arange(400))
    assert high - low > 2 * (narrow_high - narrow_low)


def test_the_interval_agrees_with_a_bootstrap_that_copies_rows():
    chance = np.random.default_rng(3)
    errors, groups = chance.lognormal(1, 1, 90), chance.integers(0, 30, 90)
    names = np.unique(groups)
    draws = [
        np.median(np.concatenate([errors[groups == name] for name in chance.choice(names, len(names))])) for _ in range(2000)
    ]
    assert median_interval(errors, group=groups, draws=2000) == pytest.approx(np.percentile(draws, [2.5, 97.5]), rel=0.1)


def test_pictures_a_few_metres_apart_are_one_place_and_far_ones_are_not():
    here, near, far = place_of(lat=[35.6800, 35.6801, 35.78], lon=[139.7600, 139.7601, 139.76])
    assert here == near != far


def test_the_interval_is_wider_when_pictures_come_in_groups_and_holds_the_truth():
    chance = np.random.default_rng(0)
    held = []
    for seed in range(100):
        is_right = np.repeat(chance.random(50) < 0.7, 10)
        low, high = share_interval(is_right, group=np.repeat(np.arange(50), 10), draws=400, seed=seed)
        held.append(low <= 70.0 <= high)
    alone = share_interval(is_right, group=np.arange(500))
    assert high - low > 2 * (alone[1] - alone[0])
    assert np.mean(held) > 0.85
