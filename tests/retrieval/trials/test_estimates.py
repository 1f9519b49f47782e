"""The table of answers keeps its contract and measures what it says."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.evaluation.regions import Regions
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS
from geoloc_pipeline.retrieval.trials.estimates import estimate_table
from geoloc_pipeline.tables import ESTIMATES, check_table


def test_the_estimates_keep_their_contract_and_measure_geodesics(simulated):
    neighbours, lat, lon = simulated(5, k=8)
    ids = [f"q{i}" for i in range(5)]
    regions = {"mode": Regions(n=100, edges=(), factors_50=(1.0,), factors_90=(3.0,))}
    table = estimate_table(neighbours, query_id=ids, true_lat=lat, true_lon=lon, regions=regions, names={"nearest": "other"})
    check_table(ESTIMATES, table)
    assert set(table["readout"]) == {*BATCH_READOUTS, "other"} - {"nearest"}
    again = distance_m(lat=table["lat"], lon=table["lon"], to_lat=table["true_lat"], to_lon=table["true_lon"]) / 1000
    assert table["error_km"].to_numpy() == pytest.approx(again)
    has_region = table["readout"] == "mode"
    assert table.loc[has_region, "region_90_km"].to_numpy() == pytest.approx(
        3 * table.loc[has_region, "region_50_km"].to_numpy()
    )
    assert table.loc[~has_region, "region_50_km"].isna().all()


def test_no_queries_make_an_empty_table(found):
    empty = found(np.empty((0, 100)), np.empty((0, 100)), np.empty((0, 100)))
    table = estimate_table(empty, query_id=[], true_lat=[], true_lon=[])
    check_table(ESTIMATES, table)
    assert len(table) == 0
