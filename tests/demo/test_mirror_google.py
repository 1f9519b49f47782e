"""The mirror's Google: keys, signatures, metadata, and pictures that are grey where there are none."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.mirror import DEMO_GOOGLE_KEY, Mirror
from geoloc_pipeline.demo.mirror_transports import mirror_transport
from geoloc_pipeline.demo.pictures import Renderer

HOST, PATH = "https://maps.googleapis.com", "/maps/api/streetview"
KEY = {"key": DEMO_GOOGLE_KEY}


def place_of(mirror: Mirror, number: int = 0) -> str:
    part = mirror.coverage.only("mapillary").shots
    row = np.flatnonzero(part.is_pano)[number]
    return f"{part.gps_lat[row]},{part.gps_lon[row]}"


def test_metadata_tell_the_nearest_panorama_and_know_it_by_its_id(client: httpx.Client, mirror: Mirror) -> None:
    told = client.get(f"{HOST}{PATH}/metadata", params=KEY | {"location": place_of(mirror), "radius": 5}).json()
    assert set(told) == {"copyright", "date", "location", "pano_id", "status"}
    assert (told["status"], len(told["date"]), len(told["pano_id"])) == ("OK", 7, 22)
    assert f"{told['location']['lat']},{told['location']['lng']}" == place_of(mirror)
    assert client.get(f"{HOST}{PATH}/metadata", params=KEY | {"pano": told["pano_id"]}).json() == told
    assert client.get(f"{HOST}{PATH}/metadata", params=KEY | {"pano": "no such"}).json() == {"status": "ZERO_RESULTS"}
    assert client.get(f"{HOST}{PATH}/metadata", params=KEY | {"location": "0,0"}).json() == {"status": "ZERO_RESULTS"}


def test_where_there_is_nothing_a_grey_picture_comes_unless_an_error_is_asked_for(client: httpx.Client) -> None:
    params = KEY | {"location": "0,0", "size": "320x320"}
    answer = client.get(f"{HOST}{PATH}", params=params)
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert answer.status_code == 200
    assert pixels.shape == (320, 320, 3)
    assert pixels.std() < 2
    assert client.get(f"{HOST}{PATH}", params=params | {"return_error_code": "true"}).status_code == 404


@pytest.mark.parametrize("wrong", [
    {"size": "641x641"}, {"size": "x"}, {"heading": "400"}, {"heading": "north"}, {"fov": "150"}, {"location": "Tokyo"},
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(client: httpx.Client, mirror: Mirror, wrong: dict[str, str]) -> None:
    params = KEY | {"location": place_of(mirror), "size": "64x64"} | wrong
    assert client.get(f"{HOST}{PATH}", params=params).status_code == 400
    assert client.get(f"{HOST}{PATH}/metadata", params=params).json()["status"] == "INVALID_REQUEST"


def test_without_the_key_nothing_is_told(client: httpx.Client, mirror: Mirror) -> None:
    for key in ({}, {"key": "another"}):
        params: dict[str, Any] = key | {"location": place_of(mirror), "size": "64x64"}
        assert client.get(f"{HOST}{PATH}", params=params).status_code == 403
        told = client.get(f"{HOST}{PATH}/metadata", params=params)
        assert (told.status_code, told.json()["status"]) == (200, "REQUEST_DENIED")
    assert client.get(f"{HOST}/maps/api/staticmap", params=KEY).status_code == 404


def test_with_a_secret_the_signature_counts_for_the_very_bytes(world: Path, thin_land: Land, quick_draw: Any) -> None:
    secret = base64.urlsafe_b64encode(b"secret").decode()
    mirror = Mirror(world, thin_land, draw=quick_draw, google_secret=secret)
    client = httpx.Client(transport=mirror_transport(mirror))
    url = f"{PATH}?location={place_of(mirror)}&size=64x64&key={DEMO_GOOGLE_KEY}"
    signature = base64.urlsafe_b64encode(hmac.new(b"secret", url.encode(), hashlib.sha1).digest()).decode()
    assert client.get(f"{HOST}{url}&signature={signature}").status_code == 200
    assert client.get(f"{HOST}{url}").status_code == 403
    assert client.get(f"{HOST}{url}&heading=90&signature={signature}").status_code == 403
    assert client.get(f"{HOST}{url}&signature={signature[::-1]}").status_code == 403


def test_four_views_of_a_panorama_meet_at_their_edges(world: Path, thin_land: Land) -> None:
    mirror = Mirror(world, thin_land, draw=Renderer(thin_land))
    client = httpx.Client(transport=mirror_transport(mirror))
    views = []
    for heading in (0, 90, 180, 270):
        params = KEY | {"location": place_of(mirror), "size": "256x256", "heading": heading, "fov": 90}
        views.append(np.asarray(Image.open(io.BytesIO(client.get(f"{HOST}{PATH}", params=params).content)), dtype=float))
    for here, there in zip(views, views[1:] + views[:1], strict=True):
        seam = np.abs(here[:, -1] - there[:, 0]).mean()
        assert seam < np.abs(here[:, -1] - here[:, 0]).mean() / 2
