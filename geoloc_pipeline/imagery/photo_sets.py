"""Photo sets into the archive: the photos in the country, as WebP with their place in EXIF (paper §3.1).

The paper's sets come in different forms; here all become the same rows and the same files as street view. The country filter is
the box around Japan; polygons have the last word when places are labelled.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2

from geoloc_pipeline.errors import ImageError
from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.imagery.journal import Archived, Journal, Rejection, image_id_of, joined_tables
from geoloc_pipeline.imagery.quality import OpenedPicture, check_content, open_picture
from geoloc_pipeline.imagery.webp import LONGEST_SIDE_PX, METHOD, QUALITY, encode_webp
from geoloc_pipeline.sources.photo_record import Photo, spdx_of
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS, read_photo_set
from geoloc_pipeline.tables import PHOTO_COLLECTIONS

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from geoloc_pipeline.sources.photo_files import PictureFile
    from geoloc_pipeline.storage.progress import Progress

CHUNK_PHOTOS = 64


def collect_photo_set(
    name: str,
    files: Path,
    folder: Path,
    *,
    progress: Progress | None = None,
    workers: int | None = None,
    longest_side_px: int = LONGEST_SIDE_PX,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the photos of a set that lie in the country, archived in `folder`.

    Run again on the same files it decodes nothing and returns the same rows, byte for byte.

    Args:
        name: Key of `sources.photo_sets.PHOTO_SETS`.
        files: Where the user placed the set; missing or empty: both tables are empty.
        folder: Where the shards stand (`Home.images`).
        progress: Told photos.
        workers: Photos decoded at once; None: one a core, at most 8.
        longest_side_px: Larger photos are reduced; by default only what WebP cannot hold.

    Returns:
        `tables.PHOTO_COLLECTIONS` and `tables.REJECTED`. Of a worldwide set the photos abroad are one row that counts them.

    Raises:
        SettingError: There is no such set.
        BadSourceFileError: A list or an archive of the set cannot be read.
        HomeError: The disk is full or not ours to write.

    Paper:
        §3.1: only pictures in Japan, WebP quality 90, place in EXIF, resolution as it is.
    """
    sieve = _Sieve(name)
    journal = Journal(folder, PHOTO_COLLECTIONS, recipe=[longest_side_px, QUALITY, METHOD])
    parts = []
    with journal.held():
        for position, chunk in enumerate(_chunks(sieve.wanted(read_photo_set(name, files)), CHUNK_PHOTOS)):
            chunk_id = journal.chunk_name(position, [_contents(photo) for photo, _ in chunk])
            kept = journal.read(chunk_id)
            if kept is None:
                pictures, rejections = _archive(chunk, workers=workers, longest_side_px=longest_side_px)
                kept = journal.write(chunk_id, pictures, rejections)
            parts.append(kept)
            if progress:
                progress.tell(progress.done + len(chunk), unit="photos")
    return joined_tables(PHOTO_COLLECTIONS, parts, sieve.turned_away())


@dataclass
class _Sieve:
    """Turns away what can be judged without opening a file."""

    name: str

    def __post_init__(self) -> None:
        self._is_worldwide = PHOTO_SETS[self.name].is_worldwide if self.name in PHOTO_SETS else False
        self._rejections: list[Rejection] = []
        self._n_abroad = 0

    def wanted(self, photos: Iterator[Photo]) -> Iterator[tuple[Photo, PictureFile]]:
        """Yield the photos to open, each with its file."""
        for photo in photos:
            if photo.lat is not None and photo.lon is not None and not in_japan_box(lat=photo.lat, lon=photo.lon):
                self._n_abroad += 1
                if not self._is_worldwide:
                    self._rejections.append(_abroad(photo, photo.lat, photo.lon))
            elif photo.fault:
                self._rejections.append((photo.source, photo.source_image_id, *photo.fault))
            elif photo.file is not None:
                yield photo, photo.file

    def turned_away(self) -> list[Rejection]:
        """Return the rejections; those abroad of a worldwide set as one."""
        if self._is_worldwide and self._n_abroad:
            return [*self._rejections, (self.name, "*", "outside_country", f"{self._n_abroad:,} photos lie outside the box")]
        return self._rejections


def _abroad(photo: Photo, lat: float, lon: float) -> Rejection:
    return photo.source, photo.source_image_id, "outside_country", f"{lat:.5f}, {lon:.5f} lies outside the box around Japan"


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _contents(photo: Photo) -> list[Any]:
    """Return everything that the archived photo is made of, short of its bytes: their size and time stand for them."""
    file = photo.file
    return [
        photo.source_image_id,
        photo.lat,
        photo.lon,
        photo.licence,
        photo.attribution,
        photo.source_url,
        photo.capture_group,
        photo.captured_at.isoformat() if photo.captured_at else None,
        [file.name, file.size_bytes, file.modified_at.isoformat()] if file else None,
    ]


def _archive(
    chunk: Sequence[tuple[Photo, PictureFile]], *, workers: int | None, longest_side_px: int
) -> tuple[list[Archived], list[Rejection]]:
    def one(item: tuple[Photo, PictureFile]) -> Archived | Rejection:
        photo, file = item
        try:
            return _archived(photo, file, longest_side_px=longest_side_px)
        except ImageError as error:
            return photo.source, photo.source_image_id, error.reason, error.detail
        except OSError as error:
            return photo.source, photo.source_image_id, "unreadable", f"the file cannot be read ({error.strerror or error})"

    with ThreadPoolExecutor(max_workers=workers or min(8, os.cpu_count() or 1)) as pool:
        results = list(pool.map(one, chunk))
    return [r for r in results if isinstance(r, Archived)], [r for r in results if not isinstance(r, Archived)]


def _archived(photo: Photo, file: PictureFile, *, longest_side_px: int) -> Archived:
    name = photo.source_image_id
    opened = open_picture(file.read(), name=name)
    lat, lon = (opened.lat, opened.lon) if photo.lat is None else (photo.lat, photo.lon)
    if lat is None or lon is None:
        raise ImageError(image=name, reason="no_place", detail="neither its EXIF nor a list says where it was taken")
    if not in_japan_box(lat=lat, lon=lon):
        raise ImageError(image=name, reason="outside_country", detail=_abroad(photo, lat, lon)[3])
    check_content(opened.pixels, name=name)
    pixels = _reduced(opened.pixels, longest_side_px=min(longest_side_px, LONGEST_SIDE_PX))
    data = encode_webp(pixels, lat=lat, lon=lon)
    return Archived(_row(photo, file, opened, pixels, data, lat=lat, lon=lon), data)


def _row(
    photo: Photo,
    file: PictureFile,
    opened: OpenedPicture,
    pixels: NDArray[np.uint8],
    data: bytes,
    *,
    lat: float,
    lon: float,
) -> dict[str, Any]:
    author = photo.author or opened.author
    own_group = f"{photo.source}:{photo.source_image_id}"  # nobody knows who took it: the photo stands for itself
    licence = photo.licence
    if licence == spdx_of("") and opened.copyright_line:
        licence = spdx_of(opened.copyright_line if "creativecommons" in opened.copyright_line.lower() else "")
    return {
        "image_id": image_id_of(photo.source, photo.source_image_id),
        "source": photo.source,
        "source_image_id": photo.source_image_id,
        "lat": lat,
        "lon": lon,
        "requested_lat": None,
        "requested_lon": None,
        "point_id": None,
        "is_wanted": True,
        "views": "photo",
        "width_px": pixels.shape[1],
        "height_px": pixels.shape[0],
        "captured_at": photo.captured_at or opened.captured_at,
        "fetched_at": file.modified_at,
        "licence": licence,
        "attribution": photo.attribution or author or opened.copyright_line or "unknown author",
        "source_url": photo.source_url or own_group,
        "capture_group": photo.capture_group or (f"{photo.source}:{author}" if author else own_group),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _reduced(pixels: NDArray[np.uint8], *, longest_side_px: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if max(height, width) <= longest_side_px:
        return pixels
    share = longest_side_px / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]
