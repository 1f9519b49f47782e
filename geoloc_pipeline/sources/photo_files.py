"""Pictures and lists as photo sets ship them: loose files, zips, tars; CSV files in the encodings that people use.

Nothing is unpacked: a picture is read from where it lies.
"""

from __future__ import annotations

import csv
import errno
import os
import zlib
from array import array
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.sources.photo_archives import Archive, Member, archives_in

if TYPE_CHECKING:
    from collections.abc import Iterator

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".avif"})
_ENCODINGS = ("utf-8-sig", "cp932")  # what spreadsheets write, in general and in Japan
_LARGEST_FIELD_BYTES = 2**24
_LARGEST_PICTURE_BYTES = 2**28  # no picture is larger; a file that is, or a zip that says so, would fill the memory
_ODD_BYTES = "surrogateescape"  # how Python holds what is no UTF-8 in a name
_LOCAL_HEADER_BYTES = 30  # of a zip, before the names


@dataclass(frozen=True)
class PictureFile:
    """One encoded picture, loose or inside an archive.

    Attributes:
        name: Path relative to the set's folder, or inside its archive, with `/`.
        size_bytes: How long it is.
        modified_at: When it was last changed, UTC, whole seconds.
        path: The file, or the (first) file of the archive that holds it.
        archive: That archive; None for a loose file.
        member: Where in the archive it lies.
    """

    name: str
    size_bytes: int
    modified_at: datetime
    path: Path
    archive: Archive | None = None
    member: Member | None = None

    @classmethod
    def loose(cls, path: Path, name: str) -> PictureFile:
        """Return a file that lies by itself."""
        status = path.stat()
        return cls(name, status.st_size, datetime.fromtimestamp(int(status.st_mtime), UTC), path)

    def read(self) -> bytes:
        """Return the encoded bytes.

        Raises:
            OSError: They cannot be read, are more than any picture has, packed in an unknown way, or not what the archive says.
        """
        if self.size_bytes > _LARGEST_PICTURE_BYTES:
            raise OSError(errno.EFBIG, f"it has {self.size_bytes:,} bytes")
        if self.archive is None or self.member is None:
            return self.path.read_bytes()
        if self.member.method == -1:
            return self.archive.read(self.member.offset, self.member.size_bytes)
        return _unpacked(self.archive, self.member)


def _unpacked(archive: Archive, member: Member) -> bytes:
    """Return a zip's member; the zip's directory, which may list a million, is not read again.

    Raises:
        OSError: It is packed in an unknown way, or is not what the directory says.
    """
    if member.method not in {0, 8} or member.packed_bytes > 2 * _LARGEST_PICTURE_BYTES:
        raise OSError(errno.EIO, "it is encrypted, or packed in another way than zip's usual ones")
    header = archive.read(member.offset, _LOCAL_HEADER_BYTES)
    names_bytes = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    data = archive.read(member.offset + _LOCAL_HEADER_BYTES + names_bytes, member.packed_bytes)
    if member.method == 8:
        try:
            data = zlib.decompressobj(-15).decompress(data, member.size_bytes + 1)
        except zlib.error as error:
            raise OSError(errno.EIO, f"the zip is spoilt there ({error})") from error
    if zlib.crc32(data) != member.crc:
        raise OSError(errno.EIO, "the zip is spoilt there: the checksum differs")
    return data


def loose_pictures(folder: Path) -> list[PictureFile]:
    """Return the picture files below a folder by name, sorted; hidden files are left out. Empty when there is no folder."""
    return [PictureFile.loose(folder / name, name) for name in sorted(_files(folder)) if _is_picture(name)]


class PictureIndex:
    """Finds the pictures of a set by the name that its list gives them.

    Made when the first picture is asked for: a list without a photo in the country opens no archive. A million members take
    some 100 MB: what is kept of one is a row of numbers and its name.

    Args:
        folder: The set's folder: loose files, `.zip` and `.tar` archives, and tars in raw parts, at any depth.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._archives: list[Archive] = []
        self._is_made = False

    def find(self, name: str) -> PictureFile | None:
        """Return the picture that a list calls `name`: by its path, also joined with `_` or parted there, or by its last part.

        Raises:
            BadSourceFileError: An archive cannot be read.
        """
        if not self._is_made:
            self._make()
            self._is_made = True
        apart = name.replace("_", "/")
        for key in (name, name.replace("/", "_"), PurePosixPath(name).name, apart, PurePosixPath(apart).name):
            wanted, is_bare = key.encode("utf-8", _ODD_BYTES), "/" not in key
            mark = hash(wanted.rpartition(b"/")[2])
            at = int(np.searchsorted(self._marks, mark))
            while at < len(self._marks) and self._marks[at] == mark:
                row = int(self._order[at])
                found = self._names[self._name_ends[row] : self._name_ends[row + 1]]
                if found == wanted or (is_bare and found.rpartition(b"/")[2] == wanted):
                    return self._file(row, found.decode("utf-8", _ODD_BYTES))
                at += 1
        return None

    def _make(self) -> None:
        """Read the names and places of all pictures; of two of one name, the first stays, loose ones before archives."""
        names, ends, marks = bytearray(), array("q", [0]), array("q")
        holders = array("i")
        columns = [array("q"), array("q"), array("q"), array("q"), array("i"), array("L")]
        paths = sorted(_files(self._folder))
        self._archives = archives_in([self._folder / path for path in paths])
        for holder, name, numbers in self._entries(paths):
            names += name.encode("utf-8", _ODD_BYTES)
            ends.append(len(names))
            marks.append(hash(bytes(names[ends[-2] :]).rpartition(b"/")[2]))
            holders.append(holder)
            for column, number in zip(columns, numbers, strict=True):
                column.append(number)
        self._names, self._name_ends = bytes(names), ends
        self._order = np.argsort(np.frombuffer(marks, dtype=np.int64), kind="stable").astype(np.int32)
        self._marks = np.frombuffer(marks, dtype=np.int64)[self._order]
        self._holders, self._columns = holders, columns

    def _entries(self, paths: list[str]) -> Iterator[tuple[int, str, tuple[int, ...]]]:
        for path in paths:
            if _is_picture(path):
                yield -1, path, (0, 0, 0, 0, 0, 0)  # size and time are asked when it is found
        for holder, archive in enumerate(self._archives):
            for member in archive.members():
                if _is_picture(member.name):
                    yield holder, member.name, member[1:]

    def _file(self, row: int, name: str) -> PictureFile:
        holder, told = self._holders[row], readable_name(name)
        if holder < 0:
            return PictureFile.loose(self._folder / name, told)
        member = Member(name, *(column[row] for column in self._columns))
        archive = self._archives[holder]
        modified_at = datetime.fromtimestamp(member.modified_s, UTC)
        return PictureFile(told, member.size_bytes, modified_at, archive.paths[0], archive, member)


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


def readable_name(name: str) -> str:
    """Return a file's name as text that can be written anywhere; what is no UTF-8 in it, as hexadecimal numbers."""
    return name.encode("utf-8", _ODD_BYTES).decode("utf-8", "backslashreplace")


def _is_picture(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122  asked of millions of names


def _files(folder: Path) -> Iterator[str]:
    """Yield the files below a folder, by path relative to it with `/`; without hidden ones, and links that lead nowhere."""
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inner = os.path.relpath(here, folder).replace(os.sep, "/")
        for name in names:
            if not name.startswith(".") and os.path.isfile(f"{here}/{name}"):  # noqa: PTH113  asked of millions of names
                yield name if inner == "." else f"{inner}/{name}"
