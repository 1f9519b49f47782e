"""The same assets on object storage, each run on another node than the one before: the same tables, byte by byte."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from geoloc_pipeline.orchestration.automation import osm_dump_updates
from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.orchestration.running.chain import chain_of
from geoloc_pipeline.orchestration.world import World, choose_world
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import read_receipt
from geoloc_pipeline.storage.shared import shared_home

KEY = "47_okinawa"
Run = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def pipeline(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("GEOLOC_WORKING_COPIES", str(tmp_path / "first"))
    pipeline = Pipeline(home_dir=f"s3://homes/{tmp_path.name}", profile="demo")
    choose_world(pipeline.home, World(prefecture_codes=("47",), density=0.03))
    return pipeline


@pytest.fixture
def run(pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Materialises assets on a node that has nothing yet."""
    job = build_definitions(pipeline).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:

        def materialise(*assets: str, partition: str | None = None, node: str = "") -> dg.ExecuteInProcessResult:
            node = node or f"{'-'.join(assets)[:40]}-{partition}"
            monkeypatch.setenv("GEOLOC_WORKING_COPIES", str(tmp_path / node))
            return job.execute_in_process(
                instance=instance, asset_selection=[dg.AssetKey(key) for key in assets], partition_key=partition
            )

        yield materialise


def hashes(home: Home) -> dict[str, str]:
    """Return the content hash of each artefact before the model."""
    found = {f"{path.parent.name}/{path.stem}": read_receipt(path) for path in home.receipts()}
    late = ("geofabrik_extracts", "geolocation_model", "image_embeddings", "qdrant_collection", "evaluation_report")
    return {name: receipt.content_hash for name, receipt in found.items() if receipt and not name.startswith(late)}


@pytest.mark.chain
def test_every_asset_on_a_node_of_its_own_makes_the_same_tables(run: Run, pipeline: Pipeline, grown: Home) -> None:
    for stage in chain_of(["47"])[:4]:
        for one in stage.runs:
            steps = [one.assets[:2], *((asset,) for asset in one.assets[2:])] if "osm_roads" in one.assets else [one.assets]
            if one.assets[0] == "census_towns":
                steps = [("census_towns",), ("osm_roads", "osm_landmarks"), *((asset,) for asset in one.assets[3:])]
            for assets in steps:
                run(*assets, partition=one.partition)
    run("label_vocabulary")
    shared = shared_home(pipeline.home)
    assert shared is not None
    shared.refresh()
    assert hashes(pipeline.home) == hashes(grown)
    again = run("training_shards", partition=KEY, node="another")  # without any file of it, and no picture fetched
    [made] = again.asset_materializations_for_node("training_shards")
    assert made.metadata["seconds"].value == 0.0
    assert not pipeline.home.images("street_view_images", KEY).exists()


def test_a_sensor_sees_what_another_node_has_made(
    run: Run, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("osm_dump", partition="kyushu", node="one")
    monkeypatch.setenv("GEOLOC_WORKING_COPIES", str(tmp_path / "a node that knows nothing"))
    with dg.build_sensor_context(resources={"pipeline": pipeline}) as context:
        answer = osm_dump_updates(context)
    assert isinstance(answer, dg.SkipReason)
    assert "no dump was downloaded" not in str(answer.skip_message)


def test_a_damaged_table_of_the_shared_home_is_withdrawn_for_all(run: Run, pipeline: Pipeline) -> None:
    run("census_towns", partition=KEY, node="one")
    table = pipeline.home.table("census_towns", KEY)
    table.write_bytes(table.read_bytes()[:-1])
    run("osm_dump", partition="kyushu", node="one")
    shared = shared_home(pipeline.home)
    assert shared is not None
    shared.refresh()
    shared.fetch("census_towns", KEY)  # what is shared is whole: it is brought once more
    assert shared.is_published("census_towns", KEY, read_receipt(pipeline.home.receipt("census_towns", KEY)))
    run("osm_roads", "osm_landmarks", partition=KEY, node="one")
