"""What lies where a picture was taken, against an oracle that tries everything on the ellipsoid."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.labels.nearby import label_images
from geoloc_pipeline.tables import (
    CENSUS_TOWNS,
    LABELLED_IMAGES,
    OSM_LANDMARKS,
    OSM_ROADS,
    as_table,
    check_table,
    empty_table,
)

GEOD = pyproj.Geod(ellps="WGS84")
LAT, LON = 35.6, 139.7
NO_ROADS, NO_LANDMARKS = empty_table(OSM_ROADS), empty_table(OSM_LANDMARKS)


def spot(east_m, north_m):
    lon, lat, _ = GEOD.fwd(LON, LAT, np.degrees(np.arctan2(east_m, north_m)), np.hypot(east_m, north_m))
    return lon, lat


def towns_of(rows):
    codes, names, shapes = zip(*rows, strict=True)
    return as_table(
        CENSUS_TOWNS,
        {
            "town_code": codes,
            "town": names,
            "municipality_code": [code[:5] for code in codes],
            "municipality": ["見本市"] * len(codes),
            "prefecture_code": [code[:2] for code in codes],
            "prefecture": ["見本県"] * len(codes),
            "population": [0] * len(codes),
            "geometry": shapes,
        },
    )


def roads_of(rows):
    n = len(rows)
    return as_table(
        OSM_ROADS,
        {
            "way_id": [f"way/{number}" for number in range(n)],
            "road_id": [road for road, _ in rows],
            "highway": ["residential"] * n,
            "name": [None] * n,
            "ref": [None] * n,
            "length_m": [1.0] * n,
            "geometry": [shape for _, shape in rows],
        },
    )


def landmarks_of(rows):
    n = len(rows)
    return as_table(
        OSM_LANDMARKS,
        {
            "landmark_id": [name for name, _ in rows],
            "category": ["leisure=park"] * n,
            "name": [None] * n,
            "area_m2": [0.0] * n,
            "geometry": [shape for _, shape in rows],
        },
    )


LAND = towns_of([("13101001001", "見本町", shapely.box(LON - 0.5, LAT - 0.5, LON + 0.5, LAT + 0.5))])


def pictures(images_of, places):
    lon, lat = np.array([spot(*place) for place in places]).T
    return images_of([f"i{number:04d}" for number in range(len(places))], lat, lon)


def true_distance_m(lon, lat, shape):
    """The geodesic distance to a line or point, by closing in on the nearest place of each of its segments."""
    if shape.geom_type == "Polygon":
        if shape.contains(shapely.Point(lon, lat)):
            return 0.0
        shape = shape.exterior
    corners = np.array(shape.coords)
    if len(corners) == 1:
        return GEOD.inv(lon, lat, *corners[0])[2]
    best = np.inf
    for start, end in pairwise(corners):
        low, high = 0.0, 1.0
        for _ in range(8):
            shares = np.linspace(low, high, 33)
            along = start + (end - start) * shares[:, None]
            away = GEOD.inv(np.full(33, lon), np.full(33, lat), along[:, 0], along[:, 1])[2]
            nearest = int(np.argmin(away))
            best = min(best, away[nearest])
            low, high = shares[max(nearest - 1, 0)], shares[min(nearest + 1, 32)]
    return best


places = st.lists(st.tuples(st.integers(-60, 60), st.integers(-60, 60)), min_size=1, max_size=6)
line = st.lists(st.tuples(st.integers(-80, 80), st.integers(-80, 80)), min_size=2, max_size=4, unique=True)
road = st.tuples(st.sampled_from(["13:1", "13:2", "JP:4", None]), line)


def check_against(found_id, found_m, distances):
    """`distances` by id. The answer must be the nearest, to the millimetre, with ties to the smaller id."""
    reached = {name: away for name, away in distances.items() if away <= 20}
    if found_id is None or found_id != found_id:
        assert not reached or min(reached.values()) > 20 - 0.001
        return
    assert found_m == pytest.approx(distances[found_id], abs=0.001)
    assert found_m <= min(distances.values()) + 0.0011
    smaller = [name for name, away in distances.items() if name < found_id]
    assert all(distances[name] > found_m - 0.0011 for name in smaller)


@settings(deadline=None, max_examples=12)
@given(places, st.lists(road, max_size=5))
def test_the_road_is_the_one_an_exhaustive_search_on_the_ellipsoid_finds(images_of, spots, drawn):
    roads = [(road_id, shapely.LineString([spot(*p) for p in corners])) for road_id, corners in drawn]
    labelled = label_images([pictures(images_of, spots)], LAND, roads_of(roads), NO_LANDMARKS, prefecture_code="13")
    check_table(LABELLED_IMAGES, labelled)
    for row in labelled.itertuples():
        distances = {}
        for road_id, shape in roads:
            if road_id:
                away = true_distance_m(row.lon, row.lat, shape)
                distances[road_id] = min(away, distances.get(road_id, np.inf))
        check_against(row.road_id, row.road_distance_m, distances)


@settings(deadline=None, max_examples=12)
@given(places, st.lists(st.tuples(st.booleans(), line), max_size=5))
def test_the_landmark_is_the_one_an_exhaustive_search_on_the_ellipsoid_finds(images_of, spots, drawn):
    marks = []
    for number, (is_area, corners) in enumerate(drawn):
        shape = shapely.LineString([spot(*p) for p in corners]).convex_hull
        is_area = is_area and shape.geom_type == "Polygon"
        marks.append((f"way/{number}", shape) if is_area else (f"node/{number}", shapely.Point(spot(*corners[0]))))
    labelled = label_images([pictures(images_of, spots)], LAND, NO_ROADS, landmarks_of(marks), prefecture_code="13")
    for row in labelled.itertuples():
        distances = {name: true_distance_m(row.lon, row.lat, shape) for name, shape in marks}
        check_against(row.landmark_id, row.landmark_distance_m, distances)


def test_a_road_exactly_within_reach_counts_and_one_beyond_does_not(images_of):
    north = roads_of([("13:1", shapely.LineString([spot(-50, 19.99), spot(50, 19.99)]))])
    beyond = roads_of([("13:1", shapely.LineString([spot(-50, 20.01), spot(50, 20.01)]))])
    image = pictures(images_of, [(0, 0)])
    near, far = (label_images([image], LAND, roads, NO_LANDMARKS, prefecture_code="13").iloc[0] for roads in (north, beyond))
    assert (near["road_id"], near["road_distance_m"]) == ("13:1", pytest.approx(19.99, abs=0.002))
    assert far[["road_id", "road_distance_m"]].isna().all()


def test_distances_are_metres_everywhere_in_a_prefecture_that_reaches_a_thousand_kilometres(images_of):
    """Tokyo's islands: the plane is off there, the labels are not."""
    land = towns_of([("13101001001", "見本町", shapely.box(138, 24, 154, 36))])
    for corner in ((153.98, 24.28), (139.7, 35.7), (142.2, 27.1)):
        for away_m, is_near in ((19.99, True), (20.01, False)):
            for bearing in (0, 37, 90):
                lon, lat, _ = GEOD.fwd(*corner, bearing, away_m)
                road = roads_of([("13:1", shapely.LineString([corner, GEOD.fwd(*corner, bearing + 180, 50)[:2]]))])
                far = images_of(["a", "b", "c"], [lat, 24.3, 35.9], [lon, 138.1, 139.0])
                labelled = label_images([far], land, road, NO_LANDMARKS, prefecture_code="13").set_index("image_id")
                assert (labelled["road_id"]["a"] == "13:1") is is_near


def test_ways_without_identity_never_hide_a_road_that_has_one(images_of):
    roads = roads_of(
        [
            (None, shapely.LineString([spot(-50, 1), spot(50, 1)])),
            ("13:9", shapely.LineString([spot(-50, 15), spot(50, 15)])),
        ]
    )
    assert label_images([pictures(images_of, [(0, 0)])], LAND, roads, NO_LANDMARKS, prefecture_code="13")[
        "road_id"
    ].to_list() == ["13:9"]


def test_the_smaller_id_wins_where_two_roads_meet(images_of):
    meeting = spot(10, 0)
    roads = [("13:b", shapely.LineString([meeting, spot(50, 40)])), ("13:a", shapely.LineString([spot(50, -40), meeting]))]
    for drawn in (roads, roads[::-1]):
        labelled = label_images([pictures(images_of, [(0, 0)])], LAND, roads_of(drawn), NO_LANDMARKS, prefecture_code="13")
        assert labelled["road_id"].to_list() == ["13:a"]


def test_a_picture_inside_a_landmark_is_at_distance_zero(images_of):
    park = landmarks_of([("way/1", shapely.Polygon([spot(-90, -90), spot(90, -90), spot(90, 90), spot(-90, 90)]))])
    labelled = label_images([pictures(images_of, [(0, 0)])], LAND, NO_ROADS, park, prefecture_code="13")
    assert labelled[["landmark_id", "landmark_distance_m"]].to_numpy().tolist() == [["way/1", 0.0]]


BLOCKS = towns_of([
    ("13101001002", "東町", shapely.box(LON, LAT, LON + 0.01, LAT + 0.01)),
    ("13101001001", None, shapely.box(LON - 0.01, LAT, LON, LAT + 0.01)),
    ("14101001001", "隣町", shapely.box(LON - 0.01, LAT - 0.01, LON + 0.01, LAT)),
])  # fmt: skip


@pytest.mark.parametrize(
    ("east_m", "north_m", "municipality", "town"),
    [
        (100, 100, "13101", "13101001002"),
        (-100, 100, "13101", None),  # the census names no town there
        (0, 100, "13101", None),  # on the line between two blocks: the smaller code
        (100, 1110 + 90, "13101", "13101001002"),  # just off the shore
        (100, 1110 + 110, None, None),  # at sea
        (100, -50, None, None),  # in the neighbouring prefecture, though near our block
    ],
)
def test_a_picture_lies_in_its_block(images_of, east_m, north_m, municipality, town):
    labelled = label_images([pictures(images_of, [(east_m, north_m)])], BLOCKS, NO_ROADS, NO_LANDMARKS, prefecture_code="13")
    got = labelled[["municipality_code", "town_code"]].astype(object).where(labelled.notna(), None).to_numpy().tolist()
    assert got == ([] if municipality is None else [[municipality, town]])


def test_prefectures_share_photo_sets_without_sharing_pictures(images_of):
    dice = np.random.default_rng(5)
    images = pictures(images_of, dice.uniform(-1300, 1300, size=(200, 2)))
    ours, theirs = (label_images([images], BLOCKS, NO_ROADS, NO_LANDMARKS, prefecture_code=code) for code in ("13", "14"))
    assert set(ours["image_id"]).isdisjoint(theirs["image_id"])
    inside = shapely.dwithin(shapely.union_all(BLOCKS.geometry.to_numpy()), images.geometry.to_numpy(), 0.0)
    assert set(images["image_id"][inside]) <= set(ours["image_id"]) | set(theirs["image_id"])


def test_order_and_repetition_say_nothing(images_of):
    images = pictures(images_of, [(n, n) for n in range(9)])
    road = roads_of([("13:1", shapely.LineString([spot(-5, 0), spot(5, 0)]))])
    once = label_images([images], LAND, road, NO_LANDMARKS, prefecture_code="13")
    twice = label_images([images.iloc[::-1], images.iloc[3:5]], LAND, road, NO_LANDMARKS, prefecture_code="13")
    assert once.equals(twice)
    assert once["road_id"].notna().sum() == 9


def test_nothing_gives_an_empty_table(images_of):
    elsewhere = images_of(["a"], [0.0], [0.0])
    for images, towns in (([], LAND), ([elsewhere], LAND), ([elsewhere.iloc[:0]], LAND), ([elsewhere], LAND.iloc[:0])):
        labelled = label_images(images, towns, NO_ROADS, NO_LANDMARKS, prefecture_code="13")
        check_table(LABELLED_IMAGES, labelled)
        assert labelled.empty
