"""Members of the archives in which photo sets ship: zips, tars, and one tar cut into raw parts; nothing is unpacked or joined.

Belongs here: where each picture's bytes lie. Does not belong here: finding a picture by a list's name (`photo_files.py`).
"""

from __future__ import annotations

import io
import os
import re
import tarfile
import zipfile
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.sources.census_archive import SPOILT_ZIP

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_PART = re.compile(r"(mp-16-images|.+\.tar\.?(?:part)?[-_]?)(\d{2,3})")
"""MP16-Pro's `mp-16-images00`, and what `split -d` makes of an `x.tar`: `x.tar.00`, `x.tar.part-000`."""
_BLOCK_BYTES = 512  # tar's
_DAY_S = 86_400


class Member(NamedTuple):
    """One picture in an archive.

    Attributes:
        name: Its path in the archive, without a leading `./`.
        offset: Of its first byte; in a zip, of the header before it.
        packed_bytes: Length as it lies there.
        size_bytes: Length of the picture.
        modified_s: Seconds since 1970; a zip's clock has no zone and is read as UTC.
        method: -1 in a tar; in a zip, 0 stored, 8 deflated, or what cannot be read here.
        crc: CRC-32 in a zip, else 0.
    """

    name: str
    offset: int
    packed_bytes: int
    size_bytes: int
    modified_s: int
    method: int = -1
    crc: int = 0


@dataclass(frozen=True)
class Archive:
    """One zip, or one tar in one or more parts.

    Attributes:
        paths: The file; of a tar in parts, the parts in order.
        starts: Offset of each part in the whole, and behind them the whole's length.
    """

    paths: tuple[Path, ...]
    starts: tuple[int, ...]

    @classmethod
    def of(cls, paths: Sequence[Path]) -> Archive:
        """Return the archive that lies in `paths`."""
        return cls(tuple(paths), (0, *accumulate(path.stat().st_size for path in paths)))

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return a stretch of the whole, from as many parts as it spans; shorter when the archive ends before.

        Raises:
            OSError: A part cannot be read.
        """
        with _Parts(self) as parts:
            parts.seek(offset)
            return parts.read(size_bytes) or b""

    def members(self) -> Iterator[Member]:
        """Yield the files in it, in order.

        Of a tar in parts, the last parts may be absent: the members that are whole come, the others do not.

        Raises:
            BadSourceFileError: It is no such archive, or spoilt.
        """
        try:
            yield from _in_zip(self.paths[0]) if self.paths[0].suffix.lower() == ".zip" else self._in_tar()
        except (*SPOILT_ZIP, tarfile.TarError) as error:
            raise BadSourceFileError(
                path=self.paths[0], reason=f"the archive cannot be read ({error})", cure="fetch it again, or remove it"
            ) from error

    def _in_tar(self) -> Iterator[Member]:
        total, is_open_ended = self.starts[-1], len(self.paths) > 1
        with _Parts(self) as raw, tarfile.open(fileobj=raw, mode="r:") as archive:
            try:
                while (info := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # tarfile would remember every one of millions
                    if info.isfile() and info.offset_data + info.size <= total:
                        yield Member(
                            _bare(info.name), info.offset_data, info.size, info.size, max(0, min(int(info.mtime), 2**33))
                        )
            except tarfile.ReadError:
                if is_open_ended and raw.tell() >= total:
                    return  # it ends in a member, or between a long name and what bears it
                raise
            # tarfile takes a spoilt header in the middle for the end; the true end is a block of zeros, or the file's
            rest = self.read(archive.offset, _BLOCK_BYTES)
            if len(rest) == _BLOCK_BYTES and any(rest):
                raise tarfile.ReadError(f"no header where one should be, at byte {archive.offset:,}")


class _Parts(io.RawIOBase):
    """An archive's parts as one stream; tarfile asks for nothing but seek, tell and read."""

    def __init__(self, archive: Archive) -> None:
        self._archive, self._at = archive, 0
        self._part = -1
        self._stream: io.FileIO | None = None

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._archive.starts[-1]}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size_bytes: int = -1) -> bytes:
        starts, found = self._archive.starts, []
        end = starts[-1] if size_bytes < 0 else min(self._at + size_bytes, starts[-1])
        while self._at < end:
            part = bisect_right(starts, self._at) - 1
            data = os.pread(self._opened(part), min(end, starts[part + 1]) - self._at, self._at - starts[part])
            if not data:
                break  # a part that has been cut since
            found.append(data)
            self._at += len(data)
        return b"".join(found)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        super().close()

    def _opened(self, part: int) -> int:
        if part != self._part or self._stream is None:
            if self._stream is not None:
                self._stream.close()
            self._part, self._stream = part, self._archive.paths[part].open("rb", buffering=0)
        return self._stream.fileno()


def archives_in(paths: Sequence[Path]) -> list[Archive]:
    """Return the zips and tars among files, in the order of `paths`; a tar's raw parts are one archive.

    Raises:
        BadSourceFileError: A part is missing before another of the same tar.
    """
    found: list[Archive] = []
    parts: dict[tuple[Path, str], dict[int, Path]] = {}
    for path in paths:
        match = _PART.fullmatch(path.name)
        if match:
            parts.setdefault((path.parent, match[1]), {})[int(match[2])] = path
        elif path.suffix.lower() in {".zip", ".tar"}:
            found.append(Archive.of([path]))
    for (folder, stem), numbered in sorted(parts.items()):
        first, width = min(min(numbered), 1), len(_PART.fullmatch(numbered[min(numbered)].name)[2])  # type: ignore[index]
        for number in range(first, max(numbered)):
            if number not in numbered:
                missing = f"{stem}{number:0{width}d}"
                raise BadSourceFileError(
                    path=folder / missing,
                    reason=f"this part is missing before {numbered[max(numbered)].name}: a tar can be read up to a gap only",
                    cure="fetch it too, or move the parts behind it away",
                )
        found.append(Archive.of([numbered[number] for number in sorted(numbered)]))
    return found


def _in_zip(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                method = -2 if info.flag_bits & 1 else info.compress_type  # encrypted: as good as an unknown method
                yield Member(
                    _bare(info.filename),
                    info.header_offset,
                    info.compress_size,
                    info.file_size,
                    _seconds(info.date_time),
                    method,
                    info.CRC,
                )


def _seconds(date_time: tuple[int, int, int, int, int, int]) -> int:
    """Return a zip's clock as seconds since 1970; its start where it shows no date, as some tools write."""
    try:
        return int(datetime(*date_time, tzinfo=UTC).timestamp())
    except ValueError:
        return 3652 * _DAY_S  # 1980-01-01


def _bare(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    return name
