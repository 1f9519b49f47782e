"""Tiles are asked for once, and only where points are."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import SourceUnavailableError
from geoloc_pipeline.geo.sphere import destination
from geoloc_pipeline.geo.tiles import tile_bounds, tile_of
from geoloc_pipeline.imagery.coverage import coverage_around, tiles_around

_POINTS = [("a", 35.68, 139.76), ("b", 35.70, 139.80), ("c", 35.6801, 139.7601)]


@given(lat=st.floats(24, 46), lon=st.floats(122, 154), radius_m=st.floats(1, 3000))
def test_every_tile_that_the_radius_reaches_is_among_them(lat, lon, radius_m):
    tiles = set(tiles_around([("p", lat, lon)], radius_m=radius_m))
    for bearing_deg in range(0, 360, 15):
        at = destination(lat=lat, lon=lon, bearing_deg=bearing_deg, away_m=radius_m)
        column, row = tile_of(lat=at[0], lon=at[1], zoom=14)
        assert (int(column), int(row)) in tiles


def test_a_point_deep_in_a_tile_needs_no_other():
    west, south, east, north = tile_bounds(x=14552, y=6451, zoom=14)
    assert list(tiles_around([("p", (south + north) / 2, (west + east) / 2)], radius_m=150.0)) == [(14552, 6451)]


@pytest.fixture
def world(small_mapillary, shot):
    return small_mapillary({10: shot(35.6803, 139.7603), 20: shot(35.7001, 139.8001)})


def _around(world, tiles_folder=None, **options):
    options = {"radius_m": 150.0, "edition": "", "workers": 2} | options
    return coverage_around(_POINTS, world.client(tries=1), tiles_folder=tiles_folder, **options).image_id.tolist()


def test_each_tile_is_asked_for_once_and_kept_for_the_next(world, tmp_path):
    assert _around(world, tmp_path) == [10, 20]
    assert len(world.asked) == len(set(world.asked)) == len(tiles_around(_POINTS, radius_m=150.0))
    world.asked.clear()
    world.shots.clear()
    assert _around(world, tmp_path) == [10, 20]
    assert world.asked == []
    assert _around(world, tmp_path, edition="2027") == []


def test_a_run_that_dies_keeps_its_tiles(world, tmp_path):
    def fault(request):
        if len(world.asked) >= 2:
            raise ConnectionAbortedError("killed")

    world.fault = fault
    with pytest.raises(ConnectionAbortedError):
        _around(world, tmp_path, workers=1)
    assert len(list(tmp_path.rglob("*.mvt"))) == 1
    first, world.fault = world.asked[0], None
    world.asked.clear()
    _around(world, tmp_path, workers=1)
    assert first not in world.asked


def test_a_kept_tile_that_is_spoilt_is_asked_for_again(world, tmp_path):
    _around(world, tmp_path)
    for path in tmp_path.rglob("*.mvt"):
        path.write_bytes(b"<html>")
    world.asked.clear()
    assert _around(world, tmp_path) == [10, 20]
    assert world.asked


def test_a_service_that_is_down_is_told(world, tmp_path):
    world.fault = lambda request: httpx.Response(503)
    with pytest.raises(SourceUnavailableError):
        _around(world, tmp_path)
    assert not list(tmp_path.rglob("*.mvt"))
