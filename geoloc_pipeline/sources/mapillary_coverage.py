"""Mapillary's coverage tiles: which pictures there are around a place, decoded from a vector tile into arrays.

A z14 tile of a big city holds 100,000 pictures and 10 MB. The message is parsed by the package `mapbox-vector-tile`, but not
unfolded by it: its dictionaries, one per picture, take three times as long as columns.
"""

from __future__ import annotations

import math
import zlib
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from mapbox_vector_tile.Mapbox import vector_tile_pb2

from geoloc_pipeline.sources.street_view import Coverage

if TYPE_CHECKING:
    from numpy.typing import NDArray

COVERAGE_ZOOM = 14  # the only zoom with the `image` layer
_POINT, _MOVE_TO_ONCE = 1, 9  # vector tile specification 2.1, §4.3
_NO_TILE = "it sent {} bytes that are no vector tile ({})"
_LARGEST_TILE_BYTES = 512 * 2**20


def read_coverage_tile(content: bytes, *, x: int, y: int) -> Coverage:
    """Return the pictures of one z14 vector tile; positions are right to the tile's grid (0.5 m).

    Args:
        content: The tile, gzipped or not; no bytes: an empty tile.
        x: Its column.
        y: Its row.

    Returns:
        Its pictures in id order; empty when the tile has no `image` layer.

    Raises:
        ValueError: It is no vector tile.
    """
    layer = next((one for one in parse_tile(content).layers if one.name == "image"), None)
    try:
        return Coverage.empty() if layer is None else _read_layer(layer, x, y)
    except (LookupError, ValueError, OverflowError) as error:  # a broken message has any index in it
        raise ValueError(_NO_TILE.format(len(content), type(error).__name__)) from error


def parse_tile(content: bytes) -> Any:
    """Return a vector tile's message, gzipped or not, without looking into it: a tenth of the time of reading it.

    Raises:
        ValueError: It is no vector tile.
    """
    if content.startswith(b"\x1f\x8b"):
        content = _unzipped(content)
    tile = vector_tile_pb2.tile()
    try:
        tile.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(_NO_TILE.format(len(content), type(error).__name__)) from error
    return tile


def _read_layer(layer: Any, x: int, y: int) -> Coverage:
    points = [one for one in layer.features if one.type == _POINT and len(one.geometry) == 3]
    place = np.fromiter(chain.from_iterable(one.geometry for one in points), dtype=np.int64).reshape(-1, 3)
    said = _Columns(layer, points)
    ids = [str(one) for one in said.column("id")]
    is_one = np.array([one.isdecimal() for one in ids], dtype=np.bool_) & (place[:, 0] == _MOVE_TO_ONCE)
    across, down = (((zigzag >> 1) ^ -(zigzag & 1)) / (layer.extent or math.nan) for zigzag in (place[:, 1], place[:, 2]))
    n = 2**COVERAGE_ZOOM
    captured_ms = said.numbers("captured_at")
    rows = np.flatnonzero(is_one)
    return Coverage.of(
        image_id=[ids[row] for row in rows],
        lat=np.degrees(np.arctan(np.sinh(np.pi * (1.0 - 2.0 * (y + down[rows]) / n)))),
        lon=(x + across[rows]) / n * 360.0 - 180.0,
        compass_deg=said.numbers("compass_angle")[rows],
        captured_ms=np.where((captured_ms > 0) & (captured_ms < 2**53), captured_ms, 0).astype(np.int64)[rows],
        is_pano=np.array([one == 1 for one in said.column("is_pano")], dtype=np.bool_)[rows],
        sequence_id=[str(one or "") for one in said.column("sequence_id")[rows]],
    )


class _Columns:
    """What a layer says of its features: pairs of places in a list of keys and a list of values."""

    def __init__(self, layer: Any, features: list[Any]) -> None:
        counts = np.fromiter((len(one.tags) for one in features), dtype=np.int64)
        if (counts % 2).any():
            raise ValueError("a key without value")
        self._pairs = np.fromiter(chain.from_iterable(one.tags for one in features), dtype=np.int64).reshape(-1, 2)
        self._rows, self._n = np.repeat(np.arange(len(features)), counts // 2), len(features)
        self._keys = np.array([*layer.keys, None], dtype=object)[:-1]
        self._values = np.empty(len(layer.values), dtype=object)
        self._values[:] = [said[0][1] if (said := one.ListFields()) else None for one in layer.values]

    def column(self, name: str) -> NDArray[np.object_]:
        """Return `[n]` values of a key; None where it is absent."""
        found = np.full(self._n, None, dtype=object)
        hits = (self._keys == name)[self._pairs[:, 0]]
        found[self._rows[hits]] = self._values[self._pairs[hits, 1]]
        return found

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return `[n]` finite numbers of a key; NaN where there is none."""
        found = np.array([one if type(one) in (int, float) else math.nan for one in self.column(name)], dtype=np.float64)
        return np.where(np.isfinite(found), found, math.nan)


def _unzipped(content: bytes) -> bytes:
    unzipper = zlib.decompressobj(wbits=31)
    try:
        plain = unzipper.decompress(content, _LARGEST_TILE_BYTES)
    except zlib.error as error:
        raise ValueError(f"it sent {len(content)} bytes that are no gzip ({error})") from error
    if unzipper.unconsumed_tail:
        raise ValueError(f"its tile unpacks to more than {_LARGEST_TILE_BYTES} bytes")
    return plain
