"""Everything that strangers, machines and people do to a collection: the next run ends as if nothing had happened.

The mirror stands behind a real socket; each fault strikes a few requests of one run.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from httpx_aiohttp import AiohttpTransport

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.mirror import DEMO_TOKEN, Fault, Faults, Mirror
from geoloc_pipeline.demo.mirror_transports import async_loopback, serve_on_port
from geoloc_pipeline.errors import SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.imagery.collect import CollectSettings, collect_street_view
from geoloc_pipeline.imagery.journal import image_id_of, remove_unused_shards
from geoloc_pipeline.imagery.webp import place_in_webp
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.mapillary import MapillaryProvider
from geoloc_pipeline.storage.shards import read_member

_SETTINGS = CollectSettings(chunk_points=5, in_flight=4, source_px=256, encoders=2)
KINDS = (
    "too_many_requests", "server_error", "bad_gateway", "unavailable", "cut", "short", "endless", "drip", "redirect_loop",
    "html",
)  # fmt: skip
_CDN, _GRAPH, _TILES = "fbcdn.net", "graph.mapillary.com", "tiles.mapillary.com"


def draw(camera, is_pano, width_px):
    """A picture that costs nothing, and that no other equals."""
    height_px = width_px // 2 if is_pano else width_px * 3 // 4
    ramp = (np.arange(height_px * width_px) % (camera.seed % 97 + 60)).reshape(height_px, width_px, 1)
    ramp[:8, :64, 0] = 90 * np.unpackbits(np.frombuffer(camera.seed.to_bytes(8, "big"), np.uint8))
    return np.repeat(ramp, 3, axis=2).astype(np.uint8)


async def no_wait(seconds):
    """Waits for nothing."""


@pytest.fixture(scope="module")
def land():
    return grow_land(seed=5, prefecture_codes=("47",), density=0.05)


@pytest.fixture(scope="module")
def points(land, make_points):
    """Twelve places with a panorama, far from each other."""
    shots, found = Coverage(land).only("mapillary").shots, []
    for at in np.column_stack([shots.gps_lat, shots.gps_lon])[shots.is_pano].tolist():
        others = np.array(found).reshape(-1, 2)
        if distance_m(lat=at[0], lon=at[1], to_lat=others[:, 0], to_lon=others[:, 1]).min(initial=np.inf) > 700:
            found.append(tuple(at))
    return make_points([(f"p{number:02}", *place) for number, place in enumerate(found[:12])])


@pytest.fixture(scope="module")
def make_points():
    from shapely import Point

    from geoloc_pipeline.tables import SAMPLE_POINTS, as_table

    def make(places):
        ids, lat, lon = (list(column) for column in zip(*places, strict=True))
        columns = {"point_id": ids, "lat": lat, "lon": lon, "prefecture_code": ["47"] * len(ids)}
        columns |= {"n_members": [1] * len(ids), "radius_m": [0.0] * len(ids), "geometry": list(map(Point, lon, lat))}
        return as_table(SAMPLE_POINTS, columns)

    return make


@pytest.fixture
def mirror_with(land, tmp_path):
    return lambda *faults: Mirror(tmp_path / "world", land, draw=draw, faults=Faults(*faults))


def providers(port, *, token=DEMO_TOKEN, **client):
    options = {"sleep": no_wait, "deadline_s": 1.0, "tries": 4} | client

    @asynccontextmanager
    async def open_providers():
        async with AsyncHttpClient(transport=async_loopback(port), **options) as http:
            yield [MapillaryProvider(http, token)]

    return open_providers


def collect(points, home, port, **client):
    kept = {"mapillary": home / "coverage"}
    found = collect_street_view(points, providers(port, **client), home / "images", settings=_SETTINGS, coverage_folders=kept)
    remove_unused_shards(home / "images", found.images)
    return found.images, found.rejected


def contents(home):
    return {path.name: path.read_bytes() for path in sorted((home / "images").iterdir()) if path.name != ".lock"}


@pytest.fixture(scope="module")
def undisturbed(land, points, tmp_path_factory):
    """Tables and files of a run in which nothing went wrong."""
    home = tmp_path_factory.mktemp("undisturbed")
    with serve_on_port(Mirror(home / "world", land, draw=draw)) as port:
        tables = collect(points, home, port)
    assert len(tables[0]) == 12
    return tables, contents(home)


def ends_like(undisturbed, points, home, port):
    """Run once more, undisturbed, and compare everything that stands."""
    tables = collect(points, home, port)
    for one, other in zip(undisturbed[0], tables, strict=True):
        pd.testing.assert_frame_equal(one, other)
    assert contents(home) == undisturbed[1]


@pytest.mark.parametrize("where", [_CDN, _GRAPH, _TILES])
@pytest.mark.parametrize(
    "kind",
    [
        "too_many_requests",
        "server_error",
        "bad_gateway",
        "unavailable",
        "cut",
        "short",
        "endless",
        "drip",
        "redirect_loop",
        "html",
    ],
)
def test_a_passing_fault_leaves_no_trace(undisturbed, points, mirror_with, tmp_path, kind, where):
    times = 12 if kind == "redirect_loop" else 2
    mirror = mirror_with(Fault(kind, where, times=times, retry_after="0", pause_s=0.05))
    with serve_on_port(mirror) as port:
        tables = collect(points, tmp_path, port, deadline_s=0.5, tries=6, largest_bytes=4_000_000)
        assert mirror._faults.struck >= 2
        for one, other in zip(undisturbed[0], tables, strict=True):
            pd.testing.assert_frame_equal(one, other)
        assert contents(tmp_path) == undisturbed[1]
        asked = mirror.served.total()
        ends_like(undisturbed, points, tmp_path, port)
        assert mirror.served.total() == asked, "what stands is not asked for again"


def test_a_link_that_expired_is_asked_for_anew(undisturbed, points, mirror_with, tmp_path):
    mirror = mirror_with(Fault("expired", _CDN, after=2))
    with serve_on_port(mirror) as port:
        collect(points, tmp_path, port)
        ends_like(undisturbed, points, tmp_path, port)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("refused_token", _GRAPH, times=10**6, after=7), SourceRefusedError),
        (Fault("unavailable", _CDN, times=10**6, after=5, retry_after=""), SourceUnavailableError),
        (Fault("too_many_requests", _CDN, times=10**6, after=5, retry_after="86400"), SourceUnavailableError),
        (Fault("endless", _TILES, times=10**6), SourceUnavailableError),
    ],
)
def test_a_run_that_is_ended_goes_on_where_it_was_and_fetches_nothing_twice(
    undisturbed, points, mirror_with, tmp_path, fault, error, caplog
):
    caplog.set_level(logging.DEBUG)
    mirror = mirror_with(fault)
    with serve_on_port(mirror) as port:
        with pytest.raises(error) as caught:
            collect(points, tmp_path, port, deadline_s=0.3, tries=2)
        mirror._faults = Faults()
        stored, before = _stored(undisturbed, tmp_path), _fetched(mirror)
        ends_like(undisturbed, points, tmp_path, port)
        fetched = _fetched(mirror) - before
    assert fetched == _n_pictures(undisturbed) - stored
    assert stored > 0 or fault.where == _TILES
    told = caplog.text + str(caught.value) + repr(caught.value.__cause__)
    assert DEMO_TOKEN not in told
    _no_token_below(tmp_path)


def _fetched(mirror):
    """How many pictures the mirror has given so far."""
    return sum(count for host, count in mirror.served.items() if host.endswith(_CDN))


def _n_pictures(undisturbed):
    return len(undisturbed[0][0]) + len(undisturbed[0][1])


def _stored(undisturbed, home):
    """How many pictures a run that ended has written down, whole."""
    from geoloc_pipeline.imagery.intake import Intake
    from geoloc_pipeline.imagery.journal import Journal
    from geoloc_pipeline.imagery.webp import METHOD, QUALITY
    from geoloc_pipeline.tables import STREET_VIEW_IMAGES

    folder = home / "images"
    journal = Journal(folder, STREET_VIEW_IMAGES, recipe=[_SETTINGS.source_px, _SETTINGS.side_px, QUALITY, METHOD])
    names = [path.name.removesuffix(".manifest.parquet") for path in folder.glob("*.manifest.parquet")]
    in_chunks = {image_id for name in names for table in journal.read(name) for image_id in table["source_image_id"]}
    intake = Intake(folder, recipe=journal.recipe)  # holds a chunk, too, that was closed in the moment of the kill
    everything = [image_id for table in undisturbed[0] for image_id in table["source_image_id"]]
    owed = _owed(journal, names)
    return sum(image_id_of("mapillary", one) in intake or one in in_chunks - owed for one in everything)


def _owed(journal, names):
    """What a part says that the service still owes."""
    rejected = [journal.read(name)[1] for name in names if name.endswith("-part")]
    return {image_id for table in rejected for image_id in table.loc[table["reason"] == "unavailable", "source_image_id"]}


def _no_token_below(folder):
    for path in folder.rglob("*"):
        if path.is_file() and "world" not in path.parts:
            assert DEMO_TOKEN.encode() not in path.read_bytes()


def test_a_host_that_no_name_server_knows_is_told(points, tmp_path):
    class NoSuchHost(AiohttpTransport):
        async def handle_async_request(self, request):
            request.url = request.url.copy_with(scheme="http", host="tiles.mapillary.invalid")
            return await super().handle_async_request(request)

    @asynccontextmanager
    async def open_providers():
        async with AsyncHttpClient(transport=NoSuchHost(trust_env=False), sleep=no_wait, tries=2) as http:
            yield [MapillaryProvider(http, DEMO_TOKEN)]

    with pytest.raises(SourceUnavailableError, match=r"tiles\.mapillary") as caught:
        collect_street_view(points, open_providers, tmp_path / "images", settings=_SETTINGS)
    assert DEMO_TOKEN not in str(caught.value)


_PROGRAM = textwrap.dedent("""
    import asyncio, json, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_faults import collect
    from geoloc_pipeline.storage.parquet import read_table
    from geoloc_pipeline.tables import SAMPLE_POINTS
    home = Path(sys.argv[1])
    images, rejected = collect(read_table(SAMPLE_POINTS, Path(sys.argv[2])), home, int(sys.argv[3]))
    print(len(images))
""")


@pytest.fixture
def start(points, tmp_path):
    """Start a collector in a process of its own."""
    from geoloc_pipeline.storage.parquet import write_table
    from geoloc_pipeline.tables import SAMPLE_POINTS

    path = tmp_path / "points.parquet"
    write_table(SAMPLE_POINTS, points, path)
    program = _PROGRAM.format(tests=os.path.dirname(__file__))  # noqa: PTH120  a string for another process

    def begin(home, port, **options):
        arguments = [sys.executable, "-c", program, str(home), str(path), str(port)]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)

    return begin


@pytest.mark.parametrize("seconds", [0.05, 0.15, 0.3, 0.6])
def test_a_collector_killed_at_any_moment_leaves_what_the_next_needs(
    undisturbed, points, mirror_with, start, tmp_path, seconds
):
    mirror = mirror_with()
    with serve_on_port(mirror, latency_s=0.02) as port:
        process = start(tmp_path, port)
        while mirror.served.total() == 0:  # Python takes its time to begin
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()
        time.sleep(0.1)  # what was under way at the server
        stored, before = _stored(undisturbed, tmp_path), _fetched(mirror)
        ends_like(undisturbed, points, tmp_path, port)
        fetched = _fetched(mirror) - before
    assert fetched == _n_pictures(undisturbed) - stored


def test_two_collectors_on_one_prefecture_fetch_every_picture_once(undisturbed, points, mirror_with, start, tmp_path):
    mirror = mirror_with()
    with serve_on_port(mirror) as port:
        processes = [start(tmp_path, port) for _ in range(2)]
        told = [process.communicate(timeout=60) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], told
        assert [out.strip() for out, _ in told] == ["12", "12"]
        assert _fetched(mirror) == _n_pictures(undisturbed)
        ends_like(undisturbed, points, tmp_path, port)


def test_a_disk_that_fills_is_told_and_loses_nothing(undisturbed, points, mirror_with, start, tmp_path):
    def small_files_only():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    with serve_on_port(mirror_with()) as port:
        process = start(tmp_path, port, preexec_fn=small_files_only)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "HomeError" in said
        assert "cannot write under GEOLOC_HOME" in said
        ends_like(undisturbed, points, tmp_path, port)


class OddMirror(Mirror):
    """Answers for the first pictures that are asked for with odd ones."""

    def __init__(self, *arguments, odd, **options):
        super().__init__(*arguments, **options)
        self._odd, self.given = list(odd.items()), {}

    def answer(self, asked, *rest):
        answer = super().answer(asked, *rest)
        if not asked.host.endswith(_CDN) or answer.status != 200:
            return answer
        if asked.path not in self.given:
            self.given[asked.path] = self._odd.pop(0) if self._odd else None
        odd = self.given[asked.path]
        return answer if odd is None else dataclasses.replace(answer, body=odd[1][0], content_type="image/jpeg")


def test_odd_pictures_are_archived_or_turned_away_and_never_stop_the_others(points, land, odd_pictures, tmp_path):
    odd = odd_pictures([draw(SimpleNamespace(seed=seed), True, 256) for seed in range(1, 9)])
    mirror = OddMirror(tmp_path / "world", land, draw=draw, odd=odd)
    with serve_on_port(mirror) as port:
        images, rejected = collect(points, tmp_path, port)
        assert len(images) == 12, "every point found another picture"
        bad = {reason for _, reason in odd.values() if reason}
        assert set(rejected["reason"]) == bad
        assert len(rejected) == sum(bool(reason) for _, reason in odd.values())
        asked = mirror.served.total()
        collect(points, tmp_path, port)
        assert mirror.served.total() == asked
    for row in images.to_dict("records"):
        data = read_member(tmp_path / "images", shard=row["shard"], offset=row["offset"], size_bytes=row["size_bytes"])
        assert distance_m(
            lat=place_in_webp(data)[0], lon=place_in_webp(data)[1], to_lat=row["lat"], to_lon=row["lon"]
        ) < 0.01  # fmt: skip
