"""Maps and pictures of any size, with the statistics of real ones; and how near they come: `python -m benchmarks.country`.

How the statistics were matched. Real ways of the classes of interest (central Tokyo, Andorra, Liechtenstein, Monaco, Vancouver,
pooled) were counted: nodes of a way, length, share with a name, ways of a road, mix of classes, share of nodes that ways
share. `PROFILE` holds the numbers that the generator is steered by; `main` prints real and grown side by side, where the files
are there. Towns are grids of streets with jittered corners; a grid line is cut into roads of a few ways, and a way runs along a
few blocks, as mappers draw them. Dense towns and open country have their own block length, so short and long ways are both
there.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import osmium
import pandas as pd
import shapely

from geoloc_pipeline.tables import (
    CENSUS_TOWNS,
    LABELLED_IMAGES,
    OSM_LANDMARKS,
    OSM_ROADS,
    PHOTO_COLLECTIONS,
    ROAD_POINTS,
    as_table,
)


@dataclass(frozen=True)
class Profile:
    """What the grown map is steered by.

    Attributes:
        classes: Share of each class of way.
        named: Share of ways that have a road_id.
        blocks_of_a_road: Block edges that a road has, on average.
        inner_nodes: (mean, sigma) of the logarithm of a block edge's nodes between its ends.
        block_m: Block lengths of towns, metres: median and sigma of the logarithm.
        blocks_of_a_way: Block edges that mappers drew as one way, on average.
        across: Streets from edge to edge of a town: smallest and largest.
        town_corners: Corners of a town block's outline.
    """

    classes: tuple[tuple[str, float], ...] = (
        ("residential", 0.58), ("unclassified", 0.10), ("tertiary", 0.09), ("secondary", 0.11), ("primary", 0.08),
        ("trunk", 0.03), ("motorway", 0.01),
    )  # fmt: skip
    named: float = 0.86
    blocks_of_a_road: float = 6.0
    inner_nodes: tuple[float, float] = (0.85, 1.3)
    block_m: tuple[float, float] = (115.0, 1.0)
    blocks_of_a_way: float = 1.7
    across: tuple[int, int] = (4, 40)
    town_corners: int = 58


PROFILE = Profile()
_M_PER_DEG = 111_000.0


@dataclass(frozen=True)
class Streets:
    """Ways before they are a table.

    Attributes:
        lonlat: `[v, 2]` vertices, one way after the other.
        count: `[n]` vertices of each way.
        road: `[n]` number of the named road, or -1.
        kind: `[n]` class.
    """

    lonlat: np.ndarray[Any, Any]
    count: np.ndarray[Any, Any]
    road: np.ndarray[Any, Any]
    kind: np.ndarray[Any, Any]


def grow_streets(n_ways: int, *, seed: int = 0, profile: Profile = PROFILE) -> Streets:
    """Grow about `n_ways` ways around 35.5° N, 138° E; as dense at any size."""
    dice = np.random.default_rng([seed, n_ways])
    sizes = []
    while sum(2 * size * (size - 1) for size in sizes) < 2 * n_ways:
        low, high = profile.across
        sizes.append(int(low * (high / low) ** dice.random()))
    side = int(np.ceil(np.sqrt(len(sizes))))
    parts, first_road = [], 0
    for number, size in enumerate(sizes):
        block_m = min(profile.block_m[0] * np.exp(dice.normal(0, profile.block_m[1])), 1500.0)
        corner = np.array([138.0, 35.5]) + np.array([number % side, number // side]) * 0.3
        part = _town(dice, corner, size, block_m / _M_PER_DEG, first_road, profile)
        first_road = int(max(first_road, part.road.max() + 1))
        parts.append(part)
    joined = Streets(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("lonlat", "count", "road", "kind")))
    return _first(joined, n_ways)


def _town(dice: Any, corner: Any, size: int, block_deg: float, first_road: int, profile: Profile) -> Streets:
    block_deg = min(block_deg, 0.28 / size)
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    corners = corner + np.stack([x * 1.2, y], axis=-1) * block_deg + dice.normal(0, 0.15 * block_deg, (size, size, 2))
    start = np.concatenate([corners[:, :-1].reshape(-1, 2), corners.transpose(1, 0, 2)[:, :-1].reshape(-1, 2)])
    end = np.concatenate([corners[:, 1:].reshape(-1, 2), corners.transpose(1, 0, 2)[:, 1:].reshape(-1, 2)])
    inner = np.minimum(np.exp(dice.normal(*profile.inner_nodes, len(start))), 60).astype(np.int64)
    count = inner + 2
    row = np.repeat(np.arange(len(start)), count)
    turn = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    share = (turn / (count[row] - 1))[:, None]
    wobble = dice.normal(0, 0.02 * block_deg, (len(row), 2)) * ((turn > 0) & (turn < count[row] - 1))[:, None]
    lonlat = np.round(start[row] * (1 - share) + end[row] * share + wobble, 7)
    # Runs of neighbouring edges along a grid line make a road; the class belongs to the road.
    new_run = dice.random(len(start)) < 1 / profile.blocks_of_a_road
    new_run[:: size - 1] = True
    run = np.cumsum(new_run) - 1
    shares = np.array([share for _, share in profile.classes])
    kind = np.array([name for name, _ in profile.classes], dtype=object)[
        dice.choice(len(shares), size=int(run.max()) + 1, p=shares / shares.sum())
    ][run]
    named = dice.random(int(run.max()) + 1) < profile.named
    # A way goes on through a corner when its road does; the corner is written once.
    new_way = new_run | (dice.random(len(start)) < 1 / profile.blocks_of_a_way)
    kept = new_way[row] | (turn > 0)
    count = np.add.reduceat(count - ~new_way, np.flatnonzero(new_way))
    return Streets(lonlat[kept], count, np.where(named[run], first_road + run, -1)[new_way], kind[new_way])


def _first(streets: Streets, n_ways: int) -> Streets:
    vertices = int(streets.count[:n_ways].sum())
    return Streets(streets.lonlat[:vertices], streets.count[:n_ways], streets.road[:n_ways], streets.kind[:n_ways])


def roads_table(streets: Streets, *, seed: int = 0) -> Any:
    """Return the ways as `tables.OSM_ROADS`, in an order that says nothing of the place, as OSM's numbers do."""
    n = len(streets.count)
    shapes = shapely.linestrings(streets.lonlat, indices=np.repeat(np.arange(n), streets.count))
    names = np.array([f"13:見本通り{number}" for number in range(int(streets.road.max(initial=-1)) + 1)] + [None], dtype=object)
    order = np.random.default_rng(seed).permutation(n)
    shapes = shapely.from_wkb(shapely.to_wkb(shapes[order]))  # in memory as they are when read from a file: row after row
    return as_table(
        OSM_ROADS,
        {
            "way_id": np.array([f"way/{number}" for number in range(n)], dtype=object),
            "road_id": names[streets.road[order]],
            "highway": streets.kind[order],
            "name": names[streets.road[order]],
            "name_latin": np.full(n, None),
            "ref": np.full(n, None),
            "length_m": np.ones(n),
            "geometry": shapes,
        },
    )


def towns_table(streets: Streets, n_towns: int, *, profile: Profile = PROFILE, prefecture_code: str = "13") -> Any:
    """Return town blocks that cover the map without gaps, with as many corners as real ones."""
    west, south = streets.lonlat.min(axis=0) - 0.01
    east, north = streets.lonlat.max(axis=0) + 0.01
    side = max(1, int(np.sqrt(n_towns)))
    x, y = np.linspace(west, east, side + 1), np.linspace(south, north, side + 1)
    column, row = (index.ravel() for index in np.meshgrid(np.arange(side), np.arange(side)))
    boxes = shapely.segmentize(
        shapely.box(x[column], y[row], x[column + 1], y[row + 1]), 4 * (x[1] - x[0]) / profile.town_corners
    )
    n, city = len(boxes), (row * side + column) // 60
    return as_table(
        CENSUS_TOWNS,
        {
            "town_code": [f"{prefecture_code}{201 + c % 700:03d}{number:06d}" for number, c in enumerate(city.tolist())],
            "town": [f"見本町{number}" for number in range(n)],
            "municipality_code": [f"{prefecture_code}{201 + c % 700:03d}" for c in city.tolist()],
            "municipality": [f"見本市{c}" for c in city.tolist()],
            "prefecture_code": [prefecture_code] * n,
            "prefecture": ["見本県"] * n,
            "population": np.zeros(n, dtype=np.int64),
            "geometry": boxes,
        },
    )


def landmarks_table(streets: Streets, n_landmarks: int, *, seed: int = 0) -> Any:
    """Return landmarks beside the streets: two thirds nodes, the rest areas of 200 m to 2 km."""
    dice = np.random.default_rng([seed, 5])
    at = streets.lonlat[dice.integers(0, len(streets.lonlat), n_landmarks)] + dice.normal(0, 3e-4, (n_landmarks, 2))
    reach_deg = np.where(dice.random(n_landmarks) < 2 / 3, 0.0, 10 ** dice.uniform(-3.0, -2.0, n_landmarks))
    shapes = shapely.points(at)
    areas = reach_deg > 0
    shapes[areas] = shapely.buffer(shapes[areas], reach_deg[areas], quad_segs=4)
    return as_table(
        OSM_LANDMARKS,
        {
            "landmark_id": [f"node/{number}" for number in range(n_landmarks)],
            "category": ["leisure=park"] * n_landmarks,
            "name": [None] * n_landmarks,
            "name_latin": [None] * n_landmarks,
            "area_m2": np.pi * (reach_deg * _M_PER_DEG) ** 2 * 0.81,
            "geometry": shapes,
        },
    )


def points_table(n_points: int, *, seed: int = 0) -> Any:
    """Return road points of all Japan: one a block in towns of every size, the rest scattered."""
    dice = np.random.default_rng([seed, n_points])
    n_towns = max(1, n_points // 2000)
    size = dice.pareto(1.2, n_towns) + 0.3
    count = dice.multinomial(int(n_points * 0.85), size / size.sum())
    centre = np.repeat(dice.uniform([31, 130], [43, 141], (n_towns, 2)), count, axis=0)
    spread = np.repeat(np.sqrt(count) * 90 / _M_PER_DEG, count)[:, None] * np.array([1.0, 1.25])
    latlon = np.concatenate(
        [
            centre + (dice.random((len(centre), 2)) - 0.5) * spread,
            dice.uniform([31, 130], [43, 141], (n_points - len(centre), 2)),
        ]
    )
    names = np.char.mod("%016x", np.arange(n_points))
    return as_table(
        ROAD_POINTS,
        {
            "point_id": names,
            "lat": latlon[:, 0],
            "lon": latlon[:, 1],
            "feature_id": names,
            "spacing_m": np.zeros(n_points),
            "geometry": shapely.points(latlon[:, ::-1]),
        },
    )


def images_table(streets: Streets, n_images: int, *, seed: int = 0) -> Any:
    """Return pictures as `tables.PHOTO_COLLECTIONS`: most within 20 m of a street, in sequences of about twelve."""
    dice = np.random.default_rng([seed, 7])
    first = np.sort(dice.integers(0, len(streets.lonlat), n_images))
    at = streets.lonlat[first] + dice.normal(0, 1e-4, (n_images, 2))
    group = np.cumsum(dice.random(n_images) < 1 / 12)
    stamp = pd.Timestamp("2026-01-01", tz="UTC")
    plain: dict[str, Any] = {
        "source": "local", "origin_id": None, "accuracy_m": np.nan,
        "content_sha256": "", "requested_lat": np.nan, "requested_lon": np.nan, "views": "photo",
        "width_px": 448, "height_px": 448,
        "captured_at": stamp, "fetched_at": stamp, "licence": "CC0-1.0", "attribution": "", "source_url": "", "sha256": "",
        "shard": "0.tar", "offset": 0, "size_bytes": 1, "point_id": None, "is_wanted": True,
    }  # fmt: skip
    names = np.char.mod("%012d", np.arange(n_images))
    own = {
        "image_id": names,
        "source_image_id": names,
        "lat": at[:, 1],
        "lon": at[:, 0],
        "capture_group": np.char.mod("sequence %d", group),
        "geometry": shapely.points(at),
    }
    wanted = PHOTO_COLLECTIONS.column_names
    return as_table(PHOTO_COLLECTIONS, {**{name: [plain[name]] * n_images for name in wanted if name in plain}, **own})


def labelled_table(images: Any, towns: Any) -> Any:
    """Return pictures as `tables.LABELLED_IMAGES` with the municipality and town of the block they lie in, and no more."""
    row, picture = shapely.STRtree(images.geometry.to_numpy()).query(towns.geometry.to_numpy(), predicate="intersects")
    block = pd.Series(row).groupby(picture).min().reindex(np.arange(len(images))).fillna(0).astype(int).to_numpy()
    columns = {name: images[name] for name in ("image_id", "lat", "lon", "source", "capture_group", "geometry")}
    columns |= {name: towns[name].to_numpy()[block] for name in ("prefecture_code", "municipality_code", "town_code")}
    columns |= {name: [None] * len(images) for name in ("road_id", "landmark_id")}
    columns |= {name: np.full(len(images), np.nan) for name in ("road_distance_m", "landmark_distance_m")}
    columns |= {"town_distance_m": np.zeros(len(images))}
    return as_table(LABELLED_IMAGES, columns)


def write_pbf(streets: Streets, path: Path) -> None:
    """Write the ways as an `.osm.pbf`, with nodes shared where ways meet, and a replication header."""
    grid = np.round(streets.lonlat * 1e7).astype(np.int64)
    places, node = np.unique(grid[:, 0] * 2**31 + grid[:, 1], return_inverse=True)
    header = osmium.io.Header()
    header.set("osmosis_replication_timestamp", "2026-09-03T20:21:51Z")
    header.set("osmosis_replication_sequence_number", "4867")
    ends = np.append(0, np.cumsum(streets.count))
    with osmium.SimpleWriter(str(path), header=header, overwrite=True) as writer:
        for number, place in enumerate(places.tolist(), start=1):
            writer.add_node(osmium.osm.mutable.Node(id=number, location=(place // 2**31 / 1e7, place % 2**31 / 1e7)))
        for number, (road, kind) in enumerate(zip(streets.road.tolist(), streets.kind.tolist(), strict=True)):
            tags = {"highway": kind} | ({"name": f"見本通り{road}"} if road >= 0 else {})
            nodes = (node[ends[number] : ends[number + 1]] + 1).tolist()
            writer.add_way(osmium.osm.mutable.Way(id=number + 1, nodes=nodes, tags=tags))


def statistics_of(roads: Any) -> dict[str, float]:
    """Return the numbers that real and grown ways are compared by."""
    shapes = roads.geometry.to_numpy()
    nodes = shapely.get_num_coordinates(shapes)
    places = np.round(shapely.get_coordinates(shapes) * 1e7).astype(np.int64)
    shared = np.unique(places[:, 0] * 2**31 + places[:, 1], return_counts=True)[1] > 1
    lonlat, way = shapely.get_coordinates(shapes, return_index=True)
    step = np.hypot(*(np.diff(lonlat, axis=0) * [np.cos(np.radians(lonlat[:, 1].mean())), 1]).T) * (way[1:] == way[:-1])
    length_m = np.bincount(way[1:], weights=step, minlength=len(shapes)) * _M_PER_DEG
    named = roads["road_id"].notna()
    return {
        "nodes of a way, mean": nodes.mean(), "nodes, median": np.median(nodes), "nodes, 90 %": np.percentile(nodes, 90),
        "length, m, mean": length_m.mean(), "length, median": np.median(length_m), "length, 90 %": np.percentile(length_m, 90),
        "ways with a name, %": 100 * named.mean(), "ways of a road": named.sum() / max(1, roads["road_id"].nunique()),
        "residential, %": 100 * (roads["highway"] == "residential").mean(), "nodes that ways share, %": 100 * shared.mean(),
    }  # fmt: skip


def main() -> None:
    """Print the statistics of real ways, as extracted tables in a folder, beside grown ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="osm_roads tables of real maps (GeoParquet)")
    told = parser.parse_args()
    columns = {"grown": statistics_of(roads_table(grow_streets(100_000)))}
    if told.real:
        import geopandas as gpd

        tables = [gpd.read_parquet(path) for path in told.real]
        columns |= {"real": statistics_of(pd.concat(tables, ignore_index=True))}
        columns |= {path.stem: statistics_of(table) for path, table in zip(told.real, tables, strict=True)}
    print(f"| | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for name in columns["grown"]:
        print(f"| {name} | {' | '.join(f'{values[name]:.1f}' for values in columns.values())} |")


if __name__ == "__main__":
    main()
