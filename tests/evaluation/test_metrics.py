"""Error tables, fixed answers and calibration, against figures worked out another way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.metrics import (
    calibration_table,
    error_table,
    fixed_answer_table,
    interval_table,
    mean_position_table,
    outside_box_count,
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
        assert row["p95_km"] == pytest.approx(series.quantile(0.95))
        for limit in (1, 5, 25, 100, 200, 750):
            assert row[f"within_{limit}_km_pct"] == pytest.approx(100 * (series <= limit).mean())
        for limit in (200, 500):
            assert row[f"beyond_{limit}_km_pct"] == pytest.approx(100 * (series > limit).mean())


def test_an_error_table_of_nothing_has_its_columns_and_no_row():
    table = error_table(estimates("mode", []))
    assert len(table) == 0
    assert "within_25_km_pct" in table.columns


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


def test_every_figure_of_every_read_out_has_an_interval_around_it():
    errors = np.random.default_rng(4).lognormal(3, 2, 60).tolist()
    table = interval_table(pd.concat([estimates("mode", errors), estimates("centroid", errors[::-1])]))
    assert len(table) == 2 * len(table["figure"].unique())
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    assert len(set(table.loc[table["figure"] == "within_25_km_pct", "value"])) == 1


def test_a_result_table_without_baselines_says_that_it_does_not_know():
    assert result_table(estimates("mode", [1, 2, 3]), default="mode")["of_mean_position_pct"].isna().all()
