"""The pages of an evaluation: what every step has told, gathered into the report, the summary and one evidence page.

Belongs here: reading receipts, and handing plain facts to the rooms that draw.
Does not belong here: figures that a room could compute (`evaluation`, `retrieval`), and how pages look.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.orchestration.assets.training import read_history
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import read_receipt

if TYPE_CHECKING:
    import pandas as pd

    from geoloc_pipeline.evaluation.report import PhotoTrialFigures, ReportData, SplitFigures
    from geoloc_pipeline.orchestration.evaluating.judging import Judged
    from geoloc_pipeline.retrieval.answering.desk import Desk
    from geoloc_pipeline.retrieval.trials.trial import TrialResult

CHAIN = (
    "osm_dump", "census_towns", "osm_roads", "osm_landmarks", "road_points", "landmark_points", "sample_points",
    "street_view_images", "photo_collections", "labelled_images", "dataset_splits", "label_vocabulary", "training_shards",
    "geolocation_model", "image_embeddings", "qdrant_collection",
)  # fmt: skip
LATENCY_ANSWERS = 100
"""Answers that are timed: the paper's n (§4)."""


def facts_of(home: Home, key: str) -> list[dict[str, Any]]:
    """Return the facts of every partition of an asset that exists, in partition order."""
    paths = sorted(home.receipt(key).parent.glob("*.json"))
    return [receipt.metadata for path in paths if (receipt := read_receipt(path)) is not None]


def _total(facts: Iterable[dict[str, Any]], name: str) -> int:
    return int(sum(fact.get(name) or 0 for fact in facts))


def counts_of(home: Home) -> dict[str, int]:
    """Return how many of what the chain has made, in its order."""
    labelled = facts_of(home, "labelled_images")
    classes = next(iter(facts_of(home, "label_vocabulary")), {}).get("classes", {})
    rejected = facts_of(home, "street_view_images") + facts_of(home, "photo_collections")
    return {
        "prefectures": len(facts_of(home, "census_towns")),
        "municipalities": _total(facts_of(home, "census_towns"), "municipalities"),
        "town_blocks": _total(facts_of(home, "census_towns"), "rows"),
        "road_ways": _total(facts_of(home, "osm_roads"), "rows"),
        "roads": _total(facts_of(home, "osm_roads"), "roads"),
        "landmarks": _total(facts_of(home, "osm_landmarks"), "rows"),
        "road_points": _total(facts_of(home, "road_points"), "rows"),
        "landmark_points": _total(facts_of(home, "landmark_points"), "rows"),
        "sample_points": _total(facts_of(home, "sample_points"), "rows"),
        "street_view_images": _total(facts_of(home, "street_view_images"), "rows"),
        "panoramas": _total(facts_of(home, "street_view_images"), "panoramas"),
        "photos": _total(facts_of(home, "photo_collections"), "rows"),
        "rejected": _total(rejected, "rejected"),
        "images": _total(labelled, "rows"),
        "town_labels": _total(labelled, "with_town_code"),
        "road_labels": _total(labelled, "with_road_id"),
        "landmark_labels": _total(labelled, "with_landmark_id"),
        **{f"{task}_classes": int(count) for task, count in classes.items()},
        "training_views": _total(facts_of(home, "training_shards"), "rows"),
        "gallery_points": _total(facts_of(home, "qdrant_collection"), "points"),
    }


def seconds_of(home: Home) -> dict[str, float]:
    """Return the seconds that each step took, summed over its partitions, in the chain's order."""
    return {key: round(sum(float(fact.get("seconds", 0.0)) for fact in facts_of(home, key)), 1) for key in CHAIN}


def write_pages(
    pipeline: Pipeline,
    judged: "Judged",
    *,
    started_s: float,
    other_splits: "Sequence[SplitFigures]" = (),
    test_sets: "Sequence[PhotoTrialFigures]" = (),
) -> list[Path]:
    """Write summary, report and evidence page of an evaluation.

    Args:
        pipeline: Where everything is.
        judged: What the trial found.
        started_s: `time.monotonic()` at the start of the evaluation.
        other_splits: What homes that were split by another rule gave (`read_other_split`).
        test_sets: What public test sets gave.

    Returns:
        The files.
    """
    from geoloc_pipeline.evaluation.findings import rows_of
    from geoloc_pipeline.evaluation.report import write_report
    from geoloc_pipeline.retrieval.answering.desk import Desk

    home, result = pipeline.home, judged.result
    splits = [*_this_split(judged), *other_splits]
    desk = Desk.open(home)
    evidence = _write_evidence(desk, result)
    latency = _latency(pipeline, judged)
    counts = counts_of(home) | {"test_images": len(result.tested.image_id)}
    seconds = seconds_of(home) | {"evaluation_report": round(time.monotonic() - started_s, 1)}
    summary = {
        "results": [{"name": row.pop("readout"), **row} for row in rows_of(judged.findings.results)],
        "one_view": _one_view(result),
        "default_readout": result.calibration.readout,
        "split": judged.split_rule,
        **judged.findings.to_json(),
        "heads": rows_of(judged.heads),
        "latency": rows_of(latency),
        "test_sets": [_test_set(told) for told in test_sets],
        "counts": counts,
        "seconds": seconds,
        "profile": pipeline.profile,
        "made_of": desk.provenance(),
    }
    write_text(home.summary(), json.dumps(summary, ensure_ascii=False, indent=1))
    data = _report_data(pipeline, desk, judged, counts=counts, seconds=seconds)
    write_report(replace(data, latency=latency, splits=splits, test_sets=test_sets), home.report_page())
    return [home.summary(), home.report_page(), *evidence]


def _one_view(result: "TrialResult") -> dict[str, Any]:
    """Return how well the default read-out does when it is shown one view only."""
    from geoloc_pipeline.evaluation.findings import rows_of
    from geoloc_pipeline.evaluation.metrics import error_table

    return {} if result.one_view.empty else rows_of(error_table(result.one_view))[0]


def _test_set(told: "PhotoTrialFigures") -> dict[str, Any]:
    from geoloc_pipeline.evaluation.findings import rows_of
    from geoloc_pipeline.evaluation.metrics import error_table

    left_out = {reason: count for reason, count in told.left_out.items() if count}
    return {"name": told.name, "listed": told.listed, "left_out": left_out, "results": rows_of(error_table(told.estimates))}


def _this_split(judged: "Judged") -> "list[SplitFigures]":
    from geoloc_pipeline.evaluation.report import SplitFigures

    table = judged.findings.results
    mine = table[table["is_default"]].to_dict("records")
    readout = judged.result.calibration.readout
    return [SplitFigures(rule=judged.split_rule, is_this=True, readout=readout, figures=row) for row in mine]


def read_other_split(path: str) -> "list[SplitFigures]":
    """Return what a summary of another home says; nothing when none is named.

    Args:
        path: `reports/summary.json` of that home; empty: none.

    Raises:
        MissingInputError: There is no such file.
        BadSourceFileError: It is no summary of this project.
    """
    from geoloc_pipeline.evaluation.report import SplitFigures

    if not path:
        return []
    cure = "name the reports/summary.json of a home whose `evaluation_report` was materialised with this version"
    if not Path(path).is_file():
        raise MissingInputError(what="the other split's summary", path=Path(path), cure=cure)
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        default, rule = told["default_readout"], str(told["split"])
        row = {name: float("nan") if value is None else value for name, value in _default_row(told["results"], default).items()}
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise BadSourceFileError(path=Path(path), reason=f"it is no such summary ({error!r})", cure=cure) from error
    return [SplitFigures(rule=rule, is_this=False, readout=default, figures=row)]


def _default_row(results: list[dict[str, Any]], default: str) -> dict[str, Any]:
    row = next(row for row in results if row["name"] == default)
    wanted = ("n", "median_km", "low_km", "high_km", "within_1_km_pct", "within_25_km_pct", "within_100_km_pct", "p90_km")
    return {name: row[name] for name in (*wanted, "beyond_200_km_pct")}


def _write_evidence(desk: "Desk", result: "TrialResult") -> list[Path]:
    """Write the evidence page of the most ordinary test picture whose pixels are at hand; nothing when none are."""
    mine = result.estimates[result.estimates["readout"] == result.calibration.readout].sort_values(["error_km", "query_id"])
    for row in mine.iloc[len(mine) // 2 :].itertuples():
        pixels = desk.pixels_of(row.query_id)
        if pixels is not None:
            name = f"test picture {row.query_id}, the one with the median error"
            truth = (row.true_lat, row.true_lon)
            desk.write_evidence(desk.locate_pixels(pixels), pixels, desk.home.evidence_page(), name=name, truth=truth)
            return [desk.home.evidence_page()]
    return []


def _latency(pipeline: Pipeline, judged: "Judged") -> "pd.DataFrame":
    """Return how long answers take, a hundred test pictures one after another; the first after everything was opened anew."""
    from geoloc_pipeline.evaluation.latency import latency_table
    from geoloc_pipeline.retrieval.embedding.embedder import Embedder
    from geoloc_pipeline.retrieval.gallery.gallery import open_gallery
    from geoloc_pipeline.retrieval.reading.places import PlaceNames
    from geoloc_pipeline.retrieval.trials.stopwatch import time_answer
    from geoloc_pipeline.storage.shards import read_member

    rows = judged.pictures[(judged.pictures["split"] == "test") & judged.pictures["shard"].notna()].sort_values("image_id")
    files = [
        read_member(row.folder, shard=row.shard, offset=int(row.offset), size_bytes=int(row.size_bytes))
        for row in rows.head(LATENCY_ANSWERS).itertuples()
    ]
    if not files:
        return latency_table([])
    started_s = time.perf_counter()
    embedder, places = Embedder.load(pipeline.home.checkpoint()), PlaceNames(judged.towns)
    with open_gallery(pipeline.gallery()) as gallery:
        gallery.count()  # opens it
        open_s = time.perf_counter() - started_s
        samples = [
            time_answer(
                data,
                embedder=embedder,
                gallery=gallery,
                calibration=judged.result.calibration,
                names=places.names_at if len(judged.towns) else None,
                top_k=pipeline.settings.top_k,
            )
            for data in [files[0], *files]
        ]
    return latency_table([{"open": 0.0, **sample} for sample in samples[1:]], cold={"open": open_s, **samples[0]})


def _report_data(
    pipeline: Pipeline, desk: "Desk", judged: "Judged", *, counts: dict[str, int], seconds: dict[str, float]
) -> "ReportData":
    from geoloc_pipeline.evaluation.cartography import outlines_of_towns
    from geoloc_pipeline.evaluation.report import ReportData
    from geoloc_pipeline.orchestration.evaluating.judging import URBAN_PER_KM2
    from geoloc_pipeline.orchestration.world import read_world

    result = judged.result
    world = read_world(pipeline.home)
    ground = "Real maps with rendered pictures" if world.source else "A made-up Japan, grown from a seed"
    regions = result.calibration.regions.get(result.calibration.readout)
    return ReportData(
        title="Where were these photos taken?",
        summary=f"{ground if pipeline.profile == 'demo' else 'Japan'}; {SPLIT_WORDS[judged.split_rule]}.",
        estimates=result.estimates,
        default_readout=result.calibration.readout,
        findings=judged.findings,
        pictures=judged.pictures,
        counts=counts,
        seconds=seconds,
        losses=_losses(pipeline.home),
        true_code=judged.true_code,
        estimated_code=judged.estimated_code,
        urban_per_km2=URBAN_PER_KM2[pipeline.profile],
        regions_text=regions.text() if regions else "",
        leaks=next(iter(facts_of(pipeline.home, "label_vocabulary")), {}).get("leaks", {}),
        heads=judged.heads,
        outlines=outlines_of_towns(judged.towns, level="prefecture"),
        provenance=desk.provenance(),
        notes=_notes(judged),
    )


SPLIT_WORDS = {
    "grouped": "inside a municipality, test pictures share no place and no sequence with training",
    "paper": "split by picture as the paper did, so test pictures share places and sequences with training",
    "mixed": "prefectures were split by different rules, so figures mix places that training knows with others",
    "unknown": "how the pictures were split is not recorded",
}


def _losses(home: Home) -> "pd.DataFrame | None":
    import pandas as pd

    history = pd.DataFrame(read_history(home.training_metrics()))
    names = [name for name in ("train_loss", "val_loss") if name in history]
    return history[["epoch", *names]] if names else None


def _notes(judged: "Judged") -> list[str]:
    told = _one_view(judged.result)
    notes = []
    if told:
        notes.append(
            f"Shown one view of each test picture instead of all four, the default read-out's median error is "
            f"{told['median_km']:.1f} km, and {told['within_25_km_pct']:.1f} % are within 25 km."
        )
    if judged.start_weights == "none":
        notes.append("The backbone of the baselines before training has fresh weights: it has never seen a picture.")
    return notes
