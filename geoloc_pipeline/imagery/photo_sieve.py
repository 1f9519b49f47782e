"""Photos that are turned away before anybody opens them: abroad, forgotten, placed too coarsely, or faulty in the list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from geoloc_pipeline.geo.country import in_japan, in_japan_box
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geoloc_pipeline.imagery.journal import Rejection
    from geoloc_pipeline.sources.photo_files import PictureFile
    from geoloc_pipeline.sources.photo_record import Photo

COARSEST_PLACE_M = 500.0
"""A photo whose place may be off by more is turned away (ours): a city's centre, a whole park. The nearest sample points are
500 m apart (paper §3.1), and the finest measure is 1 km (table 3)."""


class ForgottenPhotos(Protocol):
    """Tells which photos must never come back."""

    def holds(self, *, source: str, source_image_id: str, capture_group: str | None = None) -> bool:
        """Return whether a photo is to be left alone."""
        ...


class PhotoSieve:
    """Judges the photos of one set.

    Args:
        name: Key of `sources.photo_sets.PHOTO_SETS`.
        forgotten: What must not come back; None: nothing.
    """

    def __init__(self, name: str, forgotten: ForgottenPhotos | None = None) -> None:
        self.name = name
        self._forgotten = forgotten
        self._is_worldwide = PHOTO_SETS[name].is_worldwide if name in PHOTO_SETS else False
        self._rejections: list[Rejection] = []
        self._n_abroad = 0

    def wanted(self, photos: Iterator[Photo]) -> Iterator[tuple[Photo, PictureFile | None]]:
        """Yield the photos to open, each with its file; and without one what is forgotten.

        What is forgotten keeps its place, or all that follow would move into other chunks and be made anew.
        """
        for photo in photos:
            if photo.lat is not None and photo.lon is not None and not is_here(photo.lat, photo.lon):
                self._n_abroad += 1
                if not self._is_worldwide:
                    self._rejections.append(abroad_photo(photo, photo.lat, photo.lon))
            elif self.is_forgotten(photo.source_image_id, photo.capture_group, photo.origin_id):
                self._rejections.append(forgotten_photo(photo.source, photo.source_image_id))
                yield photo, None
            elif photo.accuracy_m is not None and photo.accuracy_m > COARSEST_PLACE_M:
                detail = f"its place may be off by {photo.accuracy_m:,.0f} m, more than {COARSEST_PLACE_M:,.0f} m"
                self._rejections.append((photo.source, photo.source_image_id, "coarse_place", detail))
            elif photo.fault:
                self._rejections.append((photo.source, photo.source_image_id, *photo.fault))
            elif photo.file is not None:
                yield photo, photo.file

    def is_forgotten(self, source_image_id: str, capture_group: str | None, origin_id: str | None = None) -> bool:
        """Return whether a photo must not come back: this set's, or the provider's picture that it is."""
        if self._forgotten is None:
            return False
        provider, _, original = (origin_id or "").partition(":")
        return self._forgotten.holds(source=self.name, source_image_id=source_image_id, capture_group=capture_group) or (
            bool(original) and self._forgotten.holds(source=provider, source_image_id=original)
        )

    def turned_away(self) -> list[Rejection]:
        """Return the rejections; those abroad of a worldwide set as one."""
        if self._is_worldwide and self._n_abroad:
            return [*self._rejections, (self.name, "*", "outside_country", f"{self._n_abroad:,} photos lie outside Japan")]
        return self._rejections


def is_here(lat: float, lon: float) -> bool:
    """Return whether a place lies in the country: in the box, where most of the world falls at little cost, and the outline."""
    return bool(in_japan_box(lat=lat, lon=lon)) and bool(in_japan(lat=lat, lon=lon))


def abroad_photo(photo: Photo, lat: float, lon: float) -> Rejection:
    """Return the row of a photo that lies elsewhere."""
    return photo.source, photo.source_image_id, "outside_country", f"{lat:.5f}, {lon:.5f} lies outside Japan"


def forgotten_photo(source: str, source_image_id: str) -> Rejection:
    """Return the row of a photo that must not come back."""
    return source, source_image_id, "forgotten", "it is on the list of pictures that must not come back"
