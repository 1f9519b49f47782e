"""Is this file a whole OpenStreetMap dump? Answered from its frames, without unpacking anything.

A PBF file is a chain of frames: four bytes of length, a header that names the kind and size of a blob, the blob. Walking
the chain costs one small read per frame and finds what goes wrong with downloads: a page of HTML, a file cut short.
Source: https://wiki.openstreetmap.org/wiki/PBF_Format
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, BinaryIO

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST_HEADER_BYTES = 64 * 1024  # the format's own limit
_CURE = "remove the file and materialise the asset `osm_dump` again, or put a whole .osm.pbf in its place"


def check_dump(path: Path) -> None:
    """Raise unless `path` is a whole `.osm.pbf`: the right first frame, and no frame cut short.

    Args:
        path: The dump.

    Raises:
        MissingInputError: There is no such file.
        BadSourceFileError: It is something else (HTML, another format), empty, or truncated.
    """
    if not path.is_file():
        raise MissingInputError(what="the OpenStreetMap dump", path=path, cure="materialise the asset `osm_dump` first")
    size_bytes = path.stat().st_size
    with path.open("rb") as stream:
        kinds: set[bytes] = set()
        while stream.tell() < size_bytes:
            at = stream.tell()
            kind, blob_bytes = _frame(stream, path)
            if not kinds and kind != b"OSMHeader":
                raise BadSourceFileError(path=path, reason=f"not a PBF dump: its first frame is {kind!r}", cure=_CURE)
            kinds.add(kind)
            if stream.tell() + blob_bytes > size_bytes:
                reason = f"cut short: the frame at byte {at} wants {blob_bytes} bytes, the file ends at {size_bytes}"
                raise BadSourceFileError(path=path, reason=reason, cure=_CURE)
            stream.seek(blob_bytes, 1)
    if b"OSMData" not in kinds:
        raise BadSourceFileError(path=path, reason=f"holds no data ({size_bytes} bytes)", cure=_CURE)


def _frame(stream: BinaryIO, path: Path) -> tuple[bytes, int]:
    """Read a frame's head; the stream then stands at its blob.

    Returns:
        The kind (`OSMHeader`, `OSMData`, …) and the size of the blob in bytes.

    Raises:
        BadSourceFileError: These bytes are no frame.
    """
    head = stream.read(4)
    length = struct.unpack(">I", head)[0] if len(head) == 4 else 0
    header = stream.read(length) if 0 < length <= _LARGEST_HEADER_BYTES else b""
    kind, blob_bytes = _fields(header)
    if not header or len(header) < length or not kind:
        start = (head + header)[:16]
        raise BadSourceFileError(path=path, reason=f"not a PBF dump, or damaged: found {start!r} at a frame", cure=_CURE)
    return kind, blob_bytes


def _fields(header: bytes) -> tuple[bytes, int]:
    """Return field 1 (type) and field 3 (datasize) of a BlobHeader message; (b"", 0) when it is none."""
    kind, size_bytes, at = b"", 0, 0
    while at < len(header):
        tag, at = _varint(header, at)
        value, at = _varint(header, at)
        if tag & 7 == 2:  # length-delimited: the value is a length
            if tag >> 3 == 1:
                kind = header[at : at + value]
            at += value
        elif tag & 7 == 0:
            size_bytes = value if tag >> 3 == 3 else size_bytes
        else:
            return b"", 0
    return kind, size_bytes


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    return value, at
