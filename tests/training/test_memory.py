"""Does a batch fit, and what is said when it does not?"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import GpuMemoryError, SettingError
from geoloc_pipeline.training.config import make_config
from geoloc_pipeline.training.learner import prepare
from geoloc_pipeline.training.memory import check_memory, check_precision, largest_fitting
from geoloc_pipeline.training.ranks import Ranks
from geoloc_pipeline.training.report import Reporter
from geoloc_pipeline.training.run import read_run

ALONE = Ranks(rank=0, world=1, local=0, device=torch.device("cpu"))


@given(size=st.integers(1, 5000), limit=st.integers(0, 6000))
def test_the_largest_number_that_fits_is_found_in_few_attempts(size: int, limit: int):
    tried = []

    def attempt(number: int) -> None:
        tried.append(number)
        if number > limit:
            raise torch.OutOfMemoryError

    assert largest_fitting(attempt, size) == min(size, limit)
    assert tried[0] == size
    assert len(tried) <= 1 + size.bit_length()


class Small(torch.nn.Module):
    """A backbone on a card with room for few pictures."""

    def __init__(self, backbone: torch.nn.Module, room: int) -> None:
        super().__init__()
        self.backbone, self.room = backbone, room

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError
        return self.backbone(pixels)


@pytest.mark.parametrize(("room", "said"), [(20, "micro_batch` to 16"), (7, "micro_batch` to 4"), (0, "not even one picture")])
def test_what_does_not_fit_is_said_with_the_largest_that_does(grown, room: int, said: str):
    learner = prepare(read_run(grown.config("memory")), ALONE, Reporter(speaks=False))
    learner.model.backbone = Small(learner.model.backbone, room)
    with pytest.raises(GpuMemoryError, match=f"batch of 32.*{room or said}.*") as error:
        check_memory(learner)
    assert said in str(error.value)


def test_a_trial_that_fits_leaves_nothing_behind(grown):
    learner = prepare(read_run(grown.config("memory_ok", backbone="test_efficientnet")), ALONE, Reporter(speaks=False))
    before = {name: values.clone() for name, values in learner.model.state_dict().items()}
    check_memory(learner)
    after = learner.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)  # a batch norm's statistics among them
    assert all(parameter.grad is None for parameter in learner.model.parameters())
    assert len(learner.queue.entries()) == 0
    assert not learner.optimizer.state


def test_a_card_without_bf16_is_named_with_the_cure():
    with pytest.raises(SettingError, match=r"precision.*Tesla V100.*fp32"):
        check_precision(make_config("paper"), device="Tesla V100", has_bf16=False)
    check_precision(make_config("paper", {"precision": "fp32"}), device="Tesla V100", has_bf16=False)
    check_precision(make_config("paper"), device="H200", has_bf16=True)
