"""The whole graph, as the UI will show it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from geoloc_pipeline.orchestration.build import ASSET_MODULES, build_definitions
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.tables import CONTRACTS

GRAPH = {
    "geofabrik_extracts": ("osm", 8, []),
    "osm_dump": ("osm", 8, ["geofabrik_extracts"]),
    "census_towns": ("osm", 47, []),
    "osm_roads": ("osm", 47, ["census_towns", "osm_dump"]),
    "osm_landmarks": ("osm", 47, ["census_towns", "osm_dump"]),
    "road_points": ("sampling", 47, ["census_towns", "osm_roads"]),
    "landmark_points": ("sampling", 47, ["census_towns", "osm_landmarks"]),
    "sample_points": ("sampling", 47, ["census_towns", "landmark_points", "road_points"]),
    "street_view_images": ("imagery", 47, ["sample_points"]),
    "photo_collections": ("imagery", 7, []),
    "labelled_images": (
        "labels",
        47,
        ["census_towns", "osm_landmarks", "osm_roads", "photo_collections", "street_view_images"],
    ),
    "dataset_splits": ("labels", 47, ["labelled_images"]),
    "label_vocabulary": ("labels", None, ["dataset_splits", "labelled_images"]),
    "training_shards": ("labels", 47, ["dataset_splits", "labelled_images", "photo_collections", "street_view_images"]),
    "geolocation_model": ("training", None, ["label_vocabulary", "training_shards"]),
    "image_embeddings": ("retrieval", 47, ["geolocation_model", "training_shards"]),
    "qdrant_collection": (
        "retrieval",
        None,
        ["dataset_splits", "image_embeddings", "labelled_images", "photo_collections", "street_view_images"],
    ),
    "evaluation_report": (
        "evaluation",
        None,
        ["dataset_splits", "geolocation_model", "qdrant_collection", "training_shards"],
    ),
}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(Pipeline(home_dir=str(tmp_path_factory.mktemp("home")), profile="demo"))


def test_the_graph_is_the_contract(definitions: dg.Definitions) -> None:
    found = {}
    for spec in definitions.resolve_all_asset_specs():
        parts = len(spec.partitions_def.get_partition_keys()) if spec.partitions_def else None
        found[spec.key.to_user_string()] = (spec.group_name, parts, sorted(dep.asset_key.to_user_string() for dep in spec.deps))
    assert found == GRAPH


def test_everything_loads_and_the_jobs_are_named(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    jobs = {job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    assert jobs == {
        "refresh_dumps", "collect_photos", "extract_prefectures", "refresh_prefecture", "train_and_index", "evaluate",
        "no_partition_is_left_failed",
    }  # fmt: skip


def test_refreshing_a_prefecture_stops_before_what_needs_all_of_them(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("refresh_prefecture")
    keys = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
    assert all(GRAPH[key][1] == 47 for key in keys)
    assert "training_shards" in keys


def test_every_asset_has_a_sheet_an_owner_kinds_and_a_code_version(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        key = spec.key.to_user_string()
        assert spec.description, key
        assert len(spec.description.split()) > 15, key
        assert spec.owners, key
        assert spec.kinds, key
        assert spec.code_version or key == "geofabrik_extracts", key


def test_tables_show_their_columns(definitions: dg.Definitions) -> None:
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    for name in set(CONTRACTS) & set(specs):
        shown = [column.name for column in specs[name].metadata["dagster/column_schema"].columns]
        assert shown == list(CONTRACTS[name].column_names)


def test_every_table_has_an_asset_and_no_asset_module_is_forgotten(definitions: dg.Definitions) -> None:
    keys = {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}
    beside = {"rejected", "forgotten", "estimates", "backbone_tokens", "embedded_views"}  # written with another asset's table
    assert set(CONTRACTS) - keys == beside
    files = {path.stem for path in Path(ASSET_MODULES[0].__file__ or "").parent.glob("*.py")} - {"__init__"}
    assert {module.__name__.rsplit(".", 1)[1] for module in ASSET_MODULES} == files


def test_nothing_runs_by_itself(definitions: dg.Definitions) -> None:
    assert all(sensor.default_status == dg.DefaultSensorStatus.STOPPED for sensor in definitions.sensors or [])
    assert all(schedule.default_status == dg.DefaultScheduleStatus.STOPPED for schedule in definitions.schedules or [])
