"""The classes that a model carries."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from geoloc_pipeline.errors import ModelError
from geoloc_pipeline.model.vocabulary import Vocabulary


def table(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["task", "class_index", "code", "name", "n_train", "weight"])


ROWS = [
    ("prefecture", 1, "13", "東京都", 30, 0.5),
    ("prefecture", 0, "01", "北海道", 10, 1.5),
    ("road", 0, "JP:4", None, 12, 1.0),
]


def test_codes_become_their_indices_and_anything_else_is_ignored():
    classes = Vocabulary.from_table(table(ROWS)).tasks["prefecture"]
    assert classes.indices(["13", "01", "47", None, float("nan")]).tolist() == [1, 0, -1, -1, -1]


def test_counts_weights_and_names_follow_the_index():
    vocabulary = Vocabulary.from_table(table(ROWS))
    assert vocabulary.tasks["prefecture"].names == ("北海道", "東京都")
    assert vocabulary.tasks["prefecture"].weights == (1.5, 0.5)
    assert vocabulary.tasks["road"].names == ("",)
    assert vocabulary.class_counts() == {"prefecture": 2, "municipality": 0, "town": 0, "road": 1, "landmark": 0}


def test_it_survives_a_file():
    vocabulary = Vocabulary.from_table(table(ROWS))
    assert Vocabulary.from_dict(json.loads(json.dumps(vocabulary.as_dict()))) == vocabulary


def test_a_gap_in_the_indices_is_refused():
    with pytest.raises(ModelError, match=r"prefecture.*without gaps"):
        Vocabulary.from_table(table([("prefecture", 0, "01", "", 1, 1.0), ("prefecture", 2, "13", "", 1, 1.0)]))
