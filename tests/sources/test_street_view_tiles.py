"""Areas around points: nothing within reach is outside of them, and their quarters leave nothing out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.geo.tiles import tile_bounds, tile_of
from geoloc_pipeline.sources.street_view_tiles import box_of_area, quarters, tile_areas, tile_of_area

places = st.tuples(st.floats(20, 46), st.floats(122, 154))
tiles = st.tuples(st.integers(13_750, 15_190), st.integers(5_800, 7_250))  # from Okinawa to Hokkaido and beyond
shares = st.floats(-0.999, 0.999)


@settings(max_examples=300)
@given(tiles, st.floats(20, 150), shares, shares)
def test_what_lies_within_reach_of_a_point_lies_in_one_of_its_areas(tile, radius_m, east, north) -> None:
    # a point just inside of a tile's north-western corner, and a place as far from it as can be, on every side
    west, _, _, top = tile_bounds(x=tile[0], y=tile[1], zoom=14)
    lat, lon = top - 1e-9, west + 1e-9
    to_lat = lat + north * radius_m / 110_000
    to_lon = lon + math.sqrt(1 - north * north) * (1 if east > 0 else -1) * radius_m / 111_320 / math.cos(math.radians(lat))
    if float(distance_m(lat=lat, lon=lon, to_lat=to_lat, to_lon=to_lon)) <= radius_m:
        x, y = tile_of(lat=to_lat, lon=to_lon, zoom=14)
        assert (int(x), int(y)) in {tile_of_area(area) for area in tile_areas([("p", lat, lon)], radius_m=radius_m)}


@given(st.floats(20, 46), st.floats(20, 3000))
def test_the_reach_goes_as_far_as_the_radius_and_not_much_farther(lat, radius_m) -> None:
    x, y = (int(number) for number in tile_of(lat=lat, lon=139.7, zoom=14))
    west, south, east, north = tile_bounds(x=x, y=y, zoom=14)
    middle = (south + north) / 2
    for share, is_in in ((0.999, True), (1.02, False)):
        lon = west + share * radius_m / 111_320 / math.cos(math.radians(middle))
        if lon < east - (lon - west):  # the other neighbour is out of reach
            named = {tile_of_area(area)[0] for area in tile_areas([("p", middle, lon)], radius_m=radius_m)}
            assert (x - 1 in named) is is_in
        up = north - share * radius_m / 110_574  # a degree of latitude at the equator, the shortest
        if up > south + (north - up):
            named = {tile_of_area(area)[1] for area in tile_areas([("p", up, (west + east) / 2)], radius_m=radius_m)}
            assert (y - 1 in named) is is_in


@given(st.lists(places, max_size=8), st.floats(5, 3000))
def test_areas_are_sorted_named_once_and_know_their_points(found, radius_m) -> None:
    points = [(str(number), *place) for number, place in enumerate(found)]
    areas = tile_areas(points, radius_m=radius_m)
    assert [tile_of_area(area) for area in areas] == sorted({tile_of_area(area) for area in areas})
    for point in points:
        x, y = tile_of(lat=point[1], lon=point[2], zoom=14)
        assert point in next(area for area in areas if area.key == f"14-{x}-{y}").points
    backwards = tile_areas(points[::-1], radius_m=radius_m)
    assert [(area.key, set(area.points)) for area in backwards] == [(area.key, set(area.points)) for area in areas]


@given(places)
def test_a_place_lies_in_the_box_of_its_area_and_in_a_quarter_of_it(place) -> None:
    area = tile_areas([("p", *place)], radius_m=0.0)[0]
    west, south, east, north = box_of_area(area)
    assert west <= place[1] <= east
    assert south <= place[0] <= north
    parts = quarters((west, south, east, north))
    assert any(box[0] <= place[1] <= box[2] and box[1] <= place[0] <= box[3] for box in parts)
    whole = (east - west) * (north - south)
    assert sum((box[2] - box[0]) * (box[3] - box[1]) for box in parts) == pytest.approx(whole)
