"""What a run needs of a node, and that the jobs say so."""

import json

import pytest

from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.jobs import JOBS
from geoloc_pipeline.orchestration.needs import GIB, NEEDS, RAY_TAG, Needs, needs_of, ray_tags
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.orchestration.settings import SETTINGS


@pytest.fixture(scope="module")
def definitions():
    return build_definitions(Pipeline(home_dir="/nowhere", profile="demo"))


def test_a_run_needs_the_most_that_any_of_its_steps_needs() -> None:
    both = needs_of(["osm_roads", "geolocation_model", "road_points"])
    assert both == Needs(memory_bytes=NEEDS["geolocation_model"].memory_bytes, gpus=1)
    assert needs_of(["road_points"]) == needs_of([]) == Needs()
    assert needs_of(["street_view_images", "osm_roads"]).network


def test_only_assets_that_there_are_have_needs(definitions) -> None:
    assert set(NEEDS) <= {spec.key.to_user_string() for spec in definitions.resolve_all_asset_specs()}


def test_extraction_has_room_for_the_cap_that_it_keeps() -> None:
    for asset in ("osm_roads", "osm_landmarks"):
        assert NEEDS[asset].memory_bytes > max(each.memory_limit_bytes for each in SETTINGS.values())


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_job_says_what_its_assets_need(definitions, job) -> None:
    resolved = definitions.resolve_job_def(job.name)
    keys = [key.to_user_string() for key in resolved.asset_layer.selected_asset_keys]
    assert resolved.tags[RAY_TAG] == ray_tags(keys)[RAY_TAG]


def test_gpu_and_network_are_asked_for_by_those_that_use_them() -> None:
    asked = {job.name: json.loads(job.tags[RAY_TAG]) for job in JOBS}
    assert {name for name, needs in asked.items() if needs.get("num_gpus")} == {"train_and_index"}
    assert {name for name, needs in asked.items() if needs.get("resources")} == {"refresh_dumps", "refresh_prefecture"}
    assert asked["extract_prefectures"]["memory"] == 8 * GIB


def test_dagster_ray_can_read_the_tags() -> None:
    configs = pytest.importorskip("dagster_ray.configs", reason="pip install 'geoloc-pipeline[ray]'")
    read = configs.RayExecutionConfig.from_tags(ray_tags(["street_view_images", "geolocation_model"]))
    assert (read.num_cpus, read.num_gpus, read.memory, read.resources) == (1, 1, 16 * GIB, {"network": 1})
