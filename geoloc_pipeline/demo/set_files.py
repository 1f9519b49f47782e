"""Photo sets' files, the same bytes at every writing: CSV, zip, tar (whole or in raw parts), and YFCC100M's SQLite.

Belongs here: formats. Does not belong here: what is in them (`publish_sets.py`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import sqlite3
import tarfile
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

YFCC_COLUMNS = (
    "photoid", "uid", "unickname", "datetaken", "dateuploaded", "capturedevice", "title", "description", "usertags",
    "machinetags", "longitude", "latitude", "accuracy", "pageurl", "downloadurl", "licensename", "licenseurl", "serverid",
    "farmid", "secret", "secretoriginal", "ext", "marker",
)  # fmt: skip


def write_csv(path: Path, header: str, rows: Iterable[Sequence[object]]) -> None:
    """Writes rows below a header of names with commas between; a row may be shorter than the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header.split(","), *rows])


def write_zip(path: Path, members: Mapping[str, bytes], *, changed_at: datetime) -> None:
    """Writes a zip of members by name, stored as they are, all of one date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, changed_at.timetuple()[:6]), data)


def write_tar(path: Path, members: Mapping[str, bytes], *, changed_at: datetime, parts: int = 1) -> None:
    """Writes a tar of members by name; of several parts, raw pieces of it named `path` with two digits behind.

    A cut goes through the middle of a member, as `split` makes them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), int(changed_at.timestamp())
            archive.addfile(info, io.BytesIO(data))
    whole = stream.getvalue()
    if parts == 1:
        path.write_bytes(whole)
        return
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        held = [info for info in archive if info.size > 1]
    chosen = [held[number * len(held) // parts] for number in range(1, parts)]
    edges = [0, *(info.offset_data + info.size // 2 for info in chosen), len(whole)]
    for number in range(parts):
        path.with_name(f"{path.name}{number:02d}").write_bytes(whole[edges[number] : edges[number + 1]])


def write_yfcc(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Writes the metadata as Multimedia Commons does: one SQLite table of texts and numbers, pages of 1,024 bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA page_size = 1024")
        kinds = {"photoid": "INTEGER PRIMARY KEY", "marker": "INTEGER"}
        columns = ", ".join(f"{name} {kinds.get(name, 'TEXT')}" for name in YFCC_COLUMNS)
        database.execute(f"CREATE TABLE yfcc100m_dataset ({columns})")
        marks = ", ".join("?" * len(YFCC_COLUMNS))
        database.executemany(
            f"INSERT INTO yfcc100m_dataset VALUES ({marks})",
            ([str(row.get(name, "")) if name not in kinds else row[name] for name in YFCC_COLUMNS] for row in rows),
        )


def flickr_bucket_path(address: str) -> str:
    """Gives the path of a photo in Multimedia Commons' bucket: md5 of its address, no byte with a leading zero."""
    digits = hashlib.md5(address.encode(), usedforsecurity=False).hexdigest()
    name = "".join(digits[at : at + 2].removeprefix("0") for at in range(0, 32, 2))
    return f"data/images/{name[:3]}/{name[3:6]}/{name}.jpg"
