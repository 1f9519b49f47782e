"""One Mapillary picture as the Graph API tells it: every key but the id can be missing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LICENCE = "CC-BY-SA-4.0"
THUMBNAILS_PX = {"thumb_256_url": 256, "thumb_1024_url": 1024, "thumb_2048_url": 2048, "thumb_original_url": 1_000_000}
"""Fields with download links, and how wide at most the pictures behind them are."""


@dataclass(frozen=True)
class StreetImage:
    """What Mapillary tells of one picture; any of it but the id can be missing.

    Attributes:
        image_id: Mapillary's id.
        lat: Latitude in degrees, as computed by structure from motion where there is one, else as the camera said.
        lon: Longitude in degrees.
        compass_deg: Compass direction of the centre column, clockwise from north, computed one first.
        captured_at: When the camera took it.
        is_pano: Whether it is a full panorama (equirectangular).
        sequence_id: The drive it belongs to.
        creator: User name of who took it.
        width_px: Of the original.
        height_px: Of the original.
        download_urls: Signed links by field name; they expire soon: ask anew right before each download, never store them.
    """

    image_id: str
    lat: float | None
    lon: float | None
    compass_deg: float | None
    captured_at: datetime | None
    is_pano: bool
    sequence_id: str | None
    creator: str | None
    width_px: int | None
    height_px: int | None
    download_urls: Mapping[str, str]

    @property
    def page_url(self) -> str:
        """The page of the picture, which does not expire."""
        return page_url(self.image_id)

    def download_url(self, *, width_px: int) -> str | None:
        """Return the link to the smallest picture of at least `width_px`, else to the largest; None without any."""
        by_size = [name for name in THUMBNAILS_PX if name in self.download_urls]
        wide = [name for name in by_size if THUMBNAILS_PX[name] >= width_px]
        return self.download_urls[(wide or by_size[::-1])[0]] if by_size else None

    @property
    def attribution(self) -> str:
        """Whom to name beside the picture."""
        return f"{self.creator or 'unknown user'} via Mapillary, CC BY-SA 4.0"


@dataclass(frozen=True)
class Picture:
    """One downloaded picture.

    Attributes:
        image: What Mapillary tells of it.
        content: Encoded picture as sent, unchecked.
        fetched_at: The service's Date header.
    """

    image: StreetImage
    content: bytes
    fetched_at: datetime


def page_url(image_id: str) -> str:
    """Return the page of a picture; unlike its download link it does not expire."""
    return f"https://www.mapillary.com/app/?pKey={image_id}"


def read_image(entry: Mapping[str, Any]) -> StreetImage:
    """Return one picture from an entity of the Graph API, in which any key but `id` can be missing."""
    place = _place(entry.get("computed_geometry")) or _place(entry.get("geometry")) or (None, None)
    compass_deg = _number(entry.get("computed_compass_angle"))
    if compass_deg is None:
        compass_deg = _number(entry.get("compass_angle"))
    captured_ms, creator = _number(entry.get("captured_at")), entry.get("creator")
    width, height = _number(entry.get("width")), _number(entry.get("height"))
    return StreetImage(
        image_id=str(entry["id"]),
        lat=place[0],
        lon=place[1],
        compass_deg=None if compass_deg is None else compass_deg % 360.0,
        captured_at=None if captured_ms is None else _moment(captured_ms),
        is_pano=entry.get("camera_type") in ("spherical", "equirectangular") or entry.get("is_pano") is True,
        sequence_id=_text(entry.get("sequence")),
        creator=_text(creator.get("username")) if isinstance(creator, dict) else None,
        width_px=None if width is None else int(width),
        height_px=None if height is None else int(height),
        download_urls={name: str(entry[name]) for name in THUMBNAILS_PX if _text(entry.get(name))},
    )


def _place(geometry: Any) -> tuple[float, float] | None:
    coordinates = geometry.get("coordinates") if isinstance(geometry, dict) else None
    if not isinstance(coordinates, list) or len(coordinates) < 2:
        return None
    lon, lat = _number(coordinates[0]), _number(coordinates[1])
    if lat is None or lon is None or not (-90 <= lat <= 90 and -180 <= lon <= 180):
        return None
    return lat, lon


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _moment(milliseconds: float) -> datetime | None:
    is_sane = 0.0 < milliseconds < 4e12  # 1970 to 2096
    return datetime.fromtimestamp(milliseconds / 1000.0, UTC) if is_sane else None
