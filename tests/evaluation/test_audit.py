"""Near-duplicates and the rest, counted by hand."""

from __future__ import annotations

import numpy as np

from geoloc_pipeline.evaluation.audit import duplicate_table


def test_near_duplicates_are_told_apart_from_the_rest_at_the_cosine():
    table = duplicate_table([0.1, 0.3, 50.0, 70.0, 90.0], best_score=[0.99, 0.95, 0.949, 0.5, 0.2]).set_index("pictures")
    assert table["n"].tolist() == [2, 3]
    assert table.loc["near_duplicates", ["share_pct", "within_1_km_pct"]].tolist() == [40.0, 100.0]
    assert table.loc["others", ["median_km", "median_score", "within_25_km_pct"]].tolist() == [70.0, 0.5, 0.0]


def test_without_near_duplicates_their_figures_are_not_known():
    table = duplicate_table([5.0], best_score=[0.3]).set_index("pictures")
    assert table.loc["near_duplicates", "n"] == 0
    assert np.isnan(table.loc["near_duplicates", "median_km"])
    assert table.loc["others", "share_pct"] == 100.0
