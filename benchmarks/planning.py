"""Which picture for which of a million points: ours beside a loop over points, and the plan written and read.

python -m benchmarks.planning
The country is made up as Japan's sample points lie: chains of points 350 m apart, three fifths of them crowded into towns; over
some of the roads somebody has driven, now and then both ways or years apart, with a picture every 20 m, one drive in ten of
panoramas. In the second case a tenth of the points has as many pictures, 50 a point. `the same loop` follows the same rule,
one point after the other: a k-d tree gives what is near, the distance is the geodesic, `sorted` finds the best. It is measured
on 20,000 of the points with all the pictures; its million is extrapolated.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from benchmarks._measure import apart, cost_of, table
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M, distance_m, unit_vectors
from geoloc_pipeline.imagery import choose
from geoloc_pipeline.imagery.choose import Choice, choose_pictures
from geoloc_pipeline.imagery.panorama import HEADINGS_DEG
from geoloc_pipeline.imagery.plan import Plan, plan_path, read_plan, refresh_plan, write_plan
from geoloc_pipeline.sources.street_view import Coverage, Point

CASES = ((1_000_000, 5_000_000), (100_000, 5_000_000))
PEER_POINTS = 20_000
RADIUS_M = 150.0
_CHAIN, _APART_M, _STEP_M = 20, 350.0, 20.0
_STEPS = int(_CHAIN * _APART_M / _STEP_M)


def country(n_points: int, n_pictures: int) -> tuple[list[Point], Coverage]:
    """Return sample points in id order, and the pictures of a country."""
    rng = np.random.default_rng(7)
    n_chains = n_points // _CHAIN
    towns = np.column_stack([rng.uniform(31, 43, 1_500), rng.uniform(130, 143, 1_500)])
    size = rng.lognormal(0, 1, len(towns))
    at = towns[rng.choice(len(towns), n_chains, p=size / size.sum())] + rng.normal(0, 0.03, (n_chains, 2))
    in_country = rng.random(n_chains) > 0.6
    at[in_country] = np.column_stack([rng.uniform(31, 43, in_country.sum()), rng.uniform(130, 143, in_country.sum())])
    bearing = rng.uniform(0, 360, n_chains)

    def along(chain: Any, away_m: Any) -> tuple[Any, Any]:
        lat = at[chain, 0] + away_m * np.cos(np.radians(bearing[chain])) / 111_000
        return lat, at[chain, 1] + away_m * np.sin(np.radians(bearing[chain])) / (111_000 * np.cos(np.radians(at[chain, 0])))

    chain = np.repeat(np.arange(n_chains), _CHAIN)
    lat, lon = along(chain, np.tile(np.arange(_CHAIN) * _APART_M, n_chains))
    names = rng.permutation(n_points)
    points = sorted((f"{name:016x}", *place) for name, *place in zip(names.tolist(), lat.tolist(), lon.tolist(), strict=True))
    drive = np.repeat(np.arange(n_pictures // _STEPS), _STEPS)
    n_drives = len(drive) // _STEPS
    driven = rng.choice(n_chains * 2 // 5, n_drives)[drive]
    lat, lon = along(driven, np.tile(np.arange(_STEPS) * _STEP_M, n_drives) + rng.normal(0, 3, len(drive)))
    ahead = (bearing[driven] + (rng.integers(0, 4, n_drives) * 90)[drive] + rng.normal(0, 8, len(drive))) % 360
    began_ms = rng.integers(1_400_000_000_000, 1_790_000_000_000, n_drives)
    coverage = Coverage.of(
        image_id=[str(number) for number in 10**15 + rng.permutation(len(drive))],
        lat=lat + rng.normal(0, 3e-5, len(drive)),
        lon=lon + rng.normal(0, 3e-5, len(drive)),
        compass_deg=ahead,
        captured_ms=began_ms[drive] + np.tile((np.arange(_STEPS) * 1000), n_drives),
        is_pano=(rng.random(n_drives) < 0.1)[drive],
    )
    return points, coverage


def ours(n_points: int, n_pictures: int) -> dict[str, Any]:
    """Return what a plan from nothing takes, by step; the steps inside are those of a second, instrumented run."""
    points, coverage = country(n_points, n_pictures)
    plans: list[Plan] = []
    steps: dict[str, float] = {}

    def plan_from(former: Plan, wanted: list[Point]) -> None:
        kept: dict[str, Any] = {"standing": range(len(former.chunks)), "places": {}, "radius_m": RADIUS_M, "chunk_points": 64}
        plans.append(refresh_plan(former, wanted, coverage_of=lambda _: coverage, **kept))

    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak so far was that of making the country up
    cost = cost_of(lambda: plan_from(Plan(), points))
    with tempfile.TemporaryDirectory() as folder:
        path = plan_path(Path(folder), source="mapillary", radius_m=RADIUS_M, edition="")
        _timed(steps, "written", write_plan)(path, plans[0])
        size_bytes = path.stat().st_size
        same = _timed(steps, "read", read_plan)(path) == plans[0]
    _timed(steps, "refreshed, nothing new", plan_from)(plans[0], points)
    return {
        "cost": cost,
        "steps": steps | _inside(points, coverage),
        "plan_bytes": size_bytes,
        "same": same and plans[1] is plans[0],
        "panoramas": sum(bool(choice.pano_id) for choice in plans[0].planned),
        "served": len(plans[0].planned),
    }


def _inside(points: list[Point], coverage: Coverage) -> dict[str, float]:
    """Return the seconds of the steps inside `choose_pictures`."""
    steps: dict[str, float] = {}
    was = {"_views": choose._views, "_served": choose._served, "lists": choose._Wishing.lists}
    started_s = time.process_time()
    try:
        choose._views = _timed(steps, "order of the pictures", choose._views)
        choose._served = _timed(steps, "all of serving", choose._served)
        choose._Wishing.lists = _timed(steps, "pairs, and their order", choose._Wishing.lists)  # type: ignore[method-assign]
        choose_pictures(points, coverage, radius_m=RADIUS_M)
    finally:
        choose._views, choose._served, choose._Wishing.lists = was["_views"], was["_served"], was["lists"]  # type: ignore[assignment, method-assign]
    steps["points take in turn; the grid"] = steps.pop("all of serving") - steps["pairs, and their order"]
    steps["choices, and the rest"] = time.process_time() - started_s - sum(steps.values())
    return steps


def _timed(steps: dict[str, float], name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        started_s = time.process_time()
        try:
            return call(*arguments, **named)
        finally:
            steps[name] = steps.get(name, 0.0) + time.process_time() - started_s

    return timed


def same_loop(n_points: int, n_pictures: int, n_looked: int) -> tuple[float, float, bool]:
    """Return the seconds of the loop over some of the points, those of its index, and whether ours comes to the same."""
    points, coverage = country(n_points, n_pictures)
    points = points[:n_looked]
    started_s = time.process_time()
    tree = cKDTree(unit_vectors(lat=coverage.lat, lon=coverage.lon))
    index_s = time.process_time() - started_s
    taken: set[int] = set()

    def choice_of(point: Point) -> Choice:
        rows = tree.query_ball_point(unit_vectors(lat=point[1], lon=point[2]), RADIUS_M * 1.01 / MEAN_EARTH_RADIUS_M)
        away = distance_m(lat=point[1], lon=point[2], to_lat=coverage.lat[rows], to_lon=coverage.lon[rows]).tolist()
        near = [(away_m, row) for away_m, row in zip(away, rows, strict=True) if away_m <= RADIUS_M]
        free = [(away_m, row) for away_m, row in near if row not in taken]

        def worth(away_m: float, row: int, band: float = 0.0) -> tuple[Any, ...]:
            quality = coverage.quality[row]
            rated = np.inf if np.isnan(quality) else -quality
            return away_m // 10, not coverage.is_outdoor[row], band, -coverage.captured_ms[row], rated, away_m, row

        panos = sorted(worth(*one) for one in free if coverage.is_pano[one[1]])
        if panos:
            taken.add(panos[0][-1])
            return Choice(*point, pano_id=coverage.image_id[panos[0][-1]])
        found = []
        for heading_deg in HEADINGS_DEG:
            turns = [abs((coverage.compass_deg[row] - heading_deg + 180) % 360 - 180) for _, row in free]
            looking = sorted(worth(*one, turn // 15) for one, turn in zip(free, turns, strict=True) if turn <= 45)
            found += [(heading_deg, looking[0][-1]) for _ in looking[:1]]
        taken.update(row for _, row in found)
        reason = "" if found else "already_taken" if near else "nothing_within_radius"
        return Choice(*point, flats=tuple((heading, coverage.image_id[row]) for heading, row in found), reason=reason)

    started_s = time.process_time()
    choices = [choice_of(point) for point in points]
    loop_s = time.process_time() - started_s
    return loop_s, index_s, choices == choose_pictures(points, coverage, radius_m=RADIUS_M)


def main() -> None:
    """Print the tables."""
    rows = []
    steps: dict[str, dict[str, float]] = {}
    for n_points, n_pictures in CASES:
        found = apart(ours, n_points, n_pictures)
        cost, steps[f"{n_points:,}"] = found["cost"], found["steps"]
        rows.append(
            (
                f"{n_points:,}",
                f"{n_pictures:,}",
                f"{cost.cpu_s:.1f}",
                f"{cost.grown_bytes / 1e6:,.0f}",
                f"{cost.peak_bytes / 1e6:,.0f}",
                f"{found['served']:,} ({found['panoramas']:,})",
                f"{found['plan_bytes'] / 1e6:.1f}",
                "yes" if found["same"] else "NO",
            )
        )
    heads = ("points", "pictures", "plan, CPU s", "memory above its input, MB", "peak, MB", "points served (panoramas)")
    print(table((*heads, "plan on disk, MB", "reads back the same, and again the same"), rows))
    names = list(next(iter(steps.values())))
    print()
    print(table(("step, CPU s", *steps), [(name, *(f"{each[name]:.2f}" for each in steps.values())) for name in names]))
    n_points, n_pictures = CASES[0]
    loop_s, index_s, agrees = apart(same_loop, n_points, n_pictures, PEER_POINTS)
    whole_s = index_s + loop_s * n_points / PEER_POINTS
    print()
    row = (f"{index_s:.1f}", f"{loop_s:.1f}", f"{whole_s:,.0f} (extrapolated)", "yes" if agrees else "NO")
    print(table(("the same loop: k-d tree, CPU s", f"{PEER_POINTS:,} points", f"{n_points:,} points", "same choices"), [row]))


if __name__ == "__main__":
    main()
