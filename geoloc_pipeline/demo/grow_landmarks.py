"""Grows what people name when they say where they are: stations, shrines, museums, peaks and parks.

Belongs here: landmarks as nodes, ways and relations, in the plane and in degrees.
Does not belong here: roads and town blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from geoloc_pipeline.demo import grow_names
from geoloc_pipeline.demo.grow_roads import shifted
from geoloc_pipeline.demo.land import Landmark

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.grow_roads import Route, Sites
    from geoloc_pipeline.demo.grow_towns import Block, Ground

    Floats = NDArray[np.float64]

_NODES = (
    ("駅", "Station", {"railway": "station"}),
    ("展望台", "Viewpoint", {"tourism": "viewpoint"}),
    ("神社", "Shrine", {"amenity": "place_of_worship", "religion": "shinto"}),
    ("郷土館", "Local Museum", {"tourism": "museum"}),
    ("之碑", "Monument", {"historic": "monument"}),
    ("名所", "Attraction", {"tourism": "attraction"}),
    ("寺", "Temple", {"amenity": "place_of_worship", "religion": "buddhist"}),
    ("山", "Hill", {"natural": "peak", "ele": "312"}),
)
_AREAS = (
    ("公園", "Park", {"leisure": "park"}, 210.0),
    ("美術館", "Art Museum", {"tourism": "museum", "building": "yes"}, 85.0),
    ("城跡", "Castle Ruins", {"historic": "castle"}, 260.0),
    ("運動公園", "Sports Park", {"leisure": "park"}, 330.0),
)


def grow_landmarks(
    ground: Ground, blocks: list[Block], routes: list[Route], sites: Sites, dice: Generator, *, density: float
) -> tuple[Landmark, ...]:
    """Grows a prefecture's landmarks: a node for each block, areas in each municipality, parks, relations.

    Args:
        ground: The plane.
        blocks: Town blocks.
        routes: Long and local roads; landmarks stand beside them.
        sites: Where the large park lies.
        dice: Chance.
        density: 1 for the whole; less leaves out nodes and areas, but no kind.

    Returns:
        Landmarks with ids of their own; one has no name, and one is nothing that anyone would name.
    """
    homeland = ground.homeland
    first = int(homeland.code) * 1_000_000
    lattice = [block for block in blocks if block.column >= 0]
    made: list[tuple[str, dict[str, str], shapely.Geometry]] = []
    for number, block in enumerate(lattice):
        word, kind = grow_names.SAMPLES[block.municipality], number % len(_NODES)
        if number < len(_NODES) or dice.random() < density:
            label, english, tags = _NODES[kind]
            names = {"name": f"{word}{homeland.mark}{number + 1}号{label}", "name:en": f"{grow_names.ROMAJI[word]} {english}"}
            spot = _beside_road(block, routes, dice, 9.0 if number % 2 else 45.0)
            made.append(("node", (tags if number == 5 else {**tags, **names}), shapely.Point(spot)))
        if number < len(_AREAS) or (number % 4 == 0 and dice.random() < density):
            label, english, tags, size_m = _AREAS[number % len(_AREAS)]
            romaji = f"{grow_names.ROMAJI[word]} {number + 1}-gō"
            names = {"name": f"{word}{homeland.mark}{number + 1}号{label}", "name:ja-Latn": romaji, "name:en": english}
            spot = _beside_road(block, routes, dice, size_m * 0.62)
            made.append(("way", {**tags, **names}, _rounded_box(spot, size_m, dice)))
    made.append(("way", {"leisure": "park", "name": f"見本{homeland.mark}大公園", "name:en": "Mihon Grand Park"}, sites.park))
    made += _relations(homeland.mark, lattice, routes, dice)
    made.append(("node", {"amenity": "vending_machine"}, shapely.Point(sites.grid + 3.0)))
    base = {"node": 12_000_000_000, "way": 1_300_900_000, "relation": 18_000_000}
    return tuple(
        Landmark(kind=kind, osm_id=base[kind] + first + number, tags=dict(tags), geometry=ground.placed(shape))
        for number, (kind, tags, shape) in enumerate(made)
    )


def _relations(
    mark: str, lattice: list[Block], routes: list[Route], dice: Generator
) -> list[tuple[str, dict[str, str], shapely.Geometry]]:
    """Grows a park around a pond that is not part of it, and temple grounds in two pieces."""
    spot = _beside_road(lattice[13], routes, dice, 300.0)
    outer = _rounded_box(spot, 520.0, dice)
    pond = shapely.Polygon(spot + (np.asarray(outer.exterior.coords) - spot)[::-1] * 0.35)
    park = shapely.Polygon(outer.exterior, [pond.exterior])
    spot = _beside_road(lattice[21], routes, dice, 130.0)
    grounds = shapely.MultiPolygon([_rounded_box(spot, 150.0, dice), _rounded_box(shifted(spot, 240.0, 60.0), 110.0, dice)])
    return [
        ("relation", {"leisure": "park", "name": f"見本{mark}池公園"}, park),
        (
            "relation",
            {"amenity": "place_of_worship", "religion": "buddhist", "name": f"例示{mark}寺境内"},
            grounds,
        ),
    ]


def _beside_road(block: Block, routes: list[Route], dice: Generator, away_m: float) -> Floats:
    """Finds a spot beside a road of the block, or inside the block where no road is."""
    starts = np.concatenate([route.xy[:-1] for route in routes])
    ahead = np.concatenate([np.diff(route.xy, axis=0) for route in routes])
    inside = np.flatnonzero(shapely.contains_xy(block.shape, *starts.T))
    if len(inside) == 0:
        spot = block.shape.representative_point()
        return np.array([spot.x, spot.y])
    start, step = starts[row := int(dice.choice(inside))], ahead[row]
    side = np.array([-step[1], step[0]]) / np.hypot(*step)
    return np.asarray(start + step / 2 + side * away_m, dtype=np.float64)


def _rounded_box(middle: Floats, size_m: float, dice: Generator) -> shapely.Polygon:
    """Gives a ground plan with cut corners, turned at random."""
    turn, wide, deep = dice.uniform(0.0, np.pi), size_m / 2, size_m * dice.uniform(0.3, 0.48)
    corners = np.array([[1, 0.7], [0.8, 1], [-0.8, 1], [-1, 0.7], [-1, -0.7], [-0.8, -1], [0.8, -1], [1, -0.7]]) * [wide, deep]
    return shapely.Polygon(middle + corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]))
