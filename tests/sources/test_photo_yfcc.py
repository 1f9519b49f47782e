"""YFCC100M: SQLite in its true form, the bucket's hash paths, and how sure its places and dates are."""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.sources.photo_yfcc import accuracy_m_of, image_path, read_yfcc100m, taken_at_of

_JPEG = b"\xff\xd8 not looked at here"


def _put(folder, name, content=_JPEG):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


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
            photo | {"photoid": 5, "latitude": "35.5", "longitude": "139.5", "accuracy": "14"},
            photo | {"photoid": 6, "latitude": "", "longitude": ""},
            photo | {"photoid": 7, "latitude": "48.0", "longitude": "2.0"},
            photo | {"photoid": 8, "latitude": "35.5", "longitude": "139.5", "marker": 1},
            photo | {"photoid": 9, "latitude": "35.5", "longitude": "139.5", "downloadurl": "http://farm1.example.org/9.jpg"},
        ],
    )
    _put(tmp_path, image_path("http://farm1.example.org/5.jpg"))
    photos = {photo.source_image_id: photo for photo in read_yfcc100m(tmp_path)}
    assert set(photos) == {"5", "9"}
    assert (photos["5"].licence, photos["5"].author, photos["5"].capture_group) == (
        "CC-BY-NC-ND-2.0",
        "some one",
        "flickr:1@N01",
    )
    assert photos["5"].file.read() == _JPEG
    assert photos["9"].fault[0] == "file_missing"
    assert (photos["5"].origin_id, photos["5"].accuracy_m, photos["9"].accuracy_m) == ("flickr:5", 80.0, None)


def test_a_folder_of_any_name_and_a_photo_of_its_own_ending_are_read(tmp_path):
    folder = tmp_path / "100% of #1?"
    folder.mkdir()
    row = {"uid": "1@N01", "photoid": 5, "latitude": "35.5", "longitude": "139.5", "marker": 0}
    row |= {"ext": "png", "downloadurl": "u"}
    _yfcc(folder, [row])
    _put(folder, image_path("u", ext="png"))
    (photo,) = read_yfcc100m(folder)
    assert photo.file.name.endswith(".png")
    _put(folder, image_path("u"), b"the bucket's")
    (photo,) = read_yfcc100m(folder)
    assert photo.file.read() == b"the bucket's"


def test_a_level_further_out_doubles_how_far_a_place_may_be_off():
    levels = [accuracy_m_of(level) for level in range(1, 17)]
    assert levels[-1] == 20.0
    assert all(outer == 2 * inner for outer, inner in pairwise(levels))
    assert [accuracy_m_of(level) for level in ("", None, "0", "17", "street", "-1")] == [None] * 6
    assert accuracy_m_of("11") == 640.0, "a city: coarser than half a kilometre"


@pytest.mark.parametrize(
    ("taken", "uploaded", "moment"),
    [
        ("2009-05-04 13:02:11.0", "1300000000", datetime(2009, 5, 4, 4, 2, 11, tzinfo=UTC)),
        ("2009-05-04 13:02:11", 1300000000, datetime(2009, 5, 4, 4, 2, 11, tzinfo=UTC)),
        ("2011-03-13 07:06:40.0", "1300000000", None),  # the upload's own moment
        ("2011-03-13 16:06:40.0", "1300000000", None),  # the same in Japan
        ("2019-05-04 13:02:11.0", "1300000000", None),  # after the upload
        ("1970-01-01 00:00:00.0", "1300000000", None),  # a clock that was never set
        ("", "1300000000", None),
        (None, None, None),
        ("2009-13-45 00:00:00.0", "1300000000", None),
        ("2009-05-04 13:02:11.0", "", None),
    ],
)
def test_a_date_is_taken_where_it_is_sure(taken, uploaded, moment):
    assert taken_at_of(taken, uploaded) == moment


def test_the_hash_path_drops_leading_zeros_of_bytes():
    for number in range(300):
        url = f"http://farm1.example.org/{number}.jpg"
        digest = hashlib.md5(url.encode()).hexdigest()
        name = "".join(digest[at : at + 2].lstrip("0") or "0" for at in range(0, 32, 2))
        assert image_path(url) == f"data/images/{name[:3]}/{name[3:6]}/{name}.jpg"


def test_a_file_that_is_no_database_is_named(tmp_path):
    _put(tmp_path, "yfcc100m_dataset.sql", b"<html>" * 1000)
    with pytest.raises(BadSourceFileError, match="yfcc100m_dataset"):
        list(read_yfcc100m(tmp_path))
