"""Map frames turn places into pixels and back, and outlines into paths that stay in the picture."""

from __future__ import annotations

import re

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.evaluation.cartography import (
    MapFrame,
    Outline,
    area_path,
    circle_path,
    coast_path,
    outlines_of_towns,
    scale_bar,
    seen_outlines,
)
from geoloc_pipeline.geo.crs import WGS84
from geoloc_pipeline.geo.sphere import destination

JAPAN = MapFrame.fitting(lat=[26, 45.6], lon=[127.5, 146], width_px=500, height_px=400)


def numbers(path: str) -> np.ndarray:
    return np.array(re.findall(r"-?\d+\.\d", path), dtype=float).reshape(-1, 2)


@given(lat=st.floats(-80, 80), lon=st.floats(-170, 170))
def test_pixels_turn_back_into_the_same_place(lat: float, lon: float):
    frame = MapFrame.around(lat=lat, lon=lon, radius_km=30, width_px=500, height_px=400)
    x, y = frame.xy(lat=lat + 0.01, lon=lon - 0.01)
    back_lat, back_lon = frame.places(x=x, y=y)
    assert (float(back_lat), float(back_lon)) == pytest.approx((lat + 0.01, lon - 0.01), abs=1e-9)


def test_a_fitting_frame_shows_every_place_with_a_margin():
    lat, lon = [26.1, 45.5, 33.0], [127.6, 141.9, 130.0]
    x, y = MapFrame.fitting(lat=lat, lon=lon, width_px=500, height_px=300, margin=0.1).xy(lat=lat, lon=lon)
    assert x.min() >= 50 - 1e-6
    assert x.max() <= 450 + 1e-6
    assert y.min() >= 30 - 1e-6
    assert y.max() <= 270 + 1e-6


def test_a_frame_around_one_single_place_is_not_infinitely_close():
    frame = MapFrame.fitting(lat=[35.0], lon=[139.0], width_px=500, height_px=300)
    west, _, east, _ = frame.bounds()
    assert 0.003 < east - west < 0.03


@pytest.mark.parametrize("lat", [26.2, 35.7, 43.1])
def test_a_kilometre_is_as_long_as_the_frame_says(lat: float):
    frame = MapFrame.around(lat=lat, lon=139.0, radius_km=10, width_px=400, height_px=400)
    north = destination(lat=lat, lon=139.0, bearing_deg=90, away_m=5000)
    x, _ = frame.xy(lat=north[0], lon=north[1])
    assert float(x) - 200 == pytest.approx(5 * frame.px_per_km(), rel=0.01)
    assert frame.px_per_km() == pytest.approx(20, rel=0.001)


def test_the_scale_bar_is_round_and_fits():
    for radius_km in (0.3, 3, 77, 1200):
        frame = MapFrame.around(lat=35, lon=139, radius_km=radius_km, width_px=500, height_px=400)
        px, words = scale_bar(frame)
        assert 50 < px <= 140
        assert re.fullmatch(r"[125]0* (km|m)", words)


def test_an_area_is_cut_at_the_frame_and_one_far_away_is_not_drawn():
    frame = MapFrame.around(lat=35, lon=139, radius_km=5, width_px=500, height_px=400)
    points = numbers(area_path(frame, shapely.box(130, 30, 145, 40)))
    assert points.min() > -50
    assert points.max() < 550
    assert area_path(frame, shapely.box(10, 10, 11, 11)) == ""
    assert area_path(frame, shapely.Polygon()) == ""
    assert area_path(frame, shapely.Point(139, 35)) == ""


def test_geojson_draws_what_shapely_draws():
    box = shapely.box(139.0, 35.0, 140.0, 36.0)
    assert area_path(JAPAN, shapely.geometry.mapping(box)) == area_path(JAPAN, box) != ""


def test_a_circle_has_its_radius():
    frame = MapFrame.around(lat=35, lon=139, radius_km=20, width_px=400, height_px=400)
    away = np.hypot(*(numbers(circle_path(frame, lat=35, lon=139, radius_km=10)) - 200).T)
    assert away == pytest.approx(np.full(len(away), 100.0), rel=0.02)


def test_the_coast_is_drawn_on_a_map_of_japan_and_not_on_one_of_the_ocean():
    assert coast_path(JAPAN).count("M") >= 6
    assert coast_path(MapFrame.around(lat=0, lon=0, radius_km=100, width_px=100, height_px=100)) == ""


def towns() -> gpd.GeoDataFrame:
    rows = [
        (
            f"13101{t:06d}",
            f"{t}丁目",
            "13101" if t < 2 else "13102",
            "見本市" if t < 2 else None,
            shapely.box(139 + t, 35, 140 + t, 36),
        )
        for t in range(4)
    ]
    names = ("town_code", "town", "municipality_code", "municipality", "geometry")
    frame = gpd.GeoDataFrame([dict(zip(names, row, strict=True)) for row in rows], crs=WGS84)
    return frame.assign(prefecture_code="13", prefecture="東京都", population=1)


def test_town_blocks_join_into_what_they_belong_to():
    frame = towns()
    assert [o.name for o in outlines_of_towns(frame, level="town")] == ["0丁目", "1丁目", "2丁目", "3丁目"]
    assert [o.name for o in outlines_of_towns(frame, level="municipality")] == ["見本市", ""]
    (prefecture,) = outlines_of_towns(frame, level="prefecture")
    assert prefecture.geometry.area == pytest.approx(4.0)
    assert prefecture.geometry.geom_type == "Polygon"
    assert outlines_of_towns(frame.iloc[:0], level="town") == []


def test_a_small_area_has_its_name_below_itself():
    tiny, large = seen_outlines(
        JAPAN, [Outline("小", shapely.box(139, 35, 139.1, 35.1)), Outline("大", shapely.box(136, 33, 140, 37))]
    )
    assert tiny.y > numbers(tiny.path)[:, 1].max()
    assert numbers(large.path)[:, 1].min() < large.y < numbers(large.path)[:, 1].max()
