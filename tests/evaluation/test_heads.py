"""How often heads are right, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.evaluation.heads import head_table


def test_a_head_is_judged_on_pictures_whose_class_it_knows():
    table = head_table(
        {"prefecture": np.array([[0, 1], [1, 0], [1, 0], [0, 1]]), "road": np.array([[2, 0, 1, 3, 4, 5]] * 4)},
        truth={"prefecture": np.array([0, 0, 1, -1]), "road": np.array([5, 4, -1, -1])},
        n_classes={"prefecture": 2, "road": 6},
        place=["a", "b", "c", "d"],
    ).set_index("task")
    row = table.loc["prefecture"]
    assert (row["n"], row["left_out"], row["n_classes"], row["paper_pct"], row["chance_pct"]) == (3, 1, 2, 76.0, 50.0)
    assert (row["top1_pct"], row["top5_pct"]) == (pytest.approx(200 / 3), 100.0)
    assert row["low_pct"] <= row["top1_pct"] <= row["high_pct"]
    assert table.loc["road", ["n", "top1_pct", "top5_pct"]].tolist() == [2, 0.0, 50.0]


def test_a_head_that_knows_no_class_of_any_picture_has_no_accuracy():
    table = head_table(
        {"landmark": np.array([[0], [0]])}, truth={"landmark": np.array([-1, -1])}, n_classes={"landmark": 4}, place=["a", "b"]
    )
    assert table["n"][0] == 0
    assert np.isnan(table["top1_pct"][0])
