"""Jobs: what an operator starts with one click.

https://docs.dagster.io/guides/build/jobs
A Dagster job has one partition dimension, so the dumps (by region) have a job of their own before the prefectures'
one. Every job stops before the next fan-in; parallelism comes from runs, so each run's steps stay in one process.
Their tags say what a run needs of a cluster's node (`needs`); without a cluster nobody reads them.
"""

import warnings
from typing import Any

import dagster as dg

from geoloc_pipeline.orchestration.needs import ray_tags

# refresh_prefecture holds assets that could take several prefectures in a run and others that could not; Dagster then takes one
# at a time, as it should, and says so in twenty lines whenever the code is loaded.
warnings.filterwarnings("ignore", message="Asset job .* materializes assets with varying BackfillPolicies")


def _in_one_process(*assets: str) -> dict[str, Any]:
    """Return what all jobs of some assets share."""
    return {"selection": list(assets), "executor_def": dg.in_process_executor, "tags": ray_tags(assets)}


refresh_dumps = dg.define_asset_job(
    "refresh_dumps",
    **_in_one_process("osm_dump"),
    description="Download and verify the dump of one region.",
)

collect_photos = dg.define_asset_job(
    "collect_photos",
    **_in_one_process("photo_collections"),
    description="Take in one existing photo set.",
)

refresh_prefecture = dg.define_asset_job(
    "refresh_prefecture",
    **_in_one_process(
        "census_towns",
        "osm_roads",
        "osm_landmarks",
        "road_points",
        "landmark_points",
        "sample_points",
        "street_view_images",
        "labelled_images",
        "dataset_splits",
        "training_shards",
    ),
    description="Everything of one prefecture, from the map to training views; stops before what needs all prefectures.",
)

extract_prefectures = dg.define_asset_job(
    "extract_prefectures",
    **_in_one_process("osm_roads", "osm_landmarks"),
    description=(
        "Roads and landmarks of many prefectures in one run, one pass for each region's dump. Their census_towns must be "
        "there. Run it before refresh_prefecture, which then finds them current."
    ),
)

train_and_index = dg.define_asset_job(
    "train_and_index",
    **_in_one_process("label_vocabulary", "geolocation_model", "image_embeddings", "qdrant_collection"),
    description=(
        "Classes and model from every prefecture that is there, then the embeddings of this prefecture, then the gallery. Run "
        "it for each prefecture: what is current is skipped, so the model is trained once."
    ),
)

evaluate = dg.define_asset_job(
    "evaluate",
    **_in_one_process("evaluation_report"),
    description="Answer every test picture and write the report.",
)

JOBS = (refresh_dumps, collect_photos, extract_prefectures, refresh_prefecture, train_and_index, evaluate)
