"""What a new map costs after extraction, when one road in a hundred changed: `python -m benchmarks.refresh`.

Prefectures of one size with maps, town blocks and pictures; the five steps from the map to the split run through Dagster,
first all, then again with a map in which 1 % of all ways moved: all of them in one prefecture (a town was mapped anew), and
spread over every prefecture. What a user would do instead is the first run again. Growing the maps and collecting the pictures
are not counted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import dagster as dg
import shapely

from benchmarks._measure import table
from benchmarks.country import grow_streets, images_table, landmarks_table, roads_table, towns_table
from geoloc_pipeline.geo.prefectures import PREFECTURES, Prefecture
from geoloc_pipeline.orchestration.assets import labels, sampling
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.storage.receipts import write_receipt
from geoloc_pipeline.tables import CENSUS_TOWNS, OSM_LANDMARKS, OSM_ROADS, STREET_VIEW_IMAGES, TableContract

STEPS = [
    sampling.road_points, sampling.landmark_points, sampling.sample_points, labels.labelled_images, labels.dataset_splits,
]  # fmt: skip


def put(pipeline: Pipeline, contract: TableContract, prefecture: Prefecture, frame: Any, *, version: str) -> None:
    """Write a table and its receipt, as the asset would."""
    path = pipeline.home.table(contract.name, prefecture.key)
    write_table(contract, frame, path)
    receipt = pipeline.home.receipt(contract.name, prefecture.key)
    write_receipt(receipt, inputs={"version": version}, files=[path], root=pipeline.home.root)


def grow(pipeline: Pipeline, prefecture: Prefecture, n_ways: int) -> None:
    """Grow a prefecture up to its pictures."""
    seed = int(prefecture.code)
    streets = grow_streets(n_ways, seed=seed)
    towns = towns_table(streets, max(60, n_ways // 28), prefecture_code=prefecture.code)
    put(pipeline, CENSUS_TOWNS, prefecture, towns, version="2020")
    put(pipeline, OSM_ROADS, prefecture, roads_table(streets, seed=seed), version="first")
    put(pipeline, OSM_LANDMARKS, prefecture, landmarks_table(streets, n_ways // 50, seed=seed), version="first")
    put(pipeline, STREET_VIEW_IMAGES, prefecture, images_table(streets, n_ways // 7, seed=seed), version="first")


def move(pipeline: Pipeline, prefecture: Prefecture, n_ways: int, metres: float) -> None:
    """Move the first ways of a prefecture a little, as a mapper with better pictures does."""
    roads = read_table(OSM_ROADS, pipeline.home.table("osm_roads", prefecture.key))
    shapes = roads.geometry.to_numpy().copy()
    shapes[:n_ways] = shapely.transform(shapes[:n_ways], lambda lonlat: lonlat + metres / 111_000)
    put(pipeline, OSM_ROADS, prefecture, roads.set_geometry(shapes, crs=roads.crs), version=f"moved {metres}")


def run(pipeline: Pipeline, instance: dg.DagsterInstance, prefectures: list[Prefecture]) -> float:
    """Return the seconds of one run of the five steps for each prefecture."""
    started_s = time.monotonic()
    for prefecture in prefectures:
        dg.materialize(STEPS, partition_key=prefecture.key, resources={"pipeline": pipeline}, instance=instance)
    return time.monotonic() - started_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefectures", type=int, default=47)
    parser.add_argument("--ways", type=int, default=30_000, help="of each prefecture")
    told = parser.parse_args()
    chosen = list(PREFECTURES[: told.prefectures])
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        pipeline = Pipeline(home_dir=str(Path(folder) / "home"), profile="japan")
        for prefecture in chosen:
            grow(pipeline, prefecture, told.ways)
        full_s = run(pipeline, instance, chosen)
        nothing_s = run(pipeline, instance, chosen)
        changed = told.ways * len(chosen) // 100
        move(pipeline, chosen[0], min(changed, told.ways), 3.0)
        one_s = run(pipeline, instance, chosen[:1])
        checked_s = run(pipeline, instance, chosen)
        for prefecture in chosen:
            move(pipeline, prefecture, told.ways // 100, 5.0)
        spread_s = run(pipeline, instance, chosen)
    rows = [
        ("all, the first time", full_s),
        ("nothing changed", nothing_s),
        ("1 % changed, in one prefecture: that prefecture's run", one_s),
        ("1 % changed, in one prefecture: every prefecture run, the others skip", one_s + checked_s),
        ("1 % changed, spread over every prefecture", spread_s),
    ]
    print(f"{len(chosen)} prefectures of {told.ways:,} ways and {told.ways // 7:,} pictures")
    print(table(("", "s", "of all"), [(name, f"{seconds:.1f}", f"{100 * seconds / full_s:.1f} %") for name, seconds in rows]))


if __name__ == "__main__":
    main()
