"""What was fetched and lies in no shard yet: an append-only file for each unfinished chunk.

A shard is written whole, in the plan's order; pictures come in any order, for hours. So each goes to the intake first, as soon
as it is ready: a record that is whole (its checksum says so) or not there. A run that is killed at any byte loses the record
that it was just writing; the next run reads the others and asks for nothing that it has.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.imagery.journal import Archived, Rejection
from geoloc_pipeline.storage.atomic import disk_errors

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".intake"
_HEAD = struct.Struct(">4sIII")  # mark, bytes of the note, bytes of the picture, CRC-32 of both
_MARK = b"geo1"
_MOMENTS = ("captured_at", "fetched_at")


@dataclass(frozen=True)
class Outcome:
    """What became of one choice.

    Attributes:
        picture: Ready for the archive; None when nothing usable came.
        rejections: What was turned away on the way.
    """

    picture: Archived | None
    rejections: list[Rejection]


@dataclass(frozen=True)
class _Place:
    path: Path
    offset: int
    note_bytes: int
    data_bytes: int


class Intake:
    """The intake files of one folder.

    Used by one collector at a time (`Journal.held`), which adds in one thread and closes in another.

    Args:
        folder: Holds the shards.
        recipe: How pictures are made, as in the names of chunks; records of another recipe are thrown away.
    """

    def __init__(self, folder: Path, *, recipe: str) -> None:
        self._folder, self._recipe = folder, recipe
        self._places: dict[str, _Place] = {}
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if f"-{recipe}-" in path.name:
                self._scan(path)
            else:
                path.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def add(self, chunk: str, key: str, outcome: Outcome) -> None:
        """Write down what became of a choice; it is safe from a kill when this returns.

        Args:
            chunk: Name of the chunk that it belongs to.
            key: Names the choice: its pictures.
            outcome: What became of it.

        Raises:
            HomeError: The disk is full or not ours to write.
        """
        picture = outcome.picture
        note = json.dumps(
            {"key": key, "row": _plain(picture.row) if picture else None, "rejections": outcome.rejections}, ensure_ascii=False
        ).encode()
        data = picture.data if picture else b""
        record = _HEAD.pack(_MARK, len(note), len(data), zlib.crc32(data, zlib.crc32(note))) + note + data
        path = self._folder / f"{chunk}{SUFFIX}"
        with disk_errors(path), path.open("ab", buffering=0) as stream:
            start = stream.seek(0, os.SEEK_END)
            written = 0
            try:
                while written < len(record):  # a disk that fills takes a part, and says so at the next write only
                    written += stream.write(record[written:])
            finally:
                if written < len(record):
                    with suppress(OSError):  # the next run cuts it off, too
                        os.ftruncate(stream.fileno(), start)
        self._places[key] = _Place(path, start + _HEAD.size, len(note), len(data))

    def find(self, key: str) -> Outcome | None:
        """Return what became of a choice; None when it was not reached yet."""
        place = self._places.get(key)
        if place is None:
            return None
        with place.path.open("rb") as stream:
            stream.seek(place.offset)
            note, data = json.loads(stream.read(place.note_bytes)), stream.read(place.data_bytes)
        picture = Archived(_row(note["row"]), data) if note["row"] else None
        return Outcome(picture, [tuple(rejection) for rejection in note["rejections"]])

    def close(self, chunk: str) -> None:
        """Remove the intake of a chunk that stands."""
        path = self._folder / f"{chunk}{SUFFIX}"
        path.unlink(missing_ok=True)
        for key in [key for key, place in list(self._places.items()) if place.path == path]:
            del self._places[key]

    def close_all(self) -> None:
        """Remove every intake file: all chunks stand."""
        for path in self._folder.glob(f"*{SUFFIX}"):
            path.unlink(missing_ok=True)
        self._places = {}

    def _scan(self, path: Path) -> None:
        """Learn what a file holds; what a killed run left half written at its end is cut off."""
        with path.open("r+b") as stream:
            whole, size_bytes = 0, path.stat().st_size
            while len(head := stream.read(_HEAD.size)) == _HEAD.size:
                mark, note_bytes, data_bytes, checksum = _HEAD.unpack(head)
                if note_bytes + data_bytes > size_bytes - stream.tell():
                    break  # spoilt or cut: a length of 4 GB is not read
                note, data = stream.read(note_bytes), stream.read(data_bytes)
                if mark != _MARK or len(data) < data_bytes or zlib.crc32(data, zlib.crc32(note)) != checksum:
                    break
                self._places[json.loads(note)["key"]] = _Place(path, whole + _HEAD.size, note_bytes, data_bytes)
                whole = stream.tell()
            stream.truncate(whole)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _row(plain: dict[str, Any]) -> dict[str, Any]:
    return plain | {name: datetime.fromisoformat(plain[name]) for name in _MOMENTS if plain[name] is not None}
