"""An answer as JSON, and when none is given."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.retrieval.answering.answer import Abstain, Answer, AnswerNeighbour, HeadGuess

ANSWER = Answer(
    lat=35.68,
    lon=139.7,
    readout="mode",
    region_50_km=10.0,
    region_90_km=300.0,
    spread_km=4.0,
    neighbours=(AnswerNeighbour(rank=1, image_id="a", lat=35.7, lon=139.7, score=0.8, distance_km=2.2, source="mapillary"),),
    names={"prefecture": "東京都"},
    heads={"prefecture": (HeadGuess(code="13", name="東京都", probability=0.7),)},
    familiarity=0.4,
)


def test_json_has_stable_keys_and_no_value_that_json_lacks():
    told = json.loads(json.dumps(replace(ANSWER, region_50_km=None).to_json(), allow_nan=False))
    keys = "lat lon readout kind region_50_km region_90_km spread_km familiarity is_abstained abstain_text is_on_land names"
    assert list(told) == [*keys.split(), "regions_text", "model_version", "heads", "neighbours"]
    assert list(told["neighbours"][0]) == ["rank", "image_id", "lat", "lon", "score", "distance_km", "source"]
    assert told["heads"] == {"prefecture": [{"code": "13", "name": "東京都", "probability": 0.7}]}
    assert told["region_50_km"] is None
    assert told["names"] == {"prefecture": "東京都"}


@pytest.mark.parametrize(
    ("abstain", "words"),
    [
        (Abstain(), ""),
        (Abstain(over_km=300.0, below_familiarity=0.4), ""),
        (Abstain(over_km=100.0), "300 km"),
        (Abstain(below_familiarity=0.5), "0.400, below 0.5"),
        (Abstain(over_km=100.0, below_familiarity=0.5), " and "),
    ],
)
def test_an_answer_is_withheld_exactly_when_it_is_too_uncertain(abstain: Abstain, words: str):
    answer = abstain.apply(ANSWER)
    assert answer.is_abstained == bool(words)
    assert words in answer.abstain_text
    assert replace(answer, is_abstained=False, abstain_text="") == ANSWER


def test_what_is_not_calibrated_is_not_trusted():
    unknown = replace(ANSWER, region_90_km=None, familiarity=None)
    assert Abstain(over_km=1e4).apply(unknown).is_abstained
    assert Abstain(below_familiarity=0.01).apply(unknown).is_abstained
    assert not Abstain().apply(unknown).is_abstained


@pytest.mark.parametrize("wrong", [{"over_km": 0.0}, {"over_km": float("nan")}, {"below_familiarity": 1.5}])
def test_a_limit_that_cannot_work_is_refused(wrong: dict[str, float]):
    with pytest.raises(SettingError, match="abstain"):
        Abstain(**wrong)
