"""Points along roads."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.sampling.roads import sample_roads
from geoloc_pipeline.sampling.spacing import SamplingSettings
from geoloc_pipeline.tables import ROAD_POINTS, check_table

WEST, SOUTH = 139.0, 35.0
KM_LON, KM_LAT = 0.010963, 0.009013  # a kilometre in degrees at 35 north
CLASSES = ("trunk", "secondary", "residential")


def at(x_km, y_km):
    return (round(WEST + x_km * KM_LON, 7), round(SOUTH + y_km * KM_LAT, 7))


@pytest.fixture(scope="session")
def land(towns_of):
    return towns_of(p13=shapely.box(*at(-200, -200), *at(200, 200)))


corner = st.tuples(st.integers(-12, 12), st.integers(-12, 12))


def lies_on_itself(network):
    """Whether stretches of a road lie on each other: then a node more does change the road (whole numbers, so exactly)."""
    shapes = shapely.linestrings([pair for *_, places in network for pair in pairwise(places)])
    return shapely.unary_union(shapes).length < shapely.length(shapes).sum() * 0.9999999


def is_drawn_alike_with_more_nodes(network):
    """Whether nodes in the middle of stretches are new nodes, each on one stretch: else they would join what only crosses."""
    corners = {(2 * x, 2 * y) for *_, places in network for x, y in places}
    middles = [(a + c, b + d) for *_, places in network for (a, b), (c, d) in pairwise(places)]
    return not lies_on_itself(network) and len(set(middles)) == len(middles) and not corners & set(middles)


road = st.tuples(
    st.sampled_from(["13:1", "13:2", "JP:4", None, None]),
    st.sampled_from(CLASSES),
    st.lists(corner, min_size=2, max_size=7, unique=True),
)


def as_ways(network):
    # A quarter of a kilometre to a step: short pieces, long chains, crossings and shared corners all occur.
    return [(n, name, kind, [at(x / 2, y / 2) for x, y in places]) for n, (name, kind, places) in enumerate(network, start=1)]


def mangled(ways, dice, more_nodes=0.0):
    """The same roads as another mapper would draw them: cut, turned, with more nodes, in another order."""
    drawn, number = [], 1000
    for _, name, kind, places in ways:
        fuller = []
        for one, other in pairwise(places):
            middle = tuple(round((a + b) / 2, 7) for a, b in zip(one, other, strict=True))
            fuller += [one, middle] if dice.random() < more_nodes else [one]
        fuller.append(places[-1])
        cuts = sorted({0, len(fuller) - 1, *(dice.randrange(len(fuller)) for _ in range(2))})
        for start, end in pairwise(cuts):
            part = fuller[start : end + 1]
            number += 1
            drawn.append((number, name, kind, part[::-1] if dice.random() < 0.5 else part))
    dice.shuffle(drawn)
    return drawn


@settings(deadline=None, max_examples=25)
@given(st.lists(road, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_splitting_reversing_and_reordering_ways_changes_no_point(roads_of, land, network, dice):
    ways = as_ways(network)
    one, other = sample_roads(roads_of(ways), land), sample_roads(roads_of(mangled(ways, dice)), land)
    assert one["point_id"].to_list() == other["point_id"].to_list()
    assert np.abs(one[["lat", "lon"]].to_numpy() - other[["lat", "lon"]].to_numpy()).max() <= 1e-7


@settings(deadline=None, max_examples=25)
@given(st.lists(road, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_more_nodes_on_straight_stretches_move_no_point_by_two_centimetres(roads_of, land, network, dice):
    ways = as_ways(network)
    assume(is_drawn_alike_with_more_nodes(network))
    one = sample_roads(roads_of(ways), land)
    other = sample_roads(roads_of(mangled(ways, dice, more_nodes=0.5)), land)
    assert len(one) == len(other)
    nearest = shapely.STRtree(other.geometry.to_numpy()).nearest(one.geometry.to_numpy())
    to = other.iloc[nearest]
    # One centimetre for the node and one for the answer, both rounded to OpenStreetMap's precision.
    assert distance_m(lat=one["lat"], lon=one["lon"], to_lat=to["lat"], to_lon=to["lon"]).max() < 0.02


@settings(deadline=None, max_examples=25)
@given(st.lists(road, min_size=1, max_size=6))
def test_every_road_has_a_point_and_every_table_keeps_its_contract(roads_of, land, network):
    roads = roads_of(as_ways(network))
    points = sample_roads(roads, land)
    check_table(ROAD_POINTS, points)
    assert set(points["feature_id"]) >= set(roads["road_id"].dropna())
    assert set(points["feature_id"]) <= set(roads["road_id"].dropna()) | set(roads["way_id"])


@settings(deadline=None, max_examples=25)
@given(length_km=st.floats(0.01, 300), kind=st.sampled_from(CLASSES))
def test_points_of_a_road_are_500_m_to_5_km_apart_and_half_of_that_from_its_ends(roads_of, land, length_km, kind):
    start, end = at(-150, 3), at(-150 + length_km, 3)
    points = sample_roads(roads_of([(1, "13:1", kind, [start, end])]), land).sort_values("lon")
    length_m = float(distance_m(lat=start[1], lon=start[0], to_lat=end[1], to_lon=end[0]))
    if length_m < 500:
        assert len(points) == 1
    places = np.array([start, *zip(points["lon"], points["lat"], strict=True), end])
    gaps = distance_m(lat=places[:-1, 1], lon=places[:-1, 0], to_lat=places[1:, 1], to_lon=places[1:, 0])
    assert gaps[[0, -1]] == pytest.approx(length_m / len(points) / 2, rel=1e-4, abs=0.02)
    if len(points) > 1:
        # A straight line in degrees is up to 1 in 10,000 longer than the geodesic between its ends.
        assert gaps[1:-1].min() > 499.9
        assert gaps[1:-1].max() < 5001
        assert points["spacing_m"].to_numpy() == pytest.approx(gaps[1:-1].mean(), rel=1e-4)
    else:
        assert points["spacing_m"].to_list() == [0.0]


@settings(deadline=None, max_examples=25)
@given(st.lists(road, min_size=1, max_size=6), st.floats(-5, 5), st.floats(-5, 5))
def test_a_border_neither_doubles_nor_loses_and_prefectures_alone_equal_prefectures_together(
    roads_of, towns_of, network, east_km, tilt_km
):
    """The border runs anywhere through the roads; every part of a road on either side is served from its own side."""
    roads = roads_of(as_ways(network))
    south, north = at(east_km - tilt_km, -30), at(east_km + tilt_km, 30)
    west_side = shapely.Polygon([at(-30, -30), south, north, at(-30, 30)])
    east_side = shapely.Polygon([south, at(30, -30), at(30, 30), north])
    both = sample_roads(roads, towns_of(p13=west_side, p14=east_side))
    alone = [sample_roads(roads, towns_of(p13=west_side)), sample_roads(roads, towns_of(p14=east_side))]
    assert sorted(both["point_id"]) == sorted({*alone[0]["point_id"], *alone[1]["point_id"]})
    for points, side in zip(alone, (west_side, east_side), strict=True):
        if len(points):
            assert shapely.dwithin(shapely.points(points["lon"], points["lat"]), side, 1e-6).all()
        inside = roads[roads.intersects(side.buffer(-1e-5))]
        assert set(points["feature_id"]) >= set(inside["road_id"].dropna())


def test_a_road_drawn_along_a_border_is_sampled_once(roads_of, towns_of):
    roads = roads_of([(1, "JP:4", "trunk", [at(0, -9), at(0, 0), at(0, 9)])])
    towns = towns_of(p13=shapely.box(*at(-20, -20), *at(0, 20)), p14=shapely.box(*at(0, -20), *at(20, 20)))
    whole = sample_roads(roads, towns_of(p13=shapely.box(*at(-20, -20), *at(20, 20))))
    assert sample_roads(roads, towns)["point_id"].to_list() == whole["point_id"].to_list()


def test_points_across_a_border_are_one_interval_apart(roads_of, towns_of):
    roads = roads_of([(1, "JP:4", "trunk", [at(-40, 0), at(40, 0)])])
    towns = towns_of(p13=shapely.box(*at(-60, -5), *at(0, 5)), p14=shapely.box(*at(0, -5), *at(60, 5)))
    lon = np.sort(sample_roads(roads, towns)["lon"].to_numpy())
    gaps_km = np.diff(lon) / KM_LON
    assert gaps_km.max() / gaps_km.min() < 1.001


def test_an_edit_elsewhere_keeps_the_points_and_their_names(roads_of, land):
    ways = [(1, "13:1", "primary", [at(0, 0), at(9, 0)]), (2, None, "residential", [at(0, 5), at(3, 5)])]
    before = sample_roads(roads_of(ways), land)
    after = sample_roads(roads_of([*ways, (3, None, "residential", [at(50, 5), at(53, 5)])]), land)
    assert set(before["point_id"]) < set(after["point_id"])


def test_a_nameless_point_names_the_way_under_it_and_keeps_its_id_when_the_way_is_split(roads_of, land):
    whole = [(7, None, "residential", [at(0, 0), at(1, 0), at(2, 0)])]
    split = [(7, None, "residential", [at(0, 0), at(1, 0)]), (8, None, "residential", [at(1, 0), at(2, 0)])]
    one, other = sample_roads(roads_of(whole), land), sample_roads(roads_of(split), land)
    assert one["point_id"].to_list() == other["point_id"].to_list()
    assert set(one["feature_id"]) == {"way/7"}
    assert set(other["feature_id"]) == {"way/7", "way/8"}


def test_every_block_of_a_street_grid_is_a_road_of_its_own_with_a_point_in_its_middle(roads_of, land):
    ways = [(n, None, "residential", [at(x / 10, n / 10) for x in range(21)]) for n in range(21)]
    ways += [(100 + n, None, "residential", [at(n / 10, y / 10) for y in range(21)]) for n in range(21)]
    points = sample_roads(roads_of(ways), land)
    corners = {at(0, 0), at(2, 0), at(0, 2), at(2, 2)}  # two blocks meet there and nothing else: one street around the corner
    assert len(points) == 2 * 20 * 21 - len(corners)
    assert (points["spacing_m"] == 0).all()
    middles = {(round((x + 0.5) / 10, 3), round(y / 10, 3)) for x in range(1, 19) for y in range(21)}
    found = {
        (round((lon - WEST) / KM_LON, 3), round((lat - SOUTH) / KM_LAT, 3))
        for lat, lon in zip(points["lat"], points["lon"], strict=True)
    }
    assert middles <= found


@settings(deadline=None, max_examples=25)
@given(st.lists(road, min_size=1, max_size=6), st.lists(road, min_size=1, max_size=3))
def test_a_new_street_moves_no_point_of_streets_and_roads_that_it_does_not_touch(roads_of, land, network, added):
    ways, more = as_ways(network), as_ways(added)
    touched = {corner for *_, places in more for corner in places}
    untouched = {
        name or f"way/{number}"
        for number, name, _, places in ways
        if (name is None and not touched & set(places)) or (name and name not in {other for _, other, *_ in more})
    }
    joined = [*ways, *[(number + 500, *rest) for number, *rest in more]]
    before, after = sample_roads(roads_of(ways), land), sample_roads(roads_of(joined), land)
    kept = before[before["feature_id"].isin(untouched)]
    # A nameless street runs on through ways that the new one may touch, so only those that stand alone are sure to stay.
    ends = pd.Series([(kind, place) for _, name, kind, places in ways if name is None for place in places]).value_counts()
    alone = {
        name or f"way/{number}"
        for number, name, kind, places in ways
        if name or all(ends[(kind, place)] == 1 for place in places)
    }
    kept = kept[kept["feature_id"].isin(alone)]
    assert set(kept["point_id"]) <= set(after["point_id"])


def test_density_gives_more_points(roads_of, land):
    roads = roads_of([(1, "13:1", "trunk", [at(-150, 0), at(150, 0)])])
    sparse, dense = (sample_roads(roads, land, settings=SamplingSettings(density=density)) for density in (0.5, 2))
    assert len(sparse) < len(dense)


def test_nothing_on_the_map_gives_an_empty_table(roads_of, land, towns_of):
    far = roads_of([(1, "13:1", "trunk", [at(400, 0), at(401, 0)])])
    for roads, towns in ((far, land), (far.iloc[:0], land), (far, land.iloc[:0])):
        points = sample_roads(roads, towns)
        check_table(ROAD_POINTS, points)
        assert points.empty
