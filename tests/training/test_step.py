"""The learning rate of a step; what a step does to a model is tested by whole runs (test_loop.py)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.training.config import make_config
from geoloc_pipeline.training.step import in_bf16, learning_rate


@given(step=st.integers(0, 999))
def test_the_papers_rate_never_changes(step: int):
    assert learning_rate(make_config("paper"), step=step, steps=10) == 1e-4


@given(warmup=st.integers(1, 50))
def test_a_warm_up_grows_from_step_to_step_to_the_whole_rate(warmup: int):
    config = make_config("paper", {"warmup_steps": warmup})
    rates = [learning_rate(config, step=step, steps=10) for step in range(warmup)]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1e-4 / warmup)
    assert rates[-1] == pytest.approx(1e-4)


def test_a_cosine_falls_to_a_hundredth_at_the_very_last_step():
    config = make_config("paper", {"schedule": "cosine", "max_epochs": 5})
    rates = [learning_rate(config, step=step, steps=20) for step in range(100)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == pytest.approx(1e-4)
    assert rates[-1] == pytest.approx(1e-6)


def test_bf16_is_for_gpus_and_can_be_switched_off():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert in_bf16(make_config("paper"), gpu)
    assert not in_bf16(make_config("paper"), cpu)
    assert not in_bf16(make_config("paper", {"precision": "fp32"}), gpu)
