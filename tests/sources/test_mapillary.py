"""Mapillary's provider: missing keys, areas, the density gate, expired links, and tokens that nobody sees."""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import httpx
import mapbox_vector_tile
import numpy as np
import pytest

from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.mirror import DEMO_TOKEN, Fault, Faults, Mirror
from geoloc_pipeline.demo.mirror_transports import async_loopback, serve_on_port
from geoloc_pipeline.demo.pictures import flaw_of
from geoloc_pipeline.errors import (
    BudgetSpentError,
    GeolocError,
    ImageError,
    MissingKeyError,
    SettingError,
    SourceRefusedError,
    SourceUnavailableError,
)
from geoloc_pipeline.sources import mapillary
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.mapillary import MapillaryProvider

TOKEN = "MLY|123|quite-secret-token"
X, Y = 14552, 6451
POINTS = [("p1", 35.681, 139.767)]
TILE = mapbox_vector_tile.encode([{"name": "image", "features": [{"geometry": "POINT(5 5)", "properties": {"id": 7}}]}])


class _Service:
    """A small Mapillary."""

    def __init__(self):
        self.entities = {"77": _entity("77")}
        self.expired, self.gate_deg, self.status, self.error = 0, None, None, None
        self.pages, self.boxes = 0, []

    def __call__(self, request):
        if self.status:
            return httpx.Response(self.status, json={"error": self.error} if self.error else None)
        if request.url.host == "cdn.example.org":
            return self._picture()
        if request.url.params.get("access_token", request.headers.get("authorization", "").removeprefix("OAuth ")) != TOKEN:
            return httpx.Response(400, json={"error": {"message": "Invalid OAuth access token", "code": 190}})
        if request.url.host == "tiles.mapillary.com":
            return httpx.Response(200, content=TILE)
        if request.url.path == "/images":
            return self._search([float(side) for side in request.url.params["bbox"].split(",")])
        entity = self.entities.get(request.url.path.strip("/"))
        if entity is None:
            said = {"message": "Unsupported get request. Object does not exist", "code": 100}
            return httpx.Response(400, json={"error": said})
        return httpx.Response(200, json={key: entity[key] for key in request.url.params["fields"].split(",") if key in entity})

    def _picture(self):
        if self.pages:
            self.pages -= 1
            return httpx.Response(200, html="<html>We are back soon.")
        if self.expired:
            self.expired -= 1
            return httpx.Response(403, text="URL signature expired")
        return httpx.Response(200, content=b"bytes", headers={"Date": "Tue, 03 Nov 2026 10:11:12 GMT"})

    def _search(self, bbox):
        self.boxes.append(bbox)
        west, south, east, north = bbox
        if self.gate_deg and east - west > self.gate_deg:
            said = {"message": "Please reduce the amount of data you're asking for, then retry your request", "code": 1}
            return httpx.Response(500, json={"error": said})
        inside = [
            entity
            for entity in self.entities.values()
            if west <= entity["geometry"]["coordinates"][0] <= east and south <= entity["geometry"]["coordinates"][1] <= north
        ]
        return httpx.Response(200, json={"data": inside})


def _entity(image_id, *, lat=35.681, lon=139.767):
    return {
        "id": image_id,
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
        "compass_angle": 10.0,
        "camera_type": "spherical",
        "thumb_1024_url": f"https://cdn.example.org/1024/{image_id}.jpg?oh=S1GNED&oe=1",
        "thumb_2048_url": f"https://cdn.example.org/2048/{image_id}.jpg?oh=S1GNED&oe=1",
    }


@pytest.fixture
def world():
    return _Service()


@pytest.fixture
def service(fake, world):
    return fake(world)


def _with(service, use, *, token=TOKEN, **settings):
    """Run `use(provider)` in a loop of its own, and return what it returns."""

    async def inside():
        async with service.async_client(**settings) as http:
            return await use(MapillaryProvider(http, token))

    return asyncio.run(inside())


def _picture(image_id="77", width_px=1024):
    return lambda provider: provider.picture(image_id, width_px=width_px)


def _tile(provider):
    return provider.ask_coverage(provider.areas_around(POINTS, radius_m=10.0)[0], radius_m=10.0)


def _search(box):
    return lambda provider: provider.images_in_box(**dict(zip(("west", "south", "east", "north"), box, strict=True)))


@pytest.mark.parametrize("token", ["", "  "])
def test_a_missing_token_says_its_name_and_how_to_get_one(fake, token):
    with pytest.raises(MissingKeyError, match=r"MAPILLARY_ACCESS_TOKEN is not set; register.*mapillary\.com/dashboard"):
        _with(fake(None), _picture(), token=token)


def test_addresses_are_the_documented_ones_and_the_packages_own(service):
    _with(service, _picture())
    _with(service, _tile)
    entity, picture, tile = service.asked
    assert str(entity.url).split("?")[0] == "https://graph.mapillary.com/77"
    assert entity.headers["authorization"] == f"OAuth {TOKEN}"
    assert "access_token" not in str(entity.url)
    assert str(picture.url) == "https://cdn.example.org/1024/77.jpg?oh=S1GNED&oe=1"
    assert "authorization" not in picture.headers
    assert str(tile.url).split("?")[0] == f"https://tiles.mapillary.com/maps/vtp/mly1_public/2/14/{X}/{Y}"
    entities, _ = mapillary._api()
    assert set(entity.url.params["fields"].split(",")) <= set(entities.get_image_fields())


def test_the_package_prints_and_logs_nothing(service, capfd):
    _with(service, _picture())
    names = [name for name in logging.root.manager.loggerDict if name.startswith("mapillary.")]
    assert names
    assert not any(logging.getLogger(name).handlers for name in names)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_areas_are_tiles_and_reach_over_their_edges(service):
    async def areas(provider):
        return provider.areas_around([("near the edge", 35.6819, 139.746)], radius_m=100.0)

    found = _with(service, areas)
    assert [area.key for area in found] == ["14-14551-6451", "14-14552-6451"]
    assert all(area.points == (("near the edge", 35.6819, 139.746),) for area in found)


def test_a_tile_is_kept_as_it_is_sent_and_read_again(service):
    async def both(provider):
        content = await _tile(provider)
        return content, provider.read_coverage(provider.areas_around(POINTS, radius_m=10.0)[0], content)

    content, coverage = _with(service, both)
    assert content == TILE
    assert coverage.image_id.tolist() == ["7"]


def test_tiles_have_a_daily_budget_and_entities_have_none(service):
    async def two_tiles(provider):
        assert provider.left_today() == 1
        await provider.picture("77", width_px=1024)
        await _tile(provider)
        assert provider.left_today() == 0
        with pytest.raises(BudgetSpentError, match="1 requests to Mapillary's tiles"):
            await _tile(provider)

    _with(service, two_tiles, per_day={"tiles.mapillary.com": 1})
    assert len(service.asked) == 3


def test_a_picture_comes_with_what_is_told_of_it(service):
    picture = _with(service, _picture(width_px=2000))
    assert picture.contents == {None: b"bytes"}
    assert (picture.shot.image_id, picture.shot.is_pano, picture.shot.lat) == ("77", True, 35.681)
    assert picture.fetched_at == datetime(2026, 11, 3, 10, 11, 12, tzinfo=UTC)
    assert service.asked[-1].url.path == "/2048/77.jpg"


def test_a_picture_that_is_not_known_is_none(service):
    assert _with(service, _picture("404")) is None


def test_a_link_that_expired_is_asked_for_again_once(service, world):
    world.expired = 1
    assert _with(service, _picture()).contents == {None: b"bytes"}
    assert [request.url.host for request in service.asked] == ["graph.mapillary.com", "cdn.example.org"] * 2
    world.expired = 2
    with pytest.raises(ImageError) as caught:
        _with(service, _picture())
    assert caught.value.reason == "gone"


def test_a_picture_without_link_is_told(service, world):
    world.entities["78"] = {"id": "78"}
    with pytest.raises(ImageError) as caught:
        _with(service, _picture("78"))
    assert caught.value.reason == "no_picture"


def test_a_page_instead_of_a_picture_passes(service, world):
    world.pages = 2
    assert _with(service, _picture()).contents == {None: b"bytes"}
    world.pages = 9
    with pytest.raises(SourceUnavailableError, match="back soon"):
        _with(service, _picture(), tries=3)


def test_a_dense_box_is_answered_by_smaller_ones_and_never_asked_twice(service, world):
    places = {str(number): (35.6 + number * 0.0007, 139.7 + number * 0.0009) for number in range(100)}
    world.entities = {image_id: _entity(image_id, lat=lat, lon=lon) for image_id, (lat, lon) in places.items()}
    world.gate_deg = 0.01
    unpaced = {mapillary.GRAPH_HOST: 1e6}
    found = _with(service, _search((139.69, 35.59, 139.85, 35.68)), per_second=unpaced)
    assert [shot.image_id for shot in found] == sorted(places)
    assert len({tuple(box) for box in world.boxes}) == len(world.boxes)
    assert all((box[2] - box[0]) * (box[3] - box[1]) < 0.01 for box in world.boxes)
    assert service.waits_s == []  # the gate is an answer, no fault to wait out


def test_a_gate_that_never_opens_ends(service, world, caplog):
    world.gate_deg = 1e-9
    assert _with(service, _search((139.7, 35.6, 139.7003, 35.6003))) == []
    assert "shut" in caplog.text


@pytest.mark.parametrize("box", [(2, 1, 1, 2), (1, 2, 2, 1), (1, 1, 200, 2), (float("nan"), 1, 2, 2)])
def test_a_box_that_is_none_asks_nothing(service, box):
    with pytest.raises(SettingError):
        _with(service, _search(box))
    assert service.asked == []


@pytest.mark.parametrize(
    ("status", "error", "expected", "n_asked"),
    [
        (400, {"code": 190, "message": "bad token"}, SourceRefusedError, 1),
        (401, None, SourceRefusedError, 1),
        (403, {"code": 10, "message": "no permission"}, SourceRefusedError, 1),
        (400, {"code": 100, "message": "Tried accessing nonexisting field (x)"}, SourceRefusedError, 1),
        (400, {"code": 4, "message": "Application request limit reached"}, SourceUnavailableError, 3),
        (500, {"code": 2, "message": "temporarily unavailable"}, SourceUnavailableError, 3),
        (500, {"code": 1, "message": "An unknown error occurred"}, SourceUnavailableError, 3),
        (502, None, SourceUnavailableError, 3),
    ],
)
def test_the_code_in_the_body_says_more_than_the_status(service, world, status, error, expected, n_asked):
    world.status, world.error = status, error
    with pytest.raises(expected) as caught:
        _with(service, _picture(), tries=3)
    assert len(service.asked) == n_asked
    if expected is SourceRefusedError:
        assert "MAPILLARY_ACCESS_TOKEN" in str(caught.value)


def test_a_tile_address_that_is_wrong_is_not_an_empty_tile(fake):
    with pytest.raises(SourceRefusedError):
        _with(fake(lambda request: httpx.Response(404, html="<html>no such tile")), _tile)
    assert _with(fake(lambda request: httpx.Response(404)), _tile) == b""
    with pytest.raises(SourceUnavailableError, match="no vector tile"):
        _with(fake(lambda request: httpx.Response(200, text="no tile")), _tile)


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("content", ["[]", "null", "<html>", '{"data": 5}', '{"error": "no object"}'])
def test_json_of_another_shape_is_no_crash(fake, status, content):
    service = fake(lambda request: httpx.Response(status, text=content))
    for use in (_picture(), _search((139.7, 35.6, 139.71, 35.61))):
        try:
            assert _with(service, use, tries=2) in (None, [])
        except SourceUnavailableError as error:
            assert "Mapillary" in str(error)  # noqa: PT017


@pytest.mark.parametrize("call", ["entity", "tile", "picture", "search"])
@pytest.mark.parametrize("token", [TOKEN, "MLY|9|another-secret-one"])
def test_no_call_shows_the_token_in_errors_or_logs(fake, caplog, call, token):
    caplog.set_level(logging.DEBUG)

    def answer(request):
        if request.url.host == "graph.mapillary.com" and call == "picture":
            return httpx.Response(200, json=_entity("77"))
        return httpx.Response(500, text=f"no: {request.url} {request.headers} {token}")

    use = {"entity": _picture(), "tile": _tile, "picture": _picture(), "search": _search((139.7, 35.6, 139.71, 35.61))}[call]
    with pytest.raises(GeolocError) as caught:
        _with(fake(answer), use, token=token, tries=2)
    said = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "secret" not in said
    assert "S1GNED" not in said
    assert "HTTP 500" in said


# --- over a real socket, from the demo's mirror -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def land():
    return grow_land(seed=3, prefecture_codes=("47",), density=0.05)


def _draw(camera, is_pano, width_px):
    """Draw noise, which is 30 KB and more as a JPEG."""
    return np.random.default_rng(camera.seed).integers(0, 255, (width_px // 2, width_px, 3), dtype=np.uint8)


async def _all_of_it(provider, shot):
    area = provider.areas_around([("p", shot.lat, shot.lon)], radius_m=1.0)[0]
    coverage = provider.read_coverage(area, await provider.ask_coverage(area, radius_m=1.0))
    picture = await provider.picture(shot.image_id, width_px=256)
    return picture.contents, picture.shot, coverage.image_id.tolist()


def _through_a_socket(folder, land, use, faults):
    """Run `use(provider, camera's place and id)` against the mirror, for a panorama without flaw; return what it returns."""
    mirror = Mirror(folder, land, draw=_draw, faults=faults)
    driven = mirror.coverage.only("mapillary").shots
    row = next(row for row in np.flatnonzero(driven.is_pano) if not flaw_of(int(driven.image_id[row])))
    shot = SimpleNamespace(image_id=str(driven.image_id[row]), lat=driven.gps_lat[row], lon=driven.gps_lon[row])

    async def no_sleep(seconds):
        await asyncio.sleep(0)

    async def inside(port):
        settings = {"deadline_s": 1.0, "largest_bytes": 10**6, "sleep": no_sleep, "tries": 3}
        async with AsyncHttpClient(transport=async_loopback(port), **settings) as http:
            return await use(MapillaryProvider(http, DEMO_TOKEN), shot)

    with serve_on_port(mirror) as port:
        return asyncio.run(inside(port))


PASSING = {
    "429 with a time": Fault("too_many_requests", retry_after="1"),
    "429 without": Fault("too_many_requests", retry_after=""),
    "500": Fault("server_error"),
    "502": Fault("bad_gateway"),
    "503 with a date": Fault("unavailable", retry_after="Thu, 01 Jan 1998 00:00:00 GMT"),
    "cut": Fault("cut"),
    "short": Fault("short"),
    "endless": Fault("endless"),
    "drip": Fault("drip", pause_s=0.1),
    "a circle": Fault("redirect_loop", times=6),
    "a page": Fault("html"),
}


@pytest.mark.parametrize("host", ["graph.mapillary.com", ".fbcdn.net", "tiles.mapillary.com"])
@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_leaves_no_trace_in_what_comes(tmp_path, land, name, host):
    struck = Faults(replace(PASSING[name], where=host))
    disturbed, calm = (_through_a_socket(tmp_path, land, _all_of_it, faults) for faults in (struck, Faults()))
    assert disturbed == calm
    assert struck.struck == PASSING[name].times
    assert len(disturbed[2]) > 0


def test_a_link_that_expires_is_asked_for_again_over_a_socket(tmp_path, land):
    faults = Faults(Fault("expired", where=".fbcdn.net"))
    contents, _, _ = _through_a_socket(tmp_path, land, _all_of_it, faults)
    assert contents[None][:2] == b"\xff\xd8"
    assert faults.struck == 1


def test_a_token_that_is_refused_in_the_middle_ends_the_run(tmp_path, land):
    async def use(provider, shot):
        for _ in range(2):
            assert await provider.picture(shot.image_id, width_px=256)

    fault = Fault("refused_token", where="graph.mapillary.com", after=1)
    with pytest.raises(SourceRefusedError, match="MAPILLARY_ACCESS_TOKEN") as caught:
        _through_a_socket(tmp_path, land, use, Faults(fault))
    assert DEMO_TOKEN not in "".join(traceback.format_exception(caught.value))
