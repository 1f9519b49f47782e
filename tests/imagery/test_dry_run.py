"""A dry run asks for nothing, and where coverage is kept it says exactly what a run then asks for."""

from __future__ import annotations

import asyncio

import pytest

from geoloc_pipeline.imagery.collect import CollectSettings, collect_street_view
from geoloc_pipeline.imagery.dry_run import would_ask

_PLACES = [(f"p{number}", 35.68 + number * 0.002, 139.76) for number in range(6)]
_SETTINGS = CollectSettings(chunk_points=4)


@pytest.fixture
def world(small_mapillary, shot):
    """Panoramas at the first three points, two flat pictures at the fourth, nothing at the others."""
    shots = {number: shot(*_PLACES[number][1:]) for number in range(3)}
    shots |= {10 + turn: shot(*_PLACES[3][1:], is_pano=False, compass_deg=90.0 * turn) for turn in range(2)}
    return small_mapillary(shots)


def _told(world, points, folder, kept):
    async def ask():
        async with world.providers()() as providers:
            return would_ask(points, providers, folder, settings=_SETTINGS, coverage_folders=kept)

    (row,) = asyncio.run(ask()).to_dict("records")
    return row


def test_before_anything_is_known_it_tells_the_most_that_can_be(world, sample_points, tmp_path):
    row = _told(world, sample_points(_PLACES), tmp_path / "images", {})
    assert world.asked == []
    assert not (tmp_path / "images").exists()
    assert (row["points"], row["pictures"], row["is_exact"]) == (6, 6, False)
    assert row["requests"] == row["areas"] + 2 * 6


def test_with_coverage_in_hand_it_tells_what_a_run_then_asks_for(world, sample_points, tmp_path):
    kept = {"mapillary": tmp_path / "coverage"}

    def collect(points):
        collect_street_view(points, world.providers(), tmp_path / "images", settings=_SETTINGS, coverage_folders=kept)

    collect(sample_points(_PLACES[:1]))
    world.asked.clear()
    row = _told(world, sample_points(_PLACES[:5]), tmp_path / "images", kept)
    assert world.asked == []
    assert (row["points"], row["areas"], row["is_exact"]) == (4, 0, True)
    collect(sample_points(_PLACES[:5]))
    assert len(world.asked) == row["requests"] == 2 * (2 + 2)
    row = _told(world, sample_points(_PLACES[:5]), tmp_path / "images", kept)
    assert (row["points"], row["pictures"], row["requests"]) == (0, 0, 0)
