"""The mirror as one app: hosts, the world's date, and two ways in that give the same answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.mirror import DEMO_GOOGLE_KEY, DEMO_TOKEN, STREET_VIEW_HOSTS, Mirror
from geoloc_pipeline.demo.mirror_panoramax import uuid_of
from geoloc_pipeline.demo.mirror_transports import mirror_transport, serve_on_loopback

QUESTIONS = (
    ("GET", "https://download.geofabrik.de/asia/japan/kanto-latest.osm.pbf", {}),
    ("HEAD", "https://download.geofabrik.de/asia/japan/kanto-latest.osm.pbf", {}),
    ("GET", "https://download.geofabrik.de/asia/japan/kanto-260903.osm.pbf", {}),
    ("HEAD", "https://download.geofabrik.de/asia/japan/kanto-260903.osm.pbf", {}),
    ("GET", "https://download.geofabrik.de/asia/japan/kanto-260903.osm.pbf", {"Range": "bytes=10-99"}),
    ("GET", "https://download.geofabrik.de/asia/japan/kanto-260903.osm.pbf", {"Range": "bytes=99999999-"}),
    ("GET", "https://download.geofabrik.de/nothing", {}),
    ("GET", "https://www.e-stat.go.jp/gis/statmap-search/data?code=13", {}),
    ("GET", "https://graph.mapillary.com/images?bbox=1,1,2,2", {}),
    (
        "GET",
        f"https://graph.mapillary.com/images?bbox=139.5,35.6,139.55,35.65&fields=id,thumb_1024_url&access_token={DEMO_TOKEN}",
        {},
    ),
    ("GET", "https://api.panoramax.xyz/api/search?bbox=139.5,35.6,139.8,35.8&limit=20", {}),
    ("GET", "https://panoramax.openstreetmap.fr/api/pictures/00000000-0000-4000-8000-000000000000/sd.jpg", {}),
    ("GET", "https://api.openstreetcam.org/2.0/photo/?nwLat=36&nwLng=139&seLat=35&seLng=140&itemsPerPage=20", {}),
    ("GET", "https://storage13.openstreetcam.org/files/photo/2020/01/01/proc/1.jpg", {}),
    ("GET", f"https://maps.googleapis.com/maps/api/streetview/metadata?location=35.68,139.77&key={DEMO_GOOGLE_KEY}", {}),
    ("GET", f"https://maps.googleapis.com/maps/api/streetview?location=1,1&size=64x64&key={DEMO_GOOGLE_KEY}", {}),
    ("POST", "https://graph.mapillary.com/images", {}),
    ("GET", "https://example.org/", {}),
)
_HOP_BY_HOP = {"connection", "transfer-encoding"}


def told(client: httpx.Client, question: tuple[str, str, dict[str, str]]) -> Any:
    method, url, headers = question
    answer = client.request(method, url, headers=headers)
    kept = {key: value for key, value in answer.headers.items() if key not in _HOP_BY_HOP}
    return answer.status_code, kept, answer.content


def test_a_socket_and_the_process_itself_give_the_same_answers(mirror: Mirror) -> None:
    with (
        serve_on_loopback(mirror) as transport,
        httpx.Client(transport=transport) as outside,
        httpx.Client(transport=mirror_transport(mirror)) as inside,
    ):
        for question in QUESTIONS:
            assert told(outside, question) == told(inside, question), question


def test_pictures_come_the_same_way_through_a_socket(mirror: Mirror) -> None:
    question = (
        "GET",
        f"https://graph.mapillary.com/{mirror.coverage.only('mapillary').shots.image_id[0]}?fields=thumb_256_url",
        {},
    )
    auth = {"Authorization": f"OAuth {DEMO_TOKEN}"}
    with (
        serve_on_loopback(mirror) as transport,
        httpx.Client(transport=transport, headers=auth) as outside,
        httpx.Client(transport=mirror_transport(mirror), headers=auth) as inside,
    ):
        links = {client.get(question[1]).json()["thumb_256_url"] for client in (outside, inside)}
        assert len(links) == 1
        assert outside.get(link := links.pop()).content == inside.get(link).content


def test_every_answer_carries_the_worlds_date(client: httpx.Client) -> None:
    for question in QUESTIONS:
        assert told(client, question)[1]["date"] == "Fri, 04 Sep 2026 20:21:51 GMT"


def test_what_is_nobodys_host_or_method_is_told(client: httpx.Client) -> None:
    assert client.get("https://example.org/").status_code == 502
    answer = client.post("https://graph.mapillary.com/images")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


def test_every_host_of_street_view_is_somebodys(client: httpx.Client) -> None:
    assert {httpx.URL(question[1]).host for question in QUESTIONS if "openstreetcam" in question[1]} <= STREET_VIEW_HOSTS
    assert len(STREET_VIEW_HOSTS) == 8
    assert all(client.get(f"https://{host}/").status_code != 502 for host in STREET_VIEW_HOSTS)


def test_no_provider_knows_anothers_pictures(client: httpx.Client, mirror: Mirror) -> None:
    for provider in ("mapillary", "panoramax", "kartaview"):
        name = str(mirror.coverage.only(provider).shots.image_id[0])
        known = {
            "mapillary": client.get(f"https://graph.mapillary.com/{name}?access_token={DEMO_TOKEN}").status_code == 200,
            "panoramax": bool(
                client.get("https://api.panoramax.xyz/api/search", params={"ids": uuid_of(f"picture {name}")}).json()[
                    "features"
                ]
            ),
            "kartaview": client.get(f"https://api.openstreetcam.org/2.0/photo/{name}").status_code == 200,
        }
        assert known == {one: one == provider for one in known}


def test_many_may_ask_at_once(mirror: Mirror) -> None:
    url = f"https://graph.mapillary.com/images?bbox=127.8,26.4,127.85,26.45&access_token={DEMO_TOKEN}"
    with serve_on_loopback(mirror) as transport, httpx.Client(transport=transport) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.get(url).content, range(40)))
    assert len(set(answers)) == 1
    assert mirror.served["graph.mapillary.com"] == 40


def test_the_server_is_gone_when_the_block_ends(mirror: Mirror) -> None:
    with serve_on_loopback(mirror) as transport, httpx.Client(transport=transport) as client:
        client.get("https://download.geofabrik.de/index-v1.json")
        port = transport._port  # type: ignore[attr-defined]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_files_are_streamed_and_not_held_in_memory(world: Path, thin_land: Land, tmp_path: Path) -> None:
    big = tmp_path / "geofabrik" / "asia" / "japan" / "kanto-260903.osm.pbf"
    big.parent.mkdir(parents=True)
    with big.open("wb") as stream:
        stream.truncate(3_000_000_000)  # sparse: takes no room
    mirror = Mirror(tmp_path, thin_land)
    with (
        httpx.Client(transport=mirror_transport(mirror)) as client,
        client.stream("GET", "https://download.geofabrik.de/asia/japan/kanto-260903.osm.pbf") as answer,
    ):
        assert answer.headers["Content-Length"] == "3000000000"
        assert len(next(answer.iter_raw())) <= 1 << 16


def test_no_camera_is_sent_out_for_a_download(world: Path, thin_land: Land) -> None:
    mirror = Mirror(world, thin_land)
    httpx.Client(transport=mirror_transport(mirror)).get("https://download.geofabrik.de/index-v1.json")
    assert mirror._sent_out is None
