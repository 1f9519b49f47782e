"""Mapillary's coverage tiles: which pictures there are around a place, decoded from a vector tile into arrays.

A z14 tile of a big city holds 100,000 pictures and 10 MB, so a row is a place in arrays, never an object.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields
from typing import Any

import mapbox_vector_tile
import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

COVERAGE_ZOOM = 14  # the only zoom with the `image` layer
# What a broken tile makes the decoder raise: it trusts every index in the message.
_BROKEN = (DecodeError, AssertionError, LookupError, ValueError, TypeError, OverflowError)
_LARGEST_TILE_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Coverage:
    """Pictures around a place, in id order; all arrays are `[n]`.

    Attributes:
        image_id: int64, Mapillary's ids.
        lat: float64, latitude in degrees.
        lon: float64, longitude in degrees.
        compass_deg: float64, compass direction of the centre column as the camera said; NaN where unknown.
        captured_ms: int64, milliseconds since 1970; 0 where unknown.
        is_pano: bool, whether it is a full panorama.
        sequence_id: object, strings; empty where unknown.
    """

    image_id: NDArray[np.int64]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    compass_deg: NDArray[np.float64]
    captured_ms: NDArray[np.int64]
    is_pano: NDArray[np.bool_]
    sequence_id: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.image_id)

    def take(self, rows: NDArray[Any]) -> Coverage:
        """Return the pictures at `rows` (positions or a mask)."""
        return Coverage(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @staticmethod
    def empty() -> Coverage:
        """Return no pictures."""
        return _coverage([])

    @staticmethod
    def joined(parts: list[Coverage]) -> Coverage:
        """Return the pictures of several tiles in id order, each once (tiles may repeat what lies on their edge)."""
        if not parts:
            return Coverage.empty()
        names = [field.name for field in fields(Coverage)]
        whole = Coverage(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
        return whole.take(np.unique(whole.image_id, return_index=True)[1])


def read_coverage_tile(content: bytes, *, x: int, y: int) -> Coverage:
    """Return the pictures of one z14 vector tile.

    Args:
        content: The tile, gzipped or not; no bytes: an empty tile.
        x: Its column.
        y: Its row.

    Returns:
        Its pictures in id order; empty when the tile has no `image` layer.

    Raises:
        ValueError: It is no vector tile.
    """
    if content.startswith(b"\x1f\x8b"):
        content = _unzipped(content)
    try:
        # y_coord_down: rows grow southwards as in the tile itself; the default flips them
        layer = mapbox_vector_tile.decode(content, default_options={"y_coord_down": True}).get("image")
    except _BROKEN as error:
        raise ValueError(f"it sent {len(content)} bytes that are no vector tile ({type(error).__name__})") from error
    if not layer:
        return Coverage.empty()
    rows, n = [], 2**COVERAGE_ZOOM
    for feature in layer["features"]:
        geometry, said = feature["geometry"], feature["properties"]
        if geometry["type"] != "Point" or not str(said.get("id", "")).isdigit():
            continue
        column, row = (part / layer["extent"] for part in geometry["coordinates"])
        lon = (x + column) / n * 360.0 - 180.0
        lat = float(np.degrees(np.arctan(np.sinh(np.pi * (1.0 - 2.0 * (y + row) / n)))))
        rows.append((lat, lon, said))
    return _coverage(rows)


def _coverage(rows: list[tuple[float, float, dict[str, Any]]]) -> Coverage:
    rows = sorted(rows, key=lambda row: int(row[2]["id"]))
    return Coverage(
        image_id=np.array([int(said["id"]) for _, _, said in rows], dtype=np.int64),
        lat=np.array([lat for lat, _, _ in rows], dtype=np.float64),
        lon=np.array([lon for _, lon, _ in rows], dtype=np.float64),
        compass_deg=np.array([_degrees(said.get("compass_angle")) for _, _, said in rows], dtype=np.float64),
        captured_ms=np.array([int(said.get("captured_at") or 0) for _, _, said in rows], dtype=np.int64),
        is_pano=np.array([bool(said.get("is_pano")) for _, _, said in rows], dtype=np.bool_),
        sequence_id=np.array([str(said.get("sequence_id") or "") for _, _, said in rows], dtype=object),
    )


def _degrees(value: object) -> float:
    return float(value) % 360.0 if isinstance(value, (int, float)) and np.isfinite(value) else float("nan")


def _unzipped(content: bytes) -> bytes:
    unzipper = zlib.decompressobj(wbits=31)
    try:
        plain = unzipper.decompress(content, _LARGEST_TILE_BYTES)
    except zlib.error as error:
        raise ValueError(f"it sent {len(content)} bytes that are no gzip ({error})") from error
    if unzipper.unconsumed_tail:
        raise ValueError(f"its tile unpacks to more than {_LARGEST_TILE_BYTES} bytes")
    return plain
