"""One picture from a provider's host, over a real socket that lets its clients down."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.mirror import Fault, Faults, Mirror
from geoloc_pipeline.demo.mirror_panoramax import INSTANCE_HOST, uuid_of
from geoloc_pipeline.demo.mirror_transports import async_loopback, serve_on_port
from geoloc_pipeline.errors import ImageError, SourceUnavailableError
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.panoramax import read_shot
from geoloc_pipeline.sources.street_view import Picture
from geoloc_pipeline.sources.street_view_download import download_picture

LAND = grow_land(seed=5, prefecture_codes=("13",), density=0.3)


def quick_draw(camera: Any, is_pano: bool, width_px: int) -> Any:
    return np.full((width_px // 2 if is_pano else width_px * 3 // 4, width_px, 3), camera.seed % 251, dtype=np.uint8)


def downloaded(folder: Any, *faults: Fault, name: str = "", tries: int = 3) -> tuple[Picture, Mirror]:
    mirror = Mirror(folder, LAND, draw=quick_draw, faults=Faults(*faults))
    name = name or uuid_of(f"picture {mirror.coverage.only('panoramax').shots.image_id[1]}")

    async def no_wait(seconds: float) -> None:
        await asyncio.sleep(0)

    async def run(port: int) -> Picture:
        async with AsyncHttpClient(transport=async_loopback(port), sleep=no_wait, tries=tries) as http:
            url = f"https://{INSTANCE_HOST}/api/pictures/{name}/sd.jpg"
            return await download_picture(http, url, shot=read_shot({"id": name}), service="Panoramax", per_second=1000)

    with serve_on_port(mirror) as port:
        return asyncio.run(run(port)), mirror


@pytest.mark.parametrize("kind", ["too_many_requests", "unavailable", "server_error", "cut", "html"])
def test_a_fault_that_passes_leaves_no_trace_in_the_picture(tmp_path, kind: Any) -> None:
    picture, mirror = downloaded(tmp_path, Fault(kind, where="/sd.jpg", times=2))
    assert picture == downloaded(tmp_path)[0]
    assert picture.contents[None].startswith(b"\xff\xd8")
    assert mirror.served == {INSTANCE_HOST: 3}


@pytest.mark.parametrize("kind", ["unavailable", "cut", "html"])
def test_a_fault_that_stays_is_told(tmp_path, kind: Any) -> None:
    with pytest.raises(SourceUnavailableError, match="tried 2 times"):
        downloaded(tmp_path, Fault(kind, where="/sd.jpg", times=99), tries=2)


def test_a_picture_that_is_gone_is_asked_for_once(tmp_path) -> None:
    with pytest.raises(ImageError, match="HTTP 404") as caught:
        downloaded(tmp_path, name="00000000-0000-4000-8000-000000000000")
    assert caught.value.reason == "gone"
