"""Grows a prefecture's roads: long routes across it, a dense grid in one town, and local roads until every block has its share.

Belongs here: where roads run and what they are called, in the plane.
Does not belong here: how mappers cut them into ways (`grow_ways.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import shapely
from shapely.ops import substring

from geoloc_pipeline.demo import grow_names
from geoloc_pipeline.demo.grow_towns import HEIGHT_M, WIDTH_M

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.random import Generator
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.grow_names import Homeland
    from geoloc_pipeline.demo.grow_towns import Block

    Floats = NDArray[np.float64]

SHARE_M = {"motorway": 130.0, "trunk": 130.0, "primary": 150.0, "secondary": 175.0, "tertiary": 220.0}
"""Length that is expected to ask for one picture on a road of 1 km; it grows with the root of the length, 500 m at least."""
POINTS_PER_BLOCK = 16.0
_LANDMARK_POINTS = 1.0
_APART_M = 330.0  # local roads keep this distance, so that their points do not melt into one cluster
_STEP_M = 110.0
GRID_PITCH_M = 100.0

# class, runs east to west, where its middle crosses the other axis (share of the half extent)
_MAIN = (
    ("motorway", True, 0.12), ("trunk", True, -0.36), ("trunk", False, -0.10), ("primary", True, 0.62),
    ("primary", False, -0.66), ("primary", False, 0.50), ("secondary", True, -0.74), ("secondary", False, 0.82),
    ("secondary", False, -0.38), ("tertiary", False, 0.22),
)  # fmt: skip


@dataclass(frozen=True)
class Route:
    """One road as people think of it, before mappers cut it into ways.

    Attributes:
        highway: OSM class.
        xy: `[n, 2]` metres in the plane.
        tags: OSM tags besides `highway`.
        cut_m: Usual length of its ways; 0: a single way.
    """

    highway: str
    xy: Floats
    tags: dict[str, str] = field(default_factory=dict)
    cut_m: float = 0.0


@dataclass(frozen=True)
class Sites:
    """Where a prefecture's special places lie, in the plane.

    Attributes:
        grid: Middle of the dense grid.
        grid_m: Its side.
        park: The large park.
    """

    grid: Floats
    grid_m: float
    park: shapely.Polygon


def grow_routes(
    homeland: Homeland, blocks: list[Block], dice: Generator, *, density: float
) -> tuple[list[Route], list[Route], Sites]:
    """Grows everything that carries a road class of interest.

    Args:
        homeland: The prefecture.
        blocks: Its town blocks.
        dice: Chance.
        density: 1 for the whole; less keeps every kind and shortens them.

    Returns:
        Long routes and local roads, the grid's streets, and the sites that they were grown around.
    """
    lattice = [block for block in blocks if block.column >= 0]
    inland = shapely.union_all([block.shape for block in blocks if not block.town.is_water]).buffer(-150.0)
    routes = _main_routes(homeland, inland, dice, density)
    mains = shapely.MultiLineString([route.xy for route in routes])
    by_place = {(block.column, block.row): block for block in lattice}
    grid_m = 1000.0 if density >= 0.5 else 700.0
    sites = Sites(
        grid=_free_spot(by_place[4, 1], mains, dice), grid_m=grid_m, park=_park(_free_spot(by_place[1, 2], mains, dice), dice)
    )
    streets = _grid(sites, dice)
    routes += _park_roads(sites.park)
    _grow_local(routes, streets, lattice, sites, dice, density)
    return routes, streets, sites


def _main_routes(homeland: Homeland, inland: shapely.Geometry, dice: Generator, density: float) -> list[Route]:
    """Draws the long routes as sums of waves, cut at the shore, and shortened where the land is thin."""
    routes = []
    for number, (highway, is_across, offset) in enumerate(_MAIN):
        half, other = (WIDTH_M / 2, HEIGHT_M / 2) if is_across else (HEIGHT_M / 2, WIDTH_M / 2)
        along = np.arange(-half - 2000.0, half + 2000.0, 200.0 if highway == "motorway" else 160.0)
        phase = dice.uniform(0.0, 2 * np.pi, 3)
        waves = zip((520.0, 1000.0, 150.0), (9_000.0, 23_000.0, 3_100.0), phase, strict=True)
        away = offset * other + sum(size * np.sin(2 * np.pi * along / wave + shift) for size, wave, shift in waves)
        line = shapely.LineString(np.column_stack([along, away] if is_across else [away, along]))
        parts = shapely.get_parts(shapely.intersection(line, inland))
        line = parts[np.argmax(shapely.length(parts))]
        if density < 1.0:
            share = max(density, 0.72 if highway == "motorway" else 0.06)  # of the motorway more than 30 km must be left
            first = dice.uniform(0.0, 1.0 - share)
            line = substring(line, first, first + share, normalized=True)
        tags, cut_m = _main_tags(homeland, highway, number)
        routes.append(Route(highway, np.asarray(line.coords), tags, cut_m))
    return routes


def _main_tags(homeland: Homeland, highway: str, number: int) -> tuple[dict[str, str], float]:
    """Names a long route as Japan does, and says how mappers cut it."""
    if highway == "motorway":
        ref = f"E{homeland.route}"
        return {"ref": ref, "name": f"見本{homeland.mark}自動車道", "name:en": "Mihon Expressway", "oneway": "no"}, 5000.0
    if highway == "trunk":
        route = homeland.route + number
        return {"ref": str(route), "name": f"国道{route}号", "name:en": f"National Route {route}"}, 4200.0
    if highway == "tertiary":
        return {"name": "見本縦貫通り", "name:ja-Latn": "Mihon Jūkan-dōri"}, 3000.0
    ref = str(950 + number)
    tags = {"ref": ref, "name": f"{homeland.road_word}{ref}号見本例示線"}
    return tags if highway == "primary" else {"ref": ref}, 3400.0


def _free_spot(block: Block, mains: shapely.Geometry, dice: Generator) -> Floats:
    """Finds the place in a block that lies farthest from its border and from the long routes."""
    west, south, east, north = block.shape.bounds
    spots = dice.uniform([west, south], [east, north], (160, 2))
    spots = spots[shapely.contains_xy(block.shape, *spots.T)]
    points = shapely.points(spots)
    room = np.minimum(shapely.distance(points, block.shape.boundary), shapely.distance(points, mains) * 1.4)
    return np.asarray(spots[np.argmax(room)], dtype=np.float64)


def _park(middle: Floats, dice: Generator) -> shapely.Polygon:
    """Gives a park of about three and a half square kilometres."""
    angle = np.arange(40) * 2 * np.pi / 40
    radius = 1.0 + 0.09 * np.sin(3 * angle + dice.uniform(0, 6)) + 0.05 * np.sin(5 * angle + dice.uniform(0, 6))
    return shapely.Polygon(middle + np.column_stack([1180.0 * radius * np.cos(angle), 960.0 * radius * np.sin(angle)]))


def _park_roads(park: shapely.Polygon) -> list[Route]:
    """Draws a ring road and a crossroad inside the park."""
    middle = np.array([park.centroid.x, park.centroid.y])
    ring = middle + (np.asarray(park.exterior.coords) - middle) * 0.6
    cross = np.stack([ring[5], shifted(middle, 60.0, 0.0), shifted(middle, -40.0, -80.0), ring[27]])
    loop = {"name": "見本大公園周回路", "name:ja-Latn": "Mihon Daikōen Shūkairo"}
    return [
        Route("unclassified", ring, loop, cut_m=2200.0),
        Route("unclassified", _rounded(cross), {"name": "見本大公園横断路"}),
    ]


def shifted(place: Floats, east_m: float, north_m: float) -> Floats:
    """Gives the place so far away, along the axes of the plane."""
    return np.asarray(place + np.array([east_m, north_m]), dtype=np.float64)


def _rounded(xy: Floats) -> Floats:
    """Rounds the corners of a polyline by cutting them twice (Chaikin), ends kept."""
    for _ in range(2):
        cut = np.empty((2 * len(xy) - 2, 2))
        cut[::2], cut[1::2] = xy[:-1] * 0.75 + xy[1:] * 0.25, xy[:-1] * 0.25 + xy[1:] * 0.75
        cut[0], cut[-1] = xy[0], xy[-1]
        xy = cut
    return xy


def _grid(sites: Sites, dice: Generator) -> list[Route]:
    """Draws a town's grid of 100 m blocks; its streets share their crossings."""
    count = round(sites.grid_m / GRID_PITCH_M) + 1
    turn = dice.uniform(-0.4, 0.4)
    axis = (np.arange(count) - (count - 1) / 2) * GRID_PITCH_M
    flat = np.stack(np.meshgrid(axis, axis), axis=-1) + dice.normal(0.0, 4.0, (count, count, 2))
    nodes = flat @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + sites.grid
    streets = []
    for k in range(count):
        for line in (nodes[k], nodes[:, k]):
            tags = {"name": f"見本{k + 1}番街"} if k % 5 == 0 and line is nodes[k] else {}
            streets.append(Route("residential", line.copy(), tags, cut_m=420.0))
    return streets


def expected_points(routes: Iterable[Route], shape: shapely.Geometry) -> float:
    """Tells how many pictures the roads are expected to ask for inside a shape."""
    total = 0.0
    for route in routes:
        line = shapely.LineString(route.xy)
        share_m = max(SHARE_M.get(route.highway, 260.0) * np.sqrt(line.length / 1000.0), 500.0)
        total += shapely.length(shapely.intersection(line, shape)) / share_m
    return total


def _grow_local(
    routes: list[Route], streets: list[Route], lattice: list[Block], sites: Sites, dice: Generator, density: float
) -> None:
    """Adds local roads to `routes`, block by block, until each block has its share."""
    named = 0
    for block in lattice:
        target = POINTS_PER_BLOCK * density - _LANDMARK_POINTS
        have = expected_points(routes, block.shape)
        if block.shape.contains(shapely.Point(sites.grid)):
            have += (sites.grid_m / 350.0) ** 2
        have += 4.0 * shapely.intersection(block.shape, sites.park).area / 1e6
        inner = block.shape.buffer(-130.0)
        shapely.prepare(inner)
        near = [route for route in routes + streets if shapely.intersects(shapely.LineString(route.xy), block.shape)]
        grown: list[Route] = []
        for _ in range(90):
            if have >= target:
                break
            xy = _branch(near, inner, dice, longest_m=max((target - have) * 500.0, 700.0))
            if xy is None:
                continue
            route = _local(xy, named, dice)
            named += "name" in route.tags
            have += max(expected_points([route], block.shape), 1.0)
            grown.append(route)
            near.append(route)
        routes += grown


def _local(xy: Floats, number: int, dice: Generator) -> Route:
    """Gives a local road its class and, more often than not, a name."""
    highway = str(dice.choice(["tertiary", "unclassified", "residential"], p=[0.25, 0.35, 0.4]))
    tags: dict[str, str] = {}
    if highway == "tertiary" or dice.random() < 0.55:
        tags["name"] = grow_names.street(number)
        if dice.random() < 0.3:
            tags["name:en"] = f"{grow_names.ROMAJI[tags['name'][:2]]} Street"
    return Route(highway, xy, tags, cut_m=float(dice.choice([0.0, 900.0, 1500.0])))


def _branch(near: list[Route], inner: shapely.Geometry, dice: Generator, *, longest_m: float) -> Floats | None:
    """Lets a road leave another one and wander until it meets a third, its block's border, or its end.

    Returns:
        `[n, 2]` metres; None where there was no room for 600 m of road.
    """
    parents = [route.xy for route in near if route.highway != "motorway"]
    parents += [_anywhere(inner, dice)] * (1 + len(parents) // 5)  # blocks that only a corner of a road touches
    parent = parents[int(dice.integers(len(parents)))]
    vertex = int(dice.integers(1, max(len(parent) - 1, 2)))
    tangent = parent[min(vertex + 1, len(parent) - 1)] - parent[vertex - 1]
    heading = np.arctan2(tangent[1], tangent[0]) + dice.choice([-1.0, 1.0]) * np.pi / 2 + dice.normal(0.0, 0.2)
    count = int(np.clip(dice.uniform(1200.0, 4300.0), 700.0, longest_m + 300.0) / _STEP_M) + 1
    bends = dice.normal(0.0, 0.10, count)
    heading += np.convolve(np.cumsum(bends), np.ones(3) / 3, mode="same")
    steps = _STEP_M * np.column_stack([np.cos(heading), np.sin(heading)])
    path = np.concatenate([parent[vertex : vertex + 1], parent[vertex] + np.cumsum(steps, axis=0)])
    if not shapely.contains_xy(inner, *path[0]):
        return None
    walls = shapely.MultiLineString([route.xy for route in near] or [path[:2] + 1e6])
    shapely.prepare(walls)
    fine = shapely.contains_xy(inner, *path.T) & ~shapely.dwithin(walls, shapely.points(path), _APART_M)
    fine[:4] = True  # beside its parent
    end = len(path) if fine.all() else int(np.argmin(fine))
    if end * _STEP_M < 600.0:
        return None
    path = path[:end]
    corners = np.concatenate([route.xy for route in near] or [path[:1]])
    away = np.hypot(*(corners - path[-1]).T)
    if end < count and away.min() < 1.5 * _APART_M:
        path = np.concatenate([path, corners[[int(np.argmin(away))]]])
    return path


def _anywhere(inner: shapely.Geometry, dice: Generator) -> Floats:
    """Gives a road a spot of its own to start from, as a short piece with a direction."""
    west, south, east, north = inner.bounds
    spot = dice.uniform([west, south], [east, north])
    return np.asarray(spot + dice.uniform(-1.0, 1.0, (3, 2)).cumsum(axis=0) * 5.0, dtype=np.float64)
