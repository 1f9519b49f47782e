"""The gate follows the heads, level by level, and lets those pass about whom the heads know nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.retrieval.embedding.heads import keep_tops
from geoloc_pipeline.retrieval.reading.gate import FLOOR, gate_neighbours
from geoloc_pipeline.retrieval.reading.readouts import read_out
from geoloc_pipeline.retrieval.reading.settings import ReadoutSettings
from geoloc_pipeline.tables import TASKS


def vocabulary(**codes: tuple[str, ...]) -> Vocabulary:
    return Vocabulary(tasks={task: TaskClasses(codes=codes.get(task, ())) for task in TASKS})


def said(**probabilities: list[float]) -> dict:
    return keep_tops({task: np.array([values], dtype=np.float32) for task, values in probabilities.items()})


@pytest.fixture
def four(found):
    neighbours = found(np.array([[43.0, 35.7, 35.6, 26.2]]), np.array([[141.3, 139.7, 139.6, 127.7]]), np.full((1, 4), 0.5))
    return replace(neighbours, codes={"prefecture": np.array([["01", "13", "13", None]], dtype=object)})


def test_a_neighbour_in_a_likely_prefecture_is_believed_and_an_unknown_one_gets_the_mean_of_the_others(four):
    gate = gate_neighbours(four, said(prefecture=[0.2, 0.8]), vocabulary(prefecture=("01", "13"))).gate
    assert gate[0, 1] == gate[0, 2] == 0.0
    assert gate[0, 0] == pytest.approx(np.log(0.2 / 0.8))
    assert gate[0, 3] == pytest.approx(gate[0, :3].mean())


def test_levels_are_averaged_and_a_level_that_the_gallery_does_not_know_is_left_out(four):
    both = replace(four, codes=four.codes | {"municipality": np.array([["a", "b", "c", "b"]], dtype=object)})
    heads = said(prefecture=[0.5, 0.5], municipality=[0.1, 0.6, 0.3], town=[0.5, 0.5])
    words = vocabulary(prefecture=("01", "13"), municipality=("a", "b", "c"), town=("x", "y"))
    gate = gate_neighbours(both, heads, words).gate
    assert gate[0] == pytest.approx([np.log(1 / 6) / 2, 0.0, np.log(0.5) / 2, 0.0], abs=1e-6)


def test_nobody_is_shut_out(four):
    gate = gate_neighbours(four, said(prefecture=[0.0, 1.0]), vocabulary(prefecture=("01", "13"))).gate
    assert gate[0, 0] == FLOOR


def test_without_codes_or_heads_there_is_no_gate(four):
    words = vocabulary(prefecture=("01", "13"))
    assert gate_neighbours(replace(four, codes={}), said(prefecture=[0.2, 0.8]), words).gate is None
    assert gate_neighbours(four, {}, words).gate is None
    assert gate_neighbours(four, said(prefecture=[1.0]), vocabulary(prefecture=("01",))).gate is None  # one class says nothing


def test_gated_follows_the_gate_where_mode_follows_the_many(four):
    gated = gate_neighbours(four, said(prefecture=[0.999, 0.001]), vocabulary(prefecture=("01", "13")))
    settings = ReadoutSettings(bandwidth_km=50.0, gate_weight=1.0)
    assert read_out(gated, "mode", settings=settings)[0][0] == pytest.approx(35.65, abs=0.1)
    assert read_out(gated, "gated", settings=settings)[0][0] == pytest.approx(43.0, abs=0.1)
    assert read_out(gated, "gated", settings=replace(settings, gate_weight=0.0)) == read_out(gated, "mode", settings=settings)


def test_gated_without_a_gate_is_mode(simulated):
    neighbours, _, _ = simulated(5, k=9)
    assert np.array_equal(read_out(neighbours, "gated"), read_out(neighbours, "mode"))
