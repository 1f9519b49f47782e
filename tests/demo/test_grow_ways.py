"""Ways: cut as mappers cut, with the oddities that a reader must get right."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import shapely

from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.land import Land, Road
from geoloc_pipeline.geo.sphere import distance_m

INTERESTING = {"motorway", "trunk", "primary", "secondary", "tertiary", "unclassified", "residential"}


def length_m(road: Road) -> float:
    lon, lat = road.lonlat.T
    return float(distance_m(lat=lat[:-1], lon=lon[:-1], to_lat=lat[1:], to_lon=lon[1:]).sum())


@pytest.fixture(scope="module", params=[0.05, 1.0])
def roads(request: pytest.FixtureRequest) -> tuple[Road, ...]:
    return grow_land(seed=4, prefecture_codes=("01",), density=request.param).roads


def test_one_way_is_longer_than_30_km_and_one_shorter_than_200_m(roads: tuple[Road, ...]) -> None:
    lengths = [length_m(road) for road in roads if road.tags["highway"] in INTERESTING and "area" not in road.tags]
    assert max(lengths) > 30_000
    assert min(lengths) < 200


def test_pieces_of_a_route_meet_exactly(roads: tuple[Road, ...]) -> None:
    pieces = defaultdict(list)
    for road in roads:
        if road.tags["highway"] in {"motorway", "trunk", "primary", "secondary"}:
            pieces[road.tags["highway"], road.tags["ref"].split(";")[0]].append(shapely.LineString(road.lonlat))
    assert any(len(lines) > 1 for lines in pieces.values())
    for lines in pieces.values():
        merged = shapely.line_merge(shapely.MultiLineString(lines))
        assert merged.geom_type == "LineString"


def test_what_is_no_road_of_interest_is_there_to_be_left_out(roads: tuple[Road, ...]) -> None:
    found = {road.tags["highway"] for road in roads}
    assert {"service", "footway", "motorway_link", "track", "pedestrian"} <= found


def test_areas_and_roundabouts_are_closed(roads: tuple[Road, ...]) -> None:
    closed = [road for road in roads if road.tags.get("area") == "yes" or road.tags.get("junction") == "roundabout"]
    assert {road.tags["highway"] for road in closed} == {"pedestrian", "residential", "tertiary"}
    for road in closed:
        assert (road.lonlat[0] == road.lonlat[-1]).all()


def test_routes_are_numbered_and_named_as_in_japan(whole_land: Land) -> None:
    trunks = [road for road in whole_land.roads if road.tags["highway"] == "trunk"]
    assert all(road.tags["name"] == f"国道{road.tags['ref'].split(';')[0]}号" for road in trunks)
    assert any(";" in road.tags["ref"] for road in trunks)  # a stretch that two routes share
    assert any(road.tags["name"].startswith("東京都道") for road in whole_land.roads if road.tags["highway"] == "primary")
    local = [road for road in whole_land.roads if road.tags["highway"] in {"unclassified", "residential"}]
    assert 0.1 < np.mean(["name" in road.tags for road in local]) < 0.9
    keys = {key for road in whole_land.roads for key in road.tags}
    assert {"name:en", "name:ja-Latn", "bridge", "lanes"} <= keys


def test_some_ways_run_against_their_neighbours(whole_land: Land) -> None:
    ends = {tuple(road.lonlat[-1]): road for road in whole_land.roads if road.tags["highway"] == "primary"}
    heads = [tuple(road.lonlat[-1]) for road in whole_land.roads if road.tags["highway"] == "primary"]
    assert len(heads) > len(ends)  # two ways end in one vertex
