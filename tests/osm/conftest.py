"""A small map at a true place, written as a real PBF by pyosmium."""

from __future__ import annotations

from pathlib import Path

import osmium
import pytest
import shapely

from geoloc_pipeline.tables import CENSUS_TOWNS, as_table

LAT, LON = 34.0, 131.0  # the south-west corner of the made-up prefecture's only block, 0.1 degrees wide


@pytest.fixture(scope="session")
def towns():
    return as_table(
        CENSUS_TOWNS,
        {
            "town_code": ["35201001001", "36201001001"],
            "town": ["見本町", "隣町"],
            "municipality_code": ["35201", "36201"],
            "municipality": ["見本市", "隣市"],
            "prefecture_code": ["35", "36"],
            "prefecture": ["山口県", "徳島県"],
            "population": [1, 1],
            "geometry": [shapely.box(LON, LAT, LON + 0.1, LAT + 0.1), shapely.box(LON + 3, LAT, LON + 3.1, LAT + 0.1)],
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
    (20, {"tourism": "museum", "historic": "castle", "name": "見本城"}, [(5, 6), (6, 6), (6, 7), (5, 7), (5, 6)]),
    (21, {}, [(7, 7), (8, 7), (8, 8), (7, 8), (7, 7)]),
    (22, {}, [(7.4, 7.4), (7.6, 7.4), (7.6, 7.6), (7.4, 7.6), (7.4, 7.4)]),
]


@pytest.fixture(scope="session")
def dump(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("dump") / "sample-260901.osm.pbf"
    nodes: dict[tuple[float, float], int] = {(2.0, 8.0): 1}
    for _, _, places in WAYS:
        for place in places:
            nodes.setdefault(place, 100 + len(nodes))
    with osmium.SimpleWriter(str(path), overwrite=True) as writer:
        for (east, north), number in sorted(nodes.items(), key=lambda item: item[1]):
            tags = {"railway": "station", "name": "見本駅"} if number == 1 else {}
            location = (LON + east / 100, LAT + north / 100)
            writer.add_node(osmium.osm.mutable.Node(id=number, version=1, location=location, tags=tags))
        for number, tags, places in WAYS:
            writer.add_way(osmium.osm.mutable.Way(id=number, version=1, nodes=[nodes[place] for place in places], tags=tags))
        writer.add_relation(
            osmium.osm.mutable.Relation(
                id=3,
                version=1,
                members=[("w", 21, "outer"), ("w", 22, "inner")],
                tags={"type": "multipolygon", "leisure": "park", "name": "見本公園"},
            )
        )
    return path
