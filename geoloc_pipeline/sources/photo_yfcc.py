"""YFCC100M as Multimedia Commons ships it: a SQLite file of metadata, and photos under a hash of their address."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.geo import country
from geoloc_pipeline.sources.photo_files import PictureFile
from geoloc_pipeline.sources.photo_record import Photo, place_from, spdx_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DATABASES = ("yfcc100m_dataset.sql", "yfcc100m_dataset.sqlite", "yfcc100m_dataset.db")
# Half of the rows have no place. The rest of the world is left out here: reading 100 million rows into Python takes hours.
_QUERY = """
SELECT photoid, uid, unickname, longitude, latitude, pageurl, downloadurl, licenseurl, ext
FROM yfcc100m_dataset
WHERE marker = 0 AND latitude != '' AND longitude != ''
  AND CAST(latitude AS REAL) BETWEEN ? AND ? AND CAST(longitude AS REAL) BETWEEN ? AND ?
ORDER BY photoid
"""


def read_yfcc100m(folder: Path) -> Iterator[Photo]:
    """Yield the photos (not videos) with a place in the box around Japan.

    Args:
        folder: Holds `yfcc100m_dataset.sql` (SQLite in spite of its name) and `data/images/`.

    Yields:
        Photos in id order; one whose file was not fetched has a `fault`.

    Raises:
        BadSourceFileError: The metadata are no SQLite file, or have no such table.
    """
    database = next((folder / name for name in _DATABASES if (folder / name).is_file()), None)
    if database is None:
        return
    box = (country.SOUTH_DEG, country.NORTH_DEG, country.WEST_DEG, country.EAST_DEG)
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            for row in connection.execute(_QUERY, box):
                yield _photo(row, folder)
    except sqlite3.DatabaseError as error:
        raise BadSourceFileError(
            path=database, reason=f"it is not YFCC100M's SQLite file ({error})", cure="fetch it again and compare its md5"
        ) from error


def image_path(download_url: str, *, ext: str = "jpg") -> str:
    """Return the path of a photo in the bucket: md5 of its address, each byte written without a leading zero."""
    digest = hashlib.md5(download_url.encode(), usedforsecurity=False).digest()
    name = "".join(f"{byte:x}" for byte in digest)
    return f"data/images/{name[:3]}/{name[3:6]}/{name}.{ext}"


def _photo(row: sqlite3.Row, folder: Path) -> Photo:
    place = place_from(str(row["latitude"]), str(row["longitude"]))
    author = unquote_plus(row["unickname"] or "") or row["uid"]
    inner = image_path(row["downloadurl"], ext=row["ext"] or "jpg")
    path = folder / inner
    file = None
    if path.is_file():
        status = path.stat()
        file = PictureFile(inner, status.st_size, datetime.fromtimestamp(int(status.st_mtime), UTC), path)
    return Photo(
        source="yfcc100m",
        source_image_id=str(row["photoid"]),
        lat=place[0] if place else None,
        lon=place[1] if place else None,
        author=author,
        licence=spdx_of(row["licenseurl"] or ""),
        attribution=f"{author} via Flickr",
        source_url=row["pageurl"],
        capture_group=f"flickr:{row['uid']}",
        file=file,
        fault=None if file else ("file_missing", f"{inner} was not fetched"),
    )
