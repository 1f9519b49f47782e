"""Many photos in one request: every one gets its answer or its reason, and nothing is kept for ever."""

from __future__ import annotations

import time
from types import SimpleNamespace

import httpx
import pytest

from geoloc_pipeline.retrieval.answering.desk import Desk
from geoloc_pipeline.web import batch


@pytest.fixture
def client(served, desk: Desk) -> httpx.Client:
    return served(desk)


def finished(client: httpx.Client, name: str) -> dict:
    for _ in range(600):
        told = client.get(f"/api/batch/{name}").json()
        if told["state"] == "done":
            return told
        time.sleep(0.05)
    raise AssertionError(told)


def test_every_photo_gets_its_answer_or_its_reason_in_order(client: httpx.Client, grown: SimpleNamespace) -> None:
    photos = [(f"{seed}.png", grown.encoded(grown.picture(seed), "png")) for seed in range(5)]
    photos.insert(2, ("letter.txt", b"Dear reader"))
    begun = client.post("/api/batch?top_k=2", files=[("photo", photo) for photo in photos])
    assert begun.status_code == 202
    assert begun.headers["location"] == f"/api/batch/{begun.json()['id']}"
    told = finished(client, begun.json()["id"])
    assert [result["name"] for result in told["results"]] == [name for name, _ in photos]
    assert (told["photos"], told["done"], told["failed"]) == (6, 6, 1)
    assert "it is text" in told["results"][2]["error"]
    found = [result["answer"]["neighbours"][0]["image_id"] for result in told["results"] if "answer" in result]
    assert found == [f"picture{seed}" for seed in range(5)]


def test_a_batch_that_is_ended_is_forgotten(client: httpx.Client, grown: SimpleNamespace) -> None:
    photos = [("photo", (f"{n}.png", grown.encoded(grown.picture(n % 30), "png"))) for n in range(40)]
    name = client.post("/api/batch", files=photos).json()["id"]
    assert client.delete(f"/api/batch/{name}").status_code == 204
    assert client.get(f"/api/batch/{name}").status_code == 404
    assert client.delete(f"/api/batch/{name}").status_code == 404


def test_batches_are_few_and_bounded(client: httpx.Client, grown: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = ("photo", ("a.png", grown.encoded(grown.picture(1), "png")))
    assert client.post("/api/batch", content=b"no form").status_code == 400
    monkeypatch.setattr(batch, "MOST_PHOTOS", 2)
    assert client.post("/api/batch", files=[photo] * 3).status_code == 413
    monkeypatch.setattr(batch, "MOST_RUNNING", 0)
    full = client.post("/api/batch", files=[photo])
    assert full.status_code == 503
    assert "retry-after" in full.headers
