"""Collecting: every point accounted for, nothing fetched twice, and a run that dies ends as if it had not."""

from __future__ import annotations

import hashlib
import logging
import traceback
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoloc_pipeline.errors import BudgetSpentError, GeolocError, SettingError, SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.imagery.collect import CollectSettings, collect_street_view
from geoloc_pipeline.imagery.journal import remove_unused_shards
from geoloc_pipeline.imagery.webp import place_in_webp
from geoloc_pipeline.sources.mapillary import MapillaryProvider
from geoloc_pipeline.storage.progress import Progress
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import REJECTED, SAMPLE_POINTS, STREET_VIEW_IMAGES, check_table, empty_table

_STEP = 0.002  # 200 m: each point has its own picture
_SETTINGS = CollectSettings(chunk_points=4, in_flight=3, encoders=2)


class Killed(BaseException):
    """Nothing in the house catches it, as nothing catches kill -9."""


def _places(n):
    return [(f"p{number:02}", 35.68 + number * _STEP, 139.76) for number in range(n)]


@pytest.fixture
def world(small_mapillary, shot):
    return small_mapillary(
        {
            100 + number: shot(lat + 0.0003, lon, compass_deg=number * 37.0 % 360)
            for number, (_, lat, lon) in enumerate(_places(10))
        }
    )


def _collect(world, points, folder, settings=_SETTINGS, open_providers=None, **options):
    found = collect_street_view(points, open_providers or world.providers(tries=2), folder, settings=settings, **options)
    check_table(STREET_VIEW_IMAGES, found.images)
    check_table(REJECTED, found.rejected)
    return found.images, found.rejected


def _bytes(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def _pictures(images, folder):
    return [
        read_member(folder, shard=row["shard"], offset=row["offset"], size_bytes=row["size_bytes"])
        for row in images.to_dict("records")
    ]


def test_every_point_gets_its_picture_with_all_that_is_known_of_it(world, sample_points, tmp_path):
    places = _places(10)
    images, rejected = _collect(world, sample_points(places), tmp_path)
    assert len(images) == 10
    assert len(rejected) == 0
    row = images.set_index("source_image_id").loc["103"]
    assert (row["views"], row["width_px"], row["height_px"]) == ("NESW", 256, 64)
    assert (row["requested_lat"], row["requested_lon"]) == places[3][1:]
    assert row["licence"] == "CC-BY-SA-4.0"
    assert row["attribution"] == "mapper via Mapillary, CC BY-SA 4.0"
    assert row["source_url"] == "https://www.mapillary.com/app/?pKey=103"
    assert row["capture_group"] == "mapillary:seq10"
    assert row["fetched_at"] == pd.Timestamp("2026-11-03T10:11:12Z")
    assert row["image_id"] == hashlib.sha256(b"mapillary\n103").hexdigest()[:16]
    for found, data in zip(images.to_dict("records"), _pictures(images, tmp_path), strict=True):
        assert hashlib.sha256(data).hexdigest() == found["sha256"]
        lat, lon = place_in_webp(data)
        assert distance_m(lat=lat, lon=lon, to_lat=found["lat"], to_lon=found["lon"]) < 0.02


def test_north_comes_first_whatever_way_the_camera_looked(world, sample_points, tmp_path, colours):
    import io

    images, _ = _collect(world, sample_points(_places(10)), tmp_path)
    for data in _pictures(images, tmp_path):
        strip = np.asarray(Image.open(io.BytesIO(data))).astype(int)
        for position, colour in enumerate(colours.values()):
            middle = np.median(strip[:, position * 64 + 16 : position * 64 + 48].reshape(-1, 3), axis=0)
            assert np.abs(middle - colour).max() < 20


def test_a_second_run_asks_for_nothing_and_ends_with_the_same_bytes(world, sample_points, tmp_path):
    points = sample_points(_places(10))
    first = _collect(world, points, tmp_path)
    before, n_asked = _bytes(tmp_path), len(world.asked)
    second = _collect(world, points.sample(frac=1, random_state=1), tmp_path)
    assert len(world.asked) == n_asked
    assert _bytes(tmp_path) == before
    for one, two in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one, two)


@pytest.mark.parametrize(("in_flight", "encoders"), [(1, 1), (2000, 4)])
def test_how_many_are_in_flight_changes_no_byte(world, sample_points, tmp_path, in_flight, encoders):
    points = sample_points(_places(10))
    _collect(world, points, tmp_path / "few")
    _collect(world, points, tmp_path / "other", CollectSettings(chunk_points=4, in_flight=in_flight, encoders=encoders))
    assert _bytes(tmp_path / "few") == _bytes(tmp_path / "other")


def _dies_at(world, n):
    def fault(request):
        if len(world.asked) == n:
            raise Killed
        return

    return fault


@pytest.mark.parametrize("n", [1, 2, 5, 9, 12, 17, 22])
def test_a_run_killed_anywhere_ends_as_an_undisturbed_one(world, sample_points, tmp_path, n):
    points, settings = sample_points(_places(10)), CollectSettings(chunk_points=4, in_flight=1)
    whole = _collect(world, points, tmp_path / "whole", settings)
    world.asked.clear()
    world.fault = _dies_at(world, n)
    with pytest.raises(Killed):
        _collect(world, points, tmp_path / "killed", settings)
    world.fault = None
    fetched = world.fetched[: -1 if "cdn" in world.asked[-1] else None]  # it died while asking for the last
    world.asked.clear()
    again = _collect(world, points, tmp_path / "killed", settings)
    assert sorted(fetched + world.fetched) == [str(100 + number) for number in range(10)], "none is missing, none came twice"
    assert _bytes(tmp_path / "killed") == _bytes(tmp_path / "whole")
    for one, two in zip(whole, again, strict=True):
        pd.testing.assert_frame_equal(one, two)


def _down_after(world, n, answer):
    return lambda request: answer if len(world.asked) > n else None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (httpx.Response(401, json={"error": {"code": 190}}), SourceRefusedError),
        (httpx.Response(503), SourceUnavailableError),
    ],
)
def test_a_service_that_ends_it_loses_nothing_that_was_fetched(world, sample_points, tmp_path, answer, expected):
    points, settings = sample_points(_places(10)), CollectSettings(chunk_points=64, in_flight=1)
    whole = _collect(world, points, tmp_path / "whole", settings)
    world.asked.clear()
    world.fault = _down_after(world, 2 * 5 + 4, answer)
    with pytest.raises(expected):
        _collect(world, points, tmp_path / "ended", settings)
    n_fetched = len(set(world.fetched))
    world.fault = None
    world.asked.clear()
    again = _collect(world, points, tmp_path / "ended", settings)
    assert len(world.fetched) <= 10 - n_fetched + 1
    assert n_fetched > 3
    remove_unused_shards(tmp_path / "ended", again[0])
    assert _bytes(tmp_path / "ended") == _bytes(tmp_path / "whole")
    for one, two in zip(whole, again, strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_a_spent_budget_goes_on_the_next_day(world, sample_points, tmp_path):
    points = sample_points(_places(10))
    few = world.providers(per_day={"graph.mapillary.com": 6})
    with pytest.raises(BudgetSpentError):
        _collect(world, points, tmp_path, CollectSettings(chunk_points=64, in_flight=1), open_providers=few)
    fetched = {url for url in world.asked if "cdn" in url}
    assert len(fetched) == 6
    world.asked.clear()
    images, _ = _collect(world, points, tmp_path, CollectSettings(chunk_points=64, in_flight=1))
    assert len(images) == 10
    assert not fetched & set(world.asked)


def test_one_picture_that_does_not_come_is_a_row_and_is_tried_again_the_next_time(world, sample_points, tmp_path):
    points = sample_points(_places(10))
    world.fault = lambda request: httpx.Response(500) if request.url.path == "/105.jpg" else None
    images, rejected = _collect(world, points, tmp_path)
    assert len(images) == 9
    assert rejected[["source_image_id", "reason"]].to_numpy().tolist() == [["105", "unavailable"]]
    world.fault = None
    world.asked.clear()
    images, rejected = _collect(world, points, tmp_path)
    assert (len(images), len(rejected)) == (10, 0)
    assert [url for url in world.asked if "cdn" in url] == ["https://cdn.example.org/105.jpg"]


def test_every_bad_picture_is_a_row_with_its_reason(small_mapillary, shot, sample_points, tmp_path, as_jpeg, panorama):
    good = as_jpeg(panorama(256))
    bad = {
        "empty": {"content": b""},
        "truncated": {"content": good[:1500]},
        "not_an_image": {"content": b"<html>sorry"},
        "no_imagery": {"content": as_jpeg(np.full((128, 256, 3), 228, dtype=np.uint8))},
        "black": {"content": as_jpeg(np.zeros((128, 256, 3), dtype=np.uint8))},
        "too_small": {"content": as_jpeg(np.zeros((1, 1, 3), dtype=np.uint8))},
        "too_large": {"content": as_jpeg(np.zeros((8, 30_000, 3), dtype=np.uint8))},
        "not_a_panorama": {"content": as_jpeg(panorama(256)[:, :128])},
        "no_place": {"further": {"geometry": None}},
        "no_compass": {"further": {"computed_compass_angle": None}},
        "no_picture": {"further": {"thumb_1024_url": None}},
    }
    places = _places(len(bad) + 2)
    world = small_mapillary(
        {100 + number: shot(places[number][1], places[number][2], **fault) for number, fault in enumerate(bad.values())}
    )
    gone = 100 + len(bad)
    world.shots[gone] = shot(*places[len(bad)][1:])
    world.fault = lambda request: (
        httpx.Response(404, json={"error": {"code": 100, "message": "Unsupported get request"}})
        if request.url.path == f"/{gone}"
        else None
    )
    images, rejected = _collect(world, sample_points(places), tmp_path)
    assert len(images) == 0
    expected = {(str(100 + number), reason) for number, reason in enumerate(bad)}
    expected |= {(str(gone), "gone"), (places[-1][0], "nothing_within_radius")}
    expected |= {(point_id, "all_bad") for point_id, _, _ in places[:-1]}
    assert set(map(tuple, rejected[["source_image_id", "reason"]].to_numpy())) == expected
    n_asked = len(world.asked)
    _collect(world, sample_points(places), tmp_path)
    assert len(world.asked) == n_asked


def test_flat_pictures_make_one_strip_with_a_mask(small_mapillary, shot, sample_points, tmp_path, colours):
    import io

    lat, lon = 35.68, 139.76
    world = small_mapillary(
        {
            10: shot(lat, lon + 0.0001, is_pano=False, compass_deg=2.0),
            20: shot(lat, lon - 0.0001, is_pano=False, compass_deg=92.0),
            30: shot(lat, lon + 0.0002, is_pano=False, compass_deg=181.0, content=b"broken"),
        }
    )
    images, rejected = _collect(world, sample_points([("p", lat, lon)]), tmp_path)
    (row,) = images.to_dict("records")
    assert (row["views"], row["source_image_id"], row["width_px"]) == ("NE--", "10+20", 4 * 96)
    assert distance_m(lat=row["lat"], lon=row["lon"], to_lat=lat, to_lon=lon) < 1
    assert rejected[["source_image_id", "reason"]].to_numpy().tolist() == [["30", "not_an_image"]]
    strip = np.asarray(Image.open(io.BytesIO(_pictures(images, tmp_path)[0]))).astype(int)
    for position, colour in enumerate((colours["N"], colours["E"], (0, 0, 0), (0, 0, 0))):
        middle = np.median(strip[:, position * 96 + 8 : position * 96 + 88].reshape(-1, 3), axis=0)
        assert np.abs(middle - colour).max() < 20


def test_two_points_never_share_a_picture(small_mapillary, shot, sample_points, tmp_path):
    world = small_mapillary({10: shot(35.68, 139.76)})
    images, rejected = _collect(world, sample_points([("b", 35.68, 139.76), ("a", 35.6801, 139.76)]), tmp_path)
    assert images["requested_lat"].tolist() == [35.6801]
    assert rejected[["source_image_id", "reason"]].to_numpy().tolist() == [["b", "already_taken"]]


def test_shards_that_no_table_speaks_of_are_removed_when_told(world, sample_points, tmp_path):
    narrow = CollectSettings(chunk_points=4, in_flight=2, side_px=32)
    images, _ = _collect(world, sample_points(_places(9)), tmp_path, narrow)
    more, _ = _collect(world, sample_points(_places(10)), tmp_path)
    assert all(_pictures(images, tmp_path))
    assert remove_unused_shards(tmp_path, more) == 3
    assert remove_unused_shards(tmp_path, more) == 0
    assert all(_pictures(more, tmp_path))


def test_no_points_no_requests(world, tmp_path):
    images, rejected = _collect(world, empty_table(SAMPLE_POINTS), tmp_path)
    assert (len(images), len(rejected), world.asked) == (0, 0, [])


def test_progress_counts_pictures_to_the_end(world, sample_points, tmp_path):
    for _ in range(2):
        progress = Progress()
        _collect(world, sample_points(_places(10)), tmp_path, progress=progress)
        assert (progress.done, progress.total, progress.unit) == (10, 10, "pictures")


def test_the_token_is_in_no_file_log_or_error(world, sample_points, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    _collect(world, sample_points(_places(10)), tmp_path, coverage_folders={"mapillary": tmp_path / "tiles"})
    world.fault = lambda request: httpx.Response(403, json={"error": {"code": 190, "message": f"bad {request.headers}"}})
    with pytest.raises(GeolocError) as caught:
        _collect(world, sample_points(_places(12)), tmp_path / "other")
    said = caplog.text + "".join(traceback.format_exception(caught.value))
    assert "demo-of-a-secret" not in said
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"demo-of-a-secret" not in path.read_bytes()
            assert b"S1GNED" not in path.read_bytes()


@pytest.mark.parametrize("settings", [{"radius_m": 0}, {"in_flight": 0}, {"chunk_points": -1}, {"radius_m": float("nan")}])
def test_settings_that_cannot_work_are_told(settings):
    with pytest.raises(SettingError, match=next(iter(settings))):
        CollectSettings(**settings)


def test_providers_that_number_their_pictures_alike_are_never_mixed_up(world, small_mapillary, shot, sample_points, tmp_path):
    class Other(MapillaryProvider):
        source = "other"

    def opened(*of):
        @asynccontextmanager
        async def open_providers():
            async with AsyncExitStack() as stack:
                asked = [(await stack.enter_async_context(one.providers(tries=1)()), kind) for one, kind in of]
                yield [kind(providers[0]._http, "MLY|1|demo-of-a-secret") for providers, kind in asked]

        return open_providers

    points = sample_points(_places(10))
    elsewhere = {
        100 + number: shot(lat, lon + 0.0005, compass_deg=number * 31.0 + 5.0)
        for number, (_, lat, lon) in enumerate(_places(10))
    }
    other = small_mapillary(elsewhere)
    other.fault = _down_after(other, 14, httpx.Response(401, json={"error": {"code": 190}}))
    settings = CollectSettings(chunk_points=64, in_flight=1)
    with pytest.raises(SourceRefusedError):
        _collect(world, points, tmp_path, settings, open_providers=opened((other, Other)))
    assert len(other.fetched) > 2
    other.fault = None
    images, _ = _collect(world, points, tmp_path, settings, open_providers=opened((world, MapillaryProvider), (other, Other)))
    wanted = images[images["is_wanted"]]
    assert wanted["source"].tolist() == ["mapillary"] * 10
    assert (wanted["lon"] == 139.76).all()
    assert len(world.fetched) == 10
    images, _ = _collect(world, points, tmp_path, settings, open_providers=opened((other, Other), (world, MapillaryProvider)))
    assert images.groupby("source")["is_wanted"].sum().to_dict() == {"mapillary": 0, "other": 10}
    assert (images.loc[images["source"] == "mapillary", "lon"] == 139.76).all()
