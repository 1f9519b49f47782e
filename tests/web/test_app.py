"""The API over HTTP, with a real desk of a small home: answers, refusals, and what every response carries."""

from __future__ import annotations

import io
import json
import shutil
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from PIL import Image

from geoloc_pipeline.retrieval.answering.desk import Desk
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.web.answering import LIMIT_BYTES
from geoloc_pipeline.web.openapi import openapi

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def client(served, desk: Desk) -> httpx.Client:
    return served(desk)


@pytest.fixture
def photo(grown: SimpleNamespace) -> bytes:
    return grown.encoded(grown.picture(4), "png")


def with_gps(pixels: np.ndarray, lat: float, lon: float) -> bytes:
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (lat, 0.0, 0.0), 3: "E", 4: (lon, 0.0, 0.0)}
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "jpeg", quality=95, exif=exif)
    return stream.getvalue()


def bomb() -> bytes:
    """Forty bytes of header that promise 40,000 x 40,000 pixels."""
    body = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(body)) + b"IHDR" + body + struct.pack(">I", zlib.crc32(b"IHDR" + body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


# --- answers ------------------------------------------------------------------------------------------------------------


def test_a_photo_is_answered_with_its_evidence_as_json(client: httpx.Client, photo: bytes) -> None:
    told = client.post("/api/locate?top_k=7", content=photo)
    assert told.status_code == 200
    answer = told.json()
    assert len(answer["neighbours"]) == 7
    best = answer["neighbours"][0]
    assert (best["image_id"], best["attribution"], best["licence"]) == ("picture4", "撮影者4", "CC-BY-SA-4.0")
    assert best["place"].startswith("東京都")
    assert answer["region_90_km"] > answer["region_50_km"]
    assert set(answer["heads"]) == {"prefecture"}
    assert {"decode", "preprocess", "embed", "search", "read_out", "respond"} <= set(answer["timings_ms"])
    assert "exif" not in answer


def test_a_form_with_one_photo_is_as_good_as_a_raw_body(client: httpx.Client, photo: bytes) -> None:
    raw = client.post("/api/locate", content=photo).json()
    form = client.post("/api/locate", files={"photo": ("my photo.png", photo, "image/png")}).json()
    assert form["neighbours"] == raw["neighbours"]
    two = client.post("/api/locate", files=[("photo", ("a.png", photo)), ("photo", ("b.png", photo))])
    assert two.status_code == 400
    assert "/api/batch" in two.json()["error"]


def test_an_earlier_photo_is_asked_again_with_a_filter_and_without_an_upload(client: httpx.Client, photo: bytes) -> None:
    first = client.post("/api/locate", content=photo).json()
    again = client.post(f"/api/locate?query={first['query']}&prefecture=47&source=local").json()
    assert again["query"] == first["query"]
    assert again["neighbours"]
    assert {near["source"] for near in again["neighbours"]} == {"local"}
    assert all(near["lat"] < 30 for near in again["neighbours"])
    assert "embed" not in again["timings_ms"]
    gone = client.post("/api/locate?query=never")
    assert gone.status_code == 410
    assert "send it again" in gone.json()["error"]


def test_exif_has_no_part_in_the_answer_and_is_told_only_when_asked(client: httpx.Client, grown: SimpleNamespace) -> None:
    pixels = grown.picture(4)
    bare, marked = with_gps(pixels, 0.0, 0.0), with_gps(pixels, 43.0, 141.0)
    plain = client.post("/api/locate", content=bare).json()
    asked = client.post("/api/locate?exif=1", content=marked).json()
    assert (asked["lat"], asked["lon"], asked["neighbours"]) == (plain["lat"], plain["lon"], plain["neighbours"])
    assert (asked["exif"]["lat"], asked["exif"]["lon"]) == (43.0, 141.0)
    assert asked["exif"]["distance_km"] > 500
    none = client.post("/api/locate?exif=1", content=grown.encoded(pixels, "png")).json()
    assert none["exif"] is None


@pytest.mark.parametrize(("asked", "words"), [("lang=ja", "根拠となった写真"), ("", "The pictures that speak for it")])
def test_an_evidence_page_is_one_file_in_the_language_asked_for(
    client: httpx.Client, photo: bytes, asked: str, words: str
) -> None:
    page = client.post(f"/api/evidence?{asked}&name=%3Cmy%3E.jpg", content=photo)
    assert page.headers["content-type"].startswith("text/html")
    assert words in page.text
    assert "&lt;my&gt;.jpg" in page.text
    assert 'src="http' not in page.text
    by_browser = client.post("/api/evidence", content=photo, headers={"Accept-Language": "ja,en;q=0.5"})
    assert '<html lang="ja">' in by_browser.text


def test_only_pictures_that_an_answer_has_named_are_shown(served, desk: Desk, photo: bytes) -> None:
    client = served(desk)
    assert client.get("/api/pictures/picture4").status_code == 404
    client.post("/api/locate", content=photo)
    shown = client.get("/api/pictures/picture4?width=240")
    assert shown.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(shown.content)).size == (240, 180)
    assert client.get("/api/pictures/picture4?width=7").status_code == 400
    assert client.get("/api/pictures/nobody").status_code == 404


def test_outlines_are_geojson(client: httpx.Client) -> None:
    for asked, names in (
        ("level=prefecture", ["東京都", "沖縄県"]),
        ("level=municipality&prefecture=47", ["見本東市", "見本西市"]),
        ("level=coast", [""] * 8),
    ):
        told = client.get(f"/api/outlines?{asked}").json()
        assert [feature["properties"]["name"] for feature in told["features"]] == names
    assert client.get("/api/outlines?level=town").status_code == 400
    assert client.get("/api/outlines?level=municipality").status_code == 400


def test_the_page_is_told_what_it_can_search(client: httpx.Client) -> None:
    told = client.get("/api/about").json()
    assert told["prefectures"] == [{"code": "13", "name": "東京都"}, {"code": "47", "name": "沖縄県"}]
    assert told["sources"] == ["local", "yfcc100m"]
    assert told["points"] == 30
    assert told["readout"] in told["readouts"]


def test_twenty_clients_at_once_get_the_answers_that_one_gets(client: httpx.Client, grown: SimpleNamespace) -> None:
    photos = [grown.encoded(grown.picture(seed), "png") for seed in range(5)]

    def ask(number: int) -> tuple[int, str]:
        told = client.post("/api/locate?top_k=3", content=photos[number % 5])
        return told.status_code, told.json()["neighbours"][0]["image_id"]

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(ask, range(60))) == [(200, f"picture{number % 5}") for number in range(60)]


# --- what is no photo, or no sensible request ---------------------------------------------------------------------------


def test_what_cannot_be_answered_is_refused_with_a_sentence(client: httpx.Client, photo: bytes) -> None:
    for body, status, words in (
        (b"", 400, "no bytes"),
        (b"Dear reader", 400, "it is text"),
        (b"<!doctype html><p>", 400, "web page"),
        (photo[:200], 400, "the photo"),
        (bomb(), 413, "million px"),
        (bytes(LIMIT_BYTES + 1), 413, "40 MB"),
    ):
        told = client.post("/api/locate", content=body)
        assert told.status_code == status, words
        assert words in told.json()["error"]
        assert "/tmp" not in told.json()["error"]


def test_of_an_animation_the_first_picture_is_answered(client: httpx.Client, grown: SimpleNamespace) -> None:
    stream = io.BytesIO()
    frames = [Image.fromarray(grown.picture(seed)) for seed in (4, 5, 6)]
    frames[0].save(stream, "webp", save_all=True, append_images=frames[1:], lossless=True)
    assert client.post("/api/locate", content=stream.getvalue()).json()["neighbours"][0]["image_id"] == "picture4"


@pytest.mark.parametrize(
    "asked",
    ["top_k=0", "top_k=-1", "top_k=many", "top_k=100000", "top_k=³", "topk=3", "readout=hunch", "prefecture=99", "source=x",
     "exif=yes", "lang=fr", "abstain_over_km=-1", "abstain_below=nan"],
)  # fmt: skip
def test_a_strange_parameter_is_refused_by_name(client: httpx.Client, photo: bytes, asked: str) -> None:
    told = client.post(f"/api/locate?{asked}", content=photo)
    assert told.status_code == 400
    assert asked.split("=")[0] in told.json()["error"]


def test_a_body_without_a_length_is_cut_off(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoloc_pipeline.web.answering.LIMIT_BYTES", 1000)
    assert client.post("/api/locate", content=(bytes(100) for _ in range(50))).status_code == 413


def test_more_bytes_or_visitors_than_there_is_room_for_are_asked_to_wait(
    client: httpx.Client, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoloc_pipeline.web.answering.HELD_BYTES", 10)
    full = client.post("/api/locate", content=photo)
    monkeypatch.undo()
    monkeypatch.setattr("geoloc_pipeline.web.answering.MOST_WAITING", 0)
    crowded = client.post("/api/locate", content=photo)
    for told in (full, crowded):
        assert told.status_code == 503
        assert int(told.headers["retry-after"]) > 0
        assert "again" in told.json()["error"]
    monkeypatch.undo()
    assert client.post("/api/locate", content=photo).status_code == 200, "what was refused is not counted any more"


@pytest.mark.parametrize("address", ["/nothing", "/static/app.py", "/static/..%2fapp.py", "/api/batch/nobody"])
def test_what_is_not_there_is_told_as_json(client: httpx.Client, address: str) -> None:
    told = client.get(address)
    assert told.status_code == 404
    assert told.json()["error"]
    assert client.get("/api/locate").status_code == 405


# --- the gallery goes and comes -----------------------------------------------------------------------------------------


def test_a_gallery_that_goes_away_is_told_and_one_that_comes_is_used(
    served, home: Home, tmp_path: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Home.at(shutil.copytree(home.root, tmp_path / "copied"))
    shutil.move(copied.qdrant(), tmp_path / "away")
    client = served(Desk.open(copied))
    for told in (client.post("/api/locate", content=photo), client.get("/healthz"), client.get("/api/about")):
        assert told.status_code == 503
        assert "materialise" in told.json()["error"]
    assert client.get("/").status_code == 200
    assert "geoloc_gallery_up 0" in client.get("/metrics").text
    shutil.move(tmp_path / "away", copied.qdrant())
    assert client.post("/api/locate", content=photo).status_code == 200
    assert client.get("/healthz").json()["status"] == "ok"


def test_a_server_that_is_down_is_told(served, home: Home, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOLOC_QDRANT_URL", "http://127.0.0.1:9")
    client = served(Desk.open(home))
    told = client.post("/api/locate", content=photo)
    assert told.status_code == 503
    assert "Qdrant" in told.json()["error"]
    assert client.get("/healthz").status_code == 503


def test_a_newer_collection_is_moved_over_to_and_another_models_is_refused(
    served, home: Home, tmp_path: Path, grown: SimpleNamespace, photo: bytes
) -> None:
    copied = Home.at(shutil.copytree(home.root, tmp_path / "copied"))
    client = served(Desk.open(copied))
    assert len(client.post("/api/locate", content=photo).json()["neighbours"]) == 30
    grown.build_collection(copied, only=slice(0, 12))
    time.sleep(1.1)  # how often the alias is looked at
    assert len(client.post("/api/locate", content=photo).json()["neighbours"]) == 12
    grown.save_model(copied.checkpoint(), seed=9)
    grown.build_collection(copied)
    time.sleep(1.1)
    told = client.post("/api/locate", content=photo)
    assert told.status_code == 503
    assert "restart" in told.json()["error"]


# --- what every response carries, and who may ask -----------------------------------------------------------------------


def test_the_page_loads_only_what_is_served_here(client: httpx.Client) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "http://" not in page.text
    assert "https://" not in page.text
    for name in ("search.js", "answer.js", "map.js", "search.css"):
        told = client.get(f"/static/{name}")
        assert told.status_code == 200
        assert client.get(f"/static/{name}", headers={"If-None-Match": told.headers["etag"]}).status_code == 304


def test_a_request_under_a_foreign_name_or_from_a_foreign_page_is_refused(client: httpx.Client, photo: bytes) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
    foreign = client.post("/api/locate", content=photo, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    own = client.post("/api/locate", content=photo, headers={"Origin": "http://127.0.0.1"})
    assert own.status_code == 200
    for name in ("localhost:8080", "[::1]:8080"):
        assert client.get("/", headers={"Host": name}).status_code == 200


def test_with_a_token_the_api_is_shut_to_whoever_does_not_know_it(served, desk: Desk, photo: bytes) -> None:
    client = served(desk, token=TOKEN)
    for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Cookie": "geoloc_session=wrong"}):
        told = client.post("/api/locate", content=photo, headers=wrong)
        assert told.status_code == 401
        assert told.headers["www-authenticate"] == "Bearer"
        assert client.get("/metrics", headers=wrong).status_code == 401
        assert client.post("/api/session", headers=wrong).status_code == 401
    assert client.get("/").status_code == client.get("/healthz").status_code == 200
    assert client.get("/", headers={"Host": "photos.example"}).status_code == 200
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/api/locate", content=photo, headers=right).status_code == 200
    session = client.post("/api/session", headers=right)
    assert "httponly" in session.headers["set-cookie"].lower()
    assert "samesite=strict" in session.headers["set-cookie"].lower()
    assert client.get("/api/about").status_code == 200, "the cookie is enough from now on"


def test_metrics_count_requests_and_stages_and_name_nobody(client: httpx.Client, photo: bytes) -> None:
    told = client.post("/api/locate", content=photo).json()
    client.get(f"/api/pictures/{told['neighbours'][0]['image_id']}")
    client.get("/api/batch/secret-name")
    text = client.get("/metrics").text
    assert 'geoloc_requests_total{method="POST",route="/api/locate",status="200"} 1' in text
    assert 'geoloc_stage_seconds_count{stage="embed"} 1' in text
    assert "geoloc_queue_length 0" in text
    assert "geoloc_gallery_points" in text
    assert "picture" not in text.replace("/api/pictures/{image_id}", "")
    assert "secret-name" not in text


def test_the_description_names_every_address_and_no_other(client: httpx.Client) -> None:
    told = client.get("/openapi.json").json()
    assert told == openapi()
    assert told["openapi"].startswith("3.1")
    for path, methods in told["paths"].items():
        for method in methods:
            answer = client.request(method, path.replace("{id}", "x").replace("{image_id}", "x"))
            assert answer.status_code != 405, (method, path)
            assert str(answer.status_code) in methods[method]["responses"], (method, path, answer.status_code)
    page = client.get("/api")
    assert "/api/batch/{id}" in page.text
    assert json.dumps(told).count("$ref") > 5


def test_an_answer_has_exactly_what_the_description_promises(client: httpx.Client, photo: bytes) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Answer"]
    answer = client.post("/api/locate?exif=1", content=photo).json()
    assert set(answer) == set(schema["properties"])
    assert set(answer["neighbours"][0]) == set(schema["properties"]["neighbours"]["items"]["properties"])
