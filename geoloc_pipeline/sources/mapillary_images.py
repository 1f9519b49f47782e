"""One Mapillary picture as the Graph API tells it: every key but the id can be missing.

Source: OpenSfM (https://opensfm.org/docs/geometry.html), whose reconstructions `computed_rotation` comes from: axis times angle
in radians, from the world (x east, y north, z up) to the camera (x right, y down, z ahead).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.sources.street_view import Shot
from geoloc_pipeline.sources.street_view_json import list_of, number_of, object_of, place_of, text_of

if TYPE_CHECKING:
    from collections.abc import Mapping

LICENCE = "CC-BY-SA-4.0"
THUMBNAILS_PX = {"thumb_256_url": 256, "thumb_1024_url": 1024, "thumb_2048_url": 2048, "thumb_original_url": 1_000_000}
"""Fields with download links, and how wide at most the pictures behind them are."""
FIELDS = (
    "id", "geometry", "computed_geometry", "compass_angle", "computed_compass_angle", "computed_rotation", "captured_at",
    "camera_type", "creator", "sequence", *THUMBNAILS_PX,
)  # fmt: skip
"""What is asked of the Graph API."""
MOST_TILT_DEG = 45.0  # nobody mounts a camera so; a reconstruction that says more has fallen over


def page_url(image_id: str) -> str:
    """Return the page of a picture; unlike its download link it does not expire."""
    return f"https://www.mapillary.com/app/?pKey={image_id}"


def read_shot(entry: Mapping[str, Any]) -> Shot:
    """Return what an entity of the Graph API tells of its picture; any key but `id` can be missing."""
    image_id, creator = str(entry["id"]), text_of(object_of(entry.get("creator")).get("username"))
    lat, lon = _place(entry.get("computed_geometry")) or _place(entry.get("geometry")) or (None, None)
    compass_deg = number_of(entry.get("computed_compass_angle"))
    if compass_deg is None:
        compass_deg = number_of(entry.get("compass_angle"))
    pitch_deg, roll_deg = tilt_of(entry.get("computed_rotation"))
    return Shot(
        image_id=image_id,
        lat=lat,
        lon=lon,
        compass_deg=None if compass_deg is None else compass_deg % 360.0 % 360.0,  # once leaves 360 of -1e-20
        captured_at=_moment(number_of(entry.get("captured_at"))),
        is_pano=entry.get("camera_type") in ("spherical", "equirectangular") or entry.get("is_pano") is True,
        sequence_id=text_of(entry.get("sequence")),
        creator=creator,
        licence=LICENCE,
        attribution=f"{creator or 'unknown user'} via Mapillary, CC BY-SA 4.0",
        page_url=page_url(image_id),
        pitch_deg=pitch_deg,
        roll_deg=roll_deg,
    )


def download_url(entry: Mapping[str, Any], *, width_px: int) -> str | None:
    """Return the link to the smallest picture of at least `width_px`, else to the largest; None without any.

    The link is signed and expires soon: ask for it right before each download, never store it.
    """
    links = {name: str(entry[name]) for name in THUMBNAILS_PX if str(entry.get(name)).startswith("https://")}
    wide = [name for name in links if THUMBNAILS_PX[name] >= width_px]
    return links[(wide or list(links)[::-1])[0]] if links else None


def tilt_of(rotation: Any) -> tuple[float, float]:
    """Return pitch (upward) and roll (clockwise, seen from behind the camera) in degrees; 0 and 0 where unknown.

    Args:
        rotation: `computed_rotation`: axis times angle, from the world to the camera.
    """
    parts = [number_of(part) for part in list_of(rotation)]
    turn = np.array([math.nan if part is None else part for part in parts])
    if len(turn) != 3 or not np.abs(turn).max() <= 2.0 * math.pi:
        return 0.0, 0.0
    angle = float(np.linalg.norm(turn))
    axis, up = turn / (angle or 1.0), np.array([0.0, 0.0, 1.0])
    # Rodrigues: where the world's up lies for the camera
    right, down, ahead = up * math.cos(angle) + np.cross(axis, up) * math.sin(angle) + axis * axis[2] * (1.0 - math.cos(angle))
    if -down < math.cos(math.radians(MOST_TILT_DEG)):
        return 0.0, 0.0
    return math.degrees(math.asin(min(1.0, max(-1.0, float(ahead))))), math.degrees(math.atan2(-right, -down))


def _place(geometry: Any) -> tuple[float, float] | None:
    lon, lat = (*list_of(object_of(geometry).get("coordinates")), None, None)[:2]
    return place_of(lat=lat, lon=lon)


def _moment(milliseconds: float | None) -> datetime | None:
    is_sane = milliseconds is not None and 0.0 < milliseconds < 4e12  # 1970 to 2096
    return datetime.fromtimestamp(milliseconds / 1000.0, UTC) if milliseconds and is_sane else None
