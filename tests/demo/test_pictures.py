"""From a camera to JPEG bytes, bad ones included."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.pictures import BAD_KINDS, Renderer, camera_of, encode_jpeg, flaw_of, jpeg_of


@pytest.fixture(scope="module")
def rows(coverage: Coverage) -> dict[str | None, int]:
    """One row of each flaw, and one of a faultless panorama and a faultless flat picture."""
    found: dict[str | None, int] = {}
    for row, image_id in enumerate(coverage.shots.image_id[:12_000].tolist()):
        flaw = flaw_of(image_id)
        found.setdefault(flaw if flaw or coverage.shots.is_pano[row] else "flat", row)
    return found


def opened(data: bytes) -> Any:
    return Image.open(io.BytesIO(data))


def test_less_than_one_in_a_hundred_is_bad_and_of_each_kind_there_are_some(coverage: Coverage) -> None:
    flaws = [flaw_of(image_id) for image_id in coverage.shots.image_id[:12_000].tolist()]
    assert 0.004 < np.mean([flaw is not None for flaw in flaws]) < 0.01
    assert {flaw for flaw in flaws if flaw} == set(BAD_KINDS)


def test_a_panorama_is_2_to_1_and_a_flat_picture_4_to_3(coverage: Coverage, rows: dict[Any, int], quick_draw: Any) -> None:
    for width_px in (256, 1024, 2048):
        assert opened(jpeg_of(quick_draw, coverage, rows[None], width_px)).size == (width_px, width_px // 2)
        assert opened(jpeg_of(quick_draw, coverage, rows["flat"], width_px)).size == (width_px, width_px * 3 // 4)


def test_bad_pictures_are_bad_each_in_its_way(coverage: Coverage, rows: dict[Any, int], quick_draw: Any) -> None:
    assert jpeg_of(quick_draw, coverage, rows["empty"], 1024) == b""
    assert opened(jpeg_of(quick_draw, coverage, rows["tiny"], 1024)).size == (1, 1)
    grey = np.asarray(opened(jpeg_of(quick_draw, coverage, rows["grey"], 1024)))
    assert grey.std() < 1
    with pytest.raises(OSError, match="truncated"):
        opened(jpeg_of(quick_draw, coverage, rows["truncated"], 1024)).load()


def test_the_camera_is_the_coverages_and_so_is_its_chance(coverage: Coverage, rows: dict[Any, int]) -> None:
    camera, shots = camera_of(coverage, rows[None]), coverage.shots
    assert (camera.lat, camera.lon) == (shots.lat[rows[None]], shots.lon[rows[None]])
    assert camera.seed == shots.image_id[rows[None]]
    assert camera.captured_at == coverage.captured_at(rows[None])


def test_the_renderer_draws_the_same_picture_at_every_call(coverage: Coverage, rows: dict[Any, int]) -> None:
    land = grow_land(prefecture_codes=("01",))
    once, again = Renderer(land), Renderer(land)
    first = jpeg_of(once, coverage, rows[None], 256)
    assert first == jpeg_of(again, coverage, rows[None], 256) == jpeg_of(once, coverage, rows[None], 256)
    assert opened(jpeg_of(once, coverage, rows["flat"], 1024)).size == (1024, 768)
    assert np.asarray(opened(first)).std() > 10


def test_jpeg_keeps_the_colours() -> None:
    image = np.zeros((32, 64, 3), dtype=np.uint8)
    image[..., 0] = 200
    assert np.abs(np.asarray(opened(encode_jpeg(image))).astype(int) - image).max() < 6
