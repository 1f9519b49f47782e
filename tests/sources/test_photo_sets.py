"""Photo sets in their true forms, grown small; a user's own folder in every form."""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from datetime import UTC, datetime

import pytest

from geoloc_pipeline.errors import BadSourceFileError, SettingError
from geoloc_pipeline.sources.photo_files import PictureIndex, header_of, loose_pictures, read_rows
from geoloc_pipeline.sources.photo_local import read_local
from geoloc_pipeline.sources.photo_record import place_from, spdx_of
from geoloc_pipeline.sources.photo_sets import PHOTO_SETS, read_photo_set

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
    assert {photo.origin_id for photo in photos} == {None}, "nobody else holds them"
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
        PictureIndex(tmp_path).find("a.jpg")


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
    assert [photo.origin_id for photo in photos.values()] == ["flickr:104123223", "flickr:439717934"]
    assert all(photo.accuracy_m is None for photo in photos.values()), "nobody says"


def test_mp16_is_found_by_its_hashed_path_in_a_tar_of_underscored_names(tmp_path):
    _csv(tmp_path, "mp16_places365.csv", _LABELS, ("34/8d/9055806529.jpg", "someone", "35.1", "139.2"))
    with tarfile.open(tmp_path / "mp16.tar", "w") as archive:
        info = tarfile.TarInfo("./images/34_8d_9055806529.jpg")
        info.size = len(_JPEG)
        archive.addfile(info, io.BytesIO(_JPEG))
    photo = _by_id("mp16", tmp_path)["34/8d/9055806529.jpg"]
    assert photo.file.read() == _JPEG
    assert photo.source_url.endswith("9055806529")
    assert photo.origin_id == "flickr:9055806529"


@pytest.mark.parametrize("listed", ["34/8d/9055806529.jpg", "34_8d_9055806529.jpg"])
def test_loose_files_of_mp16_are_found_by_either_spelling(tmp_path, listed):
    _csv(tmp_path, "MP16_Pro_places365.csv", _LABELS, (listed, "someone", "35.1", "139.2"))
    _put(tmp_path, "images/99/9055806529.jpg", b"another")
    _put(tmp_path, "34/8d/9055806529.jpg")
    (photo,) = read_photo_set("mp16", tmp_path)
    assert photo.file.read() == _JPEG


def test_names_that_are_no_utf8_are_told_and_break_nothing(tmp_path):
    (tmp_path / "caf\udce9").mkdir()
    _put(tmp_path, "caf\udce9/55555.jpg")
    _csv(tmp_path, "mp16_places365.csv", _LABELS, ("1/2/55555.jpg", "a", "35", "139"))
    (photo,) = read_photo_set("mp16", tmp_path)
    assert (photo.file.name, photo.file.read()) == ("caf\\xe9/55555.jpg", _JPEG)
    (own,) = read_local(tmp_path)
    assert (own.source_image_id, own.fault[0], own.file) == ("caf\\xe9/55555.jpg", "bad_name", None)


def test_links_that_lead_nowhere_and_files_larger_than_any_picture_do_no_harm(tmp_path):
    (tmp_path / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with (tmp_path / "huge.jpg").open("wb") as stream:
        stream.truncate(2**40)
    (photo,) = read_local(tmp_path)
    with pytest.raises(OSError, match=r"1,099,511,627,776 bytes"):
        photo.file.read()
    assert PictureIndex(tmp_path).find("lost.jpg") is None


def test_of_mp16s_lists_the_original_goes_first_then_the_pros_whole_one(tmp_path):
    for name, author in (("MP16_Pro_filtered.csv", "c"), ("MP16_Pro_places365.csv", "b"), ("mp16_places365.csv", "a")):
        _csv(tmp_path, name, _LABELS, ("34/8d/9055806529.jpg", author, "35.1", "139.2"))
        assert [photo.author for photo in read_photo_set("mp16", tmp_path)] == [author]


def test_osv5m_tells_licence_sequence_and_the_picture_at_mapillary(tmp_path):
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
    photo, abroad = read_photo_set("osv5m", tmp_path)
    assert (photo.source_image_id, photo.origin_id) == ("11", "mapillary:11")
    assert (abroad.lat, abroad.file) == (48.1, None)
    assert photo.licence == "CC-BY-SA-4.0"
    assert photo.capture_group == "mapillary:seq"
    assert photo.captured_at == datetime(2017, 10, 9, 14, 54, 41, tzinfo=UTC)
    assert photo.file.read() == _JPEG


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
