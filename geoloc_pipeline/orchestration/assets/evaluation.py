"""Group `evaluation`: how good the answers are."""

import json
import time
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from geoloc_pipeline.orchestration.assets.labels import dataset_splits, training_shards
from geoloc_pipeline.orchestration.assets.retrieval import qdrant_collection
from geoloc_pipeline.orchestration.assets.training import WORSE_BY_PCT, geolocation_model
from geoloc_pipeline.orchestration.checks import drift_check, drifted
from geoloc_pipeline.orchestration.io import Made, Outcome, Step, spec_of, write_tables
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import WHOLE
from geoloc_pipeline.tables import ESTIMATES

DRIFT = "answers_are_no_worse_than_before"


class EvaluationConfig(dg.Config):
    """What the report shows beside this home's own test pictures."""

    other_summary: str = Field(
        default="", description="reports/summary.json of a home that was split by the other rule, to stand beside this one"
    )
    test_sets: list[str] = Field(
        default=[],
        description="public test sets under sources/photos/, each a track of its own: im2gps, im2gps3k, yfcc4k, osv5m_test",
    )


@dg.asset(
    deps=[dataset_splits, training_shards, geolocation_model, qdrant_collection],
    check_specs=[
        dg.AssetCheckSpec(
            "beats_the_mean_position",
            asset="evaluation_report",
            description="The default read-out's median error is below that of one answer for everything.",
        ),
        drift_check(
            "evaluation_report", DRIFT, "Of a hundred test pictures no more than 5 fewer within 25 km than at the last report."
        ),
    ],
    **spec_of(ESTIMATES, group="evaluation", kinds={"html"}, code_version="4"),
)
def evaluation_report(context: dg.AssetExecutionContext, config: EvaluationConfig, pipeline: Pipeline) -> Iterator[Outcome]:
    """Every test picture answered by every read-out and baseline: errors, tracks, ceilings, areas, calibration, evidence.

    From: dataset_splits, training_shards, geolocation_model, qdrant_collection (searched exactly). The default read-out is the
    one that wins on validation pictures. Stored as: tables/estimates/all.parquet, reports/index.html, reports/summary.json,
    reports/evidence.html, and the record from which `geoloc reproduce` makes all of it again. Takes: a minute in the demo.
    Paper §4.
    """
    from geoloc_pipeline.orchestration.evaluating.judging import judge
    from geoloc_pipeline.orchestration.evaluating.photo_trials import beside_of, run_test_sets, wanted_test_sets
    from geoloc_pipeline.orchestration.evaluating.summary import read_other_split, write_pages
    from geoloc_pipeline.orchestration.keeping.reproduce import write_record
    from geoloc_pipeline.orchestration.showing.previews import write_rows

    step = Step(context, pipeline, "evaluation_report")
    inputs = step.upstream("geolocation_model") | step.upstream("qdrant_collection")
    for upstream in ("dataset_splits", "training_shards", "image_embeddings"):
        inputs |= step.upstream_partitions(upstream)
    top_k, folders = pipeline.settings.top_k, wanted_test_sets(pipeline, config.test_sets)
    other_splits = read_other_split(config.other_summary)

    def build() -> Made:
        started_s = time.monotonic()
        step.look_around()  # evidence and coverage: whose pictures, from where
        judged = judge(step, inputs, top_k=top_k)
        home, result = pipeline.home, judged.result
        write_text(home.calibration(), json.dumps(result.calibration.to_json(), indent=1, sort_keys=True))
        made = write_tables(step, {ESTIMATES: result.estimates})
        made.files += write_pages(
            pipeline,
            judged,
            started_s=started_s,
            other_splits=other_splits,
            test_sets=run_test_sets(pipeline, judged, folders),
        )
        made.bulk.append(write_record(home, profile=pipeline.profile))  # what an answer says does not depend on it
        table = judged.findings.results
        made.preview = write_rows(
            table[["readout", "n", "median_km", "within_1_km_pct", "within_25_km_pct", "within_100_km_pct"]]
        )
        made.facts |= {
            "default_readout": result.calibration.readout,
            "median_km": {row.readout: round(float(row.median_km), 3) for row in table.itertuples()},
            "within_25_km_pct": {row.readout: round(float(row.within_25_km_pct), 2) for row in table.itertuples()},
        }
        return made

    before = _within(step)
    result = step.run(inputs | {"top_k": top_k, **beside_of(config.other_summary, folders)}, build)
    medians, default = step.facts()["median_km"], step.facts()["default_readout"]
    yield result
    yield dg.AssetCheckResult(
        asset_key="evaluation_report",
        check_name="beats_the_mean_position",
        passed=medians[default] < medians["mean_position"],
        metadata={"median_km": medians[default], "mean_position_median_km": medians["mean_position"]},
    )
    yield drifted(
        "evaluation_report",
        DRIFT,
        before=before,
        after=_within(step) or 0.0,
        most_lost=WORSE_BY_PCT,
        unit="% within 25 km",
        partition=WHOLE,
    )


def _within(step: Step) -> float | None:
    """Return the share of test pictures that the default read-out put within 25 km, in percent; None: nobody has told."""
    facts = step.facts()
    found = facts.get("within_25_km_pct", {}).get(facts.get("default_readout"))
    return None if found is None else float(found)
