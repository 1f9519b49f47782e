"""Small worlds, grown and published once for all tests of the room; pictures by a stand-in that costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.mirror import Mirror
from geoloc_pipeline.demo.mirror_transports import mirror_transport
from geoloc_pipeline.demo.publish import publish_world


@pytest.fixture(scope="session")
def quick_draw() -> Any:
    """Draws a picture that depends on the camera alone: a ramp whose colour is the camera's seed."""

    def draw(camera: Any, is_pano: bool, width_px: int) -> Any:
        ramp = np.linspace(0, 255, width_px).astype(np.uint8)
        image = np.zeros((width_px // 2 if is_pano else width_px * 3 // 4, width_px, 3), dtype=np.uint8)
        image[..., 0], image[..., 1], image[..., 2] = ramp, camera.seed % 256, int(camera.heading_deg) % 256
        return image

    return draw


@pytest.fixture(scope="session")
def whole_land() -> Land:
    return grow_land()


@pytest.fixture(scope="session")
def coverage(whole_land: Land) -> Coverage:
    return Coverage(whole_land)


@pytest.fixture(scope="session")
def thin_land() -> Land:
    return grow_land(seed=3, prefecture_codes=("13", "47"), density=0.08)


@pytest.fixture(scope="session")
def world(thin_land: Land, quick_draw: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "world"
    publish_world(thin_land, folder, draw=quick_draw)
    return folder


@pytest.fixture
def mirror(world: Path, thin_land: Land, quick_draw: Any) -> Mirror:
    return Mirror(world, thin_land, draw=quick_draw)


@pytest.fixture
def client(mirror: Mirror) -> httpx.Client:
    return httpx.Client(transport=mirror_transport(mirror))
