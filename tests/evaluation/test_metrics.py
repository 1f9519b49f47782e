"""Error tables, intervals, baselines and bias, against figures worked out another way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.metrics import (
    bias_std_pct,
    calibration_table,
    error_table,
    fixed_answer_table,
    mean_position_table,
    median_interval,
    outside_box_count,
    place_of,
    prefecture_table,
    result_table,
)
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.tables import ESTIMATES, as_table, check_table


def estimates(readout: str, errors_km: list[float], **regions: list[float]) -> pd.DataFrame:
    """Answers due north of their truths, so that each error is what it is said to be to within the ellipsoid's shape."""
    n = len(errors_km)
    true_lat, true_lon = np.linspace(35.0, 36.0, n), np.linspace(139.0, 140.0, n)
    nothing = [np.nan] * n
    columns = {"query_id": [f"q{i}" for i in range(n)], "readout": [readout] * n, "lat": true_lat + np.array(errors_km) / 111.0}
    columns |= {"lon": true_lon, "true_lat": true_lat, "true_lon": true_lon, "error_km": errors_km}
    columns |= {"region_50_km": regions.get("r50", nothing), "region_90_km": regions.get("r90", nothing)}
    return as_table(ESTIMATES, columns)


def test_error_table_says_what_pandas_says_by_hand():
    errors = {"mode": [0.5, 1.0, 24.9, 25.1, 300.0], "centroid": [50.0, 99.0, 100.0, 100.1]}
    table = error_table(pd.concat([estimates(name, values) for name, values in errors.items()])).set_index("readout")
    for name, values in errors.items():
        series = pd.Series(values)
        row = table.loc[name]
        assert row["n"] == len(values)
        assert row["median_km"] == pytest.approx(series.median())
        assert row["mean_km"] == pytest.approx(series.mean())
        assert row["p90_km"] == pytest.approx(series.quantile(0.9))
        for limit in (1, 25, 100):
            assert row[f"within_{limit}_km_pct"] == pytest.approx(100 * (series <= limit).mean())


def test_an_error_table_of_nothing_has_its_columns_and_no_row():
    table = error_table(estimates("mode", []))
    assert len(table) == 0
    assert "within_25_km_pct" in table.columns


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


def test_the_mean_position_is_the_same_for_every_query_and_its_errors_are_geodesic():
    table = mean_position_table(
        train_lat=[43.0, 35.0], train_lon=[141.0, 139.0], query_id=["a", "b"], true_lat=[35.0, 26.0], true_lon=[139.0, 127.0]
    )
    check_table(ESTIMATES, table)
    assert table["lat"].nunique() == table["lon"].nunique() == 1
    assert 35.0 < table["lat"][0] < 43.0
    expected = distance_m(lat=table["lat"], lon=table["lon"], to_lat=[35.0, 26.0], to_lon=[139.0, 127.0]) / 1000
    assert table["error_km"].to_numpy() == pytest.approx(expected)


def test_a_mean_position_of_no_training_pictures_is_refused():
    with pytest.raises(SettingError, match="at least one training picture"):
        mean_position_table(train_lat=[], train_lon=[], query_id=["a"], true_lat=[35.0], true_lon=[139.0])


def test_prefecture_shares_are_counted_and_evened():
    # three queries of Tokyo, one of Okinawa; every answer is in Tokyo, but one Tokyo query is answered in the sea
    table = prefecture_table(
        estimates("mode", [1.0, 2.0, 600.0, 1500.0]),
        true_code={"q0": "13", "q1": "13", "q2": "13", "q3": "47"},
        estimated_code={"q0": "13", "q1": "13", "q2": None, "q3": "13"},
    ).set_index("prefecture_code")
    assert table.loc["13", ["n", "median_km", "truth_share_pct", "answer_share_pct"]].tolist() == [3, 2.0, 75.0, 75.0]
    assert table.loc["13", "within_25_km_pct"] == pytest.approx(200 / 3)
    assert table.loc["13", "even_share_pct"] == pytest.approx(50 * 2 / 3 + 50)
    assert table.loc["47", ["n", "answer_share_pct", "even_share_pct"]].tolist() == [1, 0.0, 0.0]
    assert table.loc["13", "prefecture"] == "東京都"
    assert bias_std_pct(table) == pytest.approx(np.std([50 * 2 / 3 + 50, 0.0]))


def test_a_model_without_bias_has_no_deviation_however_uneven_the_queries():
    codes = {f"q{i}": "13" if i < 9 else "47" for i in range(12)}
    table = prefecture_table(estimates("mode", [1.0] * 12), true_code=codes, estimated_code=codes)
    assert bias_std_pct(table) == pytest.approx(0.0, abs=1e-9)


def test_a_prefecture_that_is_only_answered_has_a_row_without_errors():
    table = prefecture_table(estimates("mode", [900.0]), true_code={"q0": "13"}, estimated_code={"q0": "01"})
    row = table.set_index("prefecture_code").loc["01"]
    assert row["n"] == 0
    assert np.isnan(row["median_km"])
    assert row["answer_share_pct"] == 100.0


def test_calibration_counts_truths_inside_and_leaves_out_answers_without_a_region():
    table = calibration_table(
        estimates("mode", [1.0, 2.0, 3.0, 4.0], r50=[1.0, 1.0, 9.0, np.nan], r90=[9.0, 9.0, 9.0, np.nan])
    ).set_index("stated_pct")
    assert table.loc[50, ["n", "measured_pct"]].tolist() == pytest.approx([3, 200 / 3])
    assert table.loc[90, ["n", "measured_pct", "median_radius_km"]].tolist() == [3, 100.0, 9.0]
    assert calibration_table(estimates("mode", [1.0])).empty


def test_answers_outside_the_box_around_japan_are_counted():
    outside = fixed_answer_table(query_id=["a", "b"], true_lat=[35, 36], true_lon=[139, 139], lat=0.0, lon=0.0, readout="null")
    assert outside_box_count(pd.concat([outside, estimates("mode", [1.0, 2.0])])) == {"null": 2, "mode": 0}


def test_the_result_table_puts_baselines_first_and_the_best_read_out_last():
    frames = [estimates("mode", [1, 2, 3]), estimates("mean_position", [100, 200, 300]), estimates("centroid", [10, 20, 30])]
    table = result_table(pd.concat([*frames, estimates("untrained", [50, 60, 70])]), default="mode")
    assert table["readout"].tolist() == ["mean_position", "untrained", "centroid", "mode"]
    assert table["is_default"].tolist() == [False, False, False, True]
    assert table["of_mean_position_pct"].tolist() == pytest.approx([100, 30, 10, 1])
    assert table.iloc[-1]["of_untrained_pct"] == pytest.approx(100 * 2 / 60)


def test_a_result_table_without_baselines_says_that_it_does_not_know():
    assert result_table(estimates("mode", [1, 2, 3]), default="mode")["of_mean_position_pct"].isna().all()
