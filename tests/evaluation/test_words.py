"""Everything that stands in a result table has a name and an explanation, and what the paper states fits together."""

from __future__ import annotations

import pytest

from geoloc_pipeline.evaluation.paper import BIAS_PREFECTURES, TABLE_3, TABLE_4
from geoloc_pipeline.evaluation.words import BASELINES, CLASSIFIER, READOUT_WORDS, WORDS


def test_names_and_explanations_are_told_apart():
    titles = [title for title, _ in WORDS.values()]
    assert len(set(titles)) == len(titles) == len(BASELINES) + len(READOUT_WORDS)
    assert all(about and not about.endswith(".") for _, about in WORDS.values())
    assert set(CLASSIFIER.values()) <= set(BASELINES)


def test_the_papers_five_prefectures_are_as_far_above_a_fair_share_as_it_says():
    of_fair = [round(share * BIAS_PREFECTURES) for _, share in TABLE_4]
    assert of_fair == pytest.approx([264, 168, 157, 145, 142], abs=1)
    assert TABLE_3[-1][3] > 50  # within 25 km, which rules out its median of 25 km
