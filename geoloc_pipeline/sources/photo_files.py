"""Pictures and lists as photo sets ship them: loose files, zips, tars; CSV files in the encodings that people use.

Nothing is unpacked: a picture is read from where it lies.
"""

from __future__ import annotations

import csv
import os
import tarfile
import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import BadSourceFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".avif"})
_ENCODINGS = ("utf-8-sig", "cp932")  # what spreadsheets write, in general and in Japan
_LARGEST_FIELD_BYTES = 2**24


@dataclass(frozen=True)
class PictureFile:
    """One encoded picture, loose or inside an archive.

    Attributes:
        name: Path relative to the set's folder, or inside its archive, with `/`.
        size_bytes: How long it is.
        modified_at: When it was last changed, UTC, whole seconds.
        path: The file, or the archive that holds it.
        offset: First byte in a tar file; -1: a loose file; -2: a member of a zip file.
    """

    name: str
    size_bytes: int
    modified_at: datetime
    path: Path
    offset: int = -1

    def read(self) -> bytes:
        """Return the encoded bytes."""
        if self.offset == -1:
            return self.path.read_bytes()
        if self.offset == -2:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(self.name)
        with self.path.open("rb") as stream:
            return os.pread(stream.fileno(), self.size_bytes, self.offset)


def loose_pictures(folder: Path) -> list[PictureFile]:
    """Return the picture files below a folder by name, sorted; hidden files are left out. Empty when there is no folder."""
    return sorted(
        (_loose(path, folder) for path in _files(folder) if path.suffix.lower() in PICTURE_SUFFIXES), key=lambda file: file.name
    )


class PictureIndex:
    """Finds the pictures of a set by the name that its list gives them.

    Args:
        folder: The set's folder: loose files and `.zip` and `.tar` archives, at any depth.
    """

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, PictureFile] = {}
        for path in sorted(_files(folder)):
            for file in _pictures_in(path, folder):
                inner = str(PurePosixPath(file.name))  # without a leading ./
                for key in (inner, PurePosixPath(inner).name):
                    self._files.setdefault(key, file)

    def find(self, name: str) -> PictureFile | None:
        """Return the picture that a list calls `name`: by its path, by its path joined with `_`, or by its last part."""
        for key in (name, name.replace("/", "_"), PurePosixPath(name).name):
            if key in self._files:
                return self._files[key]
        return None


def read_rows(path: Path, *, required: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file; names of columns in capitals, values stripped.

    Args:
        path: The file, UTF-8 or cp932.
        required: Columns that must be there, in capitals.

    Yields:
        One row by column name.

    Raises:
        BadSourceFileError: It is no such CSV file.
    """
    encoding = _encoding_of(path)
    csv.field_size_limit(_LARGEST_FIELD_BYTES)
    with path.open(encoding=encoding, newline="") as stream:
        reader = csv.reader(stream)
        try:
            header = [name.strip().upper() for name in next(reader, [])]
            lacking = [name for name in required if name not in header]
            if lacking:
                raise BadSourceFileError(
                    path=path,
                    reason=f"it has no column {', '.join(lacking)} (its columns: {', '.join(header[:12]) or 'none'})",
                    cure=f"its first line must name the columns {','.join(required)}",
                )
            for row in reader:
                if row:
                    yield dict(zip(header, (value.strip() for value in row), strict=False))
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadSourceFileError(
                path=path, reason=f"line {reader.line_num + 1} cannot be read ({error})", cure="save it as CSV in UTF-8"
            ) from error


def header_of(path: Path) -> set[str]:
    """Return the names of a CSV file's columns in capitals; empty when it cannot be read as one."""
    try:
        with path.open(encoding=_encoding_of(path), newline="") as stream:
            return {name.strip().upper() for name in next(csv.reader(stream), [])}
    except (csv.Error, UnicodeDecodeError):
        return set()


def _encoding_of(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(2**20)
    for encoding in _ENCODINGS:
        try:
            start[: start.rfind(b"\n") + 1 or None].decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return _ENCODINGS[0]


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _pictures_in(path: Path, folder: Path) -> Iterator[PictureFile]:
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        yield _loose(path, folder)
    elif suffix in {".zip", ".tar"}:
        try:
            yield from _in_zip(path) if suffix == ".zip" else _in_tar(path)
        except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
            raise BadSourceFileError(
                path=path, reason=f"the archive cannot be read ({error})", cure="fetch it again, or remove it"
            ) from error


def _loose(path: Path, folder: Path) -> PictureFile:
    status = path.stat()
    modified_at = datetime.fromtimestamp(int(status.st_mtime), UTC)
    return PictureFile(path.relative_to(folder).as_posix(), status.st_size, modified_at, path)


def _in_zip(path: Path) -> Iterator[PictureFile]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if PurePosixPath(info.filename).suffix.lower() in PICTURE_SUFFIXES:
                yield PictureFile(info.filename, info.file_size, datetime(*info.date_time, tzinfo=UTC), path, -2)


def _in_tar(path: Path) -> Iterator[PictureFile]:
    with tarfile.open(path, "r:") as archive:
        for info in archive:
            if info.isfile() and PurePosixPath(info.name).suffix.lower() in PICTURE_SUFFIXES:
                yield PictureFile(info.name, info.size, datetime.fromtimestamp(int(info.mtime), UTC), path, info.offset_data)
