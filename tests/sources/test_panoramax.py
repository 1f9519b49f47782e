"""Panoramax through the demo's mirror, over answers of every shape, and over a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.demo.coverage import Coverage as Driven
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.mirror import Fault, Faults, Mirror
from geoloc_pipeline.demo.mirror_panoramax import uuid_of
from geoloc_pipeline.demo.mirror_transports import async_loopback, async_mirror_transport, serve_on_port
from geoloc_pipeline.demo.pictures import jpeg_of
from geoloc_pipeline.errors import ImageError, SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.geo.tiles import tile_bounds, tile_of
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.panoramax import PanoramaxProvider, picture_url, read_shot
from geoloc_pipeline.sources.street_view import Area, Coverage

T = TypeVar("T")
LAND = grow_land(seed=5, prefecture_codes=("13",), density=0.3)
DRIVEN = Driven(LAND).only("panoramax")
AREA = Area("14-14552-6451", ())
WEST, SOUTH, EAST, NORTH = tile_bounds(x=14552, y=6451, zoom=14)


def quick_draw(camera: Any, is_pano: bool, width_px: int) -> Any:
    return np.full((width_px // 2 if is_pano else width_px * 3 // 4, width_px, 3), camera.seed % 251, dtype=np.uint8)


@pytest.fixture
def mirror(tmp_path) -> Mirror:
    return Mirror(tmp_path, LAND, draw=quick_draw)


def asking(
    transport: httpx.AsyncBaseTransport, ask: Callable[[PanoramaxProvider], Awaitable[T]], *, tries: int = 2, **options: Any
) -> T:
    async def no_wait(seconds: float) -> None:
        await asyncio.sleep(0)

    async def run() -> T:
        async with AsyncHttpClient(transport=transport, sleep=no_wait, tries=tries) as http:
            return await ask(PanoramaxProvider(http, **options))

    return asyncio.run(run())


def answering(answer: Callable[[httpx.Request], Any]) -> httpx.MockTransport:
    """A service that answers with whatever JSON a function makes of a request."""

    def handle(request: httpx.Request) -> httpx.Response:
        found = answer(request)
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    return httpx.MockTransport(handle)


def areas_of(driven: Driven) -> dict[str, set[str]]:
    """The ids in each tile, by searching everything."""
    x, y = tile_of(lat=driven.shots.gps_lat, lon=driven.shots.gps_lon, zoom=14)
    found: dict[str, set[str]] = {}
    for row, number in enumerate(driven.shots.image_id.tolist()):
        found.setdefault(f"14-{x[row]}-{y[row]}", set()).add(uuid_of(f"picture {number}"))
    return found


def feature(name: str, lat: float = 35.0, lon: float = 139.0, **properties: Any) -> dict[str, Any]:
    told = {"license": "etalab-2.0", **properties}
    return {"id": name, "geometry": {"type": "Point", "coordinates": [lon, lat]}, "properties": told}


@pytest.mark.parametrize("limit", [9, 40, 1000])
def test_every_picture_in_a_tile_is_found_whatever_the_limit(mirror: Mirror, limit: int) -> None:
    tiles = areas_of(DRIVEN)
    densest = sorted(tiles, key=lambda key: -len(tiles[key]))[: 1 if limit == 9 else 4]

    async def ask(provider: PanoramaxProvider) -> list[bytes]:
        return [await provider.ask_coverage(Area(key, ()), radius_m=50) for key in densest]

    for key, content in zip(densest, asking(async_mirror_transport(mirror), ask, search_limit=limit), strict=True):
        found = PanoramaxProvider.read_coverage(None, Area(key, ()), content)  # type: ignore[arg-type]
        assert set(found.image_id) == tiles[key]
    assert len(tiles[densest[0]]) > 40


@settings(max_examples=25, deadline=None)
@given(
    st.sets(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=25),
    st.integers(1, 12),
    st.integers(1, 12),
    st.booleans(),
)
def test_a_full_answer_is_asked_for_in_quarters_also_when_the_catalogue_allows_less(places, limit, allowed, has_links) -> None:
    there = {f"{i}-{j}": (SOUTH + (NORTH - SOUTH) * i / 41, WEST + (EAST - WEST) * j / 41) for i, j in places}

    def search(request: httpx.Request) -> dict[str, Any]:
        west, south, east, north = (float(side) for side in request.url.params["bbox"].split(","))
        inside = [feature(name, *at) for name, at in there.items() if south <= at[0] <= north and west <= at[1] <= east]
        most = min(int(request.url.params["limit"]), allowed if has_links else limit)
        links = [{"rel": "next", "href": "elsewhere"}] if has_links and len(inside) > most else []
        return {"features": inside[:most], "links": links}

    content = asking(answering(search), lambda provider: provider.ask_coverage(AREA, radius_m=50), search_limit=limit)
    found = PanoramaxProvider.read_coverage(None, AREA, content)  # type: ignore[arg-type]
    assert found.image_id.tolist() == sorted(there)
    assert {name: at for name, *at in zip(found.image_id, found.lat, found.lon, strict=True)} == {
        name: pytest.approx(at, abs=1e-7) for name, at in there.items()
    }


def test_a_crowd_on_one_spot_ends_the_quartering(caplog) -> None:
    def search(request: httpx.Request) -> dict[str, Any]:
        west, south, east, north = (float(side) for side in request.url.params["bbox"].split(","))
        is_there = west <= (WEST + EAST) / 2 - 1e-3 <= east and south <= SOUTH + 1e-3 <= north
        return {"features": [feature(str(number)) for number in range(2)] if is_there else []}

    content = asking(answering(search), lambda provider: provider.ask_coverage(AREA, radius_m=50), search_limit=2)
    assert json.loads(content)["image_id"] == ["0", "1"]
    assert "are left out" in caplog.text


def test_what_is_kept_is_what_the_choice_needs(mirror: Mirror) -> None:
    tiles = areas_of(DRIVEN)
    for key in tiles:
        content = asking(
            async_mirror_transport(mirror), lambda provider, key=key: provider.ask_coverage(Area(key, ()), radius_m=9)
        )
        found = PanoramaxProvider.read_coverage(None, Area(key, ()), content)  # type: ignore[arg-type]
        assert len(content) < 220 * len(found)
        rows = {uuid_of(f"picture {number}"): row for row, number in enumerate(DRIVEN.shots.image_id.tolist())}
        at = [rows[name] for name in found.image_id]
        np.testing.assert_allclose(found.lat, DRIVEN.shots.gps_lat[at], atol=1e-7)
        np.testing.assert_allclose(found.lon, DRIVEN.shots.gps_lon[at], atol=1e-7)
        turn = (found.compass_deg - DRIVEN.shots.compass_deg[at] + 180) % 360 - 180
        assert np.abs(turn).max() < 0.011  # also of those that were sent with more than 360 degrees
        assert (found.compass_deg < 360).all()
        assert found.is_pano.tolist() == DRIVEN.shots.is_pano[at].tolist()
        np.testing.assert_allclose(found.captured_ms, DRIVEN.shots.captured_ms[at], atol=1)
        assert (np.isnan(found.quality) | (found.quality < 0)).all()  # minus the metres of doubt
    assert asking(async_mirror_transport(mirror), lambda provider: provider.ask_coverage(Area("14-1-1", ()), radius_m=9)) == b""


@pytest.mark.parametrize(("width_px", "size"), [(256, "thumb"), (500, "thumb"), (1024, "sd"), (2048, "sd"), (4000, "hd")])
def test_a_picture_comes_from_its_instance_in_the_size_that_is_wanted(mirror: Mirror, width_px: int, size: str) -> None:
    row = int(np.flatnonzero(DRIVEN.shots.is_pano)[0])
    name = uuid_of(f"picture {DRIVEN.shots.image_id[row]}")
    picture = asking(async_mirror_transport(mirror), lambda provider: provider.picture(name, width_px=width_px))
    assert picture is not None
    assert picture.contents == {None: jpeg_of(quick_draw, DRIVEN, row, {"thumb": 512, "sd": 2048, "hd": 4096}[size])}
    assert mirror.served == {"api.panoramax.xyz": 1, "panoramax.openstreetmap.fr": 1}
    shot = picture.shot
    assert (shot.lat, shot.lon) == (float(DRIVEN.shots.gps_lat[row]), float(DRIVEN.shots.gps_lon[row]))
    assert shot.pitch_deg == pytest.approx(float(DRIVEN.shots.pitch_deg[row]), abs=0.01)
    assert shot.roll_deg == pytest.approx(float(DRIVEN.shots.roll_deg[row]), abs=0.01)
    assert shot.captured_at == DRIVEN.captured_at(row)
    assert shot.captured_at.tzinfo is UTC
    assert shot.licence in {"CC-BY-SA-4.0", "etalab-2.0"}
    assert shot.attribution == f"{shot.creator} via Panoramax, {shot.licence}"
    assert picture.fetched_at.isoformat() == "2026-09-04T20:21:51+00:00"


def test_the_whole_way_over_a_real_socket(mirror: Mirror) -> None:
    row = 7
    lat, lon = float(DRIVEN.shots.gps_lat[row]), float(DRIVEN.shots.gps_lon[row])

    async def ask(provider: PanoramaxProvider) -> list[Any]:
        pictures = []
        for area in provider.areas_around([("p", lat, lon)], radius_m=30):
            found = provider.read_coverage(area, await provider.ask_coverage(area, radius_m=30))
            near = found.take(np.hypot(found.lat - lat, found.lon - lon) < 1e-6)
            pictures += [await provider.picture(str(name), width_px=1024) for name in near.image_id]
        return pictures

    with serve_on_port(mirror) as port:
        pictures = asking(async_loopback(port), ask, search_limit=50)
    assert [picture.shot.image_id for picture in pictures] == [uuid_of(f"picture {DRIVEN.shots.image_id[row]}")]


def test_a_picture_that_was_taken_back_is_told_apart_from_one_that_cannot_be_had(mirror: Mirror) -> None:
    name = uuid_of(f"picture {DRIVEN.shots.image_id[0]}")
    unknown = "00000000-0000-4000-8000-000000000000"
    assert asking(async_mirror_transport(mirror), lambda provider: provider.picture(unknown, width_px=1024)) is None
    another = answering(lambda _: {"features": [feature("another")]})
    assert asking(another, lambda provider: provider.picture(name, width_px=1024)) is None
    mirror._faults = Faults(Fault("forbidden", where="/api/pictures/"))
    with pytest.raises(ImageError, match="HTTP 403") as caught:
        asking(async_mirror_transport(mirror), lambda provider: provider.picture(name, width_px=1024))
    assert caught.value.reason == "gone"
    for told, reason in (
        (feature(name), "no_picture"),
        (feature(name, license=None), "no_licence"),
        (feature(name, license="proprietary"), "no_licence"),
        (feature(name) | {"assets": {"hd": {"href": "ftp://x/y.jpg"}, "sd": {"href": None}, "thumb": 1}}, "no_picture"),
    ):
        with pytest.raises(ImageError) as caught:
            asking(answering(lambda _, told=told: {"features": [told]}), lambda provider: provider.picture(name, width_px=1024))
        assert caught.value.reason == reason


def test_the_better_the_place_is_known_the_better_the_quality() -> None:
    told = {"a": 2.5, "b": 9, "c": None, "d": -1, "e": 0, "f": "4.0", "g": 1e300}
    found = [feature(name, **{"quality:horizontal_accuracy": accuracy}) for name, accuracy in told.items()]
    content = asking(answering(lambda _: {"features": found}), lambda provider: provider.ask_coverage(AREA, radius_m=50))
    assert json.loads(content)["quality"] == [-2.5, -9.0, None, None, None, -4.0, None]


def test_a_picture_without_a_licence_is_in_no_coverage() -> None:
    found = [feature("a"), feature("b", license=None), feature("c", license="various"), feature("d", lat=95.0), {"id": "e"}]
    content = asking(answering(lambda _: {"features": found}), lambda provider: provider.ask_coverage(AREA, radius_m=50))
    assert json.loads(content)["image_id"] == ["a"]


junk = st.none() | st.booleans() | st.floats() | st.text(max_size=4) | st.lists(st.integers(), max_size=3) | st.just({"x": 1})
told_keys = st.sampled_from([
    "datetime", "license", "view:azimuth", "pers:pitch", "pers:roll", "pers:interior_orientation", "geovisio:producer",
    "quality:horizontal_accuracy",
])  # fmt: skip
features = st.fixed_dictionaries(
    {"id": st.text(min_size=1, max_size=3)},
    optional={
        "collection": junk,
        "geometry": junk | st.fixed_dictionaries({"coordinates": st.lists(st.floats() | junk, max_size=3)}),
        "properties": junk | st.dictionaries(told_keys, junk),
        "providers": junk | st.lists(junk | st.just({"name": "x", "roles": "producer"}), max_size=2),
        "assets": junk | st.dictionaries(st.sampled_from(["hd", "sd", "thumb"]), junk | st.fixed_dictionaries({"href": junk})),
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(features | junk, max_size=3), junk)
def test_features_of_any_shape_can_be_read(found, links) -> None:
    body = json.dumps({"features": found, "links": links})
    content = asking(
        answering(lambda _: httpx.Response(200, text=body)),
        lambda provider: provider.ask_coverage(AREA, radius_m=50),
        search_limit=9,
    )
    assert isinstance(PanoramaxProvider.read_coverage(None, AREA, content), Coverage)  # type: ignore[arg-type]
    for one in found:
        if isinstance(one, dict) and "id" in one:
            shot, url = read_shot(one), picture_url(one, width_px=1024)
            assert shot.compass_deg is None or 0 <= shot.compass_deg < 360
            assert abs(shot.pitch_deg) <= 90
            assert url is None or url.startswith("https://")


@pytest.mark.parametrize("body", ["<html>We are back soon.</html>", "[]", '{"message": "x"}', '{"features": {}}', ""])
def test_something_else_than_features_is_no_empty_coverage(body: str) -> None:
    with pytest.raises(SourceUnavailableError, match="Panoramax"):
        asking(answering(lambda _: httpx.Response(200, text=body)), lambda provider: provider.ask_coverage(AREA, radius_m=50))


def test_passing_faults_pass_and_a_refusal_is_told(mirror: Mirror, caplog) -> None:
    caplog.set_level(logging.INFO)
    key, names = max(areas_of(DRIVEN).items(), key=lambda item: len(item[1]))
    mirror._faults = Faults(Fault("too_many_requests", where="panoramax"), Fault("unavailable", where="panoramax"))
    content = asking(async_mirror_transport(mirror), lambda provider: provider.ask_coverage(Area(key, ()), radius_m=5), tries=3)
    assert set(json.loads(content)["image_id"]) == names
    with pytest.raises(SourceRefusedError, match="between 1 and 10000"):
        asking(async_mirror_transport(mirror), lambda provider: provider.ask_coverage(AREA, radius_m=5), search_limit=20_000)


def test_the_budget_is_that_of_the_catalogue() -> None:
    async def ask() -> int | None:
        async with AsyncHttpClient(transport=answering(lambda _: {"features": []}), per_day={"api.panoramax.xyz": 10}) as http:
            provider = PanoramaxProvider(http)
            await provider.ask_coverage(AREA, radius_m=5)
            return provider.left_today()

    assert asyncio.run(ask()) == 9
