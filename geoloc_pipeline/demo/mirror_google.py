"""The mirror's Google Street View Static API: metadata, views cut from the camera, keys and signatures.

Belongs here: what maps.googleapis.com answers, refusals included.
Does not belong here: where cameras were (`coverage.py`) and what they saw (`pictures.py`).

Source: googlemaps/openapi-specification (parameters, statuses); https://developers.google.com/maps/digital-signature.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from geoloc_pipeline.demo.mirror_answers import Answer, as_json
from geoloc_pipeline.demo.pictures import camera_of, encode_jpeg
from geoloc_pipeline.geo.sphere import distance_m

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.coverage import Coverage
    from geoloc_pipeline.demo.mirror_answers import Asked
    from geoloc_pipeline.demo.pictures import Draw

API_HOST = "maps.googleapis.com"
HOSTS = frozenset({API_HOST})
LARGEST_PX = 640
_PANORAMA_PX = 2048
_PATHS = ("/maps/api/streetview", "/maps/api/streetview/metadata")


class GoogleStreetView:
    """The API over one coverage, of which only panoramas count; may be asked from several threads."""

    def __init__(self, coverage: Coverage, draw: Draw, *, key: str, secret: str) -> None:
        """Keeps what it serves.

        Args:
            coverage: Where cameras were.
            draw: Who draws them.
            key: The one API key that is accepted.
            secret: URL signing secret; with one, requests without its signature are refused.
        """
        self._coverage, self._draw, self._key, self._secret = coverage, draw, key, secret
        self._panorama = lru_cache(maxsize=8)(self._drawn)  # four views are asked for one after the other

    def answer(self, asked: Asked, raw_query: str) -> Answer:
        """Answers a request.

        Args:
            asked: The request.
            raw_query: Its query as sent: the signature counts for these bytes.
        """
        if asked.path not in _PATHS:
            return Answer(404, b"Not Found", "text/html; charset=UTF-8")
        is_metadata, denied = asked.path.endswith("/metadata"), self._denied(asked, raw_query)
        if denied:
            told = {"error_message": denied, "status": "REQUEST_DENIED"}
            return as_json(200, told) if is_metadata else Answer(403, denied.encode(), "text/plain; charset=UTF-8")
        try:
            row = self._row(asked.query)
            side_px, heading_deg, fov_deg = _view(asked.query)
        except ValueError as error:
            told = {"error_message": str(error), "status": "INVALID_REQUEST"}
            return as_json(200, told) if is_metadata else Answer(400, str(error).encode(), "text/plain; charset=UTF-8")
        if is_metadata:
            return as_json(200, {"status": "ZERO_RESULTS"} if row is None else self._told(row))
        if row is None:
            if asked.query.get("return_error_code", "false") == "true":
                return Answer(404, b"", "text/html; charset=UTF-8")
            grey = np.full((side_px, side_px, 3), 228, dtype=np.uint8)
            return Answer(200, encode_jpeg(grey), "image/jpeg")
        view = _cut(self._panorama(row), heading_deg=heading_deg, fov_deg=fov_deg, side_px=side_px)
        return Answer(200, encode_jpeg(view), "image/jpeg")

    def pano_id(self, row: int) -> str:
        """Gives the id of the panorama at a row of the coverage."""
        digest = hashlib.blake2b(f"pano {self._coverage.shots.image_id[row]}".encode(), digest_size=16).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {self.pano_id(row): row for row in np.flatnonzero(self._coverage.shots.is_pano).tolist()}

    def _drawn(self, row: int) -> NDArray[np.uint8]:
        """Draws a level panorama with north in its middle."""
        camera = replace(camera_of(self._coverage, row), heading_deg=0.0, pitch_deg=0.0, roll_deg=0.0)
        return self._draw(camera, True, _PANORAMA_PX)

    def _denied(self, asked: Asked, raw_query: str) -> str:
        """Tells why a request may not be answered; nothing when it may."""
        if not hmac.compare_digest(asked.query.get("key", "").encode(), self._key.encode()):
            return "The provided API key is invalid."
        if not self._secret:
            return ""
        signed, _, given = raw_query.rpartition("&signature=")
        secret = base64.urlsafe_b64decode(self._secret)
        digest = hmac.new(secret, f"{asked.path}?{signed}".encode(), hashlib.sha1).digest()
        wanted = base64.urlsafe_b64encode(digest).decode()
        return (
            ""
            if given.replace("%3D", "=") == wanted
            else "Unable to authenticate the request. Provided signature is not valid."
        )

    def _row(self, query: dict[str, str]) -> int | None:
        """Gives the panorama with an id, or next to a place; None without one.

        Raises:
            ValueError: Neither is asked for.
        """
        if "pano" in query:
            return self._row_of.get(query["pano"])
        found = re.fullmatch(r"(-?[\d.]+),\s*(-?[\d.]+)", query.get("location", ""))
        if not found:
            raise ValueError("Invalid request. Missing the 'location' or 'pano' parameter.")
        shots, (lat, lon) = self._coverage.shots, (float(number) for number in found.groups())
        radius_m = float(query.get("radius", 50))
        reach = radius_m / 111_000.0
        rows = self._coverage.in_box(lon - 2 * reach, lat - reach, lon + 2 * reach, lat + reach)
        rows = rows[shots.is_pano[rows]]
        if not len(rows):
            return None
        away_m = distance_m(lat=lat, lon=lon, to_lat=shots.gps_lat[rows], to_lon=shots.gps_lon[rows])
        return int(rows[np.argmin(away_m)]) if away_m.min() <= radius_m else None

    def _told(self, row: int) -> dict[str, Any]:
        shots = self._coverage.shots
        return {
            "copyright": "© Google",
            "date": f"{self._coverage.captured_at(row):%Y-%m}",
            "location": {"lat": float(shots.gps_lat[row]), "lng": float(shots.gps_lon[row])},
            "pano_id": self.pano_id(row),
            "status": "OK",
        }


def _view(query: dict[str, str]) -> tuple[int, float, float]:
    """Gives side in pixels, heading and angle of view; the mirror draws squares only.

    Raises:
        ValueError: They are out of range.
    """
    width, _, height = query.get("size", f"{LARGEST_PX}x{LARGEST_PX}").partition("x")
    if width != height or not width.isdecimal() or not 1 <= int(width) <= LARGEST_PX:
        raise ValueError("Invalid request. Invalid 'size' parameter.")
    heading_deg, fov_deg = float(query.get("heading", 0)), float(query.get("fov", 90))
    if not 0 <= heading_deg <= 360 or not 10 <= fov_deg <= 120:
        raise ValueError("Invalid request. Invalid 'heading' or 'fov' parameter.")
    return int(width), heading_deg, fov_deg


def _cut(panorama: NDArray[np.uint8], *, heading_deg: float, fov_deg: float, side_px: int) -> NDArray[np.uint8]:
    """Cuts a flat square out of a panorama whose middle looks north."""
    height, width = panorama.shape[:2]
    across = (np.arange(side_px) + 0.5 - side_px / 2) / (side_px / 2) * np.tan(np.radians(fov_deg) / 2)
    right, up = np.meshgrid(across, -across)
    turn_deg = np.degrees(np.arctan2(right, 1.0)) + heading_deg
    rise_deg = np.degrees(np.arctan2(up, np.hypot(right, 1.0)))
    x = ((turn_deg / 360.0 + 0.5) % 1.0 * width - 0.5).astype(np.float32)
    y = ((0.5 - rise_deg / 180.0) * height - 0.5).astype(np.float32)
    return np.asarray(cv2.remap(panorama, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), dtype=np.uint8)
