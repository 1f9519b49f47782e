"""Several processes say what one says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from geoloc_pipeline.training.checkpoint import Position
from geoloc_pipeline.training.ranks import Ranks, joined_ranks


def test_alone_everything_is_as_it_was():
    alone = Ranks(rank=0, world=1, local=0, device=torch.device("cpu"))
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    assert torch.equal(alone.sum(values), values)
    assert not alone.sum(values).requires_grad
    assert torch.equal(alone.gather(values), values)
    alone.wait()
    assert alone.first


def test_without_torchrun_there_is_one_rank(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    with joined_ranks() as ranks:
        assert (ranks.rank, ranks.world) == (0, 1)


def test_two_processes_give_the_same_bytes_twice_and_what_one_process_gives(grown, begin, learn):
    turned = {"max_epochs": 2, "noise_levels": 0, "checkpoint_steps": 4}
    for name in ("pair", "pair_again"):
        ranks = begin(grown.config(name, **turned), processes=2)
        for rank in ranks:
            rank.join(120)
        assert [rank.exitcode for rank in ranks] == [0, 0]
    pair, again = ((grown.root / name / "best.pt").read_bytes() for name in ("pair", "pair_again"))
    assert pair == again
    assert_alike(learn(grown.config("single", **turned)), grown.root / "pair")
    assert not list((grown.root / "pair").glob("*.cache*"))


def assert_alike(alone: Position, pair: Path) -> None:
    """Every term of every epoch is that of one process to a thousandth."""
    together = torch.load(pair / "last.pt", weights_only=True)["position"]
    assert len(together["history"]) == len(alone.history)
    for one, two in zip(alone.history, together["history"], strict=True):
        for name, loss in one["train_terms"].items():
            assert abs(loss - two["train_terms"][name]) < 1e-3 * max(1.0, loss)
        assert abs(one["val_loss"] - two["val_loss"]) < 1e-2 * one["val_loss"]


@pytest.mark.parametrize(
    "turned",
    [
        {"contrastive_symmetric": True, "same_place_km": 0.1, "views_together": 2},
        {"micro_batch": 4, "hierarchy_weight": 0.5, "smoothing_km": 5.0},
    ],
    ids=["symmetric, two views", "in portions, hierarchy, smoothed"],
)
def test_the_options_say_the_same_in_two_processes(grown, begin, learn, turned: dict[str, object]):
    turned = {"max_epochs": 1, "noise_levels": 0, **turned}
    name = "options_" + "_".join(turned)
    ranks = begin(grown.config(f"{name}_pair", **turned), processes=2)
    for rank in ranks:
        rank.join(120)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    assert_alike(learn(grown.config(f"{name}_single", **turned)), grown.root / f"{name}_pair")


def test_a_batch_that_cannot_be_shared_out_is_said_before_any_work(grown, begin):
    ranks = begin(grown.config("odd", global_batch=33), processes=2)
    for rank in ranks:
        rank.join(60)
    assert ranks[0].exitcode == 2
    assert ranks[1].exitcode not in {0, None}  # it may lose the first one while it is still joining
    assert not (grown.root / "odd").exists()
