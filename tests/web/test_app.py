"""The search page over HTTP, with a desk that answers from a tiny gallery."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.imagery.quality import read_photo
from geoloc_pipeline.retrieval.locate import Answer, AnswerNeighbour
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.web import app as web


class TinyDesk:
    """Answers every readable picture with one neighbour; keeps nothing."""

    def __init__(self) -> None:
        self.is_broken = False
        self.asked: list[tuple[int, str]] = []

    def locate(self, photo: Path, *, top_k: int = 100, readout: str = "") -> Answer:
        read_photo(photo)
        if self.is_broken:
            raise CollectionError(collection="photos", reason="it is gone", cure="materialise `qdrant_collection`")
        self.asked.append((top_k, readout))
        neighbour = AnswerNeighbour(rank=1, image_id="a", lat=35.0, lon=139.0, score=0.9, distance_km=1.0)
        return Answer(
            lat=35.0, lon=139.0, readout="mode", region_50_km=1.0, region_90_km=None, spread_km=1.0, neighbours=(neighbour,)
        )

    def write_evidence(self, answer: Answer, photo: Path, path: Path, *, name: str = "") -> None:
        write_text(path, f"<html>{name}</html>")


@pytest.fixture
def desk() -> TinyDesk:
    return TinyDesk()


def ask(desk: TinyDesk, method: str, address: str, body: bytes = b"") -> httpx.Response:
    import anyio

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=web.build_app(desk))
        async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
            return await client.request(method, address, content=body)

    return anyio.run(go)


def photo() -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def test_the_page_loads_nothing_from_elsewhere(desk: TinyDesk) -> None:
    page = ask(desk, "GET", "/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text


def test_a_photo_is_answered_as_json_and_as_page(desk: TinyDesk) -> None:
    told = ask(desk, "POST", "/api/locate?top_k=7&readout=nearest", photo())
    assert told.status_code == 200
    assert told.json()["lat"] == 35.0
    assert desk.asked == [(7, "nearest")]
    page = ask(desk, "POST", "/api/evidence", photo())
    assert page.headers["content-type"].startswith("text/html")
    assert "photo that was asked about" in page.text


@pytest.mark.parametrize(("body", "words"), [(b"", "no bytes"), (b"Dear reader", "the photo"), (photo()[:80], "the photo")])
def test_what_is_no_photo_is_refused_without_a_path_of_ours(desk: TinyDesk, body: bytes, words: str) -> None:
    told = ask(desk, "POST", "/api/locate", body)
    assert told.status_code == 400
    assert words in told.json()["error"]
    assert "/tmp" not in told.json()["error"]


@pytest.mark.parametrize("told", ["0", "-1", "many", "100000"])
def test_a_strange_top_k_is_refused(desk: TinyDesk, told: str) -> None:
    answer = ask(desk, "POST", f"/api/locate?top_k={told}", photo())
    assert answer.status_code == 400
    assert "top_k" in answer.json()["error"]


def test_a_body_without_end_is_cut_off(desk: TinyDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LIMIT_BYTES", 1000)
    assert ask(desk, "POST", "/api/locate", bytes(5000)).status_code == 413


def test_a_fault_of_ours_is_told_as_one(desk: TinyDesk) -> None:
    desk.is_broken = True
    told = ask(desk, "POST", "/api/locate", photo())
    assert told.status_code == 503
    assert "materialise" in told.json()["error"]
