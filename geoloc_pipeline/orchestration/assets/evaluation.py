"""Group `evaluation`: how good the answers are."""

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from geoloc_pipeline.orchestration.assets.labels import dataset_splits, training_shards
from geoloc_pipeline.orchestration.assets.retrieval import qdrant_collection
from geoloc_pipeline.orchestration.assets.training import geolocation_model
from geoloc_pipeline.orchestration.io import Made, Outcome, Step, sheet, table_paths, write_tables
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.tables import DATASET_SPLITS, ESTIMATES, IMAGE_EMBEDDINGS, TRAINING_SHARDS

if TYPE_CHECKING:
    from geoloc_pipeline.retrieval.trial import TrialResult


@dg.asset(
    deps=[dataset_splits, training_shards, geolocation_model, qdrant_collection],
    check_specs=[dg.AssetCheckSpec("beats_the_mean_position", asset="evaluation_report")],
    **sheet(ESTIMATES, group="evaluation", kinds={"html"}, code_version="2"),
)
def evaluation_report(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[Outcome]:
    """Every test picture answered: error tables, read-outs, bias per prefecture, calibration, the map of the data, evidence.

    From: dataset_splits, training_shards, geolocation_model, qdrant_collection (searched exactly). The default read-out is the
    one that wins on validation pictures. Stored as: tables/estimates/all.parquet, reports/index.html, reports/summary.json,
    reports/evidence.html. Takes: a minute in the demo. Paper §4.
    """
    from geoloc_pipeline.evaluation.metrics import result_table
    from geoloc_pipeline.orchestration.previews import write_rows
    from geoloc_pipeline.orchestration.summary import write_pages

    step = Step(context, pipeline, "evaluation_report")
    inputs = step.upstream("geolocation_model") | step.upstream("qdrant_collection")
    for upstream in ("dataset_splits", "training_shards", "image_embeddings"):
        inputs |= step.upstream_partitions(upstream)
    top_k = pipeline.settings.top_k

    def build() -> Made:
        started_s = time.monotonic()
        result = _run_trial(step, inputs, top_k=top_k)
        home = pipeline.home
        write_text(home.calibration(), json.dumps(result.calibration.to_json(), indent=1, sort_keys=True))
        made = write_tables(step, {ESTIMATES: result.estimates})
        made.files += write_pages(pipeline, result, started_s=started_s)
        table = result_table(result.estimates, default=result.calibration.readout)
        made.preview = write_rows(
            table[["readout", "n", "median_km", "within_1_km_pct", "within_25_km_pct", "within_100_km_pct"]]
        )
        made.facts |= {
            "default_readout": result.calibration.readout,
            "median_km": {row.readout: round(float(row.median_km), 3) for row in table.itertuples()},
        }
        return made

    result = step.run(inputs | {"top_k": top_k}, build)
    medians, default = step.facts()["median_km"], step.facts()["default_readout"]
    yield result
    yield dg.AssetCheckResult(
        asset_key="evaluation_report",
        check_name="beats_the_mean_position",
        passed=medians[default] < medians["mean_position"],
        metadata={"median_km": medians[default], "mean_position_median_km": medians["mean_position"]},
    )


def _run_trial(step: Step, inputs: dict[str, str], *, top_k: int) -> "TrialResult":
    """Embed what the gallery does not hold, and put the gallery to the test."""
    import pandas as pd

    from geoloc_pipeline.retrieval.embed import embed_shards
    from geoloc_pipeline.retrieval.gallery import open_gallery
    from geoloc_pipeline.retrieval.trial import Material, run_trial
    from geoloc_pipeline.storage.parquet import read_table, read_tables

    pipeline, home = step.pipeline, step.pipeline.home
    splits = read_tables(DATASET_SPLITS, table_paths(pipeline, "dataset_splits", inputs))
    progress = step.progress
    test: list[pd.DataFrame] = []
    untrained: list[pd.DataFrame] = []
    for path in table_paths(pipeline, "training_shards", inputs):
        shards, folder = read_table(TRAINING_SHARDS, path), home.images("training_shards", path.stem)
        test.append(embed_shards(home.checkpoint(), shards, folder, splits=("test",), progress=progress))
        untrained.append(
            embed_shards(home.checkpoint(), shards, folder, splits=("train", "val", "test"), untrained=True, progress=progress)
        )
    with open_gallery(pipeline.gallery()) as gallery:
        material = Material(
            gallery=gallery,
            indexed=read_tables(IMAGE_EMBEDDINGS, table_paths(pipeline, "image_embeddings", inputs)),
            test=pd.concat(test, ignore_index=True),
            untrained=pd.concat(untrained, ignore_index=True),
            split_of=dict(zip(splits["image_id"], splits["split"], strict=True)),
        )
        return run_trial(material, top_k=top_k)
