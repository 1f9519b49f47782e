"""Tiles are asked for once, only where points are, and the plan outlives its run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import SourceUnavailableError
from geoloc_pipeline.geo.sphere import destination
from geoloc_pipeline.geo.tiles import tile_bounds, tile_of
from geoloc_pipeline.imagery.plan import plan_collection, tiles_around

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


def _plan(world, folder, points=_POINTS, **options):
    options = {"radius_m": 150.0, "edition": "", "workers": 2} | options
    return plan_collection(points, world.client(tries=1), folder, **options)


@pytest.fixture
def world(small_mapillary, shot):
    return small_mapillary({10: shot(35.6803, 139.7603), 20: shot(35.7001, 139.8001)})


def test_the_plan_is_made_once_and_needs_no_tile_again(world, tmp_path):
    choices = _plan(world, tmp_path)
    assert [choice.pano_id for choice in choices] == ["10", "20", ""]
    assert choices[2].reason == "already_taken"
    assert len(world.asked) == len(set(world.asked)) == len(tiles_around(_POINTS, radius_m=150.0))
    world.asked.clear()
    world.shots.clear()
    assert _plan(world, tmp_path) == choices
    assert world.asked == []
    assert [choice.reason for choice in _plan(world, tmp_path, edition="2027")] == ["nothing_within_radius"] * 3


def test_numpys_own_numbers_make_the_same_plan(world, tmp_path):
    choices = _plan(world, tmp_path)
    world.asked.clear()
    assert (
        _plan(world, tmp_path, [(name, float(np.float64(lat)), float(np.float64(lon))) for name, lat, lon in _POINTS])
        == choices
    )
    assert world.asked == []


def test_a_planning_that_dies_keeps_its_tiles(world, tmp_path):
    def fault(request):
        return None if len(world.asked) < 2 else world_down()

    def world_down():
        raise ConnectionAbortedError("killed")

    world.fault = fault
    tiles = tmp_path / "tiles"
    with pytest.raises(ConnectionAbortedError):
        _plan(world, tmp_path, tiles_folder=tiles, workers=1)
    kept = list(tiles.rglob("*.mvt"))
    assert len(kept) == 1
    first, world.fault = world.asked[0], None
    world.asked.clear()
    _plan(world, tmp_path, tiles_folder=tiles, workers=1)
    assert first not in world.asked


def test_a_spoilt_plan_is_made_anew(world, tmp_path):
    choices = _plan(world, tmp_path)
    (path,) = tmp_path.glob("plan-*.json")
    for text in ("", "[", "[]", "[1, 2, 3]"):
        path.write_text(text)
        assert _plan(world, tmp_path) == choices


def test_no_plan_is_kept_of_a_service_that_is_down(world, tmp_path):
    import httpx

    world.fault = lambda request: httpx.Response(503)
    with pytest.raises(SourceUnavailableError):
        _plan(world, tmp_path)
    assert not list(tmp_path.glob("plan-*"))


def test_a_kept_tile_that_is_spoilt_is_asked_for_again(world, tmp_path):
    tiles = tmp_path / "tiles"
    choices = _plan(world, tmp_path / "one", tiles_folder=tiles)
    for path in tiles.rglob("*.mvt"):
        path.write_bytes(b"<html>")
    assert _plan(world, tmp_path / "two", tiles_folder=tiles) == choices
    world.asked.clear()
    assert _plan(world, tmp_path / "three", tiles_folder=tiles) == choices
    assert world.asked == []
