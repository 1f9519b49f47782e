"""Hidden neighbours are gone, and what is left is still in order."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours, hide_neighbours
from geoloc_pipeline.retrieval.reading.readouts import read_out


def neighbours() -> Neighbours:
    ids = np.array([[f"i{q}-{k}" for k in range(5)] for q in range(2)], dtype=object)
    lat = np.array([[35.0, 35.1, 35.2, 35.3, 35.4], [26.0, 26.1, 26.2, 26.3, 26.4]])
    return Neighbours(ids, lat, lat + 100, np.tile(np.float32([0.9, 0.8, 0.7, 0.6, 0.5]), (2, 1)))


HIDDEN = np.array([[True, False, True, False, False], [True, True, True, True, False]])


def test_hidden_neighbours_are_gone_and_the_next_ones_move_up():
    seen = hide_neighbours(neighbours(), HIDDEN, top_k=3)
    assert seen.image_id.tolist() == [["i0-1", "i0-3", "i0-4"], ["i1-4", "", ""]]
    assert seen.lat[0].tolist() == [35.1, 35.3, 35.4]
    assert seen.score[0].tolist() == pytest.approx([0.8, 0.6, 0.5])
    assert np.isnan(seen.lat[1, 1:]).all()
    assert np.isnan(seen.lon[1, 1:]).all()


def test_read_outs_see_only_what_is_left():
    lat, _ = read_out(hide_neighbours(neighbours(), HIDDEN, top_k=5), "centroid")
    assert lat[0] == pytest.approx((35.1 + 35.3 + 35.4) / 3, abs=1e-3)
    assert lat[1] == pytest.approx(26.4)


def test_hiding_nothing_only_cuts():
    seen = hide_neighbours(neighbours(), np.zeros((2, 5), dtype=bool), top_k=2)
    assert seen.image_id.tolist() == neighbours().image_id[:, :2].tolist()
    assert seen.score.dtype == np.float32
    assert hide_neighbours(neighbours(), np.zeros((2, 5), dtype=bool), top_k=100).lat.shape == (2, 5)
