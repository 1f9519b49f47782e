"""Pictures as a provider would send them: drawn when asked for, as JPEG, and a few of them bad as in life.

Belongs here: from a camera to bytes.
Does not belong here: what is on the picture (`render.py`), where cameras have been (`coverage.py`), how bytes are served.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from geoloc_pipeline.demo.chance import uniform
from geoloc_pipeline.demo.render import Camera, draw_panorama, draw_view
from geoloc_pipeline.demo.scenery import Scenery

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.coverage import Coverage
    from geoloc_pipeline.demo.land import Land

Draw = Callable[[Camera, bool, int], "NDArray[np.uint8]"]
"""Draws a camera's picture: (camera, is it a panorama, width in pixels) to `[height, width, 3]` RGB."""

FLAT_FOV_DEG = 90.0
_FLAT_DRAWN_PX = 512  # a flat picture is cut from a panorama four times as wide, which costs its square
BAD_SHARE = 0.002
"""Share of pictures for each kind of `BAD_KINDS`; together less than one in a hundred."""
BAD_KINDS = ("empty", "truncated", "grey", "tiny")
"""No bytes at all; half a JPEG; an even grey "no imagery" picture; one pixel."""


class Renderer:
    """Draws a land's pictures; the land is made ready when the first is asked for."""

    def __init__(self, land: Land) -> None:
        """Keeps the land.

        Args:
            land: What is drawn.
        """
        self._land, self._lock = land, Lock()
        self._scenery: Scenery | None = None

    def __call__(self, camera: Camera, is_pano: bool, width_px: int) -> NDArray[np.uint8]:
        """Draws a panorama of 2:1, or a flat picture of 4:3."""
        with self._lock:
            if self._scenery is None:
                self._scenery = Scenery(self._land)
        if is_pano:
            return draw_panorama(self._scenery, camera, width_px=width_px)
        drawn_px = min(width_px, _FLAT_DRAWN_PX)
        view = draw_view(self._scenery, camera, fov_deg=FLAT_FOV_DEG, width_px=drawn_px, height_px=drawn_px * 3 // 4)
        if drawn_px == width_px:
            return view
        return np.asarray(cv2.resize(view, (width_px, width_px * 3 // 4), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def camera_of(coverage: Coverage, row: int) -> Camera:
    """Gives the camera that took a picture of the coverage."""
    shots = coverage.shots
    return Camera(
        lat=float(shots.lat[row]),
        lon=float(shots.lon[row]),
        heading_deg=float(shots.heading_deg[row]),
        captured_at=coverage.captured_at(row),
        seed=int(shots.image_id[row]),
        pitch_deg=float(shots.pitch_deg[row]),
        roll_deg=float(shots.roll_deg[row]),
    )


def flaw_of(image_id: int) -> str | None:
    """Tells whether the picture of that id is one of the bad ones, and of which kind of `BAD_KINDS`."""
    kind = int(uniform(4711, image_id)[0] / BAD_SHARE)
    return BAD_KINDS[kind] if kind < len(BAD_KINDS) else None


def jpeg_of(draw: Draw, coverage: Coverage, row: int, width_px: int) -> bytes:
    """Draws a picture of the coverage and encodes it as JPEG, quality 90; bad ones come out bad.

    Args:
        draw: Who draws.
        coverage: Where the picture was taken.
        row: Which one.
        width_px: 256, 1024, 2048 or the original's width.

    Returns:
        The bytes that the provider would send; the same at every call.
    """
    flaw, is_pano = flaw_of(int(coverage.shots.image_id[row])), bool(coverage.shots.is_pano[row])
    height_px = width_px // 2 if is_pano else width_px * 3 // 4
    if flaw == "empty":
        return b""
    if flaw == "grey":
        return encode_jpeg(np.full((height_px, width_px, 3), 221, dtype=np.uint8))
    if flaw == "tiny":
        return encode_jpeg(np.zeros((1, 1, 3), dtype=np.uint8))
    data = encode_jpeg(draw(camera_of(coverage, row), is_pano, width_px))
    return data[: len(data) // 2] if flaw == "truncated" else data


def encode_jpeg(image: NDArray[np.uint8], *, exif: bytes = b"") -> bytes:
    """Gives `[height, width, 3]` RGB as JPEG of quality 90."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=90, exif=exif)
    return stream.getvalue()
