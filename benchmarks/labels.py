"""Labels of all Japan, prefecture after prefecture, and splits; beside geopandas: seconds and memory.

python -m benchmarks.labels [--prefectures 47]
900,000 pictures against 10 million ways (nine nodes each) in 47 partitions, one after the other in one process, as a backfill
runs them; growing the maps is not counted. The peer is `sjoin` for the town and `sjoin_nearest` with max_distance for road and
landmark, in a metric plane, projection counted: its distances are those of the plane, and of equals it keeps all.
"""

from __future__ import annotations

import argparse
from typing import Any

import geopandas as gpd

from benchmarks._measure import Cost, apart, cost_of, exponent, table
from benchmarks.country import grow_streets, images_table, labelled_table, landmarks_table, roads_table, towns_table
from geoloc_pipeline.geo.crs import to_metres
from geoloc_pipeline.labels.nearby import REACH_M, label_images
from geoloc_pipeline.labels.splits import split_images

WAYS, IMAGES, TOWNS, LANDMARKS = 10_000_000 // 47, 900_000 // 47, 232_000 // 47, 4_000


def _prefecture(ways: int, images: int, seed: int) -> tuple[Any, Any, Any, Any]:
    streets = grow_streets(ways, seed=seed)
    pictures = images_table(streets, images, seed=seed)
    return (
        pictures,
        towns_table(streets, TOWNS),
        roads_table(streets, seed=seed),
        landmarks_table(streets, LANDMARKS, seed=seed),
    )


def ours(ways: int, images: int, prefectures: int) -> tuple[float, float, int, int]:
    """Return seconds of CPU and of the clock, the peak memory in bytes, and how many pictures have a road."""
    cpu_s = wall_s = 0.0
    found, peak = 0, 0
    for seed in range(prefectures):
        pictures, *rest = _prefecture(ways, images, seed)
        cost = cost_of(
            lambda parts=(pictures, *rest): int(
                label_images([parts[0]], *parts[1:], prefecture_code="13")["road_id"].notna().sum()
            )
        )
        cpu_s, wall_s, peak, found = cpu_s + cost.cpu_s, wall_s + cost.wall_s, cost.peak_bytes, found + cost.result
    return cpu_s, wall_s, peak, found


def peer(ways: int, images: int) -> Cost:
    """Return the cost of one prefecture with geopandas."""
    pictures, towns, roads, landmarks = _prefecture(ways, images, 0)

    def run() -> int:
        plane = to_metres(pictures).crs
        at = gpd.GeoDataFrame(pictures[["image_id", "geometry"]]).to_crs(plane)
        gpd.sjoin(at, towns.to_crs(plane), predicate="within")
        gpd.sjoin_nearest(at, landmarks.to_crs(plane), max_distance=REACH_M, distance_col="away_m", how="left")
        named = roads[roads["road_id"].notna()].to_crs(plane)
        joined = gpd.sjoin_nearest(at, named, max_distance=REACH_M, distance_col="away_m", how="left")
        return int(joined.drop_duplicates("image_id")["road_id"].notna().sum())

    return cost_of(run)


def splits(images: int) -> Cost:
    """Return the cost of splitting the pictures of one partition."""
    streets = grow_streets(50_000)
    labelled = labelled_table(images_table(streets, images), towns_table(streets, 2_000))
    return cost_of(lambda: len(split_images(labelled)))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefectures", type=int, default=47)
    n = parser.parse_args().prefectures
    cpu_s, wall_s, peak, found = apart(ours, WAYS, IMAGES, n)
    other = apart(peer, WAYS, IMAGES)
    one_s, *_, one_found = apart(ours, WAYS, IMAGES, 1)
    rows = [
        (
            f"ours, {n} prefectures",
            f"{n * WAYS:,}",
            f"{n * IMAGES:,}",
            f"{cpu_s:.0f}",
            f"{wall_s:.0f}",
            f"{peak / 1e9:.2f}",
            f"{found:,}",
            "",
        ),
        ("ours, one prefecture", f"{WAYS:,}", f"{IMAGES:,}", f"{one_s:.2f}", "", "", f"{one_found:,}", ""),
        (
            "geopandas, the same",
            f"{WAYS:,}",
            f"{IMAGES:,}",
            f"{other.cpu_s:.2f}",
            f"{other.wall_s:.2f}",
            f"{other.peak_bytes / 1e9:.2f}",
            f"{other.result:,}",
            f"{other.cpu_s / one_s:.1f}x",
        ),
    ]
    print(table(("", "ways", "pictures", "CPU s", "wall s", "peak, GB (whole process)", "with a road", "peer / ours"), rows))
    sizes = (2_000, 20_000, 200_000)
    costs = [apart(ours, size, size // 10, 1)[0] for size in sizes]
    print(f"labels, exponent from {sizes[0]:,} ways and {sizes[0] // 10:,} pictures to 100x: {exponent(sizes, costs):.2f}\n")
    counts = (9_000, 90_000, 900_000)
    found_splits = [apart(splits, count) for count in counts]
    rows = [
        (f"{count:,}", f"{cost.cpu_s:.2f}", f"{cost.grown_bytes / 1e6:.0f}")
        for count, cost in zip(counts, found_splits, strict=True)
    ]
    print(table(("pictures split at once", "CPU s", "memory above its input, MB"), rows))
    print(f"splits, exponent: {exponent(counts, [cost.cpu_s for cost in found_splits]):.2f}")


if __name__ == "__main__":
    main()
