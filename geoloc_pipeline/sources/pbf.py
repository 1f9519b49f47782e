"""Is this file a whole OSM PBF, and of which state of the map? Answered without decoding its data.

The file is a row of blobs, each led by its length; walking over the lengths finds a cut file in milliseconds.
Format: https://wiki.openstreetmap.org/wiki/PBF_Format.
"""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO

import osmium

from geoloc_pipeline.errors import BadSourceFileError

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_HEADER_BYTES = 64 * 2**10
_LARGEST_BLOB_BYTES = 32 * 2**20
_CURE = "remove it and fetch it again, or put a whole .osm.pbf there"


def check_pbf(path: Path, *, shown: Path, cure: str = _CURE) -> int:
    """Raise unless a file is an OSM PBF from its first to its last blob.

    Args:
        path: The file.
        shown: Its name in messages (an arriving file still has another).
        cure: What a person can do about a broken one.

    Returns:
        How many blobs of data it holds.

    Raises:
        BadSourceFileError: It is something else, such as an HTML page, or it was cut.
    """
    size_bytes = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(512)
        if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
            words = " ".join(start.decode("utf-8", "replace").split())[:80]
            raise BadSourceFileError(path=shown, reason=f"it is a web page, not an OSM PBF file: {words!r}", cure=cure)
        stream.seek(0)
        position, is_first, data_blobs = 0, True, 0
        while position < size_bytes:
            kind, blob_bytes, header_bytes = _blob(stream, shown=shown, position=position, cure=cure)
            if is_first and kind != b"OSMHeader":
                raise BadSourceFileError(path=shown, reason="its first blob is no OSM header", cure=cure)
            position += 4 + header_bytes + blob_bytes
            if position > size_bytes:
                raise BadSourceFileError(
                    path=shown, reason=f"it was cut: {size_bytes:,} bytes, and a blob ends at {position:,}", cure=cure
                )
            stream.seek(position)
            is_first, data_blobs = False, data_blobs + (kind == b"OSMData")
        if is_first:
            raise BadSourceFileError(path=shown, reason="it is empty", cure=cure)
    return data_blobs


def read_replication(path: Path) -> tuple[int, datetime | None]:
    """Return sequence number and timestamp of a dump's replication header; (0, None) where it has none.

    Args:
        path: A file that passes `check_pbf`.

    Returns:
        Sequence, and until when edits are in the dump (UTC).

    Raises:
        BadSourceFileError: Its header cannot be read.
    """
    with path.open("rb") as stream:
        return _replication(stream, shown=path)


def replication_in(start: bytes, *, shown: Path | str) -> tuple[int, datetime | None]:
    """Return the same as `read_replication` of a dump of which only the first bytes are there.

    Args:
        start: The first bytes of the file; Geofabrik's headers end within the first 300.
        shown: The file's name in messages.

    Returns:
        Sequence, and until when edits are in the dump (UTC).

    Raises:
        BadSourceFileError: It is no OSM PBF file, or `start` ends before its header does.
    """
    return _replication(BytesIO(start), shown=shown)


def _replication(stream: BinaryIO, *, shown: Path | str) -> tuple[int, datetime | None]:
    _, blob_bytes, header_bytes = _blob(stream, shown=shown, position=0, cure=_CURE)
    stream.seek(0)
    first = stream.read(4 + header_bytes + blob_bytes)  # by itself a whole PBF without data
    try:
        nothing = osmium.osm.osm_entity_bits.NOTHING
        with osmium.io.Reader(osmium.io.FileBuffer(first, "pbf"), nothing) as reader:
            header = reader.header()
        said, number = (header.get(f"osmosis_replication_{name}", "") for name in ("timestamp", "sequence_number"))
        timestamp = datetime.fromisoformat(said).astimezone(UTC) if said else None
    except (RuntimeError, ValueError, OverflowError) as error:  # text that is no UTF-8 and times that are none are ValueErrors
        raise BadSourceFileError(path=shown, reason=f"its header cannot be read ({error})", cure=_CURE) from error
    return (int(number) if number.isdigit() else 0), timestamp


def _blob(stream: BinaryIO, *, shown: Path | str, position: int, cure: str) -> tuple[bytes, int, int]:
    # returns kind, size of the blob, size of its header
    header_bytes = int.from_bytes(stream.read(4), "big")
    header = stream.read(header_bytes) if 0 < header_bytes <= _LARGEST_HEADER_BYTES else b""
    fields = _fields(header) if header and len(header) == header_bytes else {}
    kind, blob_bytes = fields.get(1), fields.get(3)
    if not isinstance(kind, bytes) or not isinstance(blob_bytes, int) or blob_bytes > _LARGEST_BLOB_BYTES:
        what = "it is no OSM PBF file" if position == 0 else f"it was cut or spoilt at byte {position:,}"
        raise BadSourceFileError(path=shown, reason=what, cure=cure)
    return kind, blob_bytes, header_bytes


def _fields(message: bytes) -> dict[int, int | bytes]:
    """Return the fields of a flat protobuf message, as far as it can be read."""
    fields: dict[int, int | bytes] = {}
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        value, position = _varint(message, position)
        if tag & 7 == 2:
            fields[tag >> 3] = message[position : position + value]
            position += value
        elif tag & 7 == 0:
            fields[tag >> 3] = value
        else:
            return fields
    return fields


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value, shift = 0, 0
    while position < len(message):
        byte = message[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            break
    return value, position
