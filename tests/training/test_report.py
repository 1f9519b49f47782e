"""What Dagster hears, over the real protocol."""

from __future__ import annotations

import json

import pytest
from dagster_pipes import PipesDefaultContextLoader, PipesDefaultMessageWriter, encode_param


def pipes_environment(tmp_path) -> dict[str, str]:
    (tmp_path / "context.json").write_text(
        json.dumps(
            {
                "asset_keys": ["geolocation_model"], "code_version_by_asset_key": {"geolocation_model": "1"},
                "provenance_by_asset_key": {"geolocation_model": None}, "partition_key": None, "partition_key_range": None,
                "partition_time_window": None, "run_id": "r", "job_name": "j", "retry_number": 0, "extras": {},
            }  # fmt: skip
        )
    )
    return {
        "DAGSTER_PIPES_CONTEXT": encode_param({PipesDefaultContextLoader.FILE_PATH_KEY: str(tmp_path / "context.json")}),
        "DAGSTER_PIPES_MESSAGES": encode_param({PipesDefaultMessageWriter.FILE_PATH_KEY: str(tmp_path / "messages.jsonl")}),
    }


@pytest.mark.parametrize("processes", [1, 2])
def test_dagster_hears_every_epoch_and_one_materialisation_of_the_model(grown, launch, tmp_path, processes: int):
    process = launch(grown.config(f"told{processes}", max_epochs=2), processes=processes, environment=pipes_environment(tmp_path))
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
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


def test_an_error_of_ours_ends_with_its_code_and_its_sentence(grown, launch, tmp_path):
    process = launch(grown.config("bad", optimizer="sgd"))
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "overrides.optimizer is 'sgd'; give one of radam, adamw" in said
    assert "Traceback" not in said
