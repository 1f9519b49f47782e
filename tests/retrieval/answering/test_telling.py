"""An answer in words says where, how sure, and what is wrong with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from geoloc_pipeline.retrieval.answering.answer import Abstain, Answer, AnswerNeighbour, HeadGuess
from geoloc_pipeline.retrieval.answering.telling import confidence_words, describe, osm_link, place_words

ANSWER = Answer(
    lat=35.68,
    lon=139.7,
    readout="mode",
    region_50_km=10.0,
    region_90_km=300.0,
    spread_km=4.0,
    neighbours=tuple(
        AnswerNeighbour(rank=n, image_id=f"picture{n}", lat=35.7, lon=139.7, score=0.8, distance_km=2.2) for n in range(1, 11)
    ),
    familiarity=0.4,
    is_on_land=True,
)


def test_the_place_is_told_by_name_or_said_to_have_none():
    assert place_words(replace(ANSWER, names={"town": "一丁目", "prefecture": "東京都"})) == "東京都 一丁目"
    assert "sea" in place_words(ANSWER)
    assert place_words(replace(ANSWER, lat=48.85, lon=2.35)) == "outside Japan"


def test_the_text_for_a_terminal_tells_place_confidence_and_neighbours():
    text = describe(ANSWER, most=3)
    assert f"{ANSWER.lat:.5f}, {ANSWER.lon:.5f}" in text
    assert "in 50 of 100 cases" in text
    assert osm_link(ANSWER) in text
    assert "and 7 more" in text
    assert text.count("picture") == 1 + 3
    assert "10 of 10 neighbours lie within 25 km" in confidence_words(ANSWER)


def test_what_the_heads_say_is_told():
    text = describe(
        replace(ANSWER, heads={"prefecture": (HeadGuess("13", "東京都", 0.71),), "road": (HeadGuess("r1", "", 0.2),)})
    )
    assert "prefecture 東京都 (71 %), road r1 (20 %)" in text


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"is_on_land": False}, "may be in the sea"),
        ({"familiarity": 0.01}, "like nothing known"),
        ({"region_50_km": None}, "in 90"),
    ],
)
def test_doubt_is_said_plainly(change: dict, word: str):
    assert word in confidence_words(replace(ANSWER, **change))
    assert "sea" not in confidence_words(replace(ANSWER, is_on_land=None))


def test_an_answer_that_is_withheld_says_so_first():
    text = describe(Abstain(over_km=100.0).apply(ANSWER))
    assert text.startswith("No answer: the 90 % region")


def test_no_name_or_id_can_steer_the_terminal():
    evil = replace(ANSWER.neighbours[0], image_id="\x1b[2Jevil")
    guess = HeadGuess("13", "\x1b[1mTokyo", 0.5)
    text = describe(
        replace(ANSWER, neighbours=(evil,), names={"prefecture": "\x1b]0;x\x07東京都"}, heads={"prefecture": (guess,)})
    )
    assert "\x1b" not in text
    assert "\x07" not in text
