"""A run that waits for a pool sleeps until it may ask again; Dagster's own answer would be 0."""

import time

import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.resources import Pipeline


@pytest.mark.parametrize(("waits_s", "expected_s"), [({}, 0.0), ({"a": 5.0, "b": 9.0}, 5.0), ({"a": -1.0, "b": 9.0}, 0.0)])
def test_the_first_step_that_may_ask_again_ends_the_sleep(waits_s: dict[str, float], expected_s: float) -> None:
    build_definitions(Pipeline(home_dir="/nowhere", profile="demo"))
    waiting = object.__new__(InstanceConcurrencyContext)
    waiting._pending_timeouts = {step: time.time() + wait_s for step, wait_s in waits_s.items()}
    waiting._pending_claims = set(waits_s)
    assert waiting.interval_to_next_pending_claim_check() == pytest.approx(expected_s, abs=0.5)
