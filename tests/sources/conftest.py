"""A service made of a function, download sites behind a real socket, dumps of one node, and a client that never waits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import osmium
import pytest

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.mirror import Fault, Faults, Mirror
from geoloc_pipeline.demo.mirror_transports import serve_on_loopback
from geoloc_pipeline.sources.http import HttpClient
from geoloc_pipeline.sources.http_async import AsyncHttpClient


@dataclass
class Fake:
    """What a service was asked, and a client for it."""

    answer: Callable[[httpx.Request], httpx.Response]
    asked: list[httpx.Request] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)

    def client(self, **settings) -> HttpClient:
        def handle(request: httpx.Request) -> httpx.Response:
            self.asked.append(request)
            answer = self.answer(request)
            if answer.is_stream_consumed:  # one made with `content=`; over a wire its body would still be to come
                answer = httpx.Response(answer.status_code, headers=answer.headers, stream=httpx.ByteStream(answer.content))
            return answer

        return HttpClient(transport=httpx.MockTransport(handle), sleep=self.waits_s.append, **settings)

    def async_client(self, **settings) -> AsyncHttpClient:
        """Give a client for the tasks of one event loop; waits are noted and not waited."""

        async def handle(request: httpx.Request) -> httpx.Response:
            self.asked.append(request)
            return self.answer(request)

        async def sleep(seconds: float) -> None:
            self.waits_s.append(seconds)

        return AsyncHttpClient(transport=httpx.MockTransport(handle), sleep=sleep, **settings)


@pytest.fixture
def fake():
    return Fake


def _grow_dump(path: Path, *, day=3, sequence=4863, has_header=True, nodes=1) -> Path:
    """Write a dump of a day in September 2026; more nodes make it larger."""
    header = osmium.io.Header()
    if has_header:
        header.set("osmosis_replication_timestamp", f"2026-09-{day:02}T20:21:51Z")
        header.set("osmosis_replication_sequence_number", str(sequence))
    path.parent.mkdir(parents=True, exist_ok=True)
    with osmium.SimpleWriter(str(path), header=header, overwrite=True) as writer:
        for number in range(nodes):
            place = (139.0 + hash((number, day)) % 99991 / 1e5, 35.0 + hash((day, number)) % 99991 / 1e5)
            writer.add_node(osmium.osm.mutable.Node(id=1 + number, location=place, tags={"name": f"x{number * day}"}))
    return path


class Sites:
    """A folder that the demo's mirror serves as Geofabrik and e-Stat, over a socket of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.index, self.asked = folder, [], []
        (folder / "estat").mkdir(parents=True)

    def publish(self, region, *, under="asia/japan/", day=3, sequence=4863, state=None, has_header=True, nodes=1) -> Path:
        """Publish a region's dump of a day; `state` is the text of its state.txt, empty for none."""
        root = self.folder / "geofabrik"
        name = region.rsplit("/", 1)[-1]
        path = root / under / f"{name}-2609{day:02}.osm.pbf"
        _grow_dump(path, day=day, sequence=sequence, has_header=has_header, nodes=nodes)
        path.with_name(f"{path.name}.md5").write_text(f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.name}\n")
        told = f"timestamp=2026-09-{day:02}T20\\:21\\:51Z\nsequenceNumber={sequence}\n" if state is None else state
        file = root / under / f"{name}-updates" / "state.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(told) if told else file.unlink(missing_ok=True)
        base = f"https://download.geofabrik.de/{under}{name}"
        urls = {"pbf": f"{base}-latest.osm.pbf", "updates": f"{base}-updates"}
        self.index = [entry for entry in self.index if entry["properties"]["id"] != region]
        self.index.append({"properties": {"id": region, "urls": urls}})
        (root / "index-v1-nogeom.json").write_text(json.dumps({"features": self.index}))
        return path

    def withdraw(self, path: Path) -> None:
        """Take a dated dump away, as Geofabrik does after a week."""
        path.unlink()
        path.with_name(f"{path.name}.md5").unlink()

    @contextmanager
    def client(self, *faults: Fault, **settings) -> Iterator[HttpClient]:
        """Yield a client whose requests go through the socket; `asked` keeps (path, Range) of each."""
        land = Land(0, (), (), (), datetime(2026, 9, 3, 20, 21, 51, tzinfo=UTC), 0)
        mirror = Mirror(self.folder, land, faults=Faults(*faults))
        sites, self.asked = self, []

        class Listening(httpx.BaseTransport):
            def handle_request(self, request: httpx.Request) -> httpx.Response:
                sites.asked.append((request.url.path, request.headers.get("range")))
                return transport.handle_request(request)

        with serve_on_loopback(mirror) as transport:
            client = HttpClient(transport=Listening(), sleep=lambda seconds: None, **settings)
            yield client
            client.close()


@pytest.fixture
def sites(tmp_path):
    return Sites(tmp_path / "sites")


@pytest.fixture
def grow_dump():
    return _grow_dump
