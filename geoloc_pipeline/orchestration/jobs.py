"""Jobs: what an operator starts with one click.

https://docs.dagster.io/guides/build/jobs
A Dagster job has one partition dimension, so the dumps (by region) have a job of their own before the prefectures'
one. Every job stops before the next fan-in; parallelism comes from runs, so each run's steps stay in one process.
"""

import dagster as dg

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

JOBS = (refresh_dumps, collect_photos, refresh_prefecture, train_and_index, evaluate)
