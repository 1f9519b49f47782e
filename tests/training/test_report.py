"""What Dagster hears, over the real protocol."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

from dagster_pipes import PipesDefaultContextLoader, PipesDefaultMessageWriter, encode_param

from geoloc_pipeline.training.__main__ import main


def pipes_environment(tmp_path) -> dict[str, str]:
    (tmp_path / "context.json").write_text(
        json.dumps(
            {
                "asset_keys": ["geolocation_model"],
                "code_version_by_asset_key": {"geolocation_model": "1"},
                "provenance_by_asset_key": {"geolocation_model": None},
                "partition_key": None,
                "partition_key_range": None,
                "partition_time_window": None,
                "run_id": "r",
                "job_name": "j",
                "retry_number": 0,
                "extras": {},
            }
        )
    )
    return {
        "DAGSTER_PIPES_CONTEXT": encode_param({PipesDefaultContextLoader.FILE_PATH_KEY: str(tmp_path / "context.json")}),
        "DAGSTER_PIPES_MESSAGES": encode_param({PipesDefaultMessageWriter.FILE_PATH_KEY: str(tmp_path / "messages.jsonl")}),
    }


def test_dagster_hears_every_epoch_and_one_materialisation_from_two_processes_of_torchrun(grown, tmp_path):
    config = grown.config("told", max_epochs=2)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "geoloc_pipeline.training", "--config", str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **pipes_environment(tmp_path)}
    ended = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("epoch 2: ") == 1
    messages = [json.loads(line) for line in (tmp_path / "messages.jsonl").read_text().splitlines()]
    logged = [message["params"]["message"] for message in messages if message["method"] == "log"]
    assert sum(line.startswith("epoch ") for line in logged) == 2
    materialised = [message["params"] for message in messages if message["method"] == "report_asset_materialization"]
    assert len(materialised) == 1
    metadata = materialised[0]["metadata"]
    assert materialised[0]["data_version"] == metadata["model_version"]["raw_value"]
    assert len(metadata["loss_history"]["raw_value"]["epochs"]) == 2
    assert metadata["best_epoch"]["raw_value"] in {1, 2}
    assert metadata["images_per_s"]["raw_value"] > 0
    assert metadata["losses"]["raw_value"].count("\n") == 3


def test_by_hand_nobody_is_reported_to(grown, monkeypatch, caplog):
    monkeypatch.delenv("DAGSTER_PIPES_CONTEXT", raising=False)
    caplog.set_level(logging.INFO)
    assert main(["--config", str(grown.config("by_hand", max_epochs=1)), "--threads", "1"]) == 0
    assert sum(record.message.startswith("epoch 1: ") for record in caplog.records) == 1


def test_an_error_of_ours_ends_with_its_code_and_its_sentence(grown, caplog):
    assert main(["--config", str(grown.config("bad", optimizer="sgd"))]) == 2
    assert "overrides.optimizer is 'sgd'; give one of radam, adamw" in caplog.text
    assert "Traceback" not in caplog.text
