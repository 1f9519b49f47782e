"""Ground: asphalt where the road runs, shadows away from the sun, and the maps seen under the right angle."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import shapely

from geoloc_pipeline.demo.ground import draw_charts, paint_ground
from geoloc_pipeline.demo.land import Land, Road, Town
from geoloc_pipeline.demo.light import Light, light_of
from geoloc_pipeline.demo.scenery import METRES_PER_DEG, Scenery
from geoloc_pipeline.demo.shapes import Frame
from geoloc_pipeline.demo.surroundings import Surroundings

LAT, LON = 34.18, 131.47
SCALE = METRES_PER_DEG * np.array([np.cos(np.radians(LAT)), 1.0])
JUNE = datetime(2026, 6, 10, 7, 0, tzinfo=UTC)
EYE_M = 2.4


def light(cover: float = 1.0) -> Light:
    one = light_of(lat=LAT, lon=LON, captured_at=JUNE, seed=1, brightness=1.0)
    return replace(one, cloud_cover=cover, haze_m=1e9)


@pytest.fixture(scope="module")
def scene() -> Surroundings:
    """A road from west to east 10 m north of the camera, in a town."""
    line = np.array([(-400.0, 10.0), (400.0, 10.0)]) / SCALE + np.array([LON, LAT])
    box = shapely.box(LON - 0.05, LAT - 0.05, LON + 0.05, LAT + 0.05)
    town = Town("35101001001", "35", "35101", "見本県", "見本市", "見本町", box, population=30_000)
    land = Land(3, (Road(7, {"highway": "secondary"}, line),), (), (town,), JUNE, 1)
    return Scenery(land).around(lat=LAT, lon=LON)


def bare(scene: Surroundings) -> Surroundings:
    none = np.zeros(0, dtype=np.int64)
    return replace(scene, buildings=scene.buildings.where(none), trees=scene.trees.where(none))


def at(chart: np.ndarray, x: float, y: float, metres: float) -> np.ndarray:
    middle = (len(chart) - 1) / 2
    row, column = round(middle - y / metres), round(middle + x / metres)
    return chart[row - 1 : row + 2, column - 1 : column + 2].reshape(-1, 3).mean(axis=0)


@pytest.mark.parametrize("x", [-30.0, 0.0, 25.0])
def test_asphalt_lies_where_the_road_runs_and_nowhere_else(scene: Surroundings, x: float) -> None:
    empty = bare(scene)
    asphalt = np.array(empty.styles[empty.home].asphalt_colour) * light().on(np.array([[0.0, 0.0, 1.0]]))[0]
    for chart, metres in zip(draw_charts(empty, light(), EYE_M, None), (0.1, 1.25), strict=True):
        assert np.abs(at(chart, x, 11.5, metres) - asphalt).max() < 14
        assert np.abs(at(chart, x, -12.0, metres) - asphalt).max() > 14


def test_a_crossed_road_keeps_its_paint_between_edge_and_middle(scene: Surroundings) -> None:
    chart, _ = draw_charts(bare(scene), light(), EYE_M, None)
    column = chart[:, 700].astype(int)
    road = column[250:350]
    assert len(np.unique(road // 24, axis=0)) > 4  # asphalt, lane, edge line, centre line, sidewalk


def test_shadows_fall_away_from_the_sun_and_only_under_a_clear_sky(scene: Surroundings) -> None:
    house = scene.buildings.where(np.array([0]))
    house = replace(house, at_m=np.array([[0.0, -15.0]]), floors=np.array([2]))
    lone = replace(bare(scene), buildings=house)
    clear, dull = (draw_charts(lone, light(cover), EYE_M, None)[0].astype(int) for cover in (0.1, 0.8))
    away = -light().sun[:2] / np.hypot(*light().sun[:2])
    inside = np.array([0.0, -15.0]) + away * (max(house.half_width_m[0], house.half_depth_m[0]) + 1.0)
    opposite = np.array([0.0, -15.0]) - away * (max(house.half_width_m[0], house.half_depth_m[0]) * 1.5 + 1.0)
    assert at(clear, *inside, 0.1).sum() < 0.85 * at(dull, *inside, 0.1).sum() * clear[-1, -1].sum() / dull[-1, -1].sum()
    assert at(clear, *opposite, 0.1).sum() > 0.9 * at(dull, *opposite, 0.1).sum()


def chequered(side: int, metres: float) -> np.ndarray:
    """East red, north green: a map that tells where it was read."""
    chart = np.full((side, side, 3), 10, dtype=np.uint8)
    chart[:, side // 2 :, 0] = 200
    chart[: side // 2, :, 1] = 200
    return chart


@pytest.mark.parametrize(
    ("heading_deg", "column", "colour"), [(45.0, 256, (200, 200)), (45.0, 384, (200, 10)), (225.0, 256, (10, 10))]
)
def test_the_map_is_seen_in_the_direction_where_it_lies(heading_deg: float, column: int, colour: Any) -> None:
    angle = np.radians(heading_deg)
    turn = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    frame = Frame(np.zeros((256, 512, 3), dtype=np.uint8), 512)
    paint_ground(frame, (chequered(800, 0.1), chequered(480, 1.25)), light(), EYE_M, turn)
    for row in (131, 140, 170, 200, 240):  # far map, near map, and below
        np.testing.assert_allclose(frame.image[row, column, :2], colour, atol=3)
    assert (frame.image[:126] == 0).all()


def test_the_car_roof_is_below_the_lens_and_nowhere_else(scene: Surroundings) -> None:
    roof = np.array([0.0, 1.0, 250.0, 10.0, 10.0])
    plain, driven = (draw_charts(bare(scene), light(), EYE_M, car)[0].astype(int) for car in (None, roof))
    changed = np.abs(plain - driven).sum(axis=2) > 20
    assert changed[399, 399]
    rows, columns = np.nonzero(changed)
    assert np.abs(rows - 399.5).max() * 0.1 < 2.6
    assert np.abs(columns - 399.5).max() * 0.1 < np.abs(rows - 399.5).max() * 0.1


def test_far_ground_fades_into_haze_and_near_ground_does_not() -> None:
    charts = (np.full((800, 800, 3), 60, dtype=np.uint8), np.full((480, 480, 3), 60, dtype=np.uint8))
    frame = Frame(np.zeros((256, 512, 3), dtype=np.uint8), 512)
    hazy = replace(light(), haze_m=60.0, horizon=np.full(3, 220.0))
    paint_ground(frame, charts, hazy, EYE_M, np.eye(3))
    column = frame.image[129:, 100, 0].astype(int)
    assert column[0] > 150
    assert (np.diff(column) <= 1).all()
    assert abs(column[-1] - 60) <= 1


def test_a_window_shows_the_same_as_the_whole_picture_there(scene: Surroundings) -> None:
    charts = draw_charts(scene, light(), EYE_M, None)
    whole = Frame(np.zeros((256, 512, 3), dtype=np.uint8), 512)
    window = Frame(np.zeros((104, 160, 3), dtype=np.uint8), 512, left_px=184, top_px=104)
    for frame in (whole, window):
        paint_ground(frame, charts, light(), EYE_M, np.eye(3))
    np.testing.assert_allclose(window.image[:-2, 2:-2].astype(int), whole.image[104:206, 186:342], atol=2)
