"""The ways into the mirror give the same answers: in the process or through a socket, one after the other or all at once."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.mirror import DEMO_TOKEN, Fault, Faults, Mirror
from geoloc_pipeline.demo.mirror_transports import (
    async_loopback,
    async_mirror_transport,
    mirror_transport,
    serve_on_loopback,
    serve_on_port,
)

T = TypeVar("T")
STATE = "https://download.geofabrik.de/asia/japan/kanto-updates/state.txt"
DUMP = "https://download.geofabrik.de/asia/japan/kanto-260903.osm.pbf"
QUESTIONS = (
    ("GET", STATE, {}),
    ("HEAD", STATE, {}),
    ("GET", DUMP, {"Range": "bytes=10-99"}),
    ("GET", DUMP, {"If-None-Match": "*"}),
    ("GET", "https://download.geofabrik.de/asia/japan/kanto-latest.osm.pbf", {}),
    ("GET", "https://download.geofabrik.de/nothing", {}),
    ("GET", f"https://tiles.mapillary.com/maps/vtp/mly1_public/2/14/5/5?access_token={DEMO_TOKEN.replace('|', '%7C')}", {}),
    ("GET", "https://example.org/", {}),
)
_HOP_BY_HOP = {"connection", "transfer-encoding"}
ROADS = ["process", "socket"]


@asynccontextmanager
async def road_to(mirror: Any, road: str) -> AsyncIterator[httpx.AsyncClient]:
    if road == "process":
        async with httpx.AsyncClient(transport=async_mirror_transport(mirror)) as client:
            yield client
    else:
        with serve_on_port(mirror) as port:
            async with httpx.AsyncClient(transport=async_loopback(port)) as client:
                yield client


def along(mirror: Any, road: str, ask: Callable[[httpx.AsyncClient], Awaitable[T]]) -> T:
    async def inside() -> T:
        async with road_to(mirror, road) as client:
            return await ask(client)

    return asyncio.run(inside())


def told(answer: httpx.Response) -> Any:
    return answer.status_code, {key: value for key, value in answer.headers.items() if key not in _HOP_BY_HOP}, answer.content


@pytest.mark.parametrize("road", ROADS)
def test_every_road_gives_the_same_answers(mirror: Mirror, road: str) -> None:
    async def ask(client: httpx.AsyncClient) -> list[Any]:
        return [told(await client.request(method, url, headers=headers)) for method, url, headers in QUESTIONS]

    with httpx.Client(transport=mirror_transport(mirror)) as client:
        plain = [told(client.request(method, url, headers=headers)) for method, url, headers in QUESTIONS]
    assert along(mirror, road, ask) == plain


@pytest.mark.parametrize("road", ROADS)
def test_many_may_ask_at_once(mirror: Mirror, road: str) -> None:
    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.get(STATE) for _ in range(60)))

    answers = along(mirror, road, ask)
    assert len({answer.content for answer in answers}) == 1
    assert mirror.served["download.geofabrik.de"] == 60


@pytest.mark.parametrize("road", ROADS)
def test_a_broken_connection_is_a_fault_of_the_transport(world: Path, thin_land: Land, road: str) -> None:
    async def ask(client: httpx.AsyncClient) -> bytes:
        with pytest.raises(httpx.TransportError) as caught:
            await client.get(DUMP)
        if road == "process":
            assert isinstance(caught.value, httpx.RemoteProtocolError)
        return (await client.get(DUMP)).content

    mirror = Mirror(world, thin_land, faults=Faults(Fault("cut")))
    assert along(mirror, road, ask) == (world / "geofabrik/asia/japan/kanto-260903.osm.pbf").read_bytes()


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("kind", ["endless", "drip"])
def test_who_leaves_an_answer_early_leaves_nothing_behind(world: Path, thin_land: Land, road: str, kind: Any) -> None:
    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.get(STATE)
        return await client.get(STATE)

    before = threading.active_count()
    mirror = Mirror(world, thin_land, faults=Faults(Fault(kind)))
    assert along(mirror, road, ask).status_code == 200
    until_s = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < until_s:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_the_event_loop_is_free_while_the_mirror_works() -> None:
    beats = []

    def slow_app(environ: dict[str, Any], start_response: Any) -> Any:
        time.sleep(0.1)
        start_response("200 OK", [])
        return iter((b"done",))

    async def ask(client: httpx.AsyncClient) -> bytes:
        async def beat() -> None:
            while True:
                beats.append(1)
                await asyncio.sleep(0.005)

        heart = asyncio.create_task(beat())
        content = (await client.get("https://anywhere.example.org/")).content
        heart.cancel()
        return content

    assert along(slow_app, "process", ask) == b"done"
    assert len(beats) >= 5


def test_a_connection_is_kept_alive_and_hosts_are_told_apart(mirror: Mirror) -> None:
    with serve_on_port(mirror) as port, socket.create_connection(("127.0.0.1", port)) as one:
        for host, status in (("example.org", b"502"), ("download.geofabrik.de", b"404")) * 2:
            one.sendall(f"HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            head = b""
            while b"\r\n\r\n" not in head:
                head += one.recv(65536)
            assert head.startswith(b"HTTP/1.1 " + status)
        one.sendall(b"HEAD / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n")
        while one.recv(65536):
            pass  # until the server ends it, as it was asked to


def test_an_answer_is_as_late_as_it_is_told_to_be(mirror: Mirror) -> None:
    async def ask(port: int) -> float:
        async with httpx.AsyncClient(transport=async_loopback(port)) as client:
            started_s = time.monotonic()
            await asyncio.gather(*(client.get(STATE) for _ in range(10)))
            return time.monotonic() - started_s

    with serve_on_port(mirror, latency_s=0.1) as port:
        assert 0.1 <= asyncio.run(ask(port)) < 0.8  # each is late by itself, and not after the others


def test_the_server_is_gone_when_the_block_ends(mirror: Mirror) -> None:
    with serve_on_port(mirror) as port:
        idle = socket.create_connection(("127.0.0.1", port))
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 502
    idle.settimeout(2)
    assert idle.recv(1) == b""  # what was still open has been closed
    idle.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_the_synchronous_way_through_a_socket_stays(mirror: Mirror) -> None:
    with serve_on_loopback(mirror) as transport, httpx.Client(transport=transport) as client:
        assert client.get(STATE).content == httpx.Client(transport=mirror_transport(mirror)).get(STATE).content
