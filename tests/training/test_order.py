"""The order in which squares are learned."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.training.order import epoch_order


@given(
    pictures=st.integers(1, 40), views=st.integers(1, 4), batch=st.integers(1, 50), kind=st.sampled_from(["one", "all"]),
    epoch=st.integers(0, 5),
)  # fmt: skip
def test_an_epoch_is_whole_steps_of_a_shuffle(pictures: int, views: int, batch: int, kind: str, epoch: int):
    of = np.repeat(np.arange(pictures), views)
    order = epoch_order(of, views=kind, global_batch=batch, seed=1, epoch=epoch)
    again = epoch_order(of, views=kind, global_batch=batch, seed=1, epoch=epoch)
    available = pictures if kind == "one" else len(of)
    assert order.shape == (max(1, available // batch), batch)
    assert (order == again).all()
    if available >= batch:
        assert len(np.unique(order)) == order.size
    if kind == "one":
        assert len(np.unique(of[order])) == min(order.size, pictures)


def test_epochs_and_seeds_have_orders_of_their_own():
    of = np.arange(100)
    orders = [epoch_order(of, views="all", global_batch=100, seed=s, epoch=e)[0] for s, e in ((0, 0), (0, 1), (1, 0))]
    assert not (orders[0] == orders[1]).all()
    assert not (orders[0] == orders[2]).all()


def test_over_many_epochs_every_view_of_a_picture_is_seen():
    of = np.repeat(np.arange(10), 4)
    seen = np.concatenate([epoch_order(of, views="one", global_batch=10, seed=0, epoch=e).ravel() for e in range(40)])
    assert len(np.unique(seen)) == 40


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=30),
    together=st.integers(2, 4),
    kind=st.sampled_from(["all", "one"]),
)
def test_views_together_are_of_one_picture_and_all_views_get_their_turn(counts: list[int], together: int, kind: str):
    of = np.repeat(np.arange(len(counts)), counts)
    groups = sum(1 if kind == "one" else -(-count // together) for count in counts)
    order = epoch_order(of, views=kind, global_batch=together, seed=3, epoch=1, together=together)
    pictures = of[order]
    assert len(order) == groups
    assert (pictures == pictures[:, :1]).all()
    assert set(pictures[:, 0].tolist()) == set(range(len(counts)))
    for row, picture in zip(order, pictures[:, 0], strict=True):
        assert len(set(row.tolist())) == min(together, counts[picture])  # as many different views as there are
    if kind == "all":
        assert set(order.ravel().tolist()) == set(range(len(of)))


def test_groups_come_in_another_order_in_each_epoch():
    of = np.repeat(np.arange(40), 4)
    one, other = (epoch_order(of, views="all", global_batch=160, seed=0, epoch=e, together=4)[0] for e in (0, 1))
    assert sorted(one.tolist()) == sorted(other.tolist())
    assert not (one == other).all()
