"""What a run holds, built anew and taken up."""

from __future__ import annotations

import pytest
import torch

from geoloc_pipeline.errors import ModelError, SettingError
from geoloc_pipeline.training.learner import align_buffers, prepare
from geoloc_pipeline.training.ranks import Ranks
from geoloc_pipeline.training.report import Reporter
from geoloc_pipeline.training.run import read_run

ALONE = Ranks(rank=0, world=1, local=0, device=torch.device("cpu"))


def ready(grown, name: str, ranks: Ranks = ALONE, **overrides: object):
    return prepare(read_run(grown.config(name, **overrides)), ranks, Reporter(speaks=False))


def test_fresh_weights_depend_on_the_seed_alone(grown):
    one, same, other = (ready(grown, "fresh", seed=seed).model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["projection.weight"], other["projection.weight"])


def test_it_is_taken_up_whole(grown, learn):
    learn(grown.config("taken", max_epochs=2))
    learner = ready(grown, "taken", max_epochs=2)
    saved = torch.load(grown.root / "taken" / "last.pt", weights_only=True)
    assert learner.position.finished
    assert len(learner.position.history) == 2
    assert torch.equal(learner.queue.places, saved["queue"]["places"])
    assert len(learner.queue.entries()) == 64
    steps = {float(state["step"]) for state in learner.optimizer.state_dict()["state"].values()}
    assert steps == {22.0}  # 352 pictures in batches of 32, twice


def test_squares_are_kept_in_memory_only_when_they_fit(grown):
    assert ready(grown, "fits").data.train.in_memory
    assert not ready(grown, "does_not_fit", cache_bytes=1000).data.train.in_memory


def test_without_the_contrast_the_location_encoder_rests(grown):
    learner = ready(grown, "no_contrast", contrastive=False)
    assert not any(parameter.requires_grad for parameter in learner.model.location_encoder.parameters())
    trained = {id(parameter) for group in learner.optimizer.param_groups for parameter in group["params"]}
    assert id(learner.model.log_scale) not in trained


def test_a_batch_that_cannot_be_shared_out_is_refused(grown):
    with pytest.raises(SettingError, match="multiple of the 3 processes"):
        ready(grown, "three", Ranks(rank=0, world=3, local=0, device=torch.device("cpu")))


def test_a_checkpoint_that_does_not_fit_is_named(grown, learn):
    learn(grown.config("spoilt", max_epochs=1))
    path = grown.root / "spoilt" / "last.pt"
    contents = torch.load(path, weights_only=True)
    del contents["position"]["waited"]
    contents["position"]["wated"] = 0
    torch.save(contents, path)
    with pytest.raises(ModelError, match=r"last\.pt.*remove it to train anew"):
        ready(grown, "spoilt", max_epochs=1)


def test_alone_there_is_nothing_to_bring_into_line(grown):
    learner = ready(grown, "aligned")
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    align_buffers(learner)
    assert all(torch.equal(before[name], tensor) for name, tensor in learner.model.state_dict().items())
