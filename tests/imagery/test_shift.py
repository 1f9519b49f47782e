"""Tasks stop when there is no more to be had, and not because of one picture; chunks close in order behind them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from geoloc_pipeline.errors import SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.imagery import shift as shifts
from geoloc_pipeline.imagery.choose import Choice
from geoloc_pipeline.imagery.collect import CollectSettings
from geoloc_pipeline.imagery.forgotten import Forgotten
from geoloc_pipeline.imagery.intake import Intake
from geoloc_pipeline.imagery.journal import Journal
from geoloc_pipeline.imagery.shift import DOWN_AFTER, Chunk, Shift
from geoloc_pipeline.tables import STREET_VIEW_IMAGES

_N = 12
_RECIPE = Journal(Path(), STREET_VIEW_IMAGES, recipe=[]).recipe


@pytest.fixture
def world(small_mapillary, shot):
    return small_mapillary(
        {100 + number: shot(35.68 + number / 1000, 139.76, compass_deg=number * 7.0) for number in range(_N)}
    )


@pytest.fixture
def work(world, tmp_path):
    """Work a shift on the chunks, one picture at a time; gives it back with its journal."""

    def run(chunks, contents=None, forgotten=None, **changes):
        journal = Journal(tmp_path, STREET_VIEW_IMAGES, recipe=[])
        intake = Intake(tmp_path, recipe=journal.recipe)

        async def go():
            async with world.providers(tries=1)() as (provider,):
                shift = Shift(
                    journal,
                    intake,
                    provider,
                    forgotten=forgotten or Forgotten(),
                    settings=replace(CollectSettings(in_flight=1), **changes),
                    progress=None,
                )
                await shift.work(chunks, contents={} if contents is None else contents)
                return shift

        return asyncio.run(go()), journal

    return run


def _choices(numbers=range(_N)):
    return [Choice(f"p{number}", 35.68 + number / 1000, 139.76, pano_id=str(100 + number)) for number in numbers]


def _chunks(size=4):
    choices = _choices()
    return [Chunk(f"{start:05}-{_RECIPE}-bbbb", choices[start : start + size]) for start in range(0, _N, size)]


def _fails(*numbers):
    return lambda request: httpx.Response(503) if request.url.path in {f"/{100 + number}" for number in numbers} else None


def test_every_chunk_holds_its_choices_in_order(work, tmp_path):
    shift, journal = work(_chunks(), in_flight=5)
    assert (shift.end, shift.parts) == (None, [])
    points = [journal.read(chunk.name)[0].sort_values("offset")["point_id"].tolist() for chunk in _chunks()]
    assert points == [[choice.point_id for choice in chunk.choices] for chunk in _chunks()]
    assert not list(tmp_path.glob("*.intake"))


def test_one_picture_that_does_not_come_stops_nobody_and_its_chunk_stands_as_a_part(work, world):
    world.fault = _fails(1, 6)
    shift, journal = work(_chunks())
    assert shift.end is None
    assert [journal.read(chunk.name) is None for chunk in _chunks()] == [True, True, False]
    images, rejected = journal.read(shift.parts[0])
    assert images.sort_values("offset")["point_id"].tolist() == ["p0", "p2", "p3"]
    assert rejected["reason"].tolist() == ["unavailable"]
    world.fault = None
    world.asked.clear()
    shift, journal = work(_chunks()[:2])
    assert world.fetched == ["101", "106"], "what came before is in the intake"
    assert all(journal.read(chunk.name) is not None for chunk in _chunks()[:2])


def test_after_some_in_a_row_nobody_asks_any_more(work, world):
    world.fault = _fails(*range(1, _N))
    shift, _ = work(_chunks())
    assert isinstance(shift.end, SourceUnavailableError)
    assert len(world.asked) == 2 + DOWN_AFTER  # entity and picture of the first, then only entities


def test_a_service_that_answers_for_none_is_down_however_few_there_are(work, world):
    world.fault = _fails(0, 1)
    shift, _ = work([Chunk("c", _choices([0, 1]))])
    assert isinstance(shift.end, SourceUnavailableError)


def test_a_refused_token_ends_it_at_once(work, world, tmp_path):
    world.fault = lambda request: httpx.Response(401, json={"error": {"code": 190}})
    shift, _ = work(_chunks())
    assert isinstance(shift.end, SourceRefusedError)
    assert len(world.asked) == 1
    assert not list(tmp_path.glob("*.tar"))


@pytest.mark.parametrize("in_flight", [1, 3])
def test_a_token_refused_in_the_middle_leaves_whole_chunks_and_an_intake(work, world, tmp_path, in_flight):
    refused = httpx.Response(401, json={"error": {"code": 190}})
    world.fault = lambda request: refused if len(world.asked) > 9 and request.url.host == "graph.mapillary.com" else None
    shift, _ = work(_chunks(size=1), in_flight=in_flight)
    assert isinstance(shift.end, SourceRefusedError)
    n_kept = len(list(tmp_path.glob("*.tar"))) + len(Intake(tmp_path, recipe=_RECIPE))
    assert n_kept == len(world.fetched)
    assert n_kept > 2


def test_what_is_left_of_a_run_may_fail_alone(work, world):
    world.fault = _fails(1)
    work(_chunks())
    shift, _ = work(_chunks()[:1])
    assert (shift.end, len(shift.parts)) == (None, 1)


def test_the_same_bytes_under_another_id_are_turned_away(work, world, as_jpeg, panorama):
    same = as_jpeg(panorama(256, compass_deg=200.0))
    for number in (2, 5, 9):
        world.shots[100 + number].content = same
    contents = {}
    _, journal = work(_chunks(), contents=contents)
    rejected = [row for chunk in _chunks() for row in journal.read(chunk.name)[1].to_numpy().tolist()]
    assert [(image_id, reason) for _, image_id, reason, _ in rejected] == [("105", "duplicate"), ("109", "duplicate")]
    assert all("102" in detail for *_, detail in rejected)
    assert sorted(contents.values()) == sorted(str(100 + number) for number in range(_N) if number not in {5, 9})


def test_forgotten_pictures_and_drives_are_left_out(work, world, tmp_path):
    forgotten = Forgotten(tmp_path / "forgotten.parquet")
    forgotten.add(source="mapillary", source_image_id="103", why="asked")
    forgotten.add(capture_group="mapillary:seq11", why="asked")  # of 110 and 111
    _, journal = work(_chunks(), forgotten=forgotten)
    assert "103" not in world.fetched
    rejected = {row[1]: row[2] for chunk in _chunks() for row in journal.read(chunk.name)[1].to_numpy().tolist()}
    assert rejected == dict.fromkeys(["103", "110", "111"], "forgotten")


def test_it_says_how_fast_it_goes_and_what_is_left(work, world, caplog, monkeypatch):
    monkeypatch.setattr(shifts, "TELL_EVERY_S", 0.0)
    caplog.set_level(logging.INFO)
    work(_chunks())
    assert f"Mapillary: 5 of {_N} pictures" in caplog.text
    assert "requests left today" in caplog.text
