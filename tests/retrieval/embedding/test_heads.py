"""The kept top of a head against the whole of it."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.retrieval.embedding.heads import MOST, join_tops, keep_tops, mean_tops


def chances(n: int, classes: int, *, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 3, (n, classes))
    shares = np.exp(logits)
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 30, 500])
def test_kept_classes_have_their_probability_and_the_others_share_what_is_left(classes: int):
    whole = chances(7, classes)
    tops = keep_tops({"town": whole})["town"]
    asked = np.tile(np.arange(classes), (7, 1))
    told = tops.of(asked)
    assert told.sum(axis=1) == pytest.approx(np.ones(7), abs=1e-5)
    kept = np.argsort(-whole, axis=1)[:, :MOST]
    assert np.take_along_axis(told, kept, axis=1) == pytest.approx(np.take_along_axis(whole, kept, axis=1))
    assert (tops.index[:, 0] == whole.argmax(axis=1)).all()


def test_entropy_is_nothing_when_sure_and_one_without_any_idea():
    sure, even = np.eye(200, dtype=np.float32)[:3], np.full((3, 200), 1 / 200, dtype=np.float32)
    assert keep_tops({"t": sure})["t"].entropy() == pytest.approx(np.zeros(3), abs=1e-6)
    assert keep_tops({"t": even})["t"].entropy() == pytest.approx(np.ones(3), abs=1e-4)


def test_the_mean_of_tops_is_the_top_of_the_mean():
    whole = chances(9, 40)
    counts = np.array([4, 1, 3, 1])
    starts = np.cumsum([0, *counts[:-1]])
    mean = np.add.reduceat(whole, starts, axis=0) / counts[:, None]
    found = mean_tops(keep_tops({"t": whole})["t"], counts)
    expected = keep_tops({"t": mean})["t"]
    assert found.probability == pytest.approx(expected.probability, abs=1e-6)
    asked = np.tile(np.arange(40), (4, 1))
    assert found.of(asked) == pytest.approx(expected.of(asked), abs=1e-6)


def test_parts_are_joined_and_taken_apart_again():
    tops = keep_tops({"t": chances(6, 5)})["t"]
    again = join_tops([tops.rows(slice(0, 2)), tops.rows(slice(2, 6))])
    assert len(again) == 6
    assert (again.index == tops.index).all()
    assert (again.probability == tops.probability).all()
