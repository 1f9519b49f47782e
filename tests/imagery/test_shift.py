"""Workers stop when there is no more to be had, and not because of one picture."""

from __future__ import annotations

import httpx
import pytest

from geoloc_pipeline.errors import SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.imagery.choose import Choice
from geoloc_pipeline.imagery.collect import CollectSettings
from geoloc_pipeline.imagery.journal import Journal
from geoloc_pipeline.imagery.shift import DOWN_AFTER, Shift
from geoloc_pipeline.tables import STREET_VIEW_IMAGES

_N = 8


@pytest.fixture
def shift(small_mapillary, shot, tmp_path):
    """A shift of one worker, and the Mapillary that it works with."""
    world = small_mapillary({100 + number: shot(35.68 + number / 1000, 139.76) for number in range(_N)})
    journal = Journal(tmp_path, STREET_VIEW_IMAGES, recipe=[])
    return Shift(journal, world.client(tries=1), settings=CollectSettings(workers=1), progress=None), world


def _chunk():
    return [Choice(f"p{number}", 35.68 + number / 1000, 139.76, pano_id=str(100 + number)) for number in range(_N)]


def _fails(*numbers):
    return lambda request: httpx.Response(503) if request.url.path in {f"/{100 + number}" for number in numbers} else None


def test_every_choice_has_its_picture_in_order(shift):
    work, _ = shift
    results = work.work(_chunk())
    assert [picture.row["point_id"] for picture, _ in results] == [f"p{number}" for number in range(_N)]
    assert (work.end, work.n_unavailable) == (None, 0)


def test_one_picture_that_does_not_come_stops_nobody(shift):
    work, world = shift
    world.fault = _fails(0, 2, 4, 6)  # never one after the other
    results = work.work(_chunk())
    assert [picture is None for picture, _ in results] == [True, False] * 4
    assert [some[0][2] for picture, some in results if picture is None] == ["unavailable"] * 4
    assert (work.end, work.n_unavailable) == (None, 4)


def test_after_some_in_a_row_nobody_asks_any_more(shift):
    work, world = shift
    world.fault = _fails(*range(1, _N))
    work.work(_chunk())
    assert isinstance(work.end, SourceUnavailableError)
    assert len(world.asked) == 2 + DOWN_AFTER  # entity and picture of the first, then only entities


def test_a_refused_token_ends_it_at_once(shift):
    work, world = shift
    world.fault = lambda request: httpx.Response(401, json={"error": {"code": 190}})
    assert work.work(_chunk()) == [(None, [])] * _N
    assert isinstance(work.end, SourceRefusedError)
    assert len(world.asked) == 1
