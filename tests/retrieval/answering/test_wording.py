"""What pages say: in both languages the same things, and every warning when it is due."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.retrieval.answering.answer import Answer, AnswerNeighbour
from geoloc_pipeline.retrieval.answering.wording import (
    LANGUAGES,
    confidence_in,
    familiarity_in,
    left_out_in,
    place_in,
    readout_in,
    truth_in,
    warnings_in,
    words_in,
)

NEAR = AnswerNeighbour(rank=1, image_id="a", lat=35.0, lon=139.0, score=0.9, distance_km=1.0)
PLAIN = Answer(35.0, 139.0, "mode", 1.5, 6.0, 1.0, (NEAR,), {"prefecture": "東京都"}, "Calibrated.", is_on_land=True)


def test_both_languages_have_every_word():
    english, japanese = (words_in(language) for language in LANGUAGES)
    assert english.keys() == japanese.keys()
    assert all(english.values())
    assert [key for key, word in japanese.items() if not re.search(r"[ぁ-んァ-ヶ一-龠]", word)] == []


def test_a_language_that_is_not_there_is_named():
    with pytest.raises(SettingError, match="fr"):
        words_in("fr")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_figures_are_in_the_sentences(language: str):
    for figure in ("1.5 km", "6.0 km", "50", "90"):
        assert figure in confidence_in(PLAIN, language)
    assert "mode" in readout_in(PLAIN, language)
    assert "2.0 km" in truth_in(2.0, "東京都", PLAIN, language)
    assert "7" in left_out_in(7, language)
    assert "12" in familiarity_in(0.12, language)
    assert place_in(PLAIN, language) == "東京都"


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_without_regions_promises_none(language: str):
    bare = replace(PLAIN, region_50_km=None, region_90_km=None, regions_text="No region.")
    assert not re.search(r"\b(50|90)\b", confidence_in(bare, language))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("change", "keys"),
    [
        ({}, []),
        ({"familiarity": 0.01}, ["unlike"]),
        ({"familiarity": 0.5}, []),
        ({"region_90_km": 900.0}, ["vague"]),
        ({"is_on_land": False}, ["sea"]),
        ({"is_on_land": None}, []),
        ({"lat": 48.9, "lon": 2.4, "is_on_land": False}, ["abroad"]),
        ({"is_abstained": True, "abstain_text": "No answer: it is vague."}, ["abstained"]),
    ],
)
def test_each_warning_comes_when_it_is_due(language: str, change: dict, keys: list[str]):
    told = warnings_in(replace(PLAIN, **change), language)
    assert len(told) == len(keys)
    for warning, key in zip(told, keys, strict=True):
        assert warning.startswith(words_in(language)[key])


def test_the_reason_for_abstaining_is_told_where_it_can_be_read():
    assert "it is vague" in warnings_in(replace(PLAIN, is_abstained=True, abstain_text="No answer: it is vague."), "en")[0]
