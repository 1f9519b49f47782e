"""The mirror's KartaView, asked as its documentation says."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.mirror import Mirror
from geoloc_pipeline.demo.pictures import flaw_of

PHOTOS = "https://api.openstreetcam.org/2.0/photo/"
JAPAN = {"nwLat": 47, "nwLng": 120, "seLat": 20, "seLng": 155}


@pytest.fixture
def part(mirror: Mirror) -> Coverage:
    return mirror.coverage.only("kartaview")


def page(client: httpx.Client, **params: Any) -> dict[str, Any]:
    answer = client.get(PHOTOS, params=params)
    assert (answer.status_code, answer.json()["status"]["httpCode"]) == (200, 200)
    return dict(answer.json()["result"])


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_pages_follow_each_other_in_the_order_that_was_asked_for(client: httpx.Client, part: Coverage, direction: str) -> None:
    ids: list[int] = []
    for number in range(1, 100):
        told = page(client, **JAPAN, page=number, itemsPerPage=50, orderBy="id", orderDirection=direction)
        ids += [int(photo["id"]) for photo in told["data"]]
        if not told["hasMoreData"]:
            break
    assert ids == sorted(part.shots.image_id.tolist(), reverse=direction == "desc")
    assert page(client, **JAPAN, page=99, itemsPerPage=50) == {"data": [], "hasMoreData": False}
    assert len(page(client, **JAPAN)["data"]) == 40


def test_a_place_and_a_sequence_can_be_asked_for_too(client: httpx.Client, part: Coverage) -> None:
    lat, lon = float(part.shots.gps_lat[5]), float(part.shots.gps_lon[5])
    near = page(client, lat=lat, lng=lon, radius=200, itemsPerPage=500)["data"]
    assert str(part.shots.image_id[5]) in {photo["id"] for photo in near}
    assert all(abs(float(photo["lat"]) - lat) < 0.002 for photo in near)
    sequence = next(photo["sequenceId"] for photo in near if photo["id"] == str(part.shots.image_id[5]))
    drive = page(client, sequenceId=sequence, itemsPerPage=500, orderDirection="asc")["data"]
    rows = part.in_sequence(part.sequence_ids[part.shots.sequence[5]])
    assert {photo["id"] for photo in drive} == {str(part.shots.image_id[row]) for row in rows}
    assert sorted(int(photo["sequenceIndex"]) for photo in drive) == list(range(len(rows)))


@pytest.mark.parametrize("params", [{}, {"nwLat": 1}, JAPAN | {"page": 0}, JAPAN | {"page": "x"}, JAPAN | {"itemsPerPage": 0}])
def test_what_cannot_be_searched_is_refused(client: httpx.Client, params: dict[str, Any]) -> None:
    assert client.get(PHOTOS, params=params).status_code == 400


def test_photos_are_as_uneven_as_in_life(client: httpx.Client) -> None:
    photos = page(client, **JAPAN, itemsPerPage=500)["data"]
    assert all(isinstance(photo[key], str) for photo in photos for key in ("id", "lat", "lng", "sequenceId", "shotDate"))
    assert {type(photo["heading"]) for photo in photos} == {str, float, type(None)}
    assert all("{{sizeprefix}}" in photo["fileurl"] for photo in photos)
    assert not any("Z" in photo["shotDate"] or "+" in photo["shotDate"] for photo in photos)


def test_one_photo_and_its_files(client: httpx.Client, part: Coverage) -> None:
    row = next(row for row in range(len(part)) if not flaw_of(int(part.shots.image_id[row])))
    photo = client.get(f"{PHOTOS}{part.shots.image_id[row]}").json()["result"]["data"]
    assert float(photo["lat"]) == pytest.approx(part.shots.gps_lat[row], abs=1e-6)
    sizes = [Image.open(io.BytesIO(client.get(photo[f"fileurl{kind}"]).content)).size for kind in ("Proc", "LTh", "Th")]
    assert sizes == [(1024, 768), (1024, 768), (256, 192)]
    assert client.get(photo["fileurl"]).status_code == 404  # a pattern, and no address
    assert client.get(f"{PHOTOS}1").status_code == 404
    assert client.get("https://api.openstreetcam.org/1.0/list/").status_code == 404


def test_the_cameras_are_flat(part: Coverage) -> None:
    assert len(part) > 100
    assert not np.any(part.shots.is_pano)
