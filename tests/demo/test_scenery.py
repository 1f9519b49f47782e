"""Scenery: the same things stand at the same places, whoever looks, and never on a carriageway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pytest
import shapely

from geoloc_pipeline.demo.land import Land, Landmark, Road, Town
from geoloc_pipeline.demo.scenery import METRES_PER_DEG, SIGHT_M, Scenery
from geoloc_pipeline.demo.style import style_of
from geoloc_pipeline.demo.surroundings import Surroundings

LAT, LON = 34.18, 131.47
SCALE = METRES_PER_DEG * np.array([np.cos(np.radians(LAT)), 1.0])


def lonlat(points_m: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(points_m, dtype=np.float64) / SCALE + np.array([LON, LAT])


def road(way_id: int, points_m: Sequence[Sequence[float]], highway: str = "residential") -> Road:
    return Road(way_id, {"highway": highway}, lonlat(points_m))


def town(number: int, west: float, east: float) -> Town:
    box = shapely.Polygon(lonlat([(west, -3000), (east, -3000), (east, 3000), (west, 3000)]))
    code = f"35{100 + number}"
    return Town(f"{code}001001", "35", code, "見本県", f"見本{number}市", "見本町", box, population=30_000)


def grid() -> list[Road]:
    lines = []
    for k in range(-4, 5):
        kind = "secondary" if k == 0 else "residential"
        lines.append(road(100 + k, [(-400, k * 75), (-10, k * 75 + 3), (400, k * 75)], kind))
        lines.append(road(200 + k, [(k * 75 + 20, 400), (k * 75, -400)], kind))
    return lines


def land(roads: Sequence[Road], towns: Sequence[Town] = (), landmarks: Sequence[Landmark] = ()) -> Land:
    return Land(3, tuple(roads), tuple(landmarks), tuple(towns), datetime(2026, 9, 1, tzinfo=UTC), 1)


def seen_from(scenery: Scenery, x: float, y: float) -> Surroundings:
    (lon, lat), *_ = lonlat([(x, y)])
    return scenery.around(lat=float(lat), lon=float(lon))


def houses_by_key(scene: Surroundings, x: float, y: float) -> dict[int, tuple[float, ...]]:
    houses = scene.buildings
    at = houses.at_m + np.array([x, y])
    rows = np.column_stack([at, houses.half_width_m, houses.half_depth_m, houses.floors])
    return dict(zip(houses.key.tolist(), map(tuple, rows.tolist()), strict=True))


@pytest.fixture(scope="module")
def city() -> Scenery:
    return Scenery(land(grid(), [town(1, -3000, 30), town(2, 30, 3000)]))


def test_the_same_houses_stand_there_whoever_looks(city: Scenery) -> None:
    places = [(10.0, 2.9), (38.0, 2.7), (8.5, -60.0)]
    views = [houses_by_key(seen_from(city, x, y), x, y) for x, y in places]
    for origin, view in zip(places[1:], views[1:], strict=True):
        for one, other, eye in ((views[0], view, origin), (view, views[0], places[0])):
            common = {key for key, row in one.items() if np.hypot(*(np.array(row[:2]) - eye)) < SIGHT_M - 1}
            assert len(common) > 20
            for key in common:
                np.testing.assert_allclose(one[key], other[key], atol=0.05)


def test_houses_keep_off_roads_and_off_each_other(city: Scenery) -> None:
    scene = seen_from(city, 5.0, 1.0)
    shapes = [shapely.Polygon(corners) for corners in scene.buildings.corners_m()]
    assert len(shapes) > 40
    pieces = scene.pieces
    for start, end, half in zip(pieces.start_m, pieces.end_m, pieces.half_m, strict=True):
        carriageway = shapely.LineString([start, end]).buffer(half, cap_style="flat")
        assert max(carriageway.intersection(shape).area for shape in shapes) < 0.5
    tree = shapely.STRtree(shapes)
    one, other = tree.query(shapes, predicate="intersects")
    overlaps = [shapes[a].intersection(shapes[b]).area for a, b in zip(one, other, strict=True) if a < b]
    assert max(overlaps, default=0.0) < 0.1


@pytest.mark.parametrize("name", ["rails", "kerbs", "poles", "trees", "signs"])
def test_furniture_stands_beside_roads_never_on_them(city: Scenery, name: str) -> None:
    scene = seen_from(city, 5.0, 1.0)
    posts = getattr(scene, name)
    assert len(posts) > 5
    pieces = scene.pieces
    for start, end, half in zip(pieces.start_m, pieces.end_m, pieces.half_m, strict=True):
        line = shapely.LineString([start, end])
        assert shapely.distance(line, shapely.points(posts.at_m)).min() > half


def test_houses_far_down_a_long_slanting_road_stay_where_they_are() -> None:
    scenery = Scenery(land([road(7, [(-30_000, -25_000), (3000, 2500)])], [town(1, -3000, 3000)]))
    one, other = houses_by_key(seen_from(scenery, 0, 0), 0, 0), houses_by_key(seen_from(scenery, 60, 50), 60, 50)
    common = one.keys() & other.keys()
    assert len(common) > 8
    for key in common:
        np.testing.assert_allclose(one[key], other[key], atol=0.1)


@pytest.mark.parametrize("name", ["rails", "kerbs", "poles", "trees", "signs"])
def test_furniture_and_its_colours_are_the_same_whoever_looks(city: Scenery, name: str) -> None:
    places = [(10.0, 2.9), (38.0, 2.7)]
    sets = []
    for x, y in places:
        scene = seen_from(city, x, y)
        posts = getattr(scene, name)
        at = posts.at_m + np.array([x, y])
        close = np.hypot(*(at - np.array([24.0, 3.0])).T) < 25.0
        looks = [scene.styles[row].first_colour for row in posts.style[close]]
        sets.append(
            {(key, *np.round(spot, 1), *look) for key, spot, look in zip(posts.key[close], at[close], looks, strict=True)}
        )
    assert sets[0] == sets[1]
    assert sets[0]


def test_a_needless_vertex_on_a_straight_road_moves_nothing() -> None:
    plain = Scenery(land([road(7, [(-300, 0), (300, 0)])], [town(1, -3000, 3000)]))
    split = Scenery(land([road(7, [(-300, 0), (-37, 0), (-37, 0), (12, 0), (300, 0)])], [town(1, -3000, 3000)]))
    one, other = (houses_by_key(seen_from(s, 3.0, 0.0), 0, 0) for s in (plain, split))
    assert one.keys() == other.keys()
    assert len(one) > 10
    for key, row in one.items():
        np.testing.assert_allclose(row, other[key], atol=1e-3)


def test_a_house_wears_its_own_towns_colours_on_either_side_of_a_border(city: Scenery) -> None:
    scene = seen_from(city, 30.0, 1.0)
    west = style_of(
        prefecture_code="35", municipality_code="35101", key_code="35101001001", lat=LAT, people_per_km2=30_000 / 18.18
    ).first_colour
    colours = np.array([style.first_colour for style in scene.styles])[scene.buildings.style]
    is_west = scene.buildings.at_m[:, 0] + 30.0 < 30.0
    assert 5 < is_west.sum() < len(is_west) - 5
    np.testing.assert_allclose(colours[is_west], np.tile(west, (is_west.sum(), 1)))
    assert np.abs(colours[~is_west] - np.array(west)).max(axis=1).min() > 10


def test_quarters_lie_fast_on_the_ground_about_a_kilometre_wide() -> None:
    one_road = Scenery(land([road(7, [(-4000, 0), (4000, 0)])], [town(1, -5000, 5000)]))
    steps = np.arange(-3500.0, 3500.0, 10.0)
    scenes = [seen_from(one_road, x, 0.5) for x in steps]
    paving = [scene.styles[scene.home].paving_colour for scene in scenes]
    borders = steps[1:][[one != other for one, other in pairwise(paving)]]
    assert np.abs(np.diff(borders) - 1000.0).max() <= 60.0  # a row of the lattice is measured along its own middle
    border = borders[0]
    before, after = (seen_from(one_road, border + away, 0.5) for away in (-30.0, 25.0))  # one border, seen from both sides
    looks = []
    for scene, x in ((before, border - 30.0), (after, border + 25.0)):
        at = scene.kerbs.at_m[:, 0] + x
        close = np.abs(at - border) < 15.0
        tones = np.array([style.kerb_colours[1] for style in scene.styles])[scene.kerbs.style[close]]
        looks.append(dict(zip(scene.kerbs.key[close].tolist(), map(tuple, tones.tolist()), strict=True)))
    common = looks[0].keys() & looks[1].keys()
    assert all(looks[0][key] == looks[1][key] for key in common)
    assert len({looks[0][key] for key in common}) == 2


def test_another_seed_grows_other_houses() -> None:
    here = land(grid(), [town(1, -3000, 3000)])
    one, other = (houses_by_key(seen_from(Scenery(it), 0, 0), 0, 0) for it in (here, replace(here, seed=4)))
    assert one != other


def test_a_longer_straight_road_costs_no_more_things() -> None:
    short, long = (Scenery(land([road(7, [(-reach, 0), (reach, 0)])])) for reach in (400, 40_000))
    assert len(seen_from(long, 0, 0).buildings) < 1.5 * len(seen_from(short, 0, 0).buildings)


def test_nothing_stands_in_an_empty_land() -> None:
    scene = Scenery(land([])).around(lat=LAT, lon=LON)
    assert len(scene.buildings) == len(scene.poles) == len(scene.rails) == len(scene.monuments) == 0


def test_a_crowded_block_without_mapped_roads_is_no_empty_plain_and_the_sea_beside_it_is() -> None:
    scenery = Scenery(land([], [town(1, -3000, 3000)]))
    inland, offshore = seen_from(scenery, 0.0, 0.0), seen_from(scenery, 6000.0, 0.0)
    assert len(inland.buildings) > 5
    assert len(inland.signs) > 0
    assert len(offshore.buildings) == 0
    moved = seen_from(scenery, 30.0, 10.0)
    one, other = houses_by_key(inland, 0, 0), houses_by_key(moved, 30.0, 10.0)
    assert len(one.keys() & other.keys()) > 5
    for key in one.keys() & other.keys():
        np.testing.assert_allclose(one[key], other[key], atol=0.05)


def test_tunnels_stairs_and_mapped_sidewalks_are_no_roads_of_their_own() -> None:
    line = lonlat([(-50, 3), (50, 3)])
    hidden = [{"highway": "steps"}, {"highway": "footway", "footway": "sidewalk"}, {"highway": "primary", "tunnel": "yes"}]
    roads = [Road(number, tags, line) for number, tags in enumerate(hidden)]
    assert len(Scenery(land(roads)).around(lat=LAT, lon=LON).pieces.rank) == 0
    open_road = Road(9, {"highway": "primary", "tunnel": "no", "layer": "1"}, line)
    assert len(Scenery(land([open_road])).around(lat=LAT, lon=LON).pieces.rank) == 1


def test_far_from_every_town_the_nearest_ones_look_is_worn() -> None:
    scene = Scenery(land([], [town(1, -3000, 3000)])).around(lat=LAT + 1.0, lon=LON)
    assert (
        scene.styles[scene.home].first_colour
        == style_of(
            prefecture_code="35", municipality_code="35101", key_code="35101001001", lat=LAT, people_per_km2=1.0
        ).first_colour
    )


def test_water_areas_lend_nobody_their_look() -> None:
    water = replace(town(2, -3000, 3000), is_water=True)
    scene = Scenery(land(grid(), [water, town(1, 5000, 9000)])).around(lat=LAT, lon=LON)
    dry = Scenery(land(grid(), [town(1, 5000, 9000)])).around(lat=LAT, lon=LON)
    assert scene.styles == dry.styles


@pytest.mark.parametrize(
    ("tags", "shape"),
    [
        ({"man_made": "tower"}, "tower"),
        ({"amenity": "place_of_worship", "religion": "shinto"}, "torii"),
        ({"railway": "station"}, "station"),
        ({"historic": "castle"}, "castle"),
        ({"leisure": "park"}, "grove"),
        ({"shop": "books"}, "board"),
        ({"tourism": "museum"}, "hall"),
        ({}, "board"),
    ],
)
def test_a_landmark_is_drawn_as_what_its_tags_say(tags: dict[str, str], shape: str) -> None:
    mark = Landmark("node", 5, tags, shapely.Point(lonlat([(40.0, 10.0)])[0]))
    scene = Scenery(land([], landmarks=[mark])).around(lat=LAT, lon=LON)
    assert [monument.shape for monument in scene.monuments] == [shape]
    np.testing.assert_allclose(scene.monuments[0].at_m, (40.0, 10.0), atol=0.01)


def test_houses_leave_a_landmarks_ground_free() -> None:
    ground = shapely.Polygon(lonlat([(-20, 5), (20, 5), (20, 35), (-20, 35)]))
    mark = Landmark("way", 5, {"amenity": "townhall"}, ground)
    roads = [road(7, [(-300, 0), (300, 0)])]
    plain, cleared = (seen_from(Scenery(land(roads, [town(1, -3000, 3000)], marks)), 0.0, 0.0) for marks in ([], [mark]))
    middle = np.array([0.0, 20.0])
    assert np.hypot(*(plain.buildings.at_m - middle).T).min() < 20.0 < np.hypot(*(cleared.buildings.at_m - middle).T).min()


def test_unreadable_widths_and_lanes_are_passed_over() -> None:
    wide = {"lanes": "4", "highway": "residential"}
    odd = {"lanes": "two", "width": "5 m", "highway": "residential"}
    roads = [Road(1, wide, lonlat([(0, 0), (50, 0)])), Road(2, odd, lonlat([(0, 9), (50, 9)]))]
    pieces = Scenery(land(roads)).around(lat=LAT, lon=LON).pieces
    halves = dict(zip(pieces.way.tolist(), pieces.half_m.tolist(), strict=True))
    assert halves[1] / halves[2] == pytest.approx(6.2 / 2.9)
