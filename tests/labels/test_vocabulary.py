"""The classes of the heads and their weights."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.labels.vocabulary import LABEL_COLUMNS, Weighting, build_vocabulary, class_weights, vocabulary_hash
from geoloc_pipeline.tables import LABEL_VOCABULARY, TASKS, check_table

counts = st.lists(st.integers(1, 100_000), min_size=1, max_size=30).map(np.array)


def world(labelled_of, n=60):
    labelled = labelled_of(
        [(number, 0) for number in range(n)],
        municipality_code=["13101" if number else "13102" for number in range(n)],
        town_code=[f"1310100100{number % 3}" for number in range(n)],
        road_id=["JP:4" if number < 30 else None for number in range(n)],
        landmark_id=["node/1" if number < 9 else None for number in range(n)],
    )
    sides = ["val" if number % 10 == 9 else "train" for number in range(n)]
    return labelled, pd.DataFrame({"image_id": labelled["image_id"], "split": sides})


def test_classes_are_places_with_enough_training_pictures(labelled_of):
    vocabulary = build_vocabulary(*world(labelled_of), names={"road": {"JP:4": "国道4号"}})
    check_table(LABEL_VOCABULARY, vocabulary)
    got = {task: dict(zip(own["code"], own["n_train"], strict=True)) for task, own in vocabulary.groupby("task")}
    assert got == {
        "prefecture": {"13": 54},
        "municipality": {"13101": 53, "13102": 1},  # one picture is enough for a municipality (paper, table 2)
        "town": {"13101001000": 18, "13101001001": 18, "13101001002": 18},
        "road": {"JP:4": 27},
    }
    assert vocabulary.set_index("code")["name"].dropna().to_dict() == {"JP:4": "国道4号"}


def test_a_class_needs_min_images_and_not_one_less(labelled_of):
    labelled, splits = world(labelled_of)
    for least, is_class in ((9, True), (10, False)):
        vocabulary = build_vocabulary(labelled, splits, names={}, min_images=least)
        assert (vocabulary["task"] == "landmark").any() == is_class


def test_indices_are_dense_and_follow_the_codes_whatever_the_order_of_pictures(labelled_of):
    labelled, splits = world(labelled_of)
    one = build_vocabulary(labelled, splits, names={}, min_images=1)
    other = build_vocabulary(labelled.iloc[::-1], splits.sample(frac=1, random_state=0), names={}, min_images=1)
    assert one.equals(other)
    for _, own in one.groupby("task"):
        assert own["class_index"].to_list() == list(range(len(own)))
        assert own["code"].to_list() == sorted(own["code"])


def test_every_task_has_a_column():
    assert tuple(LABEL_COLUMNS) == TASKS


def test_no_training_pictures_give_an_empty_vocabulary(labelled_of):
    labelled, splits = world(labelled_of)
    vocabulary = build_vocabulary(labelled, splits.assign(split="test"), names={})
    check_table(LABEL_VOCABULARY, vocabulary)
    assert vocabulary.empty


@given(counts, st.sampled_from(get_args(Weighting)))
def test_weights_have_mean_one_and_never_favour_the_frequent(n_train, weighting):
    weights = class_weights(n_train, weighting=weighting)
    assert weights.mean() == pytest.approx(1.0)
    order = np.argsort(n_train, kind="stable")
    assert (np.diff(weights[order]) <= 1e-12).all()


@given(counts)
def test_balanced_weights_give_every_class_the_same_say(n_train):
    say = class_weights(n_train, weighting="balanced") * n_train
    assert say == pytest.approx(np.full(len(say), say[0]))


@given(counts)
def test_sqrt_and_effective_number_lie_between_balanced_and_none(n_train):
    def ratio(weighting):
        weights = class_weights(n_train, weighting=weighting)
        return weights.max() / weights.min()

    for weighting in ("sqrt", "effective_number"):
        assert 1 - 1e-9 <= ratio(weighting) <= ratio("balanced") * (1 + 1e-9)
    assert ratio("none") == ratio("logit_adjust") == 1


@pytest.mark.parametrize(
    ("weighting", "raw"),
    [
        # eq. 1, its first factor n / (C n_i): 21 pictures in 3 classes
        ("balanced", [21 / (3 * 1), 21 / (3 * 4), 21 / (3 * 16)]),
        ("none", [1, 1, 1]),
        ("logit_adjust", [1, 1, 1]),
        ("sqrt", [1 / 1, 1 / 2, 1 / 4]),
        # Cui et al. 2019: one over 1 + b + b^2 + ... + b^(n - 1)
        ("effective_number", [1 / sum(0.999**power for power in range(n)) for n in (1, 4, 16)]),
    ],
)
def test_weights_are_those_that_a_hand_computes(weighting, raw):
    """Classes of 1, 4 and 16 pictures; eq. 1's second factor brings the mean to 1."""
    expected = [3 * value / sum(raw) for value in raw]
    assert class_weights(np.array([1, 4, 16]), weighting=weighting) == pytest.approx(expected, rel=1e-12)


def test_the_papers_weights_of_1_4_and_16_pictures_are_sevenths():
    assert class_weights(np.array([1, 4, 16])) == pytest.approx([16 / 7, 4 / 7, 1 / 7])


def test_val_and_test_pictures_never_count(labelled_of):
    labelled, splits = world(labelled_of)
    alone = build_vocabulary(labelled[(splits["split"] == "train").to_numpy()], splits, names={})
    assert alone.equals(build_vocabulary(labelled, splits, names={}))


def test_settings_that_cannot_work_are_told(labelled_of):
    labelled, splits = world(labelled_of)
    with pytest.raises(SettingError, match="logit_adjust"):
        build_vocabulary(labelled, splits, names={}, weighting="inverse")
    with pytest.raises(SettingError, match="min_images"):
        build_vocabulary(labelled, splits, names={}, min_images=0)


def test_the_hash_tells_classes_and_weights_apart_but_not_names_or_order(labelled_of):
    labelled, splits = world(labelled_of)
    vocabulary = build_vocabulary(labelled, splits, names={})
    named = build_vocabulary(labelled, splits, names={"prefecture": {"13": "東京都"}})
    assert vocabulary_hash(vocabulary) == vocabulary_hash(named) == vocabulary_hash(vocabulary.iloc[::-1])
    for changed in (vocabulary.iloc[1:], vocabulary.assign(code="x"), vocabulary.assign(weight=2.0)):
        assert vocabulary_hash(changed) != vocabulary_hash(vocabulary)
