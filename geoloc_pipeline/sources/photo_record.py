"""One photo of a photo set, before anybody has looked at its pixels."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from geoloc_pipeline.sources.photo_files import PictureFile

UNKNOWN_LICENCE = "NOASSERTION"  # SPDX: nobody says
_CREATIVE_COMMONS = re.compile(r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)")
_SPDX = re.compile(r"[A-Za-z0-9.+-]{2,64}")


@dataclass(frozen=True)
class Photo:
    """One photo of a photo set.

    Attributes:
        source: Name of the set.
        source_image_id: The set's own id or file name.
        origin_id: Who else may hold the same picture, such as `flickr:9055806529`; None where nobody can, or nobody knows.
        lat: Latitude in degrees; None: it is in the photo's EXIF, or nowhere.
        lon: Longitude in degrees.
        accuracy_m: How far the place may be off, metres; None where nobody says.
        author: Who took it, as the set tells.
        licence: SPDX identifier.
        attribution: Whom to name beside the picture; empty: it is in the photo's EXIF, or nowhere.
        source_url: Page of the picture.
        captured_at: When the camera took it.
        capture_group: Author or sequence; None: in the photo's EXIF, or the photo stands for itself.
        file: The encoded picture; None when it is missing, or outside the box around Japan, where nobody has looked.
        fault: Reason and detail why the list's entry cannot be used.
    """

    source: str
    source_image_id: str
    origin_id: str | None = None
    lat: float | None = None
    lon: float | None = None
    accuracy_m: float | None = None
    author: str | None = None
    licence: str = UNKNOWN_LICENCE
    attribution: str = ""
    source_url: str = ""
    captured_at: datetime | None = None
    capture_group: str | None = None
    file: PictureFile | None = None
    fault: tuple[str, str] | None = None


def place_from(lat: str, lon: str) -> tuple[float, float] | None:
    """Return (lat, lon) in degrees of two written numbers; None when they are no place on Earth."""
    try:
        found = float(lat), float(lon)
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) and abs(found[0]) <= 90 and abs(found[1]) <= 180 else None


def spdx_of(said: str) -> str:
    """Return the SPDX identifier of a licence given as a Creative Commons address or as an identifier, else NOASSERTION."""
    found = _CREATIVE_COMMONS.search(said.lower())
    if found:
        return f"CC-{found[1].upper()}-{found[2]}"
    if "publicdomain/zero" in said.lower():
        return "CC0-1.0"
    if "publicdomain/mark" in said.lower():
        return "CC-PDM-1.0"
    return said if _SPDX.fullmatch(said) else UNKNOWN_LICENCE


def fault_of(name: str, place: tuple[float, float] | None, *, has_file: bool, where: str) -> tuple[str, str] | None:
    """Return why a list's entry cannot be used, None when it can: reason and detail."""
    if place is None:
        return "bad_place", f"the list places it at {where}"
    return None if has_file else ("file_missing", f"there is no picture {name!r} in the set's folder or archives")
