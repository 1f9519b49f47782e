"""Two questions that one figure would blur: is a known place found again, and is a new place guessed?

A test picture is on the known-place track when the gallery holds a picture within 1 km of it that somebody else took, or that
was taken on another day; on the new-place track when the gallery holds nothing within 1 km. Where the gallery holds only
pictures of the same sequence and day nearby, the answer proves neither: that is a third track, and a leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.evaluation.near import Places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KNOWN, NEW, SAME_SEQUENCE = "known_place", "new_place", "same_sequence"
TRACKS = (KNOWN, NEW, SAME_SEQUENCE)
TRACK_KM = 1.0
"""The buffer of OSV-5M, which takes no test picture within 1 km of a training picture."""


@dataclass(frozen=True)
class Taken:
    """Where, by whom and when pictures were taken; `[n]` each.

    Attributes:
        lat: Degrees.
        lon: Degrees.
        capture_group: Sequence or author; empty: not known, and then like nobody else's.
        day: Day of the picture, such as `2024-05-01`; empty: not known, and then like no other day.
    """

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    capture_group: Sequence[str]
    day: Sequence[str]


def tracks_of(asked: Taken, gallery: Taken, *, limit_km: float = TRACK_KM) -> NDArray[np.object_]:
    """Return the track of each test picture.

    Args:
        asked: Test pictures, at their true places.
        gallery: Pictures that the gallery holds.
        limit_km: What counts as the same place, km.

    Returns:
        `[q]` names of `TRACKS`.
    """
    places = Places(lat=gallery.lat, lon=gallery.lon)
    groups, days = np.asarray(gallery.capture_group, dtype=object), np.asarray(gallery.day, dtype=object)
    found = np.full(len(asked.lat), NEW, dtype=object)
    for row, near in enumerate(places.within(lat=asked.lat, lon=asked.lon, limit_km=limit_km)):
        if near:
            group, day = asked.capture_group[row], asked.day[row]
            is_other = (groups[near] != group) | (not group)
            is_other |= (days[near] != day) & (days[near] != "") & bool(day)
            found[row] = KNOWN if is_other.any() else SAME_SEQUENCE
    return found
