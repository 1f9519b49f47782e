"""What a photo's EXIF says: where, when and by whom; robust against what cameras and people put there.

Presence is tested by tag, never by truth: (0.0, 0.0) is a place.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import TYPE_CHECKING, Any

from PIL import ExifTags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

_GPS, _EXIF = ExifTags.IFD.GPSInfo, ExifTags.IFD.Exif
_LAT_REF, _LAT, _LON_REF, _LON, _TIME, _DATE = 1, 2, 3, 4, 7, 29
_TAKEN, _OFFSET, _ARTIST, _COPYRIGHT = 36867, 36881, 315, 33432


def place_of(exif: Image.Exif) -> tuple[float, float] | None:
    """Return (lat, lon) in WGS 84 degrees; None when there is no place or it is impossible (0/0, 91 degrees north)."""
    gps = _directory(exif, _GPS)
    if _LAT not in gps or _LON not in gps:
        return None
    lat, lon = _degrees(gps[_LAT], gps.get(_LAT_REF)), _degrees(gps[_LON], gps.get(_LON_REF))
    if lat is None or lon is None or abs(lat) > 90.0 or abs(lon) > 180.0:
        return None
    return lat, lon


def taken_at_of(exif: Image.Exif) -> datetime | None:
    """Return when the photo was taken, UTC: by its GPS clock, or by the camera's clock where its offset is known.

    A camera's clock alone is not worth a guess of its zone: None then.
    """
    gps = _directory(exif, _GPS)
    try:
        if _TIME in gps and _DATE in gps:
            day = date(*(int(part) for part in _text(gps[_DATE]).split(":")))
            seconds = sum(float(part) * unit for part, unit in zip(gps[_TIME], (3600, 60, 1), strict=True))
            return datetime.combine(day, time(), UTC) + timedelta(seconds=round(seconds))
        taken = _directory(exif, _EXIF)
        if _TAKEN in taken and _OFFSET in taken:
            offset = datetime.strptime(_text(taken[_OFFSET]), "%z").utcoffset()
            local = datetime.strptime(_text(taken[_TAKEN]), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007  the offset follows
            return local.replace(tzinfo=timezone(offset or timedelta())).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        return None
    return None


def author_of(exif: Image.Exif) -> str | None:
    """Return the photographer (Artist), None where it is not said."""
    return _text(exif.get(_ARTIST, "")) or None


def copyright_of(exif: Image.Exif) -> str | None:
    """Return the copyright line, None where there is none."""
    return _text(exif.get(_COPYRIGHT, "")) or None


def _directory(exif: Image.Exif, which: int) -> Mapping[int, Any]:
    try:
        return exif.get_ifd(which)
    except (ValueError, TypeError, KeyError, OSError, SyntaxError, ZeroDivisionError):  # a spoilt directory is an absent one
        return {}


def _degrees(parts: Any, reference: Any) -> float | None:
    try:
        values = [float(part) for part in (parts if isinstance(parts, (tuple, list)) else (parts,))]
    except (ValueError, TypeError, ZeroDivisionError, OverflowError):
        return None
    if not 1 <= len(values) <= 3 or not all(math.isfinite(value) and value >= 0 for value in values):
        return None
    degrees = sum(value / unit for value, unit in zip(values, (1.0, 60.0, 3600.0), strict=False))
    return -degrees if _text(reference).upper() in {"S", "W"} else degrees


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value or "").replace("\x00", "").strip()
