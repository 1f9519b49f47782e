"""A street-view service on loopback for load: just enough of Mapillary's protocol, 20 ms of latency, in a process of its own.

Coverage tiles, entities and pictures of 50 KB: real JPEG panoramas out of a pool of 8, made unlike by a comment segment with
the id in it and filled up to their size by a second one. Point number i lies 40 m from its neighbours and has one panorama. It
counts what it is asked, and how many pictures it is asked for twice. Plain HTTP: what TLS costs is not in any figure.
"""

from __future__ import annotations

import asyncio
import io
import json
import math
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import httpx
import mapbox_vector_tile
import numpy as np
from PIL import Image

from benchmarks.render import cameras
from geoloc_pipeline.demo.render import draw_panorama
from geoloc_pipeline.geo.tiles import tile_of

LATENCY_S = 0.02
PICTURE_BYTES = 50_000
APART_M = 40.0
TILES, GRAPH, PICTURES = "tiles.mapillary.com", "graph.mapillary.com", "scontent.fbcdn.net"
_FIRST_ID = 10**12
_ZOOM, _EXTENT, _POOL = 14, 4096, 8
_DATE = "Tue, 03 Nov 2026 10:11:12 GMT"


def places(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where the points and their pictures are: a lattice of degrees latitude and longitude."""
    side = math.isqrt(count - 1) + 1
    row, column = np.divmod(np.arange(count), side)
    return 36.0 + row * APART_M / 111_000, 138.0 + column * APART_M / (111_000 * math.cos(math.radians(36.0)))


def ids(count: int) -> list[str]:
    """Return the pictures' ids, in the order of the points."""
    return [str(_FIRST_ID + number) for number in range(count)]


def panorama_pool(width_px: int) -> list[bytes]:
    """Return a few JPEG panoramas, at most of the size that pictures are sent in."""
    scenery, chosen = cameras(_POOL)
    pool = []
    for camera in chosen:
        pixels = draw_panorama(scenery, camera, width_px=width_px)
        for quality in range(95, 20, -5):
            stream = io.BytesIO()
            Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
            if stream.tell() < PICTURE_BYTES - 200:
                break
        pool.append(stream.getvalue())
    return pool


def _comment(text: bytes) -> bytes:
    return b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text


def _tiles(count: int) -> dict[tuple[int, int], bytes]:
    lat, lon = places(count)
    column, row = tile_of(lat=lat, lon=lon, zoom=_ZOOM)
    across = ((lon + 180) / 360 * 2**_ZOOM - column) * _EXTENT
    down = ((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * 2**_ZOOM - row) * _EXTENT
    features: dict[tuple[int, int], list[Any]] = {}
    for number in range(count):
        said = {
            "id": _FIRST_ID + number,
            "is_pano": True,
            "compass_angle": 0.0,
            "captured_at": 1_700_000_000_000,
            "sequence_id": "s",
        }
        one = {"geometry": f"POINT({round(across[number])} {round(down[number])})", "properties": said}
        features.setdefault((int(column[number]), int(row[number])), []).append(one)
    options = {"extents": _EXTENT, "y_coord_down": True}
    return {
        at: mapbox_vector_tile.encode([{"name": "image", "features": some}], default_options=options)
        for at, some in features.items()
    }


@dataclass
class _World:
    """What is served, and what was asked."""

    count: int
    pool: list[bytes]
    tiles: dict[tuple[int, int], bytes]
    asked: dict[str, int] = field(default_factory=dict)
    fetched: set[int] = field(default_factory=set)

    def answer(self, host: str, path: str) -> tuple[str, bytes]:
        """Return content type and body."""
        kind = {TILES: "tiles", GRAPH: "entities", PICTURES: "pictures"}.get(host, "")
        if not kind:
            return "application/json", json.dumps(self.asked | {"cpu_s": time.process_time()}).encode()
        self.asked[kind] = self.asked.get(kind, 0) + 1
        parts = path.partition("?")[0].strip("/").split("/")
        if kind == "tiles":
            return "application/x-protobuf", self.tiles.get((int(parts[-2]), int(parts[-1])), b"")
        number = int(parts[-1]) - _FIRST_ID
        return ("application/json", self._entity(number)) if kind == "entities" else ("image/jpeg", self._picture(number))

    def _entity(self, number: int) -> bytes:
        side = math.isqrt(self.count - 1) + 1
        row, column = divmod(number, side)
        at = [138.0 + column * APART_M / (111_000 * math.cos(math.radians(36.0))), 36.0 + row * APART_M / 111_000]
        image_id = str(_FIRST_ID + number)
        said = {
            "id": image_id,
            "computed_geometry": {"type": "Point", "coordinates": at},
            "computed_compass_angle": 0.0,
            "captured_at": 1_700_000_000_000,
            "camera_type": "spherical",
            "sequence": f"seq{number // 50}",
            "creator": {"username": "mapper", "id": "1"},
            "thumb_1024_url": f"https://{PICTURES}/{image_id}?oh=0",
        }
        return json.dumps(said).encode()

    def _picture(self, number: int) -> bytes:
        if number in self.fetched:
            self.asked["pictures fetched twice"] = self.asked.get("pictures fetched twice", 0) + 1
        self.fetched.add(number)
        plain = self.pool[number % len(self.pool)]
        mine = _comment(str(number).encode())
        fill = PICTURE_BYTES - len(plain) - len(mine) - 4
        return plain[:2] + mine + (_comment(bytes(fill)) if fill > 0 else b"") + plain[2:]


class _Talk(asyncio.Protocol):
    """One connection; requests have no body."""

    def __init__(self, world: _World) -> None:
        self._world, self._heard = world, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        while b"\r\n\r\n" in self._heard:
            head, _, self._heard = self._heard.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            host = next((line[5:].strip() for line in lines[1:] if line[:5].lower() == "host:"), "")
            asyncio.get_running_loop().call_later(LATENCY_S, self._answer, host, lines[0].split(" ")[1])

    def _answer(self, host: str, path: str) -> None:
        kind, body = self._world.answer(host, path)
        lines = ("HTTP/1.1 200 OK", f"Date: {_DATE}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "", "")
        head = "\r\n".join(lines)
        if not self._transport.is_closing():
            self._transport.writelines([head.encode(), body])  # type: ignore[attr-defined]


def _serve(count: int, width_px: int, said: Connection) -> None:
    world = _World(count, panorama_pool(width_px), _tiles(count))

    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Talk(world), "127.0.0.1", 0)
        said.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def street_view_server(count: int, *, width_px: int) -> Iterator[int]:
    """Serve `count` panoramas of that width in another process while the block runs; yields the port."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(count, width_px, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def counts(port: int) -> dict[str, float]:
    """Return what was asked so far, by kind, and the server's processor time."""
    return dict(httpx.get(f"http://127.0.0.1:{port}/counts").json())
