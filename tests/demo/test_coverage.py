"""Where cameras have been: along roads, at all seasons, and found again by tile, box and id."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import shapely

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.read import read_land
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.geo.tiles import tile_of


def gaps_m(coverage: Coverage, sequence: int) -> np.ndarray:
    rows = coverage.in_sequence(coverage.sequence_ids[sequence])
    lat, lon = coverage.shots.lat[rows], coverage.shots.lon[rows]
    return distance_m(lat=lat[:-1], lon=lon[:-1], to_lat=lat[1:], to_lon=lon[1:])


def test_the_same_land_has_the_same_coverage(thin_land: Land) -> None:
    once, again = Coverage(thin_land), Coverage(thin_land)
    for field in fields(once.shots):
        assert np.array_equal(getattr(once.shots, field.name), getattr(again.shots, field.name))
    assert once.sequence_ids == again.sequence_ids


def test_ids_are_given_once_and_fit_into_json(coverage: Coverage) -> None:
    ids = coverage.shots.image_id
    assert len(np.unique(ids)) == len(ids) == len(coverage)
    assert ids.min() >= 10**14
    assert ids.max() < 10**15 < 2**53
    assert len(set(coverage.sequence_ids)) == len(coverage.sequence_ids)
    assert coverage.row_of(str(ids[17])) == 17
    assert coverage.row_of("12") is None
    assert coverage.row_of("../etc") is None


def test_a_camera_shoots_every_40_to_60_m(coverage: Coverage) -> None:
    gaps = np.concatenate([gaps_m(coverage, number) for number in range(0, len(coverage.sequence_ids), 7)])
    assert 45 < np.median(gaps) < 55
    assert np.mean((gaps > 35) & (gaps < 65)) > 0.9


def test_cameras_keep_to_the_left_and_look_along_the_road(whole_land: Land) -> None:
    road = next(road for road in whole_land.roads if road.tags["highway"] == "motorway")
    alone = Coverage(replace(whole_land, roads=(road,), landmarks=()))
    line, shots = shapely.LineString(road.lonlat), alone.shots
    forward = np.flatnonzero(shots.is_pano)
    away_m = shapely.distance(line, shapely.points(shots.lon[forward], shots.lat[forward])) * 111_195
    assert away_m.max() < 2.5
    ahead_lat = shots.lat[forward] + np.cos(np.radians(shots.heading_deg[forward])) * 20 / 111_195
    scale = 111_195 * np.cos(np.radians(shots.lat[forward]))
    ahead_lon = shots.lon[forward] + np.sin(np.radians(shots.heading_deg[forward])) * 20 / scale
    assert (shapely.distance(line, shapely.points(ahead_lon, ahead_lat)) * 111_195).max() < 4.0


def test_a_few_roads_were_never_driven_and_the_others_were(coverage: Coverage, whole_land: Land) -> None:
    classes = {"trunk", "primary", "secondary", "tertiary", "unclassified", "residential"}
    lines = [shapely.LineString(road.lonlat) for road in whole_land.roads if road.tags["highway"] in classes]
    spots = shapely.get_coordinates([line.interpolate(0.5, normalized=True) for line in lines])
    tree = shapely.STRtree(shapely.points(coverage.shots.lon, coverage.shots.lat))
    seen = [len(tree.query(shapely.Point(spot), predicate="dwithin", distance=0.0006)) > 0 for spot in spots]
    assert 0.90 < np.mean(seen) < 0.99


def test_gps_and_compass_err_a_little_and_some_pictures_were_never_computed(coverage: Coverage) -> None:
    shots = coverage.shots
    away_m = distance_m(lat=shots.lat, lon=shots.lon, to_lat=shots.gps_lat, to_lon=shots.gps_lon)
    assert 1.0 < np.median(away_m) < 6.0
    assert away_m.max() < 20.0
    turn = (shots.compass_deg - shots.heading_deg + 180) % 360 - 180
    assert 2.0 < turn.std() < 8.0
    assert 0.04 < np.mean(~shots.is_computed) < 0.08
    assert max(np.abs(shots.pitch_deg).max(), np.abs(shots.roll_deg).max()) <= 4.0


def test_pictures_were_taken_by_day_in_all_seasons_and_never_in_the_future(coverage: Coverage, whole_land: Land) -> None:
    moments = [coverage.captured_at(row) + timedelta(hours=9) for row in range(0, len(coverage), 50)]
    assert {moment.month for moment in moments} == set(range(1, 13))
    assert len({moment.year for moment in moments}) >= 6
    assert all(7 <= moment.hour < 18 for moment in moments)
    assert coverage.shots.captured_ms.max() < whole_land.published_at.timestamp() * 1000


def test_most_are_panoramas_and_some_flat_rigs_look_four_ways(coverage: Coverage) -> None:
    assert 0.85 < coverage.shots.is_pano.mean() < 0.99
    flat = np.flatnonzero(~coverage.shots.is_pano)
    by_place: dict[tuple[float, float], list[float]] = {}
    for row in flat:
        place = (float(coverage.shots.lat[row]), float(coverage.shots.lon[row]))
        by_place.setdefault(place, []).append(float(coverage.shots.heading_deg[row]))
    counts = {len(headings) for headings in by_place.values()}
    assert counts == {1, 4}
    four = next(headings for headings in by_place.values() if len(headings) == 4)
    assert sorted((heading - four[0]) % 360 for heading in four) == pytest.approx([0, 90, 180, 270])


def test_tiles_and_boxes_find_what_a_search_of_everything_finds(coverage: Coverage) -> None:
    shots = coverage.shots
    x, y = tile_of(lat=shots.gps_lat, lon=shots.gps_lon, zoom=14)
    for row in range(0, len(coverage), 9001):
        found = coverage.in_tile(x=int(x[row]), y=int(y[row]))
        assert found.tolist() == np.flatnonzero((x == x[row]) & (y == y[row])).tolist()
        wide = coverage.in_tile(x=int(x[row]) // 4, y=int(y[row]) // 4, zoom=12)
        assert wide.tolist() == np.flatnonzero((x // 4 == x[row] // 4) & (y // 4 == y[row] // 4)).tolist()
        box = (shots.gps_lon[row] - 1e-3, shots.gps_lat[row] - 1e-3, shots.gps_lon[row] + 1e-3, shots.gps_lat[row] + 1e-3)
        assert row in coverage.in_box(*box)
    assert len(coverage.in_tile(x=0, y=0)) == 0
    assert len(coverage.in_sequence("nobody")) == 0


def test_sequences_are_short_enough_to_be_split(coverage: Coverage) -> None:
    sizes = np.bincount(coverage.shots.sequence)
    assert sizes.max() <= 130  # six kilometres
    assert len(set(coverage.creators)) > 40


def test_only_the_dense_grid_is_dense(coverage: Coverage, whole_land: Land) -> None:
    stations = [mark.geometry for mark in whole_land.landmarks if mark.tags == {"amenity": "vending_machine"}]
    assert len(stations) == 4
    assert all(coverage.is_dense(lat=place.y, lon=place.x) for place in stations)
    shots = coverage.shots
    everywhere = [coverage.is_dense(lat=shots.lat[row], lon=shots.lon[row]) for row in range(0, len(coverage), 101)]
    assert np.mean(everywhere) < 0.08


def test_the_large_park_is_walked(coverage: Coverage, whole_land: Land) -> None:
    park = max(whole_land.landmarks, key=lambda mark: mark.geometry.area).geometry
    assert shapely.contains_xy(park, coverage.shots.lon, coverage.shots.lat).sum() > 200


def test_lonely_landmarks_of_a_real_map_are_walked_around(shared_data: Path) -> None:
    land = read_land(shared_data / "tokyo")
    coverage = Coverage(land)
    tree = shapely.STRtree(shapely.points(coverage.shots.lon, coverage.shots.lat))
    feet = [mark.geometry.representative_point() for mark in land.landmarks]
    assert np.mean([len(tree.query(foot, predicate="dwithin", distance=0.0015)) > 0 for foot in feet]) > 0.9


def test_every_sequence_went_to_one_provider_and_few_elsewhere_than_to_mapillary(coverage: Coverage) -> None:
    share = {name: coverage.providers.count(name) / len(coverage.providers) for name in set(coverage.providers)}
    assert set(share) == {"mapillary", "panoramax", "kartaview"}
    assert 0.03 < share["panoramax"] < 0.05
    assert 0.02 < share["kartaview"] < 0.04
    assert len(coverage.providers) == len(coverage.sequence_ids)
    assert not coverage.only("kartaview").shots.is_pano.any()
    assert coverage.only("panoramax").shots.is_pano.mean() > 0.7


def test_the_parts_of_a_coverage_are_the_whole_and_change_nothing_in_it(coverage: Coverage) -> None:
    before = [getattr(coverage.shots, field.name).copy() for field in fields(coverage.shots)]
    parts = [coverage.only(name) for name in ("mapillary", "panoramax", "kartaview")]
    assert sum(len(part) for part in parts) == len(coverage)
    for part in parts:
        rows = np.array([coverage.row_of(str(image_id)) for image_id in part.shots.image_id.tolist()])
        assert (np.diff(rows) > 0).all()
        for field in fields(part.shots):
            if field.name != "sequence":
                assert np.array_equal(getattr(part.shots, field.name), getattr(coverage.shots, field.name)[rows])
        for row in range(0, len(part), 97):
            name = part.sequence_ids[part.shots.sequence[row]]
            assert name == coverage.sequence_ids[coverage.shots.sequence[rows[row]]]
            assert part.creators[part.shots.sequence[row]] == coverage.creators[coverage.shots.sequence[rows[row]]]
            assert rows[part.in_sequence(name)].tolist() == coverage.in_sequence(name).tolist()
            assert part.row_of(str(part.shots.image_id[row])) == row
    assert parts[0].row_of(str(parts[1].shots.image_id[0])) is None
    assert all(
        np.array_equal(getattr(coverage.shots, field.name), old)
        for field, old in zip(fields(coverage.shots), before, strict=True)
    )


def test_the_cameras_of_a_rig_went_to_the_same_provider(coverage: Coverage) -> None:
    by_start: dict[tuple[float, int], set[str]] = {}
    for number, name in enumerate(coverage.sequence_ids):
        first = coverage.in_sequence(name)[0]
        key = (float(coverage.shots.lat[first]), int(coverage.shots.captured_ms[first]))
        by_start.setdefault(key, set()).add(coverage.providers[number])
    assert len(by_start) < len(coverage.sequence_ids)
    assert all(len(names) == 1 for names in by_start.values())


def test_nobody_has_an_empty_part(coverage: Coverage) -> None:
    nothing = coverage.only("nobody")
    assert len(nothing) == 0
    assert len(nothing.in_box(0, 0, 180, 90)) == 0


def test_a_land_without_roads_has_no_pictures() -> None:
    land = replace(grow_land(prefecture_codes=("01",), density=0.05), roads=(), landmarks=())
    coverage = Coverage(land)
    assert len(coverage) == 0
    assert len(coverage.in_box(0, 0, 180, 90)) == 0
    assert coverage.row_of("161803398874989") is None
    assert len(coverage.only("mapillary")) == 0
