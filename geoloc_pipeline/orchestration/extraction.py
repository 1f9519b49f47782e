"""Prefectures out of dumps: several in one run share one pass of their region's dump, and a map that lost too much is refused.

https://docs.dagster.io/guides/build/partitions-and-backfills
Belongs here: which prefectures have work to do, one pass for each region, the comparison with the tables in hand, and what
Dagster is told of each prefecture. Does not belong here: the extraction (`osm`).

A run of several partitions has one data version an asset in Dagster. Ours are content hashes of a prefecture, so that one whose
roads did not change stays current: each prefecture therefore gets an event of its own after the run's.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import dagster as dg

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.geo.prefectures import BY_KEY, Prefecture
from geoloc_pipeline.orchestration.checks import contract_kept
from geoloc_pipeline.orchestration.io import Made, Outcome, Step, write_tables
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.receipts import read_receipt
from geoloc_pipeline.tables import CENSUS_TOWNS, OSM_LANDMARKS, OSM_ROADS

if TYPE_CHECKING:
    import pandas as pd

    from geoloc_pipeline.osm.losses import MapChange

CHECKS = {"osm_roads": "roads_are_not_lost", "osm_landmarks": "landmarks_are_not_lost"}
"""Blocking check by asset."""
ABOUT_LOSSES = "The new map lacks no more than a fifth of what the table in hand has; `accept_loss` lets it through."


@dataclass
class _Part:
    """One prefecture of a run: its two steps, what goes into them, and what comes out."""

    prefecture: Prefecture
    steps: dict[str, Step]
    inputs: dict[str, str]
    results: dict[str, dg.MaterializeResult[None]] = field(default_factory=dict)
    changes: "dict[str, MapChange]" = field(default_factory=dict)

    @property
    def is_lost(self) -> bool:
        return any(change.is_loss for change in self.changes.values())


def extract_prefectures(
    context: dg.AssetExecutionContext, pipeline: Pipeline, *, accept_loss: bool
) -> Iterator[Outcome | dg.AssetMaterialization]:
    """Bring the tables of every prefecture of the run up to date and report them.

    Args:
        context: Of the run; its partitions are the prefectures.
        pipeline: Where everything is.
        accept_loss: Write a map that lost too much, too.

    Yields:
        The run's results, its checks, and each prefecture's own event where there are several.

    Raises:
        BadSourceFileError: A map lost too much; its tables in hand stay, those of the other prefectures are written.
        GeolocError: As `osm.extract.extract_maps`.
    """
    parts = [_part(context, pipeline, key) for key in sorted(context.partition_keys)]
    for part in parts:
        part.results = {name: done for name, step in part.steps.items() if (done := step.current(part.inputs))}
    waiting = [part for part in parts if len(part.results) < len(part.steps)]
    passes = 0
    for region, group in groupby(waiting, key=lambda part: part.prefecture.region):
        passes += 1
        _extract_region(pipeline, region, list(group), accept_loss=accept_loss)
    refused = [part for part in parts if part.is_lost and not accept_loss]
    run = {"dump_passes": passes, "prefectures": len(parts)}
    if not refused:
        yield from _reports(context, parts, run)
    yield from _checks(parts, accept_loss=accept_loss)
    if len(parts) > 1:
        yield from _events(context, [part for part in parts if part not in refused], run)
    if refused:
        _refuse(pipeline, refused)


def _part(context: dg.AssetExecutionContext, pipeline: Pipeline, key: str) -> _Part:
    prefecture, steps = BY_KEY[key], {name: Step(context, pipeline, name, key) for name in CHECKS}
    roads = steps["osm_roads"]
    return _Part(prefecture, steps, roads.upstream("osm_dump", prefecture.region) | roads.upstream("census_towns", key))


def _dump(pipeline: Pipeline, region: str) -> Path:
    """Return the dump that `osm_dump` made last: the newest name need not be it, when the source was another before."""
    receipt = read_receipt(pipeline.home.receipt("osm_dump", region))
    return pipeline.home.root / next(iter(receipt.files if receipt else {}))


def _extract_region(pipeline: Pipeline, region: str, parts: list[_Part], *, accept_loss: bool) -> None:
    """Make the tables of the prefectures of one region in one pass of its dump."""
    from geoloc_pipeline.osm.extract import extract_maps
    from geoloc_pipeline.osm.losses import landmark_change, road_change
    from geoloc_pipeline.storage.parquet import read_table

    for part in parts:
        part.steps["osm_roads"].check(part.inputs)
    home, by_code, started_s = pipeline.home, {part.prefecture.code: part for part in parts}, time.monotonic()
    maps = extract_maps(
        _dump(pipeline, region),
        {code: read_table(CENSUS_TOWNS, home.table("census_towns", part.prefecture.key)) for code, part in by_code.items()},
        scratch=home.extraction_scratch("osm_map", parts[0].prefecture.key),
        memory_limit_bytes=pipeline.settings.memory_limit_bytes,
        progress=parts[0].steps["osm_roads"].progress,
    )
    for code, roads, landmarks in maps:
        part = by_code[code]
        part.changes = {
            "osm_roads": road_change(home.table("osm_roads", part.prefecture.key), roads),
            "osm_landmarks": landmark_change(home.table("osm_landmarks", part.prefecture.key), landmarks),
        }
        if accept_loss or not part.is_lost:
            _write(part, roads, landmarks, started_s=started_s)
        started_s = time.monotonic()


def _write(part: _Part, roads: "pd.DataFrame", landmarks: "pd.DataFrame", *, started_s: float) -> None:
    from geoloc_pipeline.orchestration.showing.previews import draw_map

    def made_roads() -> Made:
        facts = {"roads": int(roads["road_id"].nunique()), "length_km": round(float(roads["length_m"].sum()) / 1000)}
        made = write_tables(part.steps["osm_roads"], {OSM_ROADS: roads}, **facts)
        made.preview = draw_map(lines=roads)
        return made

    def made_landmarks() -> Made:
        categories = int(landmarks["category"].nunique())
        made = write_tables(part.steps["osm_landmarks"], {OSM_LANDMARKS: landmarks}, categories=categories)
        made.preview = draw_map(points=landmarks.assign(geometry=landmarks.geometry.representative_point()))
        return made

    part.results["osm_roads"] = part.steps["osm_roads"].run(part.inputs, made_roads, started_s=started_s)
    part.results["osm_landmarks"] = part.steps["osm_landmarks"].run(part.inputs, made_landmarks, started_s=time.monotonic())


def _reports(
    context: dg.AssetExecutionContext, parts: list[_Part], run: dict[str, int]
) -> Iterator[dg.MaterializeResult[None]]:
    for name in CHECKS:
        context.add_asset_metadata(run, asset_key=name)
        rows = sum(int(part.steps[name].facts().get("rows") or 0) for part in parts)
        kept = contract_kept(name, {"rows": rows}, partition=", ".join(part.prefecture.key for part in parts))
        whole: dg.MaterializeResult[None] = dg.MaterializeResult(asset_key=name, check_results=[kept])
        yield parts[0].results[name] if len(parts) == 1 else whole


def _checks(parts: list[_Part], *, accept_loss: bool) -> Iterator[dg.AssetCheckResult]:
    """Tell of each asset whether it lost too much anywhere; a loss that was accepted is a warning, which blocks nothing."""
    for name, check in CHECKS.items():
        changes = {part.prefecture.key: part.changes[name] for part in parts if name in part.changes}
        yield dg.AssetCheckResult(
            asset_key=name,
            check_name=check,
            passed=not any(change.is_loss for change in changes.values()),
            severity=dg.AssetCheckSeverity.WARN if accept_loss else dg.AssetCheckSeverity.ERROR,
            metadata={key: change.told() for key, change in changes.items()},
        )


def _events(context: dg.AssetExecutionContext, parts: list[_Part], run: dict[str, int]) -> Iterator[dg.AssetMaterialization]:
    """Tell Dagster each prefecture's own facts and data version; where from, as the run's event just told it."""
    for part in parts:
        for name, result in part.results.items():
            key = part.prefecture.key
            wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), asset_partitions=[key])
            latest = context.instance.fetch_materializations(wanted, limit=1).records
            of_run = latest[0].asset_materialization if latest and latest[0].run_id == context.run.run_id else None
            yield dg.AssetMaterialization(
                asset_key=name,
                partition=key,
                metadata={**(result.metadata or {}), **run},
                tags={**(of_run.tags if of_run and of_run.tags else {}), **_version_tag(result)},
            )


def _version_tag(result: dg.MaterializeResult[None]) -> dict[str, str]:
    return {"dagster/data_version": result.data_version.value} if result.data_version else {}


def _refuse(pipeline: Pipeline, refused: list[_Part]) -> NoReturn:
    """Say what is lost.

    Raises:
        BadSourceFileError: Always.
    """
    told = [f"{part.prefecture.key} {change.told()}" for part in refused for change in part.changes.values() if change.is_loss]
    raise BadSourceFileError(
        path=_dump(pipeline, refused[0].prefecture.region),
        reason=f"too much of the map in hand is missing in it: {'; '.join(told)}",
        cure=(
            "the tables in hand stay as they are; bring a better dump, or, when the loss is real, run again with the "
            "configuration ops: {osm_map: {config: {accept_loss: true}}}"
        ),
    )
