"""Cuts roads into OSM ways as mappers do, and adds the ways that a reader must get right or leave alone.

Belongs here: pieces, bridges, reversed ways, shared routes, stubs, roundabouts, plazas, footways.
Does not belong here: where roads run (`grow_roads.py`).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.demo import grow_names
from geoloc_pipeline.demo.grow_roads import Route, shifted
from geoloc_pipeline.demo.land import Road

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.grow_roads import Sites
    from geoloc_pipeline.demo.grow_towns import Ground

    Floats = NDArray[np.float64]

LONG_WAY_M = 31_000.0
"""The first way of every motorway: one of 30 km or more."""


def cut_ways(ground: Ground, routes: list[Route], sites: Sites, dice: Generator) -> tuple[Road, ...]:
    """Gives a prefecture's ways in degrees.

    Ways that belong together share their end vertices exactly; some run against their neighbours, as mappers leave them.

    Args:
        ground: The plane.
        routes: Roads of the classes of interest.
        sites: Where the plazas go.
        dice: Chance.

    Returns:
        Ways with ids of their own, those of no interest (service, footway, link, track) included.
    """
    pieces = [piece for route in routes for piece in _pieces(route, dice)]
    pieces += _stubs(routes, dice) + _oddities(routes, sites)
    first = 1_300_000_000 + int(ground.homeland.code) * 1_000_000
    return tuple(
        Road(way_id=first + number, tags={"highway": piece.highway, **piece.tags}, lonlat=ground.lonlat(piece.xy))
        for number, piece in enumerate(pieces)
    )


def _pieces(route: Route, dice: Generator) -> list[Route]:
    """Cuts one road at vertices; bridges and shared stretches get tags of their own."""
    chain = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(route.xy, axis=0).T))])
    cuts: list[int] = []
    at = LONG_WAY_M if route.highway == "motorway" and chain[-1] > LONG_WAY_M else 0.0
    while route.cut_m:
        at = at + route.cut_m * dice.uniform(0.5, 1.5) if cuts or at == 0.0 else at
        vertex = int(np.searchsorted(chain, at))
        if vertex >= len(chain) - 2:
            break
        cuts.append(max(vertex, (cuts[-1] if cuts else 0) + 1))
    bounds = [0, *cuts, len(chain) - 1]
    pieces = []
    for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
        xy, tags = route.xy[start : stop + 1], dict(route.tags)
        if number and route.highway in {"trunk", "primary"} and dice.random() < 0.2:
            tags |= {"bridge": "yes", "layer": "1"}
        elif number and route.highway == "trunk" and number == 2:
            tags["ref"] += ";" + str(int(tags["ref"]) + 5)  # two national routes share this stretch
        if route.highway in {"trunk", "primary"}:
            tags["lanes"] = str(dice.choice([2, 4]))
        if number and dice.random() < 0.2:
            xy = xy[::-1]
        pieces.append(Route(route.highway, xy, tags))
    return pieces


def _stubs(routes: list[Route], dice: Generator) -> list[Route]:
    """Adds dead ends of 70 to 160 m: shorter than any sampling interval."""
    local = [route for route in routes if route.highway in {"tertiary", "unclassified", "residential"} and len(route.xy) > 4]
    stubs = []
    for number in range(3):
        parent = local[int(dice.integers(len(local)))].xy
        corner, ahead = parent[2], parent[3] - parent[2]
        side = np.array([-ahead[1], ahead[0]]) / np.hypot(*ahead)
        tags = {"name": f"見本袋小路{number + 1}"} if number == 0 else {}
        stubs.append(Route("residential", np.stack([corner, corner + side * (70.0 + 40.0 * number)]), tags))
    return stubs


def _oddities(routes: list[Route], sites: Sites) -> list[Route]:
    """Adds a roundabout, two plazas, and what must not be taken for a road of interest."""
    motorway = next(route for route in routes if route.highway == "motorway")
    trunk = next(route for route in routes if route.highway == "trunk")
    local = next(route for route in reversed(routes) if route.highway in {"unclassified", "residential", "tertiary"})
    start = motorway.xy[len(motorway.xy) // 2]
    plaza = shifted(sites.grid, sites.grid_m * 0.8, 0.0)
    alley = shifted(sites.grid, 0.0, -sites.grid_m * 0.7)
    middle = np.array([sites.park.centroid.x, sites.park.centroid.y])
    square = np.array([[-40.0, -30.0], [40.0, -30.0], [40.0, 30.0], [-40.0, 30.0], [-40.0, -30.0]])
    return [
        Route("tertiary", _ring(local.xy[-1], 18.0), {"junction": "roundabout", "oneway": "yes"}),
        Route("pedestrian", plaza + square, {"area": "yes", "name": f"{grow_names.SAMPLES[0]}駅前広場"}),
        Route("residential", shifted(plaza, 200.0, 0.0) + square * 0.6, {"area": "yes"}),
        Route("motorway_link", np.stack([start, shifted(start, 90.0, 60.0), shifted(start, 260.0, 330.0)]), {"oneway": "yes"}),
        Route("service", np.stack([alley, shifted(alley, 70.0, -15.0), shifted(alley, 90.0, -60.0)]), {"service": "alley"}),
        Route(
            "footway",
            np.stack([shifted(middle, 100.0, 100.0), shifted(middle, 180.0, 240.0), shifted(middle, 90.0, 330.0)]),
            {},
        ),
        Route(
            "track",
            np.stack([trunk.xy[3], shifted(trunk.xy[3], 120.0, 260.0), shifted(trunk.xy[3], 60.0, 520.0)]),
            {"surface": "dirt"},
        ),
    ]


def _ring(foot: Floats, radius_m: float) -> Floats:
    """Gives a closed ring that begins and ends at its foot."""
    angle = np.linspace(0.0, 2 * np.pi, 13)
    ring = foot + [0.0, radius_m] + radius_m * np.column_stack([np.sin(angle), -np.cos(angle)])
    ring[0] = ring[-1] = foot
    return ring
