"""The paper's photo sets, small and in their true forms: what the adapters make of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shapely
from PIL import Image

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.publish_sets import AT_HOME, BUSAN, PARIS, SEOUL, SETS, publish_sets
from geoloc_pipeline.geo.country import in_japan, in_japan_box
from geoloc_pipeline.sources.photo_record import Photo
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS, read_photo_set


@pytest.fixture(scope="module")
def photos(world: Path) -> dict[str, list[Photo]]:
    return {name: list(read_photo_set(name, world / "photos" / name)) for name in SETS}


def at(photos: list[Photo], place: tuple[float, float]) -> list[Photo]:
    return [photo for photo in photos if (photo.lat, photo.lon) == place]


def test_paris_is_outside_the_box_and_busan_and_seoul_are_inside_but_not_in_japan() -> None:
    lat, lon = zip(PARIS, BUSAN, SEOUL, strict=True)
    assert in_japan_box(lat=lat, lon=lon).tolist() == [False, True, True]
    assert not in_japan(lat=lat, lon=lon).any()


def test_with_the_users_own_folder_it_is_every_set_of_the_paper(world: Path) -> None:
    assert {*SETS, "local"} == set(PHOTO_SETS)
    assert {path.name for path in (world / "photos").iterdir()} == set(PHOTO_SETS)


@pytest.mark.parametrize("name", SETS)
def test_a_set_has_photos_at_home_one_missing_and_some_abroad(name: str, photos: dict[str, list[Photo]]) -> None:
    here = [photo for photo in photos[name] if in_japan(lat=photo.lat, lon=photo.lon)]
    found = [photo for photo in here if photo.fault is None and (photo.accuracy_m or 0) < 500.1]
    assert AT_HOME - 3 <= len(found) <= AT_HOME
    for photo in found:
        assert photo.file is not None
        assert photo.file.read().startswith(b"\xff\xd8")
    assert Counter(photo.fault[0] for photo in here if photo.fault) == {"file_missing": 1}
    assert len(photos[name]) > len(here)


def test_busan_is_in_two_sets_and_seoul_in_one(photos: dict[str, list[Photo]]) -> None:
    assert [name for name in SETS if at(photos[name], BUSAN)] == ["mp16", "osv5m"]
    assert [name for name in SETS if at(photos[name], SEOUL)] == ["yfcc100m"]
    assert [name for name in SETS if at(photos[name], PARIS)] == [name for name in SETS if name != "yfcc100m"]


def test_one_flickr_photo_is_in_two_sets_in_different_bytes(photos: dict[str, list[Photo]]) -> None:
    origins = Counter(photo.origin_id for name in SETS for photo in photos[name] if photo.origin_id)
    (twice,) = [origin for origin, times in origins.items() if times > 1]
    one, two = [photo for name in ("yfcc100m", "mp16") for photo in photos[name] if photo.origin_id == twice]
    assert one.file is not None
    assert two.file is not None
    assert one.file.read() != two.file.read()
    assert (one.lat, one.lon, one.capture_group) == (two.lat, two.lon, two.capture_group)


def test_one_picture_of_osv5m_is_mapillarys(photos: dict[str, list[Photo]], thin_land: Land) -> None:
    coverage = Coverage(thin_land)
    (shared,) = [photo for photo in photos["osv5m"] if coverage.row_of(photo.source_image_id) is not None]
    row = coverage.row_of(shared.source_image_id)
    assert shared.lat == pytest.approx(float(coverage.shots.lat[row]))
    assert shared.fault is None


def test_one_photo_and_one_landmark_are_placed_too_coarsely(photos: dict[str, list[Photo]]) -> None:
    coarse = {name: {photo.accuracy_m for photo in photos[name] if (photo.accuracy_m or 0) > 500} for name in SETS}
    assert {name: spread for name, spread in coarse.items() if spread} == {
        "yfcc100m": {640.0},
        "google_landmarks_v2": {15_000.0},
    }


def test_landmarks_stand_where_they_are_and_one_file_has_a_place_of_its_own(
    photos: dict[str, list[Photo]], thin_land: Land
) -> None:
    marks = shapely.STRtree([mark.geometry.centroid for mark in thin_land.landmarks])
    rough = [photo for photo in photos["google_landmarks_v2"] if photo.accuracy_m == 500 and (photo.lat, photo.lon) != PARIS]
    assert all(
        marks.geometries[marks.nearest(point)].distance(point) < 1e-6 for point in (shapely.Point(p.lon, p.lat) for p in rough)
    )
    assert sum(photo.accuracy_m == 20 for photo in photos["google_landmarks_v2"]) == 1


def test_the_tar_comes_in_parts_and_pictures_are_small(world: Path, photos: dict[str, list[Photo]]) -> None:
    assert len(list((world / "photos" / "mp16").glob("mp-16-images0?"))) == 3
    assert not list((world / "photos" / "mp16").glob("*.jpg"))
    file = next(photo.file for photo in photos["yfcc100m"] if photo.file)
    assert Image.open(file.path).size == (400, 300)


def test_a_land_without_roads_has_no_sets(thin_land: Land, quick_draw: Any, tmp_path: Path) -> None:
    publish_sets(replace(thin_land, roads=()), tmp_path, draw=quick_draw)
    assert list(tmp_path.iterdir()) == []


def test_the_files_carry_the_worlds_date(world: Path, thin_land: Land) -> None:
    times = {path.stat().st_mtime for path in (world / "photos").rglob("*") if path.is_file()}
    assert times == {thin_land.published_at.timestamp()}
