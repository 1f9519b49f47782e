"""A small map at a true place, written as a real PBF by pyosmium, with the oddities that real dumps have."""

from __future__ import annotations

from pathlib import Path

import osmium
import pytest
import shapely

from geoloc_pipeline.tables import CENSUS_TOWNS, as_table

LAT, LON = 34.0, 131.0  # the south-west corner of the made-up prefecture's only block, 0.1 degrees wide


AREAS = {  # prefecture: its only block, (west, south, east, north) in hundredths of a degree from the corner
    "34": (-10, 0, 0, 10),  # shares its eastern border with 35
    "35": (0, 0, 10, 10),
    "36": (300, 0, 310, 10),  # has nothing
    "37": (5, 2.2, 5.2, 2.4),  # lies inside 35, as no real one does
}


@pytest.fixture(scope="session")
def towns():
    n = len(AREAS)
    return as_table(
        CENSUS_TOWNS,
        {
            "town_code": [f"{code}201001001" for code in AREAS],
            "town": ["見本町"] * n,
            "municipality_code": [f"{code}201" for code in AREAS],
            "municipality": ["見本市"] * n,
            "prefecture_code": list(AREAS),
            "prefecture": ["見本県"] * n,
            "population": [1] * n,
            "geometry": [shapely.transform(shapely.box(*box), lambda xy: xy / 100 + [LON, LAT]) for box in AREAS.values()],
        },
    )


# (way id, tags, [(east, north) in hundredths of a degree from the corner])
WAYS = [
    (
        1,
        {"highway": "trunk", "ref": "２", "name": "国道2号"},
        [(-30, 5), (-20, 5), (5, 5), (9, 5), (40, 6)],
    ),  # far beyond both ends
    (2, {"highway": "residential"}, [(1, 1), (2, 1)]),
    (3, {"highway": "tertiary", "name": "見本通り", "name:en": "Sample Street"}, [(1, 2), (1, 3)]),
    (4, {"highway": "residential", "junction": "roundabout", "name:en": "Ring"}, [(3, 3), (3.1, 3), (3.1, 3.1), (3, 3)]),
    (5, {"highway": "footway", "name": "歩道"}, [(1, 4), (2, 4)]),  # not a class of ours
    (6, {"highway": "primary", "ref": "21;9"}, [(10.5, 1), (10.6, 1)]),  # in the halo
    (7, {"highway": "primary", "ref": "7"}, [(30, 1), (31, 1)]),  # far away
    (8, {"highway": "residential", "area": "yes"}, [(7, 1), (7.1, 1), (7.1, 1.1), (7, 1)]),  # a square, not a road
    (9, {"highway": "tertiary", "name": "境通り"}, [(-5, 5), (5, 4)]),  # over the border, a node on either side
    (10, {"highway": "tertiary", "name": "西通り"}, [(-8, 2), (-7, 2), (-7, 2), (-7, 3)]),  # with a doubled node
    (20, {"tourism": "museum", "historic": "castle", "name": "見本城"}, [(5, 6), (6, 6), (6, 7), (5, 7), (5, 6)]),
    (21, {}, [(7, 7), (8, 7), (8, 8), (7, 8), (7, 7)]),
    (23, {"leisure": "park", "name": "蝶公園"}, [(3, 0.5), (7.3, 4.1), (7.1, 0.3), (3.2, 4.4), (3, 0.5)]),  # crosses itself
    (22, {}, [(7.4, 7.4), (7.6, 7.4), (7.6, 7.6), (7.4, 7.6), (7.4, 7.4)]),
]
NOWHERE, MISSING = 9001, 9999  # a node at (0, 0), and one that is not in the dump
ODD_WAYS = {50: [], 51: [103], 52: [103, 103], 53: [103, MISSING], 54: [103, NOWHERE], 55: [103, 104, NOWHERE]}
ODD_RELATIONS = {60: [], 61: [("w", 21, "outer"), ("w", MISSING, "inner")], 62: [("w", 53, "outer")], 63: [("w", 2, "outer")]}


@pytest.fixture(scope="session")
def dump(tmp_path_factory) -> Path:
    return write_dump(tmp_path_factory.mktemp("dump") / "sample-260901.osm.pbf")


def write_dump(path: Path) -> Path:
    nodes: dict[tuple[float, float], int] = {(2.0, 8.0): 1}
    for _, _, places in WAYS:
        for place in places:
            nodes.setdefault(place, 100 + len(nodes))
    with osmium.SimpleWriter(str(path), overwrite=True) as writer:
        for (east, north), number in sorted(nodes.items(), key=lambda item: item[1]):
            tags = {"railway": "station", "name": "見本駅"} if number == 1 else {}
            location = (LON + east / 100, LAT + north / 100)
            writer.add_node(osmium.osm.mutable.Node(id=number, version=1, location=location, tags=tags))
        odd = {"highway": "residential", "historic": "ruins", "name": "奇道"}
        writer.add_node(osmium.osm.mutable.Node(id=NOWHERE, version=1, location=(0, 0), tags=odd))
        ways = [(number, tags, [nodes[place] for place in places]) for number, tags, places in WAYS]
        for number, tags, refs in sorted([*ways, *((number, odd, refs) for number, refs in ODD_WAYS.items())]):
            writer.add_way(osmium.osm.mutable.Way(id=number, version=1, nodes=refs, tags=tags))
        writer.add_relation(
            osmium.osm.mutable.Relation(
                id=3,
                version=1,
                members=[("w", 21, "outer"), ("w", 22, "inner")],
                tags={"type": "multipolygon", "leisure": "park", "name": "見本公園"},
            )
        )
        for number, members in ODD_RELATIONS.items():
            tags = {"type": "multipolygon", "leisure": "park"}
            writer.add_relation(osmium.osm.mutable.Relation(id=number, version=1, members=members, tags=tags))
    return path
