"""The ring of earlier places."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.model.queue import PlaceQueue


def places(start: int, count: int) -> torch.Tensor:
    return torch.arange(start, start + count, dtype=torch.float32)[:, None].repeat(1, 2)


def test_it_starts_empty_and_hands_out_only_what_was_pushed():
    queue = PlaceQueue(8)
    assert queue.entries().shape == (0, 2)
    queue.push(places(1, 3))
    assert queue.entries()[:, 0].tolist() == [1, 2, 3]


@given(length=st.integers(1, 12), batches=st.lists(st.integers(1, 15), max_size=8))
def test_it_holds_the_latest_places_whatever_the_batches(length: int, batches: list[int]):
    queue, pushed = PlaceQueue(length), 0
    for count in batches:
        queue.push(places(pushed, count))
        pushed += count
    assert sorted(queue.entries()[:, 0].tolist()) == list(range(max(0, pushed - length), pushed))


def test_a_queue_of_no_length_stays_empty():
    queue = PlaceQueue(0)
    queue.push(places(0, 4))
    assert queue.entries().shape == (0, 2)


def test_it_goes_on_from_its_saved_state():
    one, other = PlaceQueue(5), PlaceQueue(5)
    one.push(places(0, 7))
    other.load_state_dict(one.state_dict())
    for queue in (one, other):
        queue.push(places(7, 2))
    assert torch.equal(one.places, other.places)
