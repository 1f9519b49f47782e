"""Names and outlines out of a census, and album cards out of a manifest, of a home that was grown for it."""

from __future__ import annotations

import io
import json
import runpy
import shutil
from pathlib import Path

import pytest
import shapely
from PIL import Image

from geoloc_pipeline.retrieval.answering.album import Album
from geoloc_pipeline.retrieval.answering.atlas import Atlas, coast_geojson
from geoloc_pipeline.storage.layout import Home

GROWN = runpy.run_path(str(Path(__file__).parents[1] / "grown_home.py"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return GROWN["grow_home"](tmp_path_factory.mktemp("home"))


def area(geojson: dict) -> float:
    return sum(shapely.from_geojson(json.dumps(feature["geometry"])).area for feature in geojson["features"])


def test_outlines_are_joined_by_level_and_limited_to_prefectures(home: Home):
    atlas = Atlas(home)
    assert atlas.prefectures == {"13": "東京都", "47": "沖縄県"}
    assert [outline.name for outline in atlas.outlines("prefecture")] == ["東京都", "沖縄県"]
    assert [outline.name for outline in atlas.outlines("municipality", ["47", "99"])] == ["見本東市", "見本西市"]
    assert atlas.outlines("municipality", ["99"]) == []


def test_geojson_covers_what_the_census_covers(home: Home):
    atlas = Atlas(home)
    for level in ("prefecture", "municipality"):
        assert area(atlas.geojson(level)) == pytest.approx(2 * 0.4 * 0.4, rel=1e-3)
    assert len(coast_geojson()["features"]) == 8


def test_places_are_named_from_the_largest_area_to_the_smallest(home: Home):
    assert Atlas(home).places_at(lat=[35.65, 0.0], lon=[139.65, 0.0]) == ["東京都 見本東市 1丁目", ""]
    assert Atlas(home).places_at(lat=[], lon=[]) == []


def test_an_album_tells_what_the_manifest_says_and_nothing_of_strangers(home: Home):
    album = Album(home)
    known, unknown = album.told(["picture3", "nobody"], places=["ここ", "そこ"], with_pixels=True)
    assert (known.source, known.licence, known.attribution, known.place) == ("yfcc100m", "CC-BY-SA-4.0", "撮影者3", "ここ")
    assert (known.pixels == GROWN["picture"](3)).all()
    assert (unknown.source, unknown.place, unknown.pixels) == ("", "そこ", None)
    assert album.sources == ("local", "yfcc100m")


def test_a_thumbnail_is_small_and_carries_no_exif(home: Home):
    image = Image.open(io.BytesIO(Album(home).thumbnail("picture3", width_px=100)))
    assert image.size == (100, 75)
    assert not image.getexif()
    assert Album(home).thumbnail("nobody", width_px=100) is None


def test_an_empty_home_has_an_empty_album_and_atlas(tmp_path: Path):
    album, atlas = Album(Home.at(tmp_path)), Atlas(Home.at(tmp_path))
    assert album.sources == ()
    assert album.told(["a"], places=[""])[0].source == ""
    assert atlas.outlines("prefecture") == []
    assert atlas.places_at(lat=[35.0], lon=[139.0]) == [""]


def test_a_picture_whose_shard_is_gone_is_told_without_pixels(home: Home, tmp_path: Path):
    copied = Home.at(shutil.copytree(home.root, tmp_path / "copied"))
    shutil.rmtree(copied.images("photo_collections", "local"))
    (told,) = Album(copied).told(["picture3"], places=[""], with_pixels=True)
    assert told.pixels is None
    assert told.attribution == "撮影者3"
