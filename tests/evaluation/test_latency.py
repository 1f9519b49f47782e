"""The latency table: stages add up, cold stands beside warm."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.evaluation.latency import latency_table

SAMPLES = [{"search": 0.01 * i, "decode": 0.002, "opening": 0.5} for i in range(1, 101)]


def test_percentiles_of_every_stage_and_of_their_sum():
    table = latency_table(SAMPLES, cold={"search": 1.0, "decode": 0.5}).set_index("stage")
    assert list(table.index) == ["decode", "search", "opening", "together"]
    search = np.array([sample["search"] for sample in SAMPLES])
    assert table.loc["search", ["p50_s", "p95_s"]].tolist() == pytest.approx(np.percentile(search, [50, 95]).tolist())
    assert table.loc["together", "mean_s"] == pytest.approx((search + 0.502).mean())
    assert table.loc["together", ["n", "cold_s"]].tolist() == [100, 1.5]
    assert np.isnan(table.loc["opening", "cold_s"])


def test_nothing_measured_is_an_empty_table():
    assert latency_table([]).empty
    assert latency_table(SAMPLES)["cold_s"].isna().all()
