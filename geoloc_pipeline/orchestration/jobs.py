"""Jobs: what an operator starts with one click.

https://docs.dagster.io/guides/build/jobs
A Dagster job has one partition dimension, so the dumps (by region) have a job of their own before the prefectures'
one. Every job stops before the next fan-in; parallelism comes from runs, so each run's steps stay in one process.
"""

import warnings

import dagster as dg

# refresh_prefecture holds assets that could take several prefectures in a run and others that could not; Dagster then takes one
# at a time, as it should, and says so in twenty lines whenever the code is loaded.
warnings.filterwarnings("ignore", message="Asset job .* materializes assets with varying BackfillPolicies")

refresh_dumps = dg.define_asset_job(
    "refresh_dumps",
    selection=["osm_dump"],
    executor_def=dg.in_process_executor,
    description="Download and verify the dump of one region.",
)

collect_photos = dg.define_asset_job(
    "collect_photos",
    selection=["photo_collections"],
    executor_def=dg.in_process_executor,
    description="Take in one existing photo set.",
)

refresh_prefecture = dg.define_asset_job(
    "refresh_prefecture",
    selection=[
        "census_towns", "osm_roads", "osm_landmarks", "road_points", "landmark_points", "sample_points", "street_view_images",
        "labelled_images", "dataset_splits", "training_shards",
    ],
    executor_def=dg.in_process_executor,
    description="Everything of one prefecture, from the map to training views; stops before what needs all prefectures.",
)  # fmt: skip

extract_prefectures = dg.define_asset_job(
    "extract_prefectures",
    selection=["osm_roads", "osm_landmarks"],
    executor_def=dg.in_process_executor,
    description=(
        "Roads and landmarks of many prefectures in one run, one pass for each region's dump. Their census_towns must be "
        "there. Run it before refresh_prefecture, which then finds them current."
    ),
)

train_and_index = dg.define_asset_job(
    "train_and_index",
    selection=["label_vocabulary", "geolocation_model", "image_embeddings", "qdrant_collection"],
    executor_def=dg.in_process_executor,
    description=(
        "Classes and model from every prefecture that is there, then the embeddings of this prefecture, then the gallery. Run "
        "it for each prefecture: what is current is skipped, so the model is trained once."
    ),
)

evaluate = dg.define_asset_job(
    "evaluate",
    selection=["evaluation_report"],
    executor_def=dg.in_process_executor,
    description="Answer every test picture and write the report.",
)

JOBS = (refresh_dumps, collect_photos, extract_prefectures, refresh_prefecture, train_and_index, evaluate)
