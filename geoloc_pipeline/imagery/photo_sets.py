"""Photo sets into the archive: the photos in the country, as WebP with their place in EXIF (paper §3.1).

The paper's sets come in different forms; here all become the same rows and the same files as street view. The country filter is
the box around Japan, then its coarse outline; the census blocks have the last word when places are labelled.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pandas as pd

from geoloc_pipeline.errors import ImageError
from geoloc_pipeline.imagery.duplicates import without_duplicates
from geoloc_pipeline.imagery.journal import Archived, Journal, Rejection, image_id_of, joined_tables, rejected_table
from geoloc_pipeline.imagery.photo_sieve import ForgottenPhotos, PhotoSieve, abroad_photo, forgotten_photo, is_here
from geoloc_pipeline.imagery.quality import OpenedPicture, check_content, open_picture
from geoloc_pipeline.imagery.webp import LONGEST_SIDE_PX, METHOD, QUALITY, encode_webp
from geoloc_pipeline.sources.photo_record import Photo, spdx_of
from geoloc_pipeline.sources.photo_sets import read_photo_set
from geoloc_pipeline.storage.atomic import disk_errors
from geoloc_pipeline.tables import PHOTO_COLLECTIONS, REJECTED

if TYPE_CHECKING:
    from pathlib import Path

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
    forgotten: ForgottenPhotos | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the photos of a set that lie in the country, archived in `folder`, each once.

    Run again on the same files it decodes nothing and returns the same rows, byte for byte. Of photos with the same bytes or
    the same origin the first in id order stays.

    Args:
        name: Key of `sources.photo_sets.PHOTO_SETS`.
        files: Where the user placed the set; missing or empty: both tables are empty.
        folder: Where the shards stand (`Home.images`).
        progress: Told photos.
        workers: Photos decoded at once; None: one a core, at most 8.
        longest_side_px: Larger photos are reduced; by default only what WebP cannot hold.
        forgotten: Photos that must never come back. They are not even read, unless their group stands in their EXIF alone; of
            one that is archived already, the bytes are overwritten where they lie.

    Returns:
        `tables.PHOTO_COLLECTIONS` and `tables.REJECTED`. Of a worldwide set the photos abroad are one row that counts them.

    Raises:
        SettingError: There is no such set.
        BadSourceFileError: A list or an archive of the set cannot be read.
        HomeError: The disk is full or not ours to write.

    Paper:
        §3.1: only pictures in Japan, WebP quality 90, place in EXIF, resolution as it is.
    """
    sieve = PhotoSieve(name, forgotten)
    journal = Journal(folder, PHOTO_COLLECTIONS, recipe=[longest_side_px, QUALITY, METHOD])
    parts = []
    with journal.held():
        for position, chunk in enumerate(_chunks(sieve.wanted(read_photo_set(name, files)), CHUNK_PHOTOS)):
            contents = [_contents(photo) if file else photo.source_image_id for photo, file in chunk]
            chunk_id = journal.chunk_name(position, contents)
            kept = journal.read(chunk_id)
            if kept is None:
                wanted = [(photo, file) for photo, file in chunk if file is not None]
                pictures, rejections = _archive(wanted, workers=workers, longest_side_px=longest_side_px, sieve=sieve)
                kept = journal.write(chunk_id, pictures, rejections)
            parts.append(kept)
            if progress:
                progress.tell(progress.done + len(chunk), unit="photos")
        images, rejected = joined_tables(PHOTO_COLLECTIONS, parts, sieve.turned_away())
        return _settled(images, rejected, sieve, folder)


def _settled(
    images: pd.DataFrame, rejected: pd.DataFrame, sieve: PhotoSieve, folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables without what is forgotten (chunks may be older than that) and with every picture once."""
    names = zip(images["source_image_id"], images["capture_group"], images["origin_id"].fillna(""), strict=True)
    gone = np.array([sieve.is_forgotten(*told) for told in names], dtype=bool)
    for row in images[gone].itertuples():
        _erase(folder, shard=row.shard, offset=row.offset, size_bytes=row.size_bytes)
    again = rejected_table([forgotten_photo(sieve.name, name) for name in images["source_image_id"][gone]])
    (images,), doubles = without_duplicates([images[~gone]])
    tables = [table for table in (rejected, again, doubles) if len(table)]
    if tables:
        key = list(REJECTED.key)
        rejected = pd.concat(tables).drop_duplicates(key).sort_values(key, ignore_index=True)
    return images.reset_index(drop=True), rejected


def _erase(folder: Path, *, shard: str, offset: int, size_bytes: int) -> None:
    """Overwrite a picture in a shard with zeros; its neighbours stay where the tables say they are."""
    with disk_errors(folder), (folder / shard).open("r+b") as stream:
        stream.seek(offset)
        if any(stream.read(size_bytes)):
            stream.seek(offset)
            stream.write(bytes(size_bytes))
            stream.flush()
            os.fsync(stream.fileno())


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
        photo.origin_id,
        photo.lat,
        photo.lon,
        photo.accuracy_m,
        photo.licence,
        photo.attribution,
        photo.source_url,
        photo.capture_group,
        photo.captured_at.isoformat() if photo.captured_at else None,
        [file.name, file.size_bytes, file.modified_at.isoformat()] if file else None,
    ]


def _archive(
    chunk: Sequence[tuple[Photo, PictureFile]], *, workers: int | None, longest_side_px: int, sieve: PhotoSieve
) -> tuple[list[Archived], list[Rejection]]:
    def one(item: tuple[Photo, PictureFile]) -> Archived | Rejection:
        photo, file = item
        try:
            return _archived(photo, file, longest_side_px=longest_side_px, sieve=sieve)
        except ImageError as error:
            return photo.source, photo.source_image_id, error.reason, error.detail
        except OSError as error:
            return photo.source, photo.source_image_id, "unreadable", f"the file cannot be read ({error.strerror or error})"

    with ThreadPoolExecutor(max_workers=workers or min(8, os.cpu_count() or 1)) as pool:
        results = list(pool.map(one, chunk))
    return [r for r in results if isinstance(r, Archived)], [r for r in results if not isinstance(r, Archived)]


def _archived(photo: Photo, file: PictureFile, *, longest_side_px: int, sieve: PhotoSieve) -> Archived | Rejection:
    name = photo.source_image_id
    content = file.read()
    opened = open_picture(content, name=name)
    lat, lon = (opened.lat, opened.lon) if photo.lat is None else (photo.lat, photo.lon)
    if lat is None or lon is None:
        raise ImageError(image=name, reason="no_place", detail="neither its EXIF nor a list says where it was taken")
    if not is_here(lat, lon):
        raise ImageError(image=name, reason="outside_country", detail=abroad_photo(photo, lat, lon)[3])
    check_content(opened.pixels, name=name)
    pixels = _reduced(opened.pixels, longest_side_px=min(longest_side_px, LONGEST_SIDE_PX))
    data = encode_webp(pixels, lat=lat, lon=lon)
    row = _row(photo, file, opened, pixels, lat=lat, lon=lon)
    if sieve.is_forgotten(name, row["capture_group"]):
        return forgotten_photo(photo.source, name)
    hashes = {"content_sha256": hashlib.sha256(content).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
    return Archived(row | hashes, data)


def _row(
    photo: Photo,
    file: PictureFile,
    opened: OpenedPicture,
    pixels: NDArray[np.uint8],
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
        "origin_id": photo.origin_id,
        "lat": lat,
        "lon": lon,
        "accuracy_m": photo.accuracy_m,
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
    }


def _reduced(pixels: NDArray[np.uint8], *, longest_side_px: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if max(height, width) <= longest_side_px:
        return pixels
    share = longest_side_px / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[no-any-return]
