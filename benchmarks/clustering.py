"""Sample points from points: seconds and memory from 1x to 100x, beside scikit-learn as its manual says.

python -m benchmarks.clustering [--sizes 50000 500000 5000000]
The peer is DBSCAN on (lat, lon) with the haversine metric and a mean of degrees for each cluster: no cut of wide clusters, so
it leaves clusters as wide as a city; no ids, no table.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from sklearn.cluster import DBSCAN

from benchmarks._measure import Cost, apart, cost_of, exponent, table
from benchmarks.country import points_table
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M
from geoloc_pipeline.sampling.clusters import ClusterSettings, cluster_points, separation_m
from geoloc_pipeline.tables import LANDMARK_POINTS, empty_table

PEER_POINTS = 500_000


def ours(n_points: int) -> tuple[Cost, float]:
    """Return the cost, and how near the nearest two sample points are."""
    points = points_table(n_points)
    found = []
    cost = cost_of(lambda: found.append(cluster_points(points, empty_table(LANDMARK_POINTS), prefecture_code="13")))
    return Cost(cost.cpu_s, cost.wall_s, cost.grown_bytes, cost.peak_bytes, len(found[0])), separation_m(found[0])


def peer(n_points: int) -> Cost:
    """Return the cost of scikit-learn alone."""
    points = points_table(n_points)[["lat", "lon"]]

    def run() -> int:
        eps = ClusterSettings().eps_m / MEAN_EARTH_RADIUS_M
        labels = DBSCAN(eps=eps, min_samples=1, metric="haversine", algorithm="ball_tree").fit_predict(np.radians(points))
        return len(pd.DataFrame(points).groupby(labels).mean())

    return cost_of(run)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50_000, 500_000, 5_000_000])
    sizes = parser.parse_args().sizes
    found = {size: apart(ours, size) for size in sizes}
    rows = [
        (
            "ours",
            f"{size:,}",
            f"{cost.cpu_s:.1f}",
            f"{cost.wall_s:.1f}",
            f"{cost.peak_bytes / 1e9:.2f}",
            f"{cost.result:,}",
            f"{apart_m:.1f}",
        )
        for size, (cost, apart_m) in found.items()
    ]
    other = apart(peer, PEER_POINTS)
    rows.append(
        (
            "scikit-learn",
            f"{PEER_POINTS:,}",
            f"{other.cpu_s:.1f}",
            f"{other.wall_s:.1f}",
            f"{other.peak_bytes / 1e9:.2f}",
            f"{other.result:,}",
            "",
        )
    )
    print(table(("", "points", "CPU s", "wall s", "peak, GB (whole process)", "sample points", "nearest two, m"), rows))
    if len(sizes) > 1:
        print(f"exponent from {sizes[0]:,} to {sizes[-1]:,}: {exponent(sizes, [cost.cpu_s for cost, _ in found.values()]):.2f}")


if __name__ == "__main__":
    main()
