"""From points to pictures: each once, by its best point."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.retrieval.gallery.ranking import best_points
from geoloc_pipeline.retrieval.gallery.store import VIEW_BITS, Found

POINTS = st.dictionaries(st.integers(0, 200), st.sampled_from([0.1, 0.2, 0.5, 0.9]), max_size=60)


@given(points=POINTS, top_k=st.integers(1, 20))
def test_each_picture_comes_once_with_its_best_score_and_ties_go_by_number(points: dict[int, float], top_k: int):
    numbers = np.array(list(points), dtype=np.uint64)
    found = best_points(Found(numbers, np.array(list(points.values()), dtype=np.float32)), top_k)
    best: dict[int, tuple[float, int]] = {}
    for number, score in points.items():
        best[number >> VIEW_BITS] = min(best.get(number >> VIEW_BITS, (0.0, 0)), (-score, number))
    expected = sorted(best.values())[:top_k]
    assert found.numbers.tolist() == [number for _, number in expected]
    assert np.allclose(found.scores, [-score for score, _ in expected])
