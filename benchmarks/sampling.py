"""Points along roads: ways a second and core, from 1x to 100x, beside loops over features with Shapely.

python -m benchmarks.sampling
What is counted is what OpenStreetMap calls a way. `the same loop` does what ours does, one road after the other: merge its
ways, cut them at the prefecture, measure on the ellipsoid, place the points, name them, make the table. `lengths in a plane
only` is what is left when nobody asks for any of that: each way by itself, projected for nothing, the points thrown away.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import geopandas as gpd
import numpy as np
import pyproj
import shapely

from benchmarks._measure import Cost, apart, cost_of, exponent, table
from benchmarks.country import grow_streets, roads_table, towns_table
from geoloc_pipeline.geo.crs import WGS84, to_metres
from geoloc_pipeline.sampling.ground import Ground
from geoloc_pipeline.sampling.roads import sample_ground
from geoloc_pipeline.sampling.spacing import ROAD_BASE_M, SamplingSettings

SIZES = (5_000, 50_000, 150_000, 500_000)
PEER_WAYS = 20_000


def ours(n_ways: int) -> tuple[Cost, Cost]:
    """Return the cost of the points, and of uniting the town blocks before (once a prefecture)."""
    streets = grow_streets(n_ways)
    roads, blocks = roads_table(streets), towns_table(streets, 5_000).geometry.to_numpy()
    union = cost_of(lambda: Ground(blocks)._cells.size)
    ground = Ground(blocks)
    return cost_of(lambda: len(sample_ground(roads, ground, settings=SamplingSettings())), best_of=5), union


def same_loop(n_ways: int) -> Cost:
    """Return the cost of the same rule as a loop over roads; a loop knows roads by name, and each way without one by itself."""
    streets = grow_streets(n_ways)
    roads, blocks = roads_table(streets), towns_table(streets, 5_000).geometry.to_numpy()
    area, geod, settings = shapely.union_all(blocks), pyproj.Geod(ellps="WGS84"), SamplingSettings()
    shapely.prepare(area)
    base_m = dict(ROAD_BASE_M)

    def run() -> int:
        ways_of: dict[Any, list[Any]] = {}
        for way in roads.itertuples(index=False):
            ways_of.setdefault(way.road_id if isinstance(way.road_id, str) else way.way_id, []).append(way)
        rows = []
        for name, ways in ways_of.items():
            lines = shapely.line_merge(shapely.union_all([way.geometry for way in ways]))
            if not area.contains_properly(lines):
                lines = area.intersection(lines)
            parts = [(line, geod.geometry_length(line)) for line in getattr(lines, "geoms", [lines])]
            whole_m = sum(length_m for _, length_m in parts)
            wanted_m = min(base_m[way.highway] for way in ways) * math.sqrt(whole_m / 1000)
            wanted_m = min(max(wanted_m, settings.shortest_m), settings.longest_m)
            for line, length_m in parts:
                count = max(1, round(length_m / wanted_m))
                for number in range(count):
                    point = line.interpolate((number + 0.5) / count, normalized=True)
                    key = hashlib.sha256(f"{name}|{point.y:.5f}|{point.x:.5f}".encode()).hexdigest()[:16]
                    rows.append((key, point.y, point.x, name, length_m / count, point))
        columns = ["point_id", "lat", "lon", "feature_id", "spacing_m", "geometry"]
        return len(gpd.GeoDataFrame(rows, columns=columns, geometry="geometry", crs=WGS84))

    return cost_of(run)


def bare_loop(n_ways: int) -> Cost:
    """Return the cost of interpolating along every way by itself, in a plane, and keeping nothing."""
    plane = to_metres(roads_table(grow_streets(n_ways))).to_numpy()

    def run() -> int:
        found = 0
        for line in plane:
            count = max(1, round(line.length / 500))
            found += len([line.interpolate((number + 0.5) * line.length / count) for number in range(count)])
        return found

    return cost_of(run)


def main() -> None:
    """Print the tables."""
    found = {size: apart(ours, size) for size in SIZES}
    rows = [
        (
            f"{size:,}",
            f"{cost.cpu_s:.3f}",
            f"{size / cost.cpu_s:,.0f}",
            f"{cost.result:,}",
            f"{cost.grown_bytes / 1e6:.0f}",
            f"{union.cpu_s:.2f}",
        )
        for size, (cost, union) in found.items()
    ]
    print(
        table(
            ("ways", "CPU s, best of 5", "ways a second", "points", "memory above its input, MB", "outline of 5,000 blocks, s"),
            rows,
        )
    )
    print(f"exponent from {SIZES[0]:,} to {SIZES[-1]:,}: {exponent(SIZES, [cost.cpu_s for cost, _ in found.values()]):.2f}\n")
    rate = {size: size / cost.cpu_s for size, (cost, _) in found.items()}
    best = float(np.median(list(rate.values())))
    rows = []
    for name, loop in (("the same loop", same_loop), ("lengths in a plane only", bare_loop)):
        cost = apart(loop, PEER_WAYS)
        peer = PEER_WAYS / cost.cpu_s
        rows.append((name, f"{peer:,.0f}", f"{best / peer:.1f}x"))
    print(table(("peer", "ways a second", "ours (median of the sizes)"), rows))


if __name__ == "__main__":
    main()
