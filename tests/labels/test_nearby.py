"""What lies where a picture was taken, against an oracle that tries everything on the ellipsoid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.labels.nearby import REACH_M, TOWN_REACH_M, label_images
from geoloc_pipeline.sources.census import read_towns
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
            "name_latin": [None] * n,
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
            "name_latin": [None] * n,
            "area_m2": [0.0] * n,
            "geometry": [shape for _, shape in rows],
        },
    )


LAND = towns_of([("13101001001", "見本町", shapely.box(LON - 0.5, LAT - 0.5, LON + 0.5, LAT + 0.5))])


def pictures(images_of, places):
    lon, lat = np.array([spot(*place) for place in places]).T
    return images_of([f"i{number:04d}" for number in range(len(places))], lat, lon)


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
def test_the_road_is_the_one_an_exhaustive_search_on_the_ellipsoid_finds(images_of, true_distance_m, spots, drawn):
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
def test_the_landmark_is_the_one_an_exhaustive_search_on_the_ellipsoid_finds(images_of, true_distance_m, spots, drawn):
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


OURS = towns_of([
    ("13101001002", "東町", shapely.box(LON, LAT, LON + 0.01, LAT + 0.01)),
    ("13101001001", None, shapely.box(LON - 0.01, LAT, LON, LAT + 0.01)),
])  # fmt: skip
THEIRS = towns_of([("14101001001", "隣町", shapely.box(LON - 0.01, LAT - 0.01, LON + 0.01, LAT))])


def labels_of(images, own, others=(), **more):
    code = own["prefecture_code"].iloc[0]
    more = {"neighbours": (lambda: others) if others else None, **more}
    return label_images(images, own, NO_ROADS, NO_LANDMARKS, prefecture_code=code, **more)


@pytest.mark.parametrize(
    ("east_m", "north_m", "municipality", "town", "away_m"),
    [
        (100, 100, "13101", "13101001002", 0),
        (-100, 100, "13101", None, 0),  # the census names no town there
        (0, 100, "13101", None, 0),  # on the line between two blocks: the smaller code
        (100, 1109.6 + 90, "13101", "13101001002", 90),  # just off the shore
        (100, 1109.6 + 110, None, None, None),  # at sea
        (100, -50, None, None, None),  # in the neighbouring prefecture, though near our block
    ],
)
def test_a_picture_lies_in_its_block(images_of, east_m, north_m, municipality, town, away_m):
    labelled = labels_of([pictures(images_of, [(east_m, north_m)])], OURS, [THEIRS])
    check_table(LABELLED_IMAGES, labelled)
    got = labelled[["municipality_code", "town_code"]].astype(object).where(labelled.notna(), None).to_numpy().tolist()
    assert got == ([] if municipality is None else [[municipality, town]])
    assert labelled["town_distance_m"].to_list() == ([] if away_m is None else [pytest.approx(away_m, abs=1)])


corner_m = st.integers(-30, 30).map(lambda tens: tens * 10)
block_m = st.tuples(corner_m, corner_m, st.sampled_from([40, 110, 250]), st.sampled_from([40, 110, 250]))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(corner_m, corner_m), min_size=1, max_size=6), st.lists(block_m, min_size=2, max_size=7))
def test_blocks_that_overlap_or_leave_gaps_are_decided_as_an_exhaustive_search_decides(
    images_of, true_distance_m, spots, drawn
):
    """Blocks of three prefectures, dropped anywhere: each prefecture, knowing the others, finds the oracle's block."""
    rows = []
    for number, (west, south, width, height) in enumerate(drawn):
        ring = [(west, south), (west + width, south), (west + width, south + height), (west, south + height)]
        rows.append((f"{13 + number % 3}101{number:06d}", "町", shapely.Polygon([spot(*place) for place in ring])))
    towns = {code: towns_of([row for row in rows if row[0][:2] == code]) for code in sorted({row[0][:2] for row in rows})}
    images = pictures(images_of, spots)
    owners = dict.fromkeys(images["image_id"], 0)
    for code, own in towns.items():
        others = [table for other, table in towns.items() if other != code]
        found = labels_of([images], own, others).set_index("image_id")
        for image in images.itertuples():
            away = {row[0]: round(true_distance_m(image.lon, image.lat, row[2]), 3) for row in rows}
            ours = {block: metres for block, metres in away.items() if block[:2] == code}
            nearest = min(ours, key=lambda block: (ours[block], block))
            contested = min(away.values()) if ours[nearest] > 0 else 0.0
            rivals = {block: metres for block, metres in away.items() if metres <= contested + 0.002}
            if image.image_id in found.index:
                owners[image.image_id] += ours[nearest] > 0
                row = found.loc[image.image_id]
                assert row["town_distance_m"] == pytest.approx(ours[row["town_code"]], abs=0.0015)
                assert ours[row["town_code"]] <= min(ours[nearest], 100) + 0.0015
                assert row["town_code"] == nearest or ours[row["town_code"]] > 0
                assert ours[nearest] == 0 or row["town_code"] in rivals
            else:
                assert ours[nearest] > 99.998 or not set(rivals) <= {nearest}
    assert max(owners.values()) <= 1, "a picture in no block has one owner"


def test_prefectures_share_photo_sets_without_sharing_pictures(images_of):
    dice = np.random.default_rng(5)
    images = pictures(images_of, dice.uniform(-1300, 1300, size=(200, 2)))
    ours, theirs = labels_of([images], OURS, [THEIRS]), labels_of([images], THEIRS, [OURS])
    assert set(ours["image_id"]).isdisjoint(theirs["image_id"])
    land = shapely.union_all([*OURS.geometry, *THEIRS.geometry])
    inside = shapely.intersects(land, images.geometry.to_numpy())
    assert set(images["image_id"][inside]) <= set(ours["image_id"]) | set(theirs["image_id"])
    off_shore = ours["town_distance_m"] > 0
    assert 0 < off_shore.sum() < len(ours)
    assert ours["town_distance_m"].max() <= 100


def test_neighbours_are_asked_once_and_only_for_a_picture_just_outside(images_of):
    asked = []

    def neighbours():
        asked.append(True)
        yield THEIRS

    for places_m, times in (([(100, 100), (0, 5000)], 0), ([(100, -50), (200, -50), (300, 50)], 1)):
        asked.clear()
        labels_of([pictures(images_of, places_m)], OURS, neighbours=neighbours)
        assert len(asked) == times


def test_without_an_archive_of_the_neighbour_a_picture_beyond_the_border_counts_as_off_the_shore(images_of):
    labelled = labels_of([pictures(images_of, [(100, -50)])], OURS)
    assert labelled["town_distance_m"].to_list() == [pytest.approx(50, abs=0.1)]


def test_a_picture_that_may_be_elsewhere_gets_no_label_that_is_finer_than_that(images_of):
    accuracies_m = [np.nan, 0.0, REACH_M, REACH_M + 0.1, TOWN_REACH_M, TOWN_REACH_M + 0.1, 500.0]
    n = len(accuracies_m)
    images = images_of([f"i{number}" for number in range(n)], [LAT] * n, [LON] * n, accuracy_m=accuracies_m)
    block = towns_of([("13101001001", "東町", shapely.box(LON - 0.1, LAT - 0.1, LON + 0.1, LAT + 0.1))])
    road = roads_of([("13:1", shapely.LineString([spot(-5, 5), spot(5, 5)]))])
    park = landmarks_of([("way/1", shapely.Polygon([spot(-90, -90), spot(90, -90), spot(0, 90)]))])
    labelled = label_images([images], block, road, park, prefecture_code="13")
    check_table(LABELLED_IMAGES, labelled)
    is_near = [True, True, True, False, False, False, False]
    for name in ("road_id", "road_distance_m", "landmark_id", "landmark_distance_m"):
        assert labelled[name].notna().tolist() == is_near, name
    assert labelled["town_code"].notna().tolist() == [True, True, True, True, True, False, False]
    assert labelled["municipality_code"].tolist() == ["13101"] * n
    coarse = label_images([images.iloc[-1:]], block, road, park, prefecture_code="13")
    assert coarse[["road_id", "town_code"]].isna().all(axis=None)


def test_pictures_without_a_position_or_outside_the_country_lie_in_no_prefecture(images_of):
    """The tables let no such position in; should one come all the same, it says nothing about its neighbours."""
    lon, lat = spot(100, 100)
    wrong = [(np.nan, lon), (lat, np.nan), (lon, lat), (0.0, 0.0), (-lat, lon), (np.inf, lon), (89.9999, lon), (lat, 180.0)]
    images = images_of([f"i{n}" for n in range(9)], [row[0] for row in wrong] + [lat], [row[1] for row in wrong] + [lon])
    assert labels_of([images], OURS)["image_id"].to_list() == ["i8"]


def test_order_and_repetition_say_nothing(images_of):
    images = pictures(images_of, [(n, n) for n in range(9)])
    road = roads_of([("13:1", shapely.LineString([spot(-5, 0), spot(5, 0)]))])
    once = label_images([images], LAND, road, NO_LANDMARKS, prefecture_code="13")
    twice = label_images([images.iloc[::-1], images.iloc[3:5]], LAND, road, NO_LANDMARKS, prefecture_code="13")
    assert once.equals(twice)
    assert once["road_id"].notna().sum() == 9


def test_a_picture_that_comes_with_two_positions_counts_at_one_whatever_the_order(images_of):
    here, there = images_of(["a"], [LAT], [LON]), images_of(["a"], [LAT + 2], [LON])
    north = towns_of([("14101001001", "隣町", shapely.box(LON - 0.5, LAT + 1.5, LON + 0.5, LAT + 2.5))])
    for images in ([here, there], [there, here]):
        assert [len(labels_of(images, towns)) for towns in (LAND, north)] == [1, 0]


def test_nothing_gives_an_empty_table(images_of):
    elsewhere = images_of(["a"], [0.0], [0.0])
    for images, towns in (([], LAND), ([elsewhere], LAND), ([elsewhere.iloc[:0]], LAND), ([elsewhere], LAND.iloc[:0])):
        labelled = label_images(images, towns, NO_ROADS, NO_LANDMARKS, prefecture_code="13")
        check_table(LABELLED_IMAGES, labelled)
        assert labelled.empty


def test_real_photos_lie_in_the_municipality_that_another_source_names(shared_data):
    """MP-16's positions, with municipalities from the administrative areas; blocks of seven wards from the census."""
    towns = read_towns(shared_data / "tokyo" / "A002005212020DDSWC13-JGD2011.zip")
    rows = pd.read_csv(shared_data / "geoclip" / "mp16_points_in_japan.csv", dtype={"N03_007": str})
    photos = rows.rename(columns={"LAT": "lat", "LON": "lon"}).assign(source="mp16", capture_group="someone", accuracy_m=np.nan)
    photos["image_id"] = [f"i{number:04d}" for number in range(len(photos))]
    labelled = label_images([photos], towns, NO_ROADS, NO_LANDMARKS, prefecture_code="13").set_index("image_id")
    named = photos.set_index("image_id")["N03_007"]
    in_wards = named[named.isin(set(towns["municipality_code"]))]
    assert len(in_wards) > 500
    assert set(in_wards.index) <= set(labelled.index)
    inside = labelled[labelled["town_distance_m"] == 0]
    assert (inside["municipality_code"] == named[inside.index]).mean() > 0.98, "they differ at borders alone"
    assert len(labelled) - len(inside) < 20, "just outside: the wards around are not in the archive"
