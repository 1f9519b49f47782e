"""What is kept of visits is bounded and goes by itself; what is counted of them is told as Prometheus reads it."""

from __future__ import annotations

import time

import pytest

from geoloc_pipeline.web.metrics import Metrics
from geoloc_pipeline.web.recall import Recall


def test_the_longest_unused_goes_first() -> None:
    recall: Recall[int] = Recall(most=2, keep_s=60)
    first, second = recall.put(1), recall.put(2)
    assert recall.get(first) == 1, "used: now the second is the older one"
    third = recall.put(3)
    assert (recall.get(first), recall.get(second), recall.get(third)) == (1, None, 3)
    assert len(recall) == 2
    assert recall.values() == [1, 3]


def test_everything_goes_after_a_while() -> None:
    recall: Recall[int] = Recall(most=10, keep_s=0.02)
    name = recall.put(1)
    assert recall.get(name) == 1
    time.sleep(0.05)
    assert recall.get(name) is None
    assert len(recall) == 0


def test_names_cannot_be_guessed_and_can_be_given() -> None:
    recall: Recall[int] = Recall(most=100, keep_s=60)
    names = {recall.put(n) for n in range(50)}
    assert len(names) == 50
    assert min(map(len, names)) >= 20
    assert recall.put(7, "mine") == "mine"
    assert recall.drop("mine")
    assert not recall.drop("mine")


def test_counters_gauges_and_histograms_are_told_as_text() -> None:
    metrics = Metrics()
    for status in ("200", "200", "400"):
        metrics.count("requests_total", "Requests.", status=status)
    metrics.gauge("points", "Points.", 5, collection="old")
    metrics.gauge("points", "Points.", 7, collection='new "one"\n')
    for seconds in (0.0004, 0.02, 99.0):
        metrics.took("stage_seconds", "Seconds.", seconds, stage="embed")
    lines = metrics.text().splitlines()
    for line in (
        'requests_total{status="200"} 2',
        'requests_total{status="400"} 1',
        'points{collection="new \\"one\\"\\n"} 7',
        'stage_seconds_bucket{stage="embed",le="0.001"} 1',
        'stage_seconds_bucket{stage="embed",le="0.025"} 2',
        'stage_seconds_bucket{stage="embed",le="+Inf"} 3',
        'stage_seconds_count{stage="embed"} 3',
        "# TYPE stage_seconds histogram",
    ):
        assert line in lines
    assert not any("old" in line for line in lines)
    total = next(line for line in lines if line.startswith("stage_seconds_sum"))
    assert float(total.split()[1]) == pytest.approx(99.0204)
