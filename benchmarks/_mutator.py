"""Spoils valid files, the same way for the same number: bytes blindly, text token by token, containers from within."""

from __future__ import annotations

import copy
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

HUGE = (0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, -1e308, float("nan"), float("inf"), 10**40, -(10**20), "", "\x00", "\ud800", "NaN", "９９",
    "../../etc/passwd", [], {}, [[[]]], {"a": {"b": []}}, [None], "x" * 3000, 2**63, 1e-320, "2021-02-30T25:61:61Z",
    "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00",
)  # fmt: skip
ODD_TOKENS = (
    b"", b"nan", b"-inf", b"1e999", b"-", b"9" * 400, b"\x00", b"\xff\xfe", b'"', b'""', b"\xe3\x81", b",,,,", b"null",
    b"[" * 3000, b"{\"a\":" * 2000, b"\n" * 50, b"../../../etc/passwd", b"=1+1", b"True", b"-91", b"181", b"1e-999",
)  # fmt: skip


def spoilt(data: bytes, dice: random.Random) -> bytes:
    """Return bytes with one to four blind changes: flips, cuts, splices, blocks swapped or repeated, huge numbers."""
    found = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 2, 4))):
        dice.choice((_flip, _flip, _number, _number, _cut, _drop, _repeat, _swap, _noise, _zero))(found, dice)
    return bytes(found)


def _place(found: bytearray, dice: random.Random) -> int:
    """Return where to strike: half of the time near the start or the end, where the headers and directories are."""
    near = min(len(found), 256)
    spots = (dice.randrange(near + 1), len(found) - dice.randrange(near + 1))
    return max(0, dice.choice((*spots, dice.randrange(len(found) + 1), dice.randrange(len(found) + 1))))


def _flip(found: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 3, 20))):
        if found:
            found[min(_place(found, dice), len(found) - 1)] ^= 1 << dice.randrange(8)


def _number(found: bytearray, dice: random.Random) -> None:
    n_bytes, at = dice.choice((1, 2, 4, 4, 8)), _place(found, dice)
    value = (dice.choice((*HUGE, dice.getrandbits(64), 0, 1)) & ((1 << 8 * n_bytes) - 1)).to_bytes(
        n_bytes, dice.choice(("big", "little"))
    )
    found[at : at + n_bytes] = value


def _cut(found: bytearray, dice: random.Random) -> None:
    del found[_place(found, dice) :]


def _drop(found: bytearray, dice: random.Random) -> None:
    at = _place(found, dice)
    del found[at : at + dice.choice((1, 2, 4, 16, 512))]


def _repeat(found: bytearray, dice: random.Random) -> None:
    at, size = _place(found, dice), dice.choice((1, 4, 16, 512, 4096))
    found[at:at] = found[at : at + size] * dice.choice((1, 2, 8))


def _swap(found: bytearray, dice: random.Random) -> None:
    size = dice.choice((1, 4, 16, 512))
    one, other = sorted((_place(found, dice), _place(found, dice)))
    if one + size <= other:
        found[one : one + size], found[other : other + size] = found[other : other + size], found[one : one + size]


def _noise(found: bytearray, dice: random.Random) -> None:
    at = _place(found, dice)
    found[at : at + 16] = dice.randbytes(dice.choice((1, 16, 64)))


def _zero(found: bytearray, dice: random.Random) -> None:
    at, size = _place(found, dice), dice.choice((4, 64, 1024))
    found[at : at + size] = bytes(len(found[at : at + size]))


def spoilt_text(data: bytes, dice: random.Random) -> bytes:
    """Return a text table with one to four cells replaced, rows joined or cut; sometimes spoilt blindly instead."""
    if dice.random() < 0.25:
        return spoilt(data, dice)
    lines = data.split(b"\n")
    for _ in range(dice.choice((1, 1, 2, 4))):
        row = dice.randrange(len(lines))
        cells = lines[row].split(b",")
        cells[dice.randrange(len(cells))] = dice.choice(ODD_TOKENS)
        lines[row] = b",".join(cells)
        if dice.random() < 0.2:
            lines.insert(row, lines[dice.randrange(len(lines))] * dice.choice((1, 2)))
    return dice.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r")).join(lines)


def spoilt_json(data: bytes, dice: random.Random) -> bytes:
    """Return JSON with one to three of its values replaced, removed or moved; sometimes spoilt as text or blindly."""
    chance = dice.random()
    if chance < 0.3:
        return spoilt_text(data, dice) if chance < 0.1 else spoilt(data, dice)
    told = json.loads(data)
    for _ in range(dice.choice((1, 1, 2, 3))):
        told = _with_another(told, dice)
    return json.dumps(told).encode()


def _with_another(told: Any, dice: random.Random) -> Any:
    if not isinstance(told, (dict, list)) or not told or dice.random() < 0.12:
        return copy.deepcopy(dice.choice(ODD_VALUES))  # what is returned may be changed next
    keys = list(told) if isinstance(told, dict) else list(range(len(told)))
    key = dice.choice(keys)
    if dice.random() < 0.1:
        del told[key]
    elif dice.random() < 0.1:
        told[key] = copy.deepcopy(told[dice.choice(keys)])
    else:
        told[key] = _with_another(told[key], dice)
    return told


def spoilt_zip(data: bytes, dice: random.Random, *, inner: Callable[[bytes, random.Random], bytes] = spoilt) -> bytes:
    """Return a zip of which one member was spoilt and packed again, so that its checksum is right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    chosen = dice.choice(sorted(members))
    members[chosen] = inner(members[chosen], dice)
    if dice.random() < 0.1:
        members[dice.choice(("../outside.shp", "/abs.shp", "a\\..\\b.shp", "C:x.shp", "n" * 300))] = members.pop(chosen)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return written.getvalue()


def spoilt_pbf(data: bytes, dice: random.Random) -> bytes:
    """Return an OSM PBF of which one blob was unpacked, spoilt and packed again, with lengths that are right."""
    blobs = list(_blobs(data))
    chosen = dice.randrange(len(blobs))
    kind, raw = blobs[chosen]
    blobs[chosen] = (kind, spoilt(raw, dice))
    return b"".join(_packed(kind, raw) for kind, raw in blobs)


def _blobs(data: bytes) -> Any:
    at = 0
    while at < len(data):
        header_bytes = struct.unpack(">I", data[at : at + 4])[0]
        header = _fields(data[at + 4 : at + 4 + header_bytes])
        at += 4 + header_bytes
        blob = _fields(data[at : at + header[3]])
        at += header[3]
        yield header[1], zlib.decompress(blob[3]) if 3 in blob else blob[1]


def _fields(message: bytes) -> dict[int, Any]:
    found: dict[int, Any] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        value, at = _varint(message, at)
        if tag & 7 == 2:
            value, at = message[at : at + value], at + value
        found[tag >> 3] = value
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = message[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def _written(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _packed(kind: bytes, raw: bytes) -> bytes:
    packed = zlib.compress(raw)
    blob = b"\x10" + _written(len(raw)) + b"\x1a" + _written(len(packed)) + packed
    header = b"\x0a" + _written(len(kind)) + kind + b"\x18" + _written(len(blob))
    return struct.pack(">I", len(header)) + header + blob
