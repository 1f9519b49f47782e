"""Stages of an answer add up to what it takes, whoever is slow."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from geoloc_pipeline.evaluation.latency import STAGES
from geoloc_pipeline.retrieval.embedding.embedder import Embedder
from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours
from geoloc_pipeline.retrieval.reading.calibration import Calibration
from geoloc_pipeline.retrieval.trials.stopwatch import time_answer

SLOW_S = 0.05


class SlowGallery:
    """One picture, found slowly."""

    def search(self, vectors: np.ndarray, **asked: object) -> Neighbours:
        time.sleep(SLOW_S)
        one = np.zeros((1, 1))
        return Neighbours(np.array([["a"]], dtype=object), one + 35, one + 139, (one + 0.9).astype(np.float32))


@pytest.fixture(scope="module")
def slow_answer(checkpoint, noise) -> tuple[dict[str, float], float]:
    data = cv2.imencode(".jpg", noise(1, 96, 128))[1].tobytes()
    embedder = Embedder.load(checkpoint)
    asked = {"embedder": embedder, "gallery": SlowGallery(), "calibration": Calibration(), "top_k": 3}
    time_answer(data, names=None, **asked)  # torch's first pass is slow
    started_s = time.perf_counter()
    seconds = time_answer(data, names=lambda **place: {"prefecture": "東京都"}, **asked)
    return seconds, time.perf_counter() - started_s


def test_every_stage_is_told_and_none_twice(slow_answer):
    seconds, took_s = slow_answer
    assert set(seconds) == set(STAGES) - {"open"}
    assert all(value >= 0 for value in seconds.values())
    assert sum(seconds.values()) <= took_s


def test_a_slow_gallery_is_seen_in_the_search_alone(slow_answer):
    seconds, _ = slow_answer
    assert seconds["search"] >= SLOW_S
    assert seconds["read-out"] < SLOW_S


def test_without_a_census_names_take_no_time(checkpoint, noise):
    data = cv2.imencode(".jpg", noise(2, 96, 128))[1].tobytes()
    seconds = time_answer(
        data, embedder=Embedder.load(checkpoint), gallery=SlowGallery(), calibration=Calibration(), names=None, top_k=3
    )
    assert seconds["names"] == 0.0
