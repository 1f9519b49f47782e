"""Dagster's parts that are replaced: how long a run that waits for a pool sleeps, and how a code server starts its runs."""

import importlib.util
import json
import time
from pathlib import Path

import pytest
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._grpc.server import DagsterApiServer

from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.dagster_mends import PRELOADED
from geoloc_pipeline.orchestration.resources import Pipeline

NAMES = "import json, pathlib, sys; pathlib.Path({!r}).write_text(json.dumps(sorted(sys.modules)))"


@pytest.mark.parametrize(("waits_s", "expected_s"), [({}, 0.0), ({"a": 5.0, "b": 9.0}, 5.0), ({"a": -1.0, "b": 9.0}, 0.0)])
def test_the_first_step_that_may_ask_again_ends_the_sleep(waits_s: dict[str, float], expected_s: float) -> None:
    build_definitions(Pipeline(home_dir="/nowhere", profile="demo"))
    waiting = object.__new__(InstanceConcurrencyContext)
    waiting._pending_timeouts = {step: time.time() + wait_s for step, wait_s in waits_s.items()}
    waiting._pending_claims = set(waits_s)
    assert waiting.interval_to_next_pending_claim_check() == pytest.approx(expected_s, abs=0.5)  # Dagster's own answer: 0


@pytest.mark.parametrize("module", PRELOADED)
def test_what_is_imported_for_all_runs_is_there(module: str) -> None:
    assert importlib.util.find_spec(module) is not None  # an import that fails there is passed over in silence


def test_a_run_of_a_code_server_finds_everything_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(DagsterApiServer, "_mp_ctx", None, raising=False)  # taken back afterwards: no server runs here
    build_definitions(Pipeline(home_dir="/nowhere", profile="demo"))
    server, told = object.__new__(DagsterApiServer), tmp_path / "modules.json"
    server._mp_ctx = "Dagster's own choice"
    run = server._mp_ctx.Process(target=exec, args=(NAMES.format(str(told)),))
    run.start()
    run.join(60)
    assert run.exitcode == 0
    assert set(PRELOADED) <= set(json.loads(told.read_text()))
    assert "torch" not in json.loads(told.read_text())
