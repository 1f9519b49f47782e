"""KartaView through the demo's mirror, over answers of every shape, and over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.demo.coverage import Coverage as Driven
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.mirror import Fault, Faults, Mirror
from geoloc_pipeline.demo.mirror_transports import async_loopback, async_mirror_transport, serve_on_port
from geoloc_pipeline.demo.pictures import jpeg_of
from geoloc_pipeline.errors import ImageError, SourceUnavailableError
from geoloc_pipeline.geo.tiles import tile_of
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.kartaview import KartaViewProvider, blurred_url, read_shot
from geoloc_pipeline.sources.street_view import Area, Coverage

T = TypeVar("T")
LAND = grow_land(seed=5, prefecture_codes=("13",), density=0.3)
DRIVEN = Driven(LAND).only("kartaview")
AREA = Area("14-14552-6451", ())


def quick_draw(camera: Any, is_pano: bool, width_px: int) -> Any:
    return np.full((width_px * 3 // 4, width_px, 3), camera.seed % 251, dtype=np.uint8)


@pytest.fixture
def mirror(tmp_path) -> Mirror:
    return Mirror(tmp_path, LAND, draw=quick_draw)


def asking(transport: httpx.AsyncBaseTransport, ask: Callable[[KartaViewProvider], Awaitable[T]], **options: Any) -> T:
    async def no_wait(seconds: float) -> None:
        await asyncio.sleep(0)

    async def run() -> T:
        async with AsyncHttpClient(transport=transport, sleep=no_wait, tries=2) as http:
            return await ask(KartaViewProvider(http, **options))

    return asyncio.run(run())


def answering(answer: Callable[[httpx.Request], Any]) -> httpx.MockTransport:
    """A service that answers with whatever JSON a function makes of a request."""

    def handle(request: httpx.Request) -> httpx.Response:
        found = answer(request)
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    return httpx.MockTransport(handle)


def areas_of(driven: Driven) -> dict[str, set[str]]:
    """The ids in each tile, by searching everything; places are sent with six decimals."""
    x, y = tile_of(lat=np.round(driven.shots.gps_lat, 6), lon=np.round(driven.shots.gps_lon, 6), zoom=14)
    found: dict[str, set[str]] = {}
    for row, number in enumerate(driven.shots.image_id.tolist()):
        found.setdefault(f"14-{x[row]}-{y[row]}", set()).add(str(number))
    return found


def photo(name: str = "12", **told: Any) -> dict[str, Any]:
    return {"id": name, "lat": "35.6", "lng": "139.7", "fileurlProc": "https://storage1.openstreetcam.org/proc/1.jpg", **told}


def read(content: bytes) -> Coverage:
    return KartaViewProvider.read_coverage(None, AREA, content)  # type: ignore[arg-type]


@pytest.mark.parametrize("page_size", [7, 150, 10_000])
def test_every_picture_in_a_tile_is_found_whatever_the_pages_size(mirror: Mirror, page_size: int) -> None:
    tiles = areas_of(DRIVEN)

    async def ask(provider: KartaViewProvider) -> list[bytes]:
        return [await provider.ask_coverage(Area(key, ()), radius_m=50) for key in tiles]

    contents = asking(async_mirror_transport(mirror), ask, page_size=page_size)
    for (key, names), content in zip(tiles.items(), contents, strict=True):
        assert set(read(content).image_id) == names, key
    assert max(len(names) for names in tiles.values()) > 40


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(1, 10**6), max_size=40), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_pages_are_read_to_the_end_also_when_they_are_smaller_than_asked_for(ids, page_size, allowed, tells_more) -> None:
    def page(request: httpx.Request) -> dict[str, Any]:
        number = int(request.url.params["page"])
        size = min(int(request.url.params["itemsPerPage"]), allowed) if tells_more else page_size
        ordered = sorted(ids, reverse=request.url.params["orderDirection"] != "asc")
        result: dict[str, Any] = {"data": [photo(str(one)) for one in ordered[(number - 1) * size : number * size]]}
        if tells_more:
            result["hasMoreData"] = number * size < len(ordered)
        return {"result": result}

    content = asking(answering(page), lambda provider: provider.ask_coverage(AREA, radius_m=50), page_size=page_size)
    assert set(read(content).image_id) == {str(one) for one in ids}


def test_uploads_between_two_pages_hide_nothing() -> None:
    there = list(range(100, 140))

    def page(request: httpx.Request) -> dict[str, Any]:
        number, is_rising = int(request.url.params["page"]), request.url.params["orderDirection"] == "asc"
        data = [photo(str(one)) for one in sorted(there, reverse=not is_rising)[(number - 1) * 10 : number * 10]]
        has_more = number * 10 < len(there)
        there.extend(range(max(there) + 1, max(there) + 11) if number < 4 else ())
        return {"result": {"data": data, "hasMoreData": has_more}}

    content = asking(answering(page), lambda provider: provider.ask_coverage(AREA, radius_m=50), page_size=10)
    assert {str(one) for one in range(100, 140)} <= set(read(content).image_id)


def test_pages_that_repeat_themselves_come_to_an_end() -> None:
    asked: list[str] = []

    def page(request: httpx.Request) -> dict[str, Any]:
        asked.append(request.url.params["page"])
        return {"result": {"data": [photo()], "hasMoreData": True}}

    assert len(read(asking(answering(page), lambda provider: provider.ask_coverage(AREA, radius_m=50)))) == 1
    assert asked == ["1", "2"]


def test_what_is_kept_is_what_the_choice_needs(mirror: Mirror) -> None:
    rows = {str(number): row for row, number in enumerate(DRIVEN.shots.image_id.tolist())}
    unknown = 0
    for key in areas_of(DRIVEN):
        content = asking(
            async_mirror_transport(mirror), lambda provider, key=key: provider.ask_coverage(Area(key, ()), radius_m=9)
        )
        found = read(content)
        assert len(content) < 150 * len(found)
        at = [rows[name] for name in found.image_id]
        np.testing.assert_allclose(found.lat, DRIVEN.shots.gps_lat[at], atol=6e-7)
        np.testing.assert_allclose(found.lon, DRIVEN.shots.gps_lon[at], atol=6e-7)
        turn = (found.compass_deg - DRIVEN.shots.compass_deg[at] + 180) % 360 - 180
        unknown += int(np.isnan(turn).sum())
        assert np.nanmax(np.abs(turn)) < 0.011
        assert not found.is_pano.any()
        order = np.argsort(found.captured_ms, kind="stable")  # the camera's clock tells newer from older
        assert (np.diff(DRIVEN.shots.captured_ms[at][order]) > -1000).all()
    assert 0 < unknown < len(rows) / 10
    assert asking(async_mirror_transport(mirror), lambda provider: provider.ask_coverage(Area("14-1-1", ()), radius_m=9)) == b""


def test_a_picture_is_the_blurred_one_and_never_the_original(mirror: Mirror) -> None:
    asked: list[str] = []

    class Listening(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            return await async_mirror_transport(mirror).handle_async_request(request)

    name = str(DRIVEN.shots.image_id[3])
    picture = asking(Listening(), lambda provider: provider.picture(name, width_px=4096))
    assert picture is not None
    assert picture.contents == {None: jpeg_of(quick_draw, DRIVEN, 3, 1024)}
    assert [path.split("/")[-2] for path in asked] == ["photo", "proc"]
    shot = picture.shot
    assert (shot.image_id, shot.licence, shot.is_pano, shot.captured_at) == (name, "CC-BY-SA-4.0", False, None)
    assert "Grab and KartaView Contributors" in shot.attribution
    assert shot.page_url.startswith("https://kartaview.org/details/")
    assert shot.lat == pytest.approx(float(DRIVEN.shots.gps_lat[3]), abs=6e-7)
    assert picture.fetched_at.isoformat() == "2026-09-04T20:21:51+00:00"


def test_the_whole_way_over_a_real_socket(mirror: Mirror) -> None:
    row = 11
    lat, lon = float(DRIVEN.shots.gps_lat[row]), float(DRIVEN.shots.gps_lon[row])

    async def ask(provider: KartaViewProvider) -> list[Any]:
        pictures = []
        for area in provider.areas_around([("p", lat, lon)], radius_m=30):
            found = provider.read_coverage(area, await provider.ask_coverage(area, radius_m=30))
            near = found.take(np.hypot(found.lat - lat, found.lon - lon) < 1e-6)
            pictures += [await provider.picture(str(name), width_px=1024) for name in near.image_id]
        return pictures

    with serve_on_port(mirror) as port:
        pictures = asking(async_loopback(port), ask, page_size=25)
    assert [picture.shot.image_id for picture in pictures] == [str(DRIVEN.shots.image_id[row])]


def test_a_picture_that_was_taken_back_is_told_apart_from_one_that_cannot_be_had(mirror: Mirror) -> None:
    assert asking(async_mirror_transport(mirror), lambda provider: provider.picture("1", width_px=1024)) is None
    for result in ({"data": []}, {"data": None}, {"data": {}}, {}):
        empty = answering(lambda _, result=result: {"result": result})
        assert asking(empty, lambda provider: provider.picture("12", width_px=1024)) is None
    mirror._faults = Faults(Fault("forbidden", where="storage13"))
    name = str(DRIVEN.shots.image_id[0])
    with pytest.raises(ImageError, match="HTTP 403") as caught:
        asking(async_mirror_transport(mirror), lambda provider: provider.picture(name, width_px=1024))
    assert caught.value.reason == "gone"
    for link in (None, "", "https://storage1.openstreetcam.org/{{sizeprefix}}/1.jpg", "ftp://x/1.jpg", 5):
        told = photo(fileurlProc=link, fileurl="https://storage1.openstreetcam.org/ori/1.jpg")
        with pytest.raises(ImageError) as caught:
            asking(
                answering(lambda _, told=told: {"result": {"data": [told]}}),
                lambda provider: provider.picture("12", width_px=1),
            )
        assert caught.value.reason == "no_picture"


@pytest.mark.parametrize("is_alone", [True, False])
def test_one_photo_comes_alone_or_in_a_list(is_alone: bool) -> None:
    def answer(request: httpx.Request) -> Any:
        if request.url.host != "api.openstreetcam.org":
            return httpx.Response(200, content=b"jpeg")
        return {"result": {"data": photo() if is_alone else [photo()]}}

    picture = asking(answering(answer), lambda provider: provider.picture("12", width_px=1024))
    assert picture is not None
    assert picture.contents == {None: b"jpeg"}


def test_the_moment_is_known_where_a_zone_is_told() -> None:
    assert read_shot(photo(shotDate="2024-04-01T10:30:00Z")).captured_at == datetime(2024, 4, 1, 10, 30, tzinfo=UTC)
    assert read_shot(photo(shotDate="2024-04-01 10:30:00.000")).captured_at is None


junk = st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=3) | st.just({"x": 1})
keys = ["lat", "lng", "heading", "shotDate", "fileurlProc", "sequenceId", "sequenceIndex", "projection"]
photos = st.fixed_dictionaries({"id": junk | st.just("7")}, optional=dict.fromkeys(keys, junk))


@settings(max_examples=150, deadline=None)
@given(st.lists(photos | junk, max_size=3), junk)
def test_photos_of_any_shape_can_be_read(found, has_more) -> None:
    body = json.dumps({"result": {"data": found, "hasMoreData": has_more}})
    content = asking(
        answering(lambda _: httpx.Response(200, text=body)), lambda provider: provider.ask_coverage(AREA, radius_m=5)
    )
    assert isinstance(read(content), Coverage)
    for one in found:
        if isinstance(one, dict):
            shot, url = read_shot(one), blurred_url(one)
            assert shot.compass_deg is None or 0 <= shot.compass_deg < 360
            assert url is None or url.startswith("https://")


@pytest.mark.parametrize("body", ["<html>We are back soon.</html>", "[]", '{"status": {}}', '{"result": []}', ""])
def test_something_else_than_a_result_is_no_empty_coverage(body: str) -> None:
    service = answering(lambda _: httpx.Response(200, text=body))
    with pytest.raises(SourceUnavailableError, match="KartaView"):
        asking(service, lambda provider: provider.ask_coverage(AREA, radius_m=50))
    with pytest.raises(SourceUnavailableError, match="KartaView"):
        asking(service, lambda provider: provider.picture("12", width_px=1024))
