"""The collector against a street-view service on loopback: does the configured rate limit it, or we; and does memory stay flat.

python -m benchmarks.collector [--memory 100000]
The server (`_street_view_server`) answers after 20 ms, plain HTTP; it shares the machine's cores with the collector, and takes
what its column says. A limit lets a second's worth go at once, so a short run may be faster than it; the table says how fast.
`transport`: `MapillaryProvider.picture`, an entity and a picture of 50 KB each, nothing done with the bytes.
`collector`: all of `collect_street_view`: coverage, plan, pictures of 1024 px opened, checked, cut into four views, encoded as
WebP, archived. Of its processor time, the event loop's thread is transport, the others are pixels and disk.
`thread pool` is what one would write instead: 32 threads, each with a `requests` session, that save the bytes as they come.
`--memory` collects that many panoramas of 256 px (sent as 50 KB all the same) without a limit, and tells the memory on the way.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import geopandas as gpd
import httpx
import numpy as np
from httpx_aiohttp import AiohttpTransport
from PIL import Image

from benchmarks._measure import apart, table
from benchmarks._street_view_server import GRAPH, PICTURES, TILES, counts, ids, panorama_pool, places, street_view_server
from geoloc_pipeline.imagery.collect import CollectSettings, collect_street_view
from geoloc_pipeline.imagery.panorama import views_from_panorama
from geoloc_pipeline.imagery.webp import encode_webp
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.mapillary import MapillaryProvider
from geoloc_pipeline.tables import SAMPLE_POINTS, as_table

CONNECTIONS = 128
RATES = ((50.0, 400), (200.0, 800), (500.0, 1_000), (None, 800))  # and how many pictures
MANY = ((500.0, 3_000), (None, 3_000))
WIDTH_PX, TINY_PX = 1024, 256
RADIUS_M = 10.0
_UNLIMITED = 1e6


class _ToLoopback(httpx.AsyncBaseTransport):
    """Sends every request to the server, which tells services apart by the Host header."""

    def __init__(self, port: int) -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        self._port, self._inner = port, AiohttpTransport(limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def provider_at(port: int, per_second: float | None) -> AsyncIterator[MapillaryProvider]:
    """Yield the provider; `per_second` limits pictures, entities being asked for as often."""
    rates = {TILES: _UNLIMITED, GRAPH: per_second or _UNLIMITED}
    async with AsyncHttpClient(transport=_ToLoopback(port), per_second=rates) as http:
        yield MapillaryProvider(http, "MLY|1|load")


class _Clock:
    """Measures a run in this process: clock, threads, server, memory."""

    def __init__(self, port: int) -> None:
        self.port, self.resident_mb, self._is_over = port, list[float](), threading.Event()

    def __enter__(self) -> _Clock:
        self._server_s = counts(self.port)["cpu_s"]
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        self._all_s, self._mine_s, self._wall_s = time.process_time(), time.thread_time(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.monotonic() - self._wall_s
        self.loop_s = time.thread_time() - self._mine_s
        self.others_s = time.process_time() - self._all_s - self.loop_s
        self._is_over.set()
        self._sampler.join()
        asked = counts(self.port)
        self.server_s = asked["cpu_s"] - self._server_s
        self.twice = int(asked.get("pictures fetched twice", 0))

    def _sample(self) -> None:
        while not self._is_over.wait(0.5):
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self.resident_mb.append(pages * 4096 / 1e6)

    def row(self, name: str, rate: float | None, done: int) -> tuple[str, ...]:
        """Return a row of the table of `main`."""
        each = [f"{1000 * seconds / max(1, done):.2f}" for seconds in (self.loop_s, self.others_s, self.server_s)]
        asked = "unlimited" if rate is None else f"{rate:.0f} ({done * rate / (done - rate):.0f})"
        return (
            name,
            asked,
            f"{done:,}",
            f"{done / self.wall_s:.0f}",
            *each,
            f"{max(self.resident_mb, default=0):.0f}",
            str(self.twice),
        )


def transport(port: int, count: int, rate: float | None) -> tuple[str, ...]:
    """Return the row of fetching and forgetting."""
    done: list[int] = []

    async def run() -> None:
        waiting = iter(ids(count))

        async def work(provider: MapillaryProvider) -> None:
            for image_id in waiting:
                done.append(len((await provider.picture(image_id, width_px=WIDTH_PX)).contents[None]))  # type: ignore[union-attr]

        async with provider_at(port, rate) as provider:
            await asyncio.gather(*(work(provider) for _ in range(CONNECTIONS)))

    with _Clock(port) as clock:
        asyncio.run(run())
    return clock.row("transport", rate, len(done))


def thread_pool(port: int, count: int, rate: float | None) -> tuple[str, ...]:  # noqa: ARG001  it has none
    """Return the row of the thread pool that saves what comes."""
    import requests

    mine = threading.local()

    def fetch(image_id: str) -> None:
        if not hasattr(mine, "session"):
            mine.session = requests.Session()
        base = f"http://127.0.0.1:{port}/{image_id}"
        entry = mine.session.get(base, params={"fields": "id,thumb_1024_url"}, headers={"Host": GRAPH}).json()
        content = mine.session.get(base, headers={"Host": PICTURES}).content
        (Path(folder) / f"{entry['id']}.jpg").write_bytes(content)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(32) as pool, _Clock(port) as clock:
        done = len(list(pool.map(fetch, ids(count))))
    return clock.row("thread pool, saves the bytes", None, done)


def collector(port: int, count: int, rate: float | None) -> tuple[str, ...]:
    """Return the row of the whole collector."""
    clock, done = _collected(port, count, rate, width_px=WIDTH_PX)
    return clock.row("collector", rate, done)


def memory(port: int, count: int, rate: float | None) -> list[float]:
    """Return megabytes resident, sampled along a collection of tiny pictures."""
    clock, done = _collected(port, count, rate, width_px=TINY_PX)
    return [done / clock.wall_s, *clock.resident_mb]


def _collected(port: int, count: int, rate: float | None, *, width_px: int) -> tuple[_Clock, int]:
    lat, lon = places(count)
    columns = {
        "point_id": [f"p{number:07}" for number in range(count)],
        "lat": lat,
        "lon": lon,
        "prefecture_code": ["20"] * count,
        "n_members": [1] * count,
        "radius_m": [0.0] * count,
        "geometry": list(gpd.points_from_xy(lon, lat)),
    }
    points = as_table(SAMPLE_POINTS, columns)

    @asynccontextmanager
    async def open_providers() -> AsyncIterator[list[MapillaryProvider]]:
        async with provider_at(port, rate) as provider:
            yield [provider]

    settings = CollectSettings(radius_m=RADIUS_M, in_flight=CONNECTIONS, source_px=width_px)
    with tempfile.TemporaryDirectory() as folder, _Clock(port) as clock:
        collected = collect_street_view(points, open_providers, Path(folder), settings=settings)
    return clock, len(collected.images)


def codec(threads: int) -> tuple[float, float]:
    """Return strips a second that `threads` threads encode, and that they open, cut and encode."""
    pool = panorama_pool(WIDTH_PX)

    def opened(content: bytes) -> np.ndarray:
        return views_from_panorama(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), compass_deg=0.0)

    strips = [opened(content) for content in pool]
    jobs = 40 * threads

    def rate_of(work: object) -> float:
        with ThreadPoolExecutor(threads) as workers:
            began_s = time.monotonic()
            list(workers.map(work, range(jobs)))  # type: ignore[arg-type]
            return jobs / (time.monotonic() - began_s)

    return (
        rate_of(lambda job: encode_webp(strips[job % len(strips)], lat=36.0, lon=138.0)),
        rate_of(lambda job: encode_webp(opened(pool[job % len(pool)]), lat=36.0, lon=138.0)),
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collector")
    parser.add_argument("--memory", type=int, default=0, metavar="N", help="only: collect N tiny panoramas, tell the memory")
    wanted = parser.parse_args().memory
    if wanted:
        with street_view_server(wanted, width_px=TINY_PX) as port:
            rate, *resident_mb = apart(memory, port, wanted, None)
        tenths = [resident_mb[int(part / 10 * (len(resident_mb) - 1))] for part in range(1, 11)]
        heads = ("pictures", "a second", *(f"{part}0 %" for part in range(1, 11)))
        print(table(heads, [(f"{wanted:,}", f"{rate:.0f}", *(f"{mb:.0f}" for mb in tenths))]))
        print("\nMegabytes resident along the run.")
        return
    rows = []
    for case, rates in ((transport, MANY), (thread_pool, MANY[1:]), (collector, RATES)):
        for rate, count in rates:
            with street_view_server(count, width_px=WIDTH_PX) as port:
                rows.append(apart(case, port, count, rate))
    heads = (
        "",
        "limit, pictures/s (so many may come)",
        "pictures",
        "came, pictures/s",
        "CPU ms a picture: loop",
        "other threads",
        "server",
    )
    print(table((*heads, "resident at most, MB", "fetched twice"), rows))
    print()
    found = [(threads, *apart(codec, threads)) for threads in (1, 2)]
    rows = [(threads, f"{encoded:.0f}", f"{whole:.0f}") for threads, encoded, whole in found]
    print(table(("threads", "strips of 1024 px encoded a second: the floor", "opened, cut and encoded"), rows))


if __name__ == "__main__":
    main()
