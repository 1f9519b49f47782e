"""A new dump costs the pictures of its new points: the rest keeps its rows and its shards, whenever a run is killed."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.mirror import DEMO_TOKEN, Mirror
from geoloc_pipeline.demo.mirror_transports import async_mirror_transport
from geoloc_pipeline.geo.sphere import destination, distance_m
from geoloc_pipeline.imagery.collect import CollectSettings, collect_street_view
from geoloc_pipeline.imagery.journal import remove_unused_shards
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.mapillary import MapillaryProvider
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import REJECTED, STREET_VIEW_IMAGES, check_table

_SETTINGS = CollectSettings(chunk_points=16, in_flight=1, source_px=256)
_APART_M = 700.0  # more than twice the radius: no two points can want one picture


class Killed(BaseException):
    """Nothing in the house catches it, as nothing catches kill -9."""


class MadeUpMapillary(httpx.AsyncBaseTransport):
    """The demo's mirror with pictures that cost nothing; `dies_at` ends the process, as far as anybody can see."""

    def __init__(self, folder, land):
        def draw(camera, is_pano, width_px):
            ramp = (np.arange(width_px // 2 * width_px) % (camera.seed % 97 + 60)).reshape(-1, width_px, 1)
            ramp[:8, :64, 0] = 90 * np.unpackbits(np.frombuffer(camera.seed.to_bytes(8, "big"), np.uint8))
            return np.repeat(ramp, 3, axis=2).astype(np.uint8)

        self._mirror, self.asked, self.dies_at = async_mirror_transport(Mirror(folder, land, draw=draw)), [], None

    async def handle_async_request(self, request):
        self.asked.append(request.url.host)
        if len(self.asked) == self.dies_at:
            raise Killed
        return await self._mirror.handle_async_request(request)

    @asynccontextmanager
    async def providers(self):
        async with AsyncHttpClient(transport=self, sleep=_no_wait) as http:
            yield [MapillaryProvider(http, DEMO_TOKEN)]

    @property
    def counted(self):
        """Pictures and what is told of them."""
        return sum(host.endswith("fbcdn.net") for host in self.asked), self.asked.count("graph.mapillary.com")


async def _no_wait(seconds):
    await asyncio.sleep(0)


@pytest.fixture(scope="module")
def land():
    return grow_land(seed=3, prefecture_codes=("13", "47"), density=0.3)


@pytest.fixture(scope="module")
def places(land):
    """Places with a panorama, far from each other."""
    shots = Coverage(land).only("mapillary").shots
    found: list[tuple[float, float]] = []
    for at in np.column_stack([shots.gps_lat, shots.gps_lon])[shots.is_pano].tolist():
        others = np.array(found).reshape(-1, 2)
        away_m = distance_m(lat=at[0], lon=at[1], to_lat=others[:, 0], to_lon=others[:, 1])
        if away_m.min(initial=np.inf) > _APART_M:
            found.append(tuple(at))
        if len(found) == 62:
            return found
    raise AssertionError(f"the world has room for {len(found)} points")


@pytest.fixture(scope="module")
def world_of_all(land, tmp_path_factory):
    return MadeUpMapillary(tmp_path_factory.mktemp("world"), land)


@pytest.fixture
def world(world_of_all):
    world_of_all.asked.clear()
    world_of_all.dies_at = None
    return world_of_all


@pytest.fixture
def before(places, sample_points):
    return sample_points([(f"p{number:02}", *place) for number, place in enumerate(places[:60])])


@pytest.fixture
def after(places, sample_points):
    """Two of the sixty are gone, two are new elsewhere."""
    kept = [(f"p{number:02}", *place) for number, place in enumerate(places[:60]) if number not in {17, 40}]
    return sample_points([*kept, ("n60", *places[60]), ("a61", *places[61])])


@pytest.fixture(scope="module")
def homes():
    return {}


@pytest.fixture
def home(world, before, homes, tmp_path):
    """A home in which the first dump's pictures are archived; fetched once for all tests."""
    if not homes:
        _collect(world, before, tmp_path / "first")
        homes["first"] = tmp_path / "first"
    world.asked.clear()
    return shutil.copytree(homes["first"], tmp_path / "home")


def _collect(world, points, home, **changes):
    folder = home / "images"
    settings = replace(_SETTINGS, **changes)
    found = collect_street_view(
        points, world.providers, folder, settings=settings, coverage_folders={"mapillary": home / "tiles"}
    )
    images, rejected = found.images, found.rejected
    check_table(STREET_VIEW_IMAGES, images)
    check_table(REJECTED, rejected)
    for row in images.to_dict("records"):
        assert read_member(folder, shard=row["shard"], offset=row["offset"], size_bytes=row["size_bytes"])
    return images.set_index("point_id"), rejected


def _files(folder):
    """Name, inode, time and bytes of every file of the chunks."""
    chunks = [path for path in folder.iterdir() if path.suffix in {".tar", ".parquet"} and not path.name.startswith("plan")]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in chunks}


def test_two_of_sixty_points_changed_and_exactly_two_pictures_are_asked_for(world, before, after, tmp_path):
    first, bad = _collect(world, before, tmp_path)
    assert len(first) == 60
    assert len(bad) > 0, "the made-up Mapillary has spoilt pictures, too: their points get others"
    assert world.counted == (60 + len(bad), 60 + len(bad))
    stood = _files(tmp_path / "images")
    world.asked.clear()
    second, _ = _collect(world, after, tmp_path)
    assert world.counted == (2, 2)
    now = _files(tmp_path / "images")
    assert {name: now[name] for name in stood} == stood, "a shard of settled points was touched"
    assert len([name for name in now if name.endswith(".tar") and name not in stood]) == 1
    written = sum(len(now[name][2]) for name in now if name not in stood)
    assert written < 0.2 * sum(len(content) for _, _, content in stood.values())
    assert set(second.index) == set(first.index) | {"n60", "a61"}
    assert set(second.index[~second["is_wanted"]]) == {"p17", "p40"}
    columns = [name for name in first.columns if name != "is_wanted"]
    pd.testing.assert_frame_equal(second.loc[first.index, columns], first[columns])
    assert remove_unused_shards(tmp_path / "images", second) == 0


def test_a_refresh_done_twice_asks_for_nothing_and_ends_with_the_same_bytes(world, home, after):
    second = _collect(world, after, home)
    files = _files(home / "images")
    world.asked.clear()
    again = _collect(world, after.sample(frac=1, random_state=1), home)
    assert world.asked == []
    assert _files(home / "images") == files
    for one, two in zip(second, again, strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_a_point_that_moved_keeps_its_picture_without_a_request(world, home, before, sample_points):
    first, _ = _collect(world, before, home)
    stood = _files(home / "images")
    places = dict(zip(before["point_id"], zip(before["lat"], before["lon"], strict=True), strict=True))
    lat, lon = places.pop("p17")
    places["moved"] = tuple(map(float, destination(lat=lat, lon=lon, bearing_deg=70.0, away_m=60.0)))
    second, _ = _collect(world, sample_points([(name, *place) for name, place in places.items()]), home)
    assert world.asked == []
    assert _files(home / "images") == stood
    assert second.loc["moved", "image_id"] == first.loc["p17", "image_id"]
    assert (second.loc["moved", "requested_lat"], second.loc["moved", "requested_lon"]) == places["moved"]
    assert second["is_wanted"].all()
    assert len(second) == len(first)


def test_points_that_vanish_and_come_back_cost_nothing(world, home, before, after):
    first, _ = _collect(world, before, home)
    _collect(world, after, home)
    world.asked.clear()
    third, _ = _collect(world, before, home)
    assert world.asked == []
    pd.testing.assert_frame_equal(third.loc[first.index], first)
    assert set(third.index[~third["is_wanted"]]) == {"n60", "a61"}


@pytest.mark.parametrize("dies_at", [1, 2, 3, 4])
def test_a_refresh_killed_anywhere_ends_as_an_undisturbed_one(world, home, after, tmp_path, dies_at):
    other = shutil.copytree(home, tmp_path / "other")
    whole = _collect(world, after, other)
    world.asked.clear()
    world.dies_at = dies_at
    with pytest.raises(Killed):
        _collect(world, after, home)
    world.dies_at = None
    again = _collect(world, after, home)
    for one, two in zip(whole, again, strict=True):
        pd.testing.assert_frame_equal(one, two)
    contents = [{path.name: path.read_bytes() for path in (folder / "images").iterdir()} for folder in (other, home)]
    assert contents[0] == contents[1]


def test_the_dump_after_a_killed_refresh_loses_no_picture_and_asks_for_none_in_vain(world, home, before, after):
    first, _ = _collect(world, before, home)
    world.dies_at = 1
    with pytest.raises(Killed):
        _collect(world, after, home)
    world.dies_at = None
    world.asked.clear()
    images, _ = _collect(world, after[after["point_id"] != "n60"], home)  # the dump after it knows one new point no more
    assert world.counted == (1, 1)
    assert set(images.index) == set(first.index) | {"a61"}
    assert set(images.index[~images["is_wanted"]]) == {"p17", "p40"}


def test_another_width_fetches_what_is_wanted_anew_and_only_that(world, home, after):
    former, _ = _collect(world, after, home)
    stood = {path.name for path in (home / "images").glob("*.tar")}
    world.asked.clear()
    images, rejected = _collect(world, after, home, source_px=128)
    assert world.counted == (60, 60), "what was bad is not tried again"
    assert set(images.index) == set(former.index[former["is_wanted"]]) == set(after["point_id"])
    assert set(rejected["reason"]) == {"bad"}
    assert remove_unused_shards(home / "images", images) == len(stood)
    _collect(world, after, home, source_px=128)
    assert world.counted == (60, 60)
