"""Tiles are asked for once, and only where points are."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from geoloc_pipeline.errors import SourceUnavailableError
from geoloc_pipeline.imagery.coverage import AREAS_AT_ONCE, coverage_around

_POINTS = [("a", 35.68, 139.76), ("b", 35.70, 139.80), ("c", 35.6801, 139.7601)]
_ACROSS = [*_POINTS, *((f"d{number}", 35.5, 139.0 + number / 20) for number in range(2 * AREAS_AT_ONCE))]


class Killed(BaseException):
    """Nothing in the house catches it, as nothing catches kill -9."""


@pytest.fixture
def world(small_mapillary, shot):
    return small_mapillary({10: shot(35.6803, 139.7603), 20: shot(35.7001, 139.8001)})


def _around(world, folder=None, points=_POINTS, **options):
    async def around():
        async with world.providers(tries=1)() as (provider,):
            found = await coverage_around(points, provider, radius_m=150.0, folder=folder, **options)
            return found.image_id.tolist()

    return asyncio.run(around())


def test_each_tile_is_asked_for_once_and_kept_for_the_next(world, tmp_path):
    assert _around(world, tmp_path) == ["10", "20"]
    assert len(world.asked) == len(set(world.asked))
    world.asked.clear()
    world.shots.clear()
    assert _around(world, tmp_path) == ["10", "20"]
    assert world.asked == []
    assert _around(world, tmp_path, edition="2027") == []


def test_a_run_that_dies_keeps_its_tiles(world, tmp_path):
    def fault(request):
        if any(tmp_path.rglob("*.coverage")):
            raise Killed

    world.fault = fault
    with pytest.raises(Killed):
        _around(world, tmp_path, points=_ACROSS)
    kept, world.fault = len(list(tmp_path.rglob("*.coverage"))), None
    world.asked.clear()
    assert _around(world, tmp_path, points=_ACROSS) == ["10", "20"]
    n_areas = len(list(tmp_path.rglob("*.coverage")))
    assert 0 < kept < n_areas
    assert len(world.asked) == n_areas - kept


def test_a_kept_tile_that_is_spoilt_is_asked_for_again(world, tmp_path):
    _around(world, tmp_path)
    for path in tmp_path.rglob("*.coverage"):
        path.write_bytes(b"<html>")
    world.asked.clear()
    assert _around(world, tmp_path) == ["10", "20"]
    assert world.asked


def test_a_service_that_is_down_is_told(world, tmp_path):
    world.fault = lambda request: httpx.Response(503)
    with pytest.raises(SourceUnavailableError):
        _around(world, tmp_path)
    assert not list(tmp_path.rglob("*.coverage"))
