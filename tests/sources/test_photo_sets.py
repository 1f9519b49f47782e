"""Photo sets in their true forms, grown small; a user's own folder in every form."""

from __future__ import annotations

import csv
import hashlib
import io
import sqlite3
import tarfile
import zipfile
from datetime import UTC, datetime

import pytest

from geoloc_pipeline.errors import BadSourceFileError, SettingError
from geoloc_pipeline.sources.photo_files import PictureIndex, header_of, loose_pictures, read_rows
from geoloc_pipeline.sources.photo_local import read_local
from geoloc_pipeline.sources.photo_record import place_from, spdx_of
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS, read_photo_set
from geoloc_pipeline.sources.photo_yfcc import image_path

_JPEG = b"\xff\xd8 not looked at here"


def _put(folder, name, content=_JPEG):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _csv(folder, name, header, *rows, encoding="utf-8"):
    text = io.StringIO()
    csv.writer(text).writerows([header.split(","), *rows])
    return _put(folder, name, text.getvalue().encode(encoding))


def _by_id(name, folder):
    return {photo.source_image_id: photo for photo in read_photo_set(name, folder)}


@pytest.mark.parametrize("name", list(PHOTO_SETS))
def test_a_set_whose_folder_is_missing_or_empty_yields_nothing_and_says_how_to_get_it(name, tmp_path):
    assert list(read_photo_set(name, tmp_path / "none")) == []
    assert list(read_photo_set(name, tmp_path)) == []
    assert "{folder}" in PHOTO_SETS[name].how_to_obtain
    assert PHOTO_SETS[name].how_to_obtain.format(folder="/x")


def test_the_sets_are_the_partitions_of_the_plan():
    assert set(PHOTO_SETS) == {"im2gps", "im2gps3k", "yfcc100m", "mp16", "google_landmarks_v2", "osv5m", "local"}
    with pytest.raises(SettingError, match=r"'flickr'.*im2gps"):
        read_photo_set("flickr", None)


def test_a_users_photos_come_in_path_order_placed_by_lists_or_left_to_exif(tmp_path):
    for name in ("b.JPG", "a/c.jpeg", "a/d.png", ".hidden/e.jpg", "notes.txt"):
        _put(tmp_path, name)
    _csv(tmp_path, "places.csv", "IMG_FILE,LAT,LON,AUTHOR,LICENCE", ("a/c.jpeg", "35.5", "139.5", "someone", "CC-BY-4.0"))
    _csv(tmp_path, "a/more.csv", "img_file,lat,lon", ("d.png", "-1e1", "0"), ("lost.jpg", "1", "2"))
    _csv(tmp_path, "unrelated.csv", "x,y", ("1", "2"))
    photos = list(read_local(tmp_path))
    assert [photo.source_image_id for photo in photos] == ["a/c.jpeg", "a/d.png", "b.JPG", "lost.jpg"]
    one, two, three, lost = photos
    assert (one.lat, one.lon, one.author, one.licence, one.capture_group) == (35.5, 139.5, "someone", "CC-BY-4.0", "someone")
    assert (two.lat, two.lon) == (-10.0, 0.0)
    assert (three.lat, three.lon, three.fault, three.licence) == (None, None, None, "NOASSERTION")
    assert lost.fault[0] == "file_missing"
    assert three.file.read() == _JPEG
    assert all(str(tmp_path) not in photo.source_url for photo in photos)


@pytest.mark.parametrize(("lat", "lon"), [("91", "0"), ("0", "181"), ("", ""), ("x", "1"), ("nan", "1"), ("35,1", "139")])
def test_a_listed_place_that_is_none_is_a_fault_not_a_guess(tmp_path, lat, lon):
    _put(tmp_path, "a.jpg")
    _csv(tmp_path, "places.csv", "IMG_FILE,LAT,LON", ("a.jpg", lat, lon))
    (photo,) = read_local(tmp_path)
    assert photo.fault[0] == "bad_place"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_lists_are_read_in_the_encodings_that_spreadsheets_write(tmp_path, encoding):
    _put(tmp_path, "見本.jpg")
    _csv(tmp_path, "places.csv", "IMG_FILE,LAT,LON", ("見本.jpg", "35", "139"), encoding=encoding)
    (photo,) = read_local(tmp_path)
    assert photo.lat == 35


def test_a_list_that_cannot_be_read_is_named(tmp_path):
    path = _put(tmp_path, "places.csv", b"IMG_FILE,LAT,LON\na.jpg,1,2\n\x81\xff,1,2\n")
    with pytest.raises(BadSourceFileError, match=r"places\.csv"):
        list(read_rows(path, required=("IMG_FILE",)))
    good = _csv(tmp_path, "good.csv", "IMG_FILE,LAT,LON")
    with pytest.raises(BadSourceFileError, match=r"no column WANTED.*IMG_FILE"):
        list(read_rows(good, required=("WANTED",)))
    assert header_of(good) == {"IMG_FILE", "LAT", "LON"}
    assert header_of(path) == set()


def test_pictures_are_found_loose_and_in_archives_by_path_underscored_or_last_part(tmp_path):
    _put(tmp_path, "loose/one.jpg", b"1")
    with zipfile.ZipFile(tmp_path / "two.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/two.jpg", b"2" * 1000)
    with tarfile.open(tmp_path / "three.tar", "w") as archive:
        for name, content in (("./images/34_8d_three.jpg", b"3"), ("./images/four.jpg", b"44")):
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_000_000_000
            archive.addfile(info, io.BytesIO(content))
    index = PictureIndex(tmp_path)
    assert index.find("one.jpg").read() == b"1"
    assert index.find("in/two.jpg").read() == b"2" * 1000
    assert index.find("34/8d/three.jpg").read() == b"3"
    assert index.find("x/y/four.jpg").read() == b"44"
    assert index.find("four.jpg").modified_at == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    assert index.find("five.jpg") is None
    assert [file.name for file in loose_pictures(tmp_path)] == ["loose/one.jpg"]


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_an_archive_that_is_none_is_named(tmp_path, name):
    _put(tmp_path, name, b"not an archive at all, but long enough to be looked at" * 20)
    with pytest.raises(BadSourceFileError, match=name):
        PictureIndex(tmp_path)


_LABELS = "IMG_ID,AUTHOR,LAT,LON,S3_Label,S16_Label,S365_Label,Prob_indoor,Prob_natural,Prob_urban"


@pytest.mark.parametrize(("name", "labels"), [("im2gps", "im2gps_places365.csv"), ("im2gps3k", "im2gps3k_places365.csv")])
def test_im2gps_tells_author_page_and_group(tmp_path, name, labels):
    plain, prefixed = "104123223_7410c654ba_19_19355699@N00.jpg", "Tokyo_00070_439717934_1a2b3c4d5e_145_77@N01.jpg"
    _put(tmp_path, f"imgs/{plain}")
    _csv(tmp_path, labels, _LABELS, (plain, "19355699@N00", "35.1", "139.2"), (prefixed, "77@N01", "35.6", "139.7"))
    photos = _by_id(name, tmp_path)
    assert photos[plain].source_url == "https://www.flickr.com/photos/19355699@N00/104123223"
    assert (photos[plain].lat, photos[plain].lon, photos[plain].capture_group) == (35.1, 139.2, "flickr:19355699@N00")
    assert photos[plain].file.read() == _JPEG
    assert photos[prefixed].source_url == "https://www.flickr.com/photos/77@N01/439717934"
    assert photos[prefixed].fault[0] == "file_missing"


def test_mp16_is_found_by_its_hashed_path_in_a_tar_of_underscored_names(tmp_path):
    _csv(tmp_path, "mp16_places365.csv", _LABELS, ("34/8d/9055806529.jpg", "someone", "35.1", "139.2"))
    with tarfile.open(tmp_path / "mp16.tar", "w") as archive:
        info = tarfile.TarInfo("./images/34_8d_9055806529.jpg")
        info.size = len(_JPEG)
        archive.addfile(info, io.BytesIO(_JPEG))
    photo = _by_id("mp16", tmp_path)["34/8d/9055806529.jpg"]
    assert photo.file.read() == _JPEG
    assert photo.source_url.endswith("9055806529")


def test_osv5m_keeps_japan_with_licence_and_sequence(tmp_path):
    header = "id,latitude,longitude,thumb_original_url,country,sequence,captured_at,creator_username,creator_id"
    _csv(
        tmp_path,
        "train.csv",
        header,
        ("11", "35.1", "139.2", "u", "JP", "seq", "1507560881000", "mapper", "1"),
        ("12", "48.1", "2.2", "u", "FR", "seq2", "", "mapper", "1"),
    )
    path = tmp_path / "images" / "train" / "00.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("00/11.jpg", _JPEG)
    (photo,) = read_photo_set("osv5m", tmp_path)
    assert photo.source_image_id == "11"
    assert photo.licence == "CC-BY-SA-4.0"
    assert photo.capture_group == "mapillary:seq"
    assert photo.captured_at == datetime(2017, 10, 9, 14, 54, 41, tzinfo=UTC)
    assert photo.file.read() == _JPEG


def test_landmarks_are_placed_by_their_category_and_those_abroad_left_out(tmp_path):
    category = "http://commons.wikimedia.org/wiki/Category:"
    _csv(tmp_path, "train.csv", "id,url,landmark_id", ("aa11", "u", "1"), ("bb22", "u", "2"), ("cc33", "u", "3"))
    _csv(
        tmp_path,
        "train_attribution.csv",
        "id,url,author,license,title",
        ("aa11", "https://commons.example.org/aa11", "someone", "http://creativecommons.org/licenses/by-sa/3.0", "A tower"),
    )
    _csv(
        tmp_path,
        "train_label_to_category.csv",
        "landmark_id,category",
        ("1", f"{category}Sample_Tower"),
        ("2", f"{category}Elsewhere"),
        ("3", f"{category}Unplaced"),
    )
    assert list(read_photo_set("google_landmarks_v2", tmp_path)) == []
    _csv(tmp_path, "category_coordinates.csv", "category,lat,lon", ("Sample Tower", "35.6", "139.7"), ("Elsewhere", "48", "2"))
    _put(tmp_path, "train/a/a/1/aa11.jpg")
    (photo,) = read_photo_set("google_landmarks_v2", tmp_path)
    assert (photo.lat, photo.lon, photo.licence) == (35.6, 139.7, "CC-BY-SA-3.0")
    assert photo.attribution == "someone, A tower, via Wikimedia Commons"
    assert photo.file.read() == _JPEG


def _yfcc(folder, rows):
    names = (
        "photoid uid unickname datetaken dateuploaded capturedevice title description usertags machinetags longitude latitude",
        "accuracy pageurl downloadurl licensename licenseurl serverid farmid secret secretoriginal ext marker",
    )
    columns = " ".join(names).split()
    with sqlite3.connect(folder / "yfcc100m_dataset.sql") as database:
        database.execute(f"CREATE TABLE yfcc100m_dataset ({', '.join(columns)})")
        for row in rows:
            values = [row.get(column, "") for column in columns]
            database.execute(f"INSERT INTO yfcc100m_dataset VALUES ({','.join('?' * len(columns))})", values)
    database.close()


def test_yfcc_gives_photos_in_the_box_with_their_own_licences(tmp_path):
    photo = {
        "uid": "1@N01", "unickname": "some+one", "pageurl": "http://www.flickr.com/photos/1@N01/5/", "ext": "jpg", "marker": 0,
        "downloadurl": "http://farm1.example.org/5.jpg", "licenseurl": "http://creativecommons.org/licenses/by-nc-nd/2.0/",
    }  # fmt: skip
    _yfcc(
        tmp_path,
        [
            photo | {"photoid": 5, "latitude": "35.5", "longitude": "139.5"},
            photo | {"photoid": 6, "latitude": "", "longitude": ""},
            photo | {"photoid": 7, "latitude": "48.0", "longitude": "2.0"},
            photo | {"photoid": 8, "latitude": "35.5", "longitude": "139.5", "marker": 1},
            photo | {"photoid": 9, "latitude": "35.5", "longitude": "139.5", "downloadurl": "http://farm1.example.org/9.jpg"},
        ],
    )
    _put(tmp_path, image_path("http://farm1.example.org/5.jpg"))
    photos = _by_id("yfcc100m", tmp_path)
    assert set(photos) == {"5", "9"}
    assert (photos["5"].licence, photos["5"].author, photos["5"].capture_group) == (
        "CC-BY-NC-ND-2.0",
        "some one",
        "flickr:1@N01",
    )
    assert photos["5"].file.read() == _JPEG
    assert photos["9"].fault[0] == "file_missing"


def test_the_hash_path_drops_leading_zeros_of_bytes():
    for number in range(300):
        url = f"http://farm1.example.org/{number}.jpg"
        digest = hashlib.md5(url.encode()).hexdigest()
        name = "".join(digest[at : at + 2].lstrip("0") or "0" for at in range(0, 32, 2))
        assert image_path(url) == f"data/images/{name[:3]}/{name[3:6]}/{name}.jpg"


def test_a_file_that_is_no_database_is_named(tmp_path):
    _put(tmp_path, "yfcc100m_dataset.sql", b"<html>" * 1000)
    with pytest.raises(BadSourceFileError, match="yfcc100m_dataset"):
        list(read_photo_set("yfcc100m", tmp_path))


@pytest.mark.parametrize(
    ("said", "spdx"),
    [
        ("http://creativecommons.org/licenses/by-sa/3.0/deed.en", "CC-BY-SA-3.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("CC-BY-4.0", "CC-BY-4.0"),
        ("all rights reserved, mine", "NOASSERTION"),
        ("", "NOASSERTION"),
    ],
)
def test_licences_become_spdx(said, spdx):
    assert spdx_of(said) == spdx


def test_places_are_on_earth_or_none():
    assert place_from("90", "-180") == (90.0, -180.0)
    assert place_from("inf", "0") is None
