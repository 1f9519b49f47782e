"""Familiarity is a share of validation pictures, and calibrated: a twentieth of new ones lies in its lowest twentieth."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geoloc_pipeline.evaluation.familiarity import MOST_LEVELS, Familiarity, learn_familiarity


@pytest.mark.parametrize("n", [40, 5000])
def test_new_pictures_of_the_same_kind_are_evenly_familiar(n: int):
    chance = np.random.default_rng(0)
    below = [np.mean(learn_familiarity(chance.normal(size=n)).of(chance.normal(size=500)) <= 0.1) for _ in range(60)]
    assert np.mean(below) == pytest.approx(0.1, abs=0.02)


def test_what_is_less_alike_is_less_familiar_and_nothing_is_impossible():
    familiarity = learn_familiarity(np.linspace(0, 1, 99))
    told = familiarity.of([-5.0, 0.5, 9.0])
    assert told == pytest.approx([0.01, 0.51, 1.0], abs=0.011)
    assert told[0] > 0


def test_it_stays_small_and_survives_being_written():
    familiarity = learn_familiarity(np.random.default_rng(0).normal(size=10 * MOST_LEVELS))
    assert len(familiarity.levels) == MOST_LEVELS
    assert familiarity.n == 10 * MOST_LEVELS
    assert Familiarity.from_json(json.loads(json.dumps(familiarity.to_json()))) == familiarity
    assert learn_familiarity([]).of([0.3])[0] == 1.0
