"""Public test sets in the form in which they are published, grown small."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from geoloc_pipeline.demo.set_files import write_csv, write_zip
from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.sources.photo_test_sets import TEST_SETS, named_test_set

MOMENT = datetime(2020, 1, 1, tzinfo=UTC)
PLACES365 = "IMG_ID,AUTHOR,LAT,LON,S3_Label,S16_Label,S365_Label,Prob_indoor,Prob_natural,Prob_urban"
OSV5M = "id,latitude,longitude,thumb_original_url,country,sequence,captured_at"
JPEG = b"\xff\xd8 not looked at here"


def scenes(*row: object) -> tuple[object, ...]:
    return *row, 2, 9, 319, 0.01, 0.23, 0.76


@pytest.mark.parametrize(
    ("name", "archive"), [("im2gps", "gps_query_imgs"), ("im2gps3k", "im2gps3ktest"), ("yfcc4k", "yfcc4k")]
)
def test_a_list_and_a_zip_as_they_are_published_are_read(name: str, archive: str, tmp_path: Path):
    ids = ["104123223_7410c654ba_19_19355699@N00.jpg", "2_abcdef_1_5@N01.jpg", "3456789_abcdef12_1_6@N02.jpg"]
    rows = [scenes(ids[0], "a", 35.68, 139.76), scenes(ids[1], "b", 48.85, 2.29), scenes(ids[2], "c", 35.0, 135.0)]
    write_csv(tmp_path / f"{name}_places365.csv", PLACES365, rows)
    write_zip(tmp_path / f"{archive}.zip", {f"{archive}/{ids[0]}": JPEG, f"{archive}/{ids[1]}": JPEG}, changed_at=MOMENT)
    photos = list(named_test_set(name).read(tmp_path))
    assert [(photo.source, photo.source_image_id, photo.lat) for photo in photos] == [
        (name, ids[0], 35.68), (name, ids[1], 48.85), (name, ids[2], 35.0),
    ]  # fmt: skip
    assert photos[0].file.read() == JPEG
    assert (photos[0].origin_id, photos[0].capture_group) == ("flickr:104123223", "flickr:19355699@N00")
    assert photos[1].file is None  # abroad: no file is looked for
    assert photos[2].fault[0] == "file_missing"


def test_yfcc26k_is_not_taken_for_yfcc4k(tmp_path: Path):
    write_csv(tmp_path / "yfcc25600_places365.csv", PLACES365, [scenes("1.jpg", "a", 35.0, 139.0)])
    assert list(named_test_set("yfcc4k").read(tmp_path)) == []


def test_of_osv5m_only_the_test_list_is_a_test_set(tmp_path: Path):
    for part, image_id in (("train", 11), ("test", 22)):
        write_csv(tmp_path / f"{part}.csv", OSV5M, [(image_id, 35.0, 139.0, "", "JP", "seq", 1_600_000_000_000)])
        write_zip(tmp_path / "images" / part / "00.zip", {f"00/{image_id}.jpg": JPEG}, changed_at=MOMENT)
    assert [photo.source_image_id for photo in named_test_set("osv5m_test").read(tmp_path)] == ["22"]


@pytest.mark.parametrize("name", list(TEST_SETS))
def test_a_set_that_is_not_there_yields_nothing_and_says_how_to_get_it(name: str, tmp_path: Path):
    assert list(TEST_SETS[name].read(tmp_path)) == []
    assert str(tmp_path) in TEST_SETS[name].how_to_obtain.format(folder=tmp_path)


def test_an_unknown_set_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(SettingError, match=r"'gws15k'.*yfcc4k"):
        named_test_set("gws15k")
