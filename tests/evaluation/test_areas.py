"""Figures by area and by kind of picture, against sums done by hand."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from geoloc_pipeline.evaluation.areas import group_table, macro_table, prefecture_table, urban_towns
from geoloc_pipeline.tables import ESTIMATES, as_table


def estimates(readout: str, errors_km: list[float]) -> pd.DataFrame:
    n = len(errors_km)
    place = {
        "lat": np.full(n, 35.0),
        "lon": np.full(n, 139.0),
        "true_lat": np.linspace(35, 36, n),
        "true_lon": np.full(n, 139.0),
    }
    regions = {"region_50_km": [np.nan] * n, "region_90_km": [np.nan] * n}
    ids = {"query_id": [f"q{i}" for i in range(n)], "readout": [readout] * n}
    return as_table(ESTIMATES, {**ids, **place, "error_km": errors_km, **regions})


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


def test_a_model_without_bias_has_no_deviation_however_uneven_the_queries():
    codes = {f"q{i}": "13" if i < 9 else "47" for i in range(12)}
    table = prefecture_table(estimates("mode", [1.0] * 12), true_code=codes, estimated_code=codes)
    assert table["even_share_pct"].tolist() == pytest.approx([50.0, 50.0])


def test_a_prefecture_that_is_only_answered_has_a_row_without_errors():
    table = prefecture_table(estimates("mode", [900.0]), true_code={"q0": "13"}, estimated_code={"q0": "01"})
    row = table.set_index("prefecture_code").loc["01"]
    assert row["n"] == 0
    assert np.isnan(row["median_km"])
    assert row["answer_share_pct"] == 100.0


def test_means_over_areas_count_every_area_alike():
    table = macro_table(
        pd.concat([estimates("mode", [1.0, 3.0, 5.0, 101.0]), estimates("centroid", [10.0] * 4)]),
        areas={"municipality": {"q0": "a", "q1": "a", "q2": "a", "q3": "b"}, "prefecture": {"q0": "x", "q3": None}},
    ).set_index(["readout", "level"])
    row = table.loc[("mode", "municipality")]
    assert row["median_km"] == pytest.approx((3.0 + 101.0) / 2)  # the mean over pictures would be 4 km
    assert row["within_25_km_pct"] == pytest.approx((100.0 + 0.0) / 2)
    assert (row["n_areas"], row["n"], row["worst_median_km"]) == (2, 4, 101.0)
    assert table.loc[("mode", "prefecture"), "n"] == 1
    assert table.loc[("centroid", "municipality"), "median_km"] == 10.0


def test_areas_that_nobody_knows_give_no_row():
    assert macro_table(estimates("mode", [1.0]), areas={"prefecture": {}}).empty


def test_kinds_of_pictures_partition_the_pictures():
    errors = [1.0, 2.0, 30.0, 400.0, 5.0]
    table = group_table(
        estimates("mode", errors), label_of={"q0": "b", "q1": "b", "q2": "a", "q3": "z"}, column="source", order=("z", "y")
    )
    assert table["source"].tolist() == ["z", "a", "b", "unknown"]
    assert table["n"].tolist() == [1, 1, 2, 1]
    assert table["median_km"].tolist() == pytest.approx([400.0, 30.0, 1.5, 5.0])
    assert (table["n"] * table["within_25_km_pct"]).sum() == pytest.approx(100.0 * sum(error <= 25 for error in errors))


def test_without_any_label_all_pictures_are_of_an_unknown_kind():
    assert group_table(estimates("mode", [1.0, 2.0]), label_of={}, column="kind")[["kind", "n"]].values.tolist() == [
        ["unknown", 2]
    ]


def towns(population: list[object], side_deg: float = 0.01) -> gpd.GeoDataFrame:
    """Squares at 35°N, 1.11 by 0.91 km each, so 1.01 km²."""
    boxes = [shapely.box(139 + i, 35, 139 + i + side_deg, 35 + side_deg) for i in range(len(population))]
    columns = {"town_code": [f"t{i}" for i in range(len(population))], "population": pd.array(population, dtype="Int64")}
    return gpd.GeoDataFrame(columns, geometry=boxes, crs="OGC:CRS84")


def test_a_town_block_is_urban_by_its_people_per_square_kilometre():
    kinds = urban_towns(towns([3900, 4200, 0, None]))
    assert kinds == {"t0": "rural", "t1": "urban", "t2": "rural", "t3": "unknown"}
    assert urban_towns(towns([3900]), urban_per_km2=300) == {"t0": "urban"}


def test_a_census_without_any_population_leaves_every_block_unknown():
    assert set(urban_towns(towns([None, None])).values()) == {"unknown"}
