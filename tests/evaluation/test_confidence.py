"""Risk, coverage and intervals against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.confidence import (
    area_under_risk,
    risk_coverage,
    separation,
    threshold_for_risk,
)

LEVELS = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(LEVELS)
def test_every_row_is_what_counting_gives(pairs: list[tuple[int, float]]):
    confidence, error_km = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    table = risk_coverage(confidence, error_km)
    assert table["confidence"].tolist() == sorted(set(confidence), reverse=True)
    for row in table.itertuples():
        answered = error_km[confidence >= row.confidence]
        assert row.coverage == pytest.approx(len(answered) / len(error_km))
        assert row.risk == pytest.approx(np.mean(answered > 25))
        assert row.median_km == pytest.approx(np.median(answered))


def test_a_score_that_knows_the_errors_beats_one_that_knows_nothing_and_nothing_beats_it():
    chance = np.random.default_rng(0)
    error_km = chance.lognormal(3, 2, 400)
    areas = [area_under_risk(risk_coverage(score, error_km)) for score in (-error_km, np.zeros(400), error_km)]
    assert areas[1] == pytest.approx(np.mean(error_km > 25))
    assert areas[0] < areas[1] < areas[2]


def test_the_threshold_answers_as_many_as_the_wanted_risk_allows():
    table = risk_coverage([4, 3, 2, 1], [0, 0, 99, 99])
    assert threshold_for_risk(table, 0.0) == 3
    assert threshold_for_risk(table, 0.4) == 2
    assert threshold_for_risk(table, 0.5) == 1
    assert threshold_for_risk(risk_coverage([1], [99]), 0.5) is None
    with pytest.raises(SettingError, match="0 to 1"):
        threshold_for_risk(table, 90)


def test_without_queries_there_is_no_row_and_no_number():
    table = risk_coverage([], [])
    assert len(table) == 0
    assert np.isnan(area_under_risk(table))
    assert threshold_for_risk(table, 0.5) is None
    assert np.isnan(separation([], [1.0]))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.lists(st.integers(0, 9), min_size=1, max_size=12))
def test_separation_counts_pairs(inside: list[int], outside: list[int]):
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in inside for b in outside]
    assert separation(inside, outside) == pytest.approx(np.mean(pairs))
