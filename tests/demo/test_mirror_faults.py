"""Faults strike as often as they were told, where they were told, and then all is well."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.mirror import DEMO_TOKEN, Fault, Faults, Mirror, mirror_transport, serve_on_loopback
from geoloc_pipeline.demo.mirror_faults import FOREVER

DUMP = "https://download.geofabrik.de/asia/japan/kanto-260903.osm.pbf"
STATE = "https://download.geofabrik.de/asia/japan/kanto-updates/state.txt"


@pytest.fixture
def failing(world: Path, thin_land: Land, quick_draw: Any) -> Any:
    def make(*faults: Fault) -> httpx.Client:
        return httpx.Client(transport=mirror_transport(Mirror(world, thin_land, draw=quick_draw, faults=Faults(*faults))))

    return make


@pytest.mark.parametrize(
    ("kind", "status"), [("too_many_requests", 429), ("server_error", 500), ("unavailable", 503), ("forbidden", 403)]
)
def test_a_fault_strikes_so_often_and_then_no_more(failing: Any, kind: Any, status: int) -> None:
    client = failing(Fault(kind, times=2, retry_after="3"))
    answers = [client.get(STATE) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [status, status, 200, 200]
    assert answers[0].headers.get("Retry-After") == ("3" if status in {429, 503} else None)


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
