"""Faults strike as often as they were told, where they were told, and then all is well."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.mirror import DEMO_TOKEN, Fault, Faults, Mirror
from geoloc_pipeline.demo.mirror_faults import FOREVER
from geoloc_pipeline.demo.mirror_transports import mirror_transport, serve_on_loopback

DUMP = "https://download.geofabrik.de/asia/japan/kanto-260903.osm.pbf"
STATE = "https://download.geofabrik.de/asia/japan/kanto-updates/state.txt"


@pytest.fixture
def failing(world: Path, thin_land: Land, quick_draw: Any) -> Any:
    def make(*faults: Fault) -> httpx.Client:
        return httpx.Client(transport=mirror_transport(Mirror(world, thin_land, draw=quick_draw, faults=Faults(*faults))))

    return make


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("too_many_requests", 429),
        ("server_error", 500),
        ("bad_gateway", 502),
        ("unavailable", 503),
        ("forbidden", 403),
        ("expired", 403),
    ],
)
def test_a_fault_strikes_so_often_and_then_no_more(failing: Any, kind: Any, status: int) -> None:
    client = failing(Fault(kind, times=2, retry_after="3"))
    answers = [client.get(STATE) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [status, status, 200, 200]
    assert answers[0].headers.get("Retry-After") == ("3" if status in {429, 503} else None)


def test_too_many_requests_need_not_say_when_to_come_back(failing: Any) -> None:
    assert "Retry-After" not in failing(Fault("too_many_requests", retry_after="")).get(STATE).headers


def test_a_fault_spares_the_first_requests_that_fit(failing: Any) -> None:
    client = failing(Fault("server_error", where="/kanto-updates/", after=2, times=2))
    assert client.get(DUMP).status_code == 200
    assert [client.get(STATE).status_code for _ in range(6)] == [200, 200, 500, 500, 200, 200]


def test_a_token_is_refused_in_the_middle_of_a_run(failing: Any) -> None:
    client = failing(Fault("refused_token", where="tiles.", after=1, times=FOREVER))
    url = "https://tiles.mapillary.com/maps/vtp/mly1_public/2/14/1/1"
    statuses = [client.get(url, params={"access_token": DEMO_TOKEN}).status_code for _ in range(3)]
    assert statuses == [200, 401, 401]


def test_a_link_that_expired_is_answered_as_stores_do(failing: Any) -> None:
    answer = failing(Fault("expired")).get(DUMP)
    assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/xml")
    assert ElementTree.fromstring(answer.text).findtext("Code") == "AccessDenied"


@pytest.mark.parametrize("query", ["", "?a=1%262&b=%E6%9D%B1"])
def test_redirects_go_in_circles_for_as_long_as_they_are_told(failing: Any, query: str) -> None:
    client = failing(Fault("redirect_loop", times=3))
    answer = client.get(STATE + query)
    assert answer.status_code == 302
    assert httpx.URL(answer.headers["Location"]).params == httpx.URL(STATE + query).params
    assert client.get(STATE + query, follow_redirects=True).status_code == 200
    with pytest.raises(httpx.TooManyRedirects):
        failing(Fault("redirect_loop", times=FOREVER)).get(STATE, follow_redirects=True)


@contextmanager
def asking(mirror: Mirror, road: str) -> Iterator[httpx.Client]:
    with ExitStack() as stack:
        transport = mirror_transport(mirror) if road == "process" else stack.enter_context(serve_on_loopback(mirror))
        yield stack.enter_context(httpx.Client(transport=transport))


@pytest.mark.parametrize("road", ["process", "socket"])
def test_a_short_body_is_shorter_than_it_says(world: Path, thin_land: Land, road: str) -> None:
    got: list[bytes] = []
    with asking(Mirror(world, thin_land, faults=Faults(Fault("short"))), road) as client:
        with client.stream("GET", STATE) as answer, suppress(httpx.RemoteProtocolError):
            got.extend(answer.iter_bytes())
        true = client.get(STATE)
    assert b"".join(got) == true.content
    assert int(answer.headers["Content-Length"]) == len(true.content) + 1000


@pytest.mark.parametrize("road", ["process", "socket"])
def test_an_endless_body_begins_anew_and_has_no_length(world: Path, thin_land: Land, road: str) -> None:
    with asking(Mirror(world, thin_land, faults=Faults(Fault("endless"))), road) as client:
        got = b""
        with client.stream("GET", STATE) as answer:
            for piece in answer.iter_bytes():
                got += piece
                if len(got) > 100_000:
                    break
        true = client.get(STATE).content
    assert "Content-Length" not in answer.headers
    assert got == (true * (len(got) // len(true) + 1))[: len(got)]


@pytest.mark.parametrize("road", ["process", "socket"])
def test_a_drip_is_slow_and_whole(world: Path, thin_land: Land, road: str) -> None:
    with asking(Mirror(world, thin_land, faults=Faults(Fault("drip", pause_s=0.002))), road) as client:
        started_s = time.monotonic()
        slow, slow_s = client.get(STATE), time.monotonic() - started_s
        assert slow.content == client.get(STATE).content
    assert slow_s > 0.002 * min(len(slow.content), 100)


def test_a_fault_strikes_only_where_it_was_told(failing: Any) -> None:
    client = failing(Fault("server_error", where="/kanto-updates/", times=FOREVER))
    assert client.get(DUMP).status_code == 200
    assert client.get(STATE).status_code == 500


def test_a_fault_of_a_file_leaves_its_checksum_alone(failing: Any) -> None:
    client = failing(Fault("server_error", ending=".osm.pbf", times=FOREVER))
    assert [client.get(url).status_code for url in (DUMP, DUMP + ".md5", STATE)] == [500, 200, 200]


def test_a_wrong_checksum_spoils_only_checksums(failing: Any) -> None:
    client = failing(Fault("wrong_md5"))
    body = client.get(DUMP).content
    assert client.get(DUMP + ".md5").text.split()[0] != hashlib.md5(body).hexdigest()
    assert client.get(DUMP + ".md5").text.split()[0] == hashlib.md5(body).hexdigest()


def test_a_page_comes_instead_of_a_file(failing: Any) -> None:
    answer = failing(Fault("html", where=".osm.pbf")).get(DUMP)
    assert (answer.status_code, answer.content[:9]) == (200, b"<!DOCTYPE")


def test_a_good_token_is_refused(failing: Any) -> None:
    answer = failing(Fault("refused_token", where="graph.")).get(
        "https://graph.mapillary.com/1", params={"access_token": DEMO_TOKEN}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, 190)


@pytest.mark.parametrize("is_loopback", [False, True])
def test_a_cut_download_breaks_in_the_middle(world: Path, thin_land: Land, is_loopback: bool) -> None:
    mirror = Mirror(world, thin_land, faults=Faults(Fault("cut", where=".osm.pbf")))
    true = (world / "geofabrik/asia/japan/kanto-260903.osm.pbf").read_bytes()

    got: list[bytes] = []

    def read(transport: httpx.BaseTransport) -> None:
        with httpx.Client(transport=transport) as client:
            with client.stream("GET", DUMP) as answer, pytest.raises(httpx.RemoteProtocolError):
                got.extend(answer.iter_bytes(1000))
            assert int(answer.headers["Content-Length"]) == len(true)
            assert client.get(DUMP).content == true

    if is_loopback:
        with serve_on_loopback(mirror) as transport:
            read(transport)
    else:
        read(mirror_transport(mirror))
    part = b"".join(got)
    assert 0 < len(part) <= len(true) // 2
    assert true.startswith(part)


def test_faults_are_counted(world: Path, thin_land: Land) -> None:
    faults = Faults(Fault("server_error", times=2))
    client = httpx.Client(transport=mirror_transport(Mirror(world, thin_land, faults=faults)))
    for struck in (1, 2, 2):
        client.get(STATE)
        assert faults.struck == struck
