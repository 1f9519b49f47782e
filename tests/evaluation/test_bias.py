"""The bias experiment: what it finds of models whose bias is known."""

from __future__ import annotations

import pytest

from geoloc_pipeline.evaluation.bias import prefecture_bias


def test_a_model_without_bias_has_none_however_uneven_the_pictures():
    truth = {f"q{i}": "13" if i < 90 else "47" for i in range(100)}
    bias = prefecture_bias(true_code=truth, estimated_code=dict(truth))
    assert (bias.std_pct, bias.gini, bias.kl_bits, bias.unplaced_pct) == pytest.approx((0.0, 0.0, 0.0, 0.0), abs=1e-9)
    assert bias.shares["share_pct"].tolist() == [50.0, 50.0]
    assert (bias.fair_pct, bias.drawn, bias.repeated) == (50.0, 1000, 2)


def test_a_model_that_answers_one_prefecture_has_all_the_bias_there_is():
    truth = {f"q{i}": code for i, code in enumerate(["01", "13", "35", "47"] * 5)}
    bias = prefecture_bias(true_code=truth, estimated_code=dict.fromkeys(truth, "13"))
    assert bias.shares.iloc[0][["prefecture", "share_pct", "of_fair_pct"]].tolist() == ["東京都", 100.0, 400.0]
    assert bias.std_pct == pytest.approx(100 * (0.75**2 * 0.25 + 0.25**2 * 0.75) ** 0.5)
    assert (bias.gini, bias.kl_bits) == pytest.approx((0.75, 2.0))


def test_shares_are_those_of_the_weighted_pictures_when_many_are_drawn():
    truth = {f"q{i}": "13" if i < 30 else "47" for i in range(40)}
    answers = {query: ("13" if i % 3 else "47") for i, query in enumerate(truth)}
    in_tokyo = [sum(answers[f"q{i}"] == "13" for i in rows) / len(rows) for rows in (range(30), range(30, 40))]
    bias = prefecture_bias(true_code=truth, estimated_code=answers, per_prefecture=100_000)
    assert bias.shares.set_index("prefecture_code").loc["13", "share_pct"] == pytest.approx(100 * sum(in_tokyo) / 2, abs=0.5)


def test_enough_pictures_are_drawn_once_each():
    truth = {f"q{i}": "13" for i in range(10)}
    answers = {f"q{i}": "13" if i < 7 else None for i in range(10)}
    bias = prefecture_bias(true_code=truth, estimated_code=answers, per_prefecture=10)
    assert (bias.repeated, bias.unplaced_pct) == (0, pytest.approx(30.0))


def test_one_prefecture_and_no_pictures_are_no_accident():
    assert prefecture_bias(true_code={"q0": "13"}, estimated_code={"q0": None}).shares["share_pct"].tolist() == [0.0]
    assert prefecture_bias(true_code={}, estimated_code={}) is None
