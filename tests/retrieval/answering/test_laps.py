"""Seconds by stage, and a model that reads one photo at a time as it would read it alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from geoloc_pipeline.retrieval.answering.laps import Laps, OneReader, TimedEmbedder
from geoloc_pipeline.retrieval.embedding.embedder import Embedder


@pytest.fixture(scope="module")
def embedder(checkpoint: Path) -> Embedder:
    return Embedder.load(checkpoint)


def test_a_stage_adds_up_also_when_it_fails():
    laps = Laps()

    def fail() -> None:
        with laps.stage("search"):
            time.sleep(0.01)
            raise KeyError

    for _ in range(2):
        with pytest.raises(KeyError):
            fail()
    laps.add("decode", 0.5)
    told = laps.milliseconds()
    assert list(told) == ["decode", "search"], "in the order in which they happen"
    assert told["decode"] == 500.0
    assert told["search"] >= 20.0


@pytest.mark.parametrize("shapes", [[(48, 48)], [(48, 96)], [(48, 48), (48, 192), (40, 64)]])
def test_it_reads_what_the_embedder_reads(embedder: Embedder, noise, shapes: list[tuple[int, int]]):
    views = [noise(seed, *shape) for seed, shape in enumerate(shapes)]
    plain, laps = embedder.read_views(views), Laps()
    read = OneReader(embedder).read(views, laps)
    assert read.embedding == pytest.approx(plain.embedding, abs=1e-5)
    assert list(read.heads) == list(plain.heads)
    for task, probabilities in plain.heads.items():
        assert read.heads[task] == pytest.approx(probabilities, abs=1e-5)
    assert {"preprocess", "wait", "embed"} == set(laps.seconds)


def test_one_photo_is_read_at_a_time(noise):
    class Slow:
        """Fails when two threads are inside at once."""

        inside = 0

        class preprocessing:  # noqa: N801
            @staticmethod
            def squares(view: np.ndarray) -> list[np.ndarray]:
                return [view]

        def read_views(self, views):
            from geoloc_pipeline.retrieval.embedding.embedder import Reading

            assert self.inside == 0
            self.inside += 1
            time.sleep(0.02)
            self.inside -= 1
            return Reading(embedding=np.ones((len(views), 512), np.float32), heads={})

    reader, faults = OneReader(Slow()), []

    def ask() -> None:
        try:
            reader.read([noise(1)], Laps())
        except AssertionError as error:
            faults.append(error)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_photo_that_was_read_is_not_looked_at_again(embedder: Embedder, noise):
    first = TimedEmbedder(OneReader(embedder), Laps())
    read = first.read_views([noise(3)])
    later = TimedEmbedder(OneReader(embedder), Laps(), reading=first.reading)
    assert later.read_views([np.zeros((48, 48, 3), np.uint8)]) is read
    assert later.model_version == embedder.model_version
    assert later.vocabulary is embedder.vocabulary
