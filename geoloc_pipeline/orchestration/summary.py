"""The pages of an evaluation: what every step has told, gathered into the report, the summary and one evidence page.

Belongs here: reading receipts, and handing plain facts to the rooms that draw.
Does not belong here: figures that a room could compute (`evaluation`, `retrieval`), and how pages look.
"""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.orchestration.assets.training import read_history
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import read_receipt
from geoloc_pipeline.tables import LABELLED_IMAGES

if TYPE_CHECKING:
    import pandas as pd

    from geoloc_pipeline.retrieval.desk import Desk
    from geoloc_pipeline.retrieval.trial import TrialResult

CHAIN = (
    "osm_dump", "census_towns", "osm_roads", "osm_landmarks", "road_points", "landmark_points", "sample_points",
    "street_view_images", "photo_collections", "labelled_images", "dataset_splits", "label_vocabulary", "training_shards",
    "geolocation_model", "image_embeddings", "qdrant_collection",
)  # fmt: skip
LATENCY_QUERIES = 5


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


def write_pages(pipeline: Pipeline, result: "TrialResult", *, started_s: float) -> list[Path]:
    """Write summary, report and evidence page of an evaluation.

    Args:
        pipeline: Where everything is.
        result: What the trial found.
        started_s: `time.monotonic()` at the start of the evaluation.

    Returns:
        The files.
    """
    from geoloc_pipeline.evaluation.report import write_report
    from geoloc_pipeline.retrieval.desk import Desk

    home = pipeline.home
    desk = Desk.open(home)
    latency = _write_evidence(desk, result)
    counts = counts_of(home) | {"test_images": len(result.tested.image_id)}
    seconds = seconds_of(home) | {"evaluation_report": round(time.monotonic() - started_s, 1)}
    summary = {
        "results": _rows(result),
        "one_view": _one_view(result),
        "default_readout": result.calibration.readout,
        "counts": counts,
        "seconds": seconds,
        "profile": pipeline.profile,
        "made_of": desk.provenance(),
    }
    write_text(home.summary(), json.dumps(summary, ensure_ascii=False, indent=1))
    write_report(_report_data(pipeline, desk, result, counts=counts, seconds=seconds, latency=latency), home.report_page())
    return [home.summary(), home.report_page(), home.evidence_page()]


def _rows(result: "TrialResult") -> list[dict[str, Any]]:
    from geoloc_pipeline.evaluation.metrics import result_table

    table = result_table(result.estimates, default=result.calibration.readout)
    rows = json.loads(table.to_json(orient="records", double_precision=4))
    return [{"name": row.pop("readout"), **row} for row in rows]


def _one_view(result: "TrialResult") -> dict[str, Any]:
    """Return how well the default read-out does when it is shown one view only."""
    from geoloc_pipeline.evaluation.metrics import error_table

    if result.one_view.empty:
        return {}
    told: dict[str, Any] = json.loads(error_table(result.one_view).to_json(orient="records", double_precision=4))[0]
    return told


def _write_evidence(desk: "Desk", result: "TrialResult") -> dict[str, float]:
    """Write the evidence page of the most ordinary test picture, and return how long an answer takes."""
    mine = result.estimates[result.estimates["readout"] == result.calibration.readout].sort_values(["error_km", "query_id"])
    if mine.empty:
        return {}
    middle = len(mine) // 2
    for row in mine.iloc[middle : middle + LATENCY_QUERIES].itertuples():  # the first of them becomes the page
        pixels = desk.pixels_of(row.query_id)
        if pixels is None:
            continue
        started_s = time.monotonic()
        answer = desk.locate_pixels(pixels)
        taken_s = time.monotonic() - started_s
        if row.Index == mine.index[middle]:
            name = f"test picture {row.query_id}, the one with the median error"
            desk.write_evidence(answer, pixels, desk.home.evidence_page(), name=name, truth=(row.true_lat, row.true_lon))
    return {"one answer (embed, search, read out)": round(taken_s, 3)}


def _report_data(
    pipeline: Pipeline,
    desk: "Desk",
    result: "TrialResult",
    *,
    counts: dict[str, int],
    seconds: dict[str, float],
    latency: dict[str, float],
) -> Any:
    from geoloc_pipeline.evaluation.cartography import outlines_of_towns
    from geoloc_pipeline.evaluation.report import ReportData
    from geoloc_pipeline.orchestration.world import read_world
    from geoloc_pipeline.storage.parquet import read_tables

    mine = result.estimates[result.estimates["readout"] == result.calibration.readout]
    truth = desk.names.table_at(lat=mine["true_lat"], lon=mine["true_lon"])["prefecture_code"]
    found = desk.names.table_at(lat=mine["lat"], lon=mine["lon"])["prefecture_code"]
    world = read_world(pipeline.home)
    ground = "real maps with rendered pictures" if world.source else "a made-up Japan, grown from a seed"
    regions = result.calibration.regions.get(result.calibration.readout)
    return ReportData(
        title="Where were these photos taken?",
        summary=(
            f"{ground if pipeline.profile == 'demo' else 'Japan'}; inside a municipality, test pictures share no place and no "
            "sequence with training."
        ),
        estimates=result.estimates,
        default_readout=result.calibration.readout,
        pictures=read_tables(LABELLED_IMAGES, pipeline.home.tables("labelled_images")),
        counts=counts,
        seconds=seconds,
        losses=_losses(pipeline.home),
        true_code=_codes(mine, truth),
        estimated_code=_codes(mine, found),
        regions_text=regions.text() if regions else "",
        leaks=next(iter(facts_of(pipeline.home, "label_vocabulary")), {}).get("leaks", {}),
        coverage=_coverage(desk, result),
        latency=latency,
        heads=_heads(pipeline.home),
        outlines=outlines_of_towns(desk.towns, level="prefecture"),
        provenance=desk.provenance(),
        notes=_notes(result),
    )


def _codes(estimates: "pd.DataFrame", codes: "pd.Series[str]") -> dict[str, Any]:
    return {query: code if isinstance(code, str) else None for query, code in zip(estimates["query_id"], codes, strict=True)}


def _losses(home: Home) -> "pd.DataFrame | None":
    import pandas as pd

    history = pd.DataFrame(read_history(home.training_metrics()))
    names = [name for name in ("train_loss", "val_loss") if name in history]
    return history[["epoch", *names]] if names else None


def _heads(home: Home) -> dict[str, float]:
    history = read_history(home.training_metrics())
    best = min(history, key=lambda row: row.get("val_loss", float("inf")), default={})
    return {task: round(100 * share, 1) for task, share in best.get("val_accuracy", {}).items()}


def _coverage(desk: "Desk", result: "TrialResult") -> dict[str, Any]:
    """Return what the gallery could know at best: how many test places have a gallery picture nearby."""
    import numpy as np

    from geoloc_pipeline.geo.sphere import distance_m

    others = desk.manifest[~desk.manifest.index.isin(result.tested.image_id)]
    if others.empty or not result.tested.image_id:
        return {}
    away_m = distance_m(
        lat=result.tested.lat[:, None],
        lon=result.tested.lon[:, None],
        to_lat=others["lat"].to_numpy(),
        to_lon=others["lon"].to_numpy(),
    ).min(axis=1)
    return {
        f"test places with a gallery picture within {km} km": f"{100 * float(np.mean(away_m <= 1000 * km)):.1f} %"
        for km in (1, 5, 25)
    }


def _notes(result: "TrialResult") -> list[str]:
    told = _one_view(result)
    notes = []
    if told:
        notes.append(
            f"Shown one view of each test picture instead of all four, the default read-out's median error is "
            f"{told['median_km']:.1f} km, and {told['within_25_km_pct']:.1f} % are within 25 km."
        )
    return notes
