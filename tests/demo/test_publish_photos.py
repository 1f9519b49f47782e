"""The small photo set: places in EXIF, authors, and the few that make trouble."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import shapely
from PIL import Image

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.publish_photos import PHOTOS, TABLE

GPS = 0x8825


@pytest.fixture(scope="module")
def photos(world: Path) -> list[Path]:
    return sorted((world / "photos" / "local").glob("*.jpg"))


def place_of(path: Path) -> tuple[float, float] | None:
    gps = Image.open(path).getexif().get_ifd(GPS)
    if 2 not in gps:
        return None
    lat, lon = (float(d) + float(m) / 60 + float(s) / 3600 for d, m, s in (gps[2], gps[4]))
    return lat, lon


def test_sixty_photos_of_4_to_3_stand_beside_roads(photos: list[Path], thin_land: Land) -> None:
    assert len(photos) == PHOTOS == 60
    tree = shapely.STRtree([shapely.LineString(road.lonlat) for road in thin_land.roads])
    for path in photos:
        assert Image.open(path).size == (640, 480)
        if place := place_of(path):
            near = shapely.Point(place[1], place[0]).buffer(0.0002)
            assert len(tree.query(near, predicate="intersects")) > 0


def test_three_photos_have_no_place_and_the_table_tells_two_of_them(photos: list[Path]) -> None:
    placeless = {path.name for path in photos if place_of(path) is None}
    with (photos[0].parent / TABLE).open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    told = {row["IMG_FILE"] for row in rows}
    assert len(told) == 2
    assert told < placeless
    assert len(placeless) == 3
    assert all(20 < float(row["LAT"]) < 46 and 122 < float(row["LON"]) < 154 for row in rows)


def test_one_photo_breaks_off(photos: list[Path]) -> None:
    broken = []
    for path in photos:
        try:
            Image.open(path).load()
        except OSError:
            broken.append(path.name)
    assert len(broken) == 1


def test_authors_and_times_are_told(photos: list[Path]) -> None:
    exif = [Image.open(path).getexif() for path in photos]
    authors = {tags[315] for tags in exif}
    assert len(authors) == 9
    assert all(author.startswith("Made-up") for author in authors)
    assert all(tags.get_ifd(0x8769)[36867][:2] == "20" for tags in exif)


def test_the_files_carry_the_worlds_date(photos: list[Path], thin_land: Land) -> None:
    assert {path.stat().st_mtime for path in photos[0].parent.iterdir()} == {thin_land.published_at.timestamp()}
