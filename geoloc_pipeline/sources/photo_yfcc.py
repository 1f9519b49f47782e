"""YFCC100M as Multimedia Commons ships it: a SQLite file of metadata, and photos under a hash of their address."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.geo import country
from geoloc_pipeline.sources.photo_files import PictureFile
from geoloc_pipeline.sources.photo_record import Photo, fault_of, place_from, spdx_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STREET_LEVEL, STREET_ACCURACY_M = 16, 20.0
"""Flickr's accuracy is the zoom level of the map on which the photo was placed, 16 (street; also a camera's GPS) at best. At
that zoom and 35 degrees north a pixel is 2 m wide, and a click is off by some ten; each level further out doubles it."""
_DATABASES = ("yfcc100m_dataset.sql", "yfcc100m_dataset.sqlite", "yfcc100m_dataset.db")
_FIRST_YEAR = 1990  # a camera's clock that was never set says 1970 or 1980
_JAPAN = timezone(timedelta(hours=9))
# Half of the rows have no place. The rest of the world is left out here: reading 100 million rows into Python takes hours.
_QUERY = """
SELECT photoid, uid, unickname, datetaken, dateuploaded, longitude, latitude, accuracy, pageurl, downloadurl, licenseurl, ext
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
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
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


def accuracy_m_of(level: object) -> float | None:
    """Return how far a place of a Flickr accuracy (1 world to 16 street) may be off, in metres; None where it is not said."""
    try:
        known = int(str(level))
    except ValueError:
        return None
    return STREET_ACCURACY_M * 2.0 ** (STREET_LEVEL - known) if 1 <= known <= STREET_LEVEL else None


def taken_at_of(taken: object, uploaded: object) -> datetime | None:
    """Return when a photo was taken, UTC; None unless it is sure.

    Sure is a camera's date between 1990 and the upload. Where the camera told nothing, Flickr put the upload's moment; that is
    none. The clock is read as Japan's: a traveller's may run on another zone, and be off by hours.

    Args:
        taken: `datetaken`, such as `2009-05-04 13:02:11.0`, by the camera's clock.
        uploaded: `dateuploaded`, seconds since 1970.
    """
    try:
        moment = datetime.fromisoformat(str(taken).removesuffix(".0")).replace(tzinfo=_JAPAN)
        upload = datetime.fromtimestamp(int(str(uploaded)), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    is_filled_in = moment.replace(tzinfo=UTC) == upload or moment == upload
    return moment.astimezone(UTC) if moment.year >= _FIRST_YEAR and moment <= upload and not is_filled_in else None


def _photo(row: sqlite3.Row, folder: Path) -> Photo:
    place = place_from(str(row["latitude"]), str(row["longitude"]))
    author = unquote_plus(row["unickname"] or "") or row["uid"]
    address = row["downloadurl"] or ""
    # The bucket names every photo .jpg, whatever it was; a copy by other tools may keep its own ending.
    inner = [image_path(address), image_path(address, ext=row["ext"] or "jpg")]
    found = next((name for name in inner if (folder / name).is_file()), None)
    file = PictureFile.loose(folder / found, found) if found else None
    return Photo(
        source="yfcc100m",
        source_image_id=str(row["photoid"]),
        origin_id=f"flickr:{row['photoid']}",
        lat=place[0] if place else None,
        lon=place[1] if place else None,
        accuracy_m=accuracy_m_of(row["accuracy"]),
        author=author,
        licence=spdx_of(row["licenseurl"] or ""),
        attribution=f"{author} via Flickr",
        source_url=row["pageurl"] or "",
        captured_at=taken_at_of(row["datetaken"], row["dateuploaded"]),
        capture_group=f"flickr:{row['uid']}",
        file=file,
        fault=fault_of(inner[0], place, has_file=file is not None, where=f"{row['latitude']!r}, {row['longitude']!r}"),
    )
