"""Photo sets into the archive: the country's photos, every other one a row."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import zipfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.imagery.photo_sets import collect_photo_set
from geoloc_pipeline.imagery.webp import encode_webp, place_in_webp
from geoloc_pipeline.storage.progress import Progress
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import PHOTO_COLLECTIONS, REJECTED, check_table


def _scene(seed=0, width=160, height=120):
    noise = np.random.default_rng(seed).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def _save(path, *, place=None, artist=None, pixels=None, orientation=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = _scene(len(path.name)) if pixels is None else pixels
    exif = (
        Image.open(io.BytesIO(encode_webp(pixels[:16, :16], lat=place[0], lon=place[1]))).getexif() if place else Image.Exif()
    )
    if artist:
        exif[315] = artist
    if orientation:
        exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, quality=95, exif=exif)


def _collect(name, files, folder, **options):
    images, rejected = collect_photo_set(name, files, folder, **options)
    check_table(PHOTO_COLLECTIONS, images)
    check_table(REJECTED, rejected)
    return images, rejected


def _reasons(rejected):
    return dict(zip(rejected["source_image_id"], rejected["reason"], strict=True))


@pytest.fixture
def mine(tmp_path):
    files = tmp_path / "files"
    _save(files / "tokyo.jpg", place=(35.68, 139.76), artist="Sample Photographer")
    _save(files / "sub/naha.png", place=(26.21, 127.68))
    _save(files / "listed.jpg", place=(48.85, 2.35))
    _save(files / "bare.jpg")
    _save(files / "lund.jpg", place=(55.7, 13.19))
    _save(files / "grey.jpg", place=(35.68, 139.76), pixels=np.full((120, 160, 3), 127, dtype=np.uint8))
    (files / "text.jpg").write_text("not a picture")
    (files / "empty.jpg").write_bytes(b"")
    whole = (files / "tokyo.jpg").read_bytes()
    (files / "cut.jpg").write_bytes(whole[: len(whole) - 2000])
    with (files / "places.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("IMG_FILE", "LAT", "LON"), ("listed.jpg", "43.06", "141.35"), ("lost.jpg", "35", "139")])
    return files


def test_a_users_folder_becomes_rows_and_pictures_or_reasons(mine, tmp_path):
    images, rejected = _collect("local", mine, tmp_path / "archive")
    found = images.set_index("source_image_id")
    assert sorted(found.index) == ["listed.jpg", "sub/naha.png", "tokyo.jpg"]
    assert _reasons(rejected) == {
        "bare.jpg": "no_place",
        "lund.jpg": "outside_country",
        "grey.jpg": "no_imagery",
        "text.jpg": "not_an_image",
        "empty.jpg": "empty",
        "cut.jpg": "truncated",
        "lost.jpg": "file_missing",
    }
    tokyo = found.loc["tokyo.jpg"]
    assert (tokyo["capture_group"], tokyo["attribution"]) == ("local:Sample Photographer", "Sample Photographer")
    assert (tokyo["views"], tokyo["width_px"], tokyo["height_px"], tokyo["licence"]) == ("photo", 160, 120, "NOASSERTION")
    assert (found.loc["listed.jpg", "lat"], found.loc["listed.jpg", "lon"]) == (43.06, 141.35)
    assert found.loc["listed.jpg", "capture_group"] != found.loc["sub/naha.png", "capture_group"]
    assert images[["requested_lat", "accuracy_m", "origin_id"]].isna().all(axis=None)
    assert tokyo["content_sha256"] == hashlib.sha256((mine / "tokyo.jpg").read_bytes()).hexdigest()
    for row in images.to_dict("records"):
        data = read_member(tmp_path / "archive", shard=row["shard"], offset=row["offset"], size_bytes=row["size_bytes"])
        assert place_in_webp(data) == pytest.approx((row["lat"], row["lon"]), abs=1e-7)
        assert Image.open(io.BytesIO(data)).size == (row["width_px"], row["height_px"])


def test_a_second_run_opens_nothing_and_writes_nothing(mine, tmp_path):
    first = _collect("local", mine, tmp_path / "archive")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "archive").iterdir() if path.suffix}
    for path in mine.rglob("*.jpg"):  # same size and time: what stands for the bytes
        status = path.stat()
        path.write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = _collect("local", mine, tmp_path / "archive")
    assert before == {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "archive").iterdir() if path.suffix
    }
    for one, two in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_a_changed_photo_is_archived_anew(mine, tmp_path):
    first, _ = _collect("local", mine, tmp_path / "archive")
    _save(mine / "tokyo.jpg", place=(35.0, 139.0), pixels=_scene(99))
    second, _ = _collect("local", mine, tmp_path / "archive")
    one, two = (table.set_index("source_image_id").loc["tokyo.jpg"] for table in (first, second))
    assert one["image_id"] == two["image_id"]
    assert one["sha256"] != two["sha256"]
    assert two["lat"] == pytest.approx(35.0)


def test_the_number_of_workers_changes_no_byte(mine, tmp_path):
    for workers in (1, 4):
        _collect("local", mine, tmp_path / str(workers), workers=workers)
    one, four = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("1", "4"))
    assert one == four


def test_a_photo_is_upright_and_small_enough_for_webp(tmp_path):
    files = tmp_path / "files"
    _save(files / "turned.jpg", place=(35.0, 139.0), orientation=6)
    _save(files / "wide.png", place=(35.0, 139.0), pixels=np.tile(_scene(1, 400, 80), (1, 43, 1)))
    images, _ = _collect("local", files, tmp_path / "archive")
    found = images.set_index("source_image_id")
    assert (found.loc["turned.jpg", "width_px"], found.loc["turned.jpg", "height_px"]) == (120, 160)
    assert (found.loc["wide.png", "width_px"], found.loc["wide.png", "height_px"]) == (16_383, 76)
    images, _ = _collect("local", files, tmp_path / "small", longest_side_px=80)
    assert images[["width_px", "height_px"]].to_numpy().max() == 80


def test_a_worldwide_set_counts_what_is_abroad_in_one_row(tmp_path):
    files = tmp_path / "files"
    _save(files / "1" / "a_1.jpg")
    header = ["IMG_ID", "AUTHOR", "LAT", "LON"]
    rows = [("1/a_1.jpg", "9@N01", "35.0", "139.0"), ("1/b_2.jpg", "9@N01", "36.0", "139.0")]
    rows += [(f"2/{number}.jpg", "8@N01", "48.0", "2.0") for number in range(50)]
    with (files / "mp16_places365.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    images, rejected = _collect("mp16", files, tmp_path / "archive")
    assert images["source_image_id"].tolist() == ["1/a_1.jpg"]
    assert _reasons(rejected) == {"*": "outside_country", "1/b_2.jpg": "file_missing"}
    assert rejected.set_index("source_image_id").loc["*", "detail"].startswith("50 photos")


def _list(folder, name, header, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="") as stream:
        csv.writer(stream).writerows([header.split(","), *rows])


def test_the_box_holds_neighbours_and_the_outline_does_not(tmp_path):
    files = tmp_path / "files"
    _save(files / "busan.jpg", place=(35.10, 129.04))
    _save(files / "tsushima.jpg", place=(34.65, 129.47))
    images, rejected = _collect("local", files, tmp_path / "archive")
    assert images["source_image_id"].tolist() == ["tsushima.jpg"]
    assert _reasons(rejected) == {"busan.jpg": "outside_country"}
    _list(
        tmp_path / "pro", "MP16_Pro_places365.csv", "IMG_ID,LAT,LON", ("a_12345.jpg", "35.10", "129.04"), ("b_2.jpg", "1", "2")
    )
    images, rejected = _collect("mp16", tmp_path / "pro", tmp_path / "archive2")
    assert len(images) == 0
    assert rejected["detail"].tolist() == ["2 photos lie outside Japan"]


def test_the_same_bytes_or_the_same_origin_twice_in_a_set_count_once(tmp_path):
    files = tmp_path / "files"
    for name in ("b", "a"):
        _save(files / f"{name}.jpg", place=(35.0, 139.0))
    images, rejected = _collect("local", files, tmp_path / "archive")
    assert images["source_image_id"].tolist() == ["a.jpg"]
    assert rejected.to_dict("records") == [
        {"source": "local", "source_image_id": "b.jpg", "reason": "duplicate", "detail": "the same picture as local a.jpg"}
    ]
    pro = tmp_path / "pro"
    _save(pro / "99" / "123456.jpg", pixels=_scene(1))
    _save(pro / "11" / "123456.jpg", pixels=_scene(2))
    _list(pro, "mp16_places365.csv", "IMG_ID,LAT,LON", ("99/123456.jpg", "35", "139"), ("11/123456.jpg", "35", "139"))
    images, rejected = _collect("mp16", pro, tmp_path / "archive2")
    assert images[["source_image_id", "origin_id"]].to_numpy().tolist() == [["11/123456.jpg", "flickr:123456"]]
    assert _reasons(rejected) == {"99/123456.jpg": "duplicate"}


def test_a_photo_placed_too_coarsely_is_turned_away_and_others_say_how_far_off_they_may_be(tmp_path):
    files = tmp_path / "files"
    for name in ("aa", "bb"):
        _save(files / f"{name}.jpg", pixels=_scene(len(name)))
    _list(files, "train.csv", "id,url,landmark_id", ("aa", "u", "1"), ("bb", "u", "2"))
    _list(files, "places.csv", "landmark_id,lat,lon,radius_m", ("1", "35.36", "138.73", "15000"), ("2", "35.6", "139.7", "500"))
    images, rejected = _collect("google_landmarks_v2", files, tmp_path / "archive")
    assert images[["source_image_id", "accuracy_m"]].to_numpy().tolist() == [["bb", 500.0]]
    assert rejected[["source_image_id", "reason"]].to_numpy().tolist() == [["aa", "coarse_place"]]
    assert "15,000 m" in rejected["detail"][0]


class Tombstones:
    """A list of forgotten photos as short as it gets."""

    def __init__(self, *ids, groups=()):
        self.ids, self.groups = set(ids), set(groups)

    def holds(self, *, source, source_image_id, capture_group=None):
        return (source, source_image_id) in self.ids or capture_group in self.groups


def test_what_is_forgotten_is_not_read_and_does_not_come_back(mine, tmp_path):
    (mine / "text.jpg").chmod(0)
    gone = Tombstones(("local", "text.jpg"), ("local", "listed.jpg"), groups=["local:Sample Photographer"])
    images, rejected = _collect("local", mine, tmp_path / "archive", forgotten=gone)
    assert images["source_image_id"].tolist() == ["sub/naha.png"]
    told = _reasons(rejected)
    assert {name for name, reason in told.items() if reason == "forgotten"} == {"text.jpg", "listed.jpg", "tokyo.jpg"}
    shards = b"".join(path.read_bytes() for path in (tmp_path / "archive").glob("*.tar"))
    assert shards.count(b"WEBP") == 1


def test_forgetting_a_photo_makes_its_chunk_anew_and_no_other(tmp_path):
    files = tmp_path / "files"
    for number in range(130):
        _save(files / f"{number:03d}.png", place=(35.0, 139.0), pixels=_scene(number, 64, 64))
    before, _ = _collect("local", files, tmp_path / "archive")
    assert len(before) == 130
    after, rejected = _collect("local", files, tmp_path / "archive", forgotten=Tombstones(("local", "003.png")))
    assert _reasons(rejected) == {"003.png": "forgotten"}
    old, new = (table.set_index("source_image_id")["shard"] for table in (before, after))
    assert {name for name in new.index if new[name] != old[name]} == {f"{number:03d}.png" for number in range(64)} - {"003.png"}
    by_group, _ = _collect("local", files, tmp_path / "archive", forgotten=Tombstones(groups=["local:005.png"]))
    assert set(before["source_image_id"]) - set(by_group["source_image_id"]) == {"005.png"}, "kept chunks are looked through"


def test_of_a_photo_whose_group_stands_in_its_exif_alone_the_archived_bytes_go(mine, tmp_path):
    before, _ = _collect("local", mine, tmp_path / "archive")
    gone = Tombstones(groups=["local:Sample Photographer"])
    for _ in range(2):
        after, rejected = _collect("local", mine, tmp_path / "archive", forgotten=gone)
        assert _reasons(rejected)["tokyo.jpg"] == "forgotten"
        assert after["source_image_id"].tolist() == [name for name in before["source_image_id"] if name != "tokyo.jpg"]
    for row in before.to_dict("records"):
        data = read_member(tmp_path / "archive", shard=row["shard"], offset=row["offset"], size_bytes=row["size_bytes"])
        is_whole = hashlib.sha256(data).hexdigest() == row["sha256"]
        assert is_whole == any(data) == (row["source_image_id"] != "tokyo.jpg")


def test_a_picture_forgotten_at_its_provider_is_forgotten_in_the_set_that_took_it_over(tmp_path):
    files = tmp_path / "files"
    _save(files / "00" / "77.jpg")
    _list(files, "train.csv", "id,latitude,longitude,country", ("77", "35", "139", "JP"))
    images, rejected = _collect("osv5m", files, tmp_path / "archive", forgotten=Tombstones(("mapillary", "77")))
    assert (len(images), _reasons(rejected)) == (0, {"77": "forgotten"})


def test_a_spoilt_member_of_an_archive_is_a_row_and_the_others_come(tmp_path):
    files = tmp_path / "files"
    for number in (1, 2):
        _save(files / f"{number}.jpg", pixels=_scene(number))
    with zipfile.ZipFile(files / "00.zip", "w") as archive:
        for number in (1, 2):
            archive.write(files / f"{number}.jpg", f"00/{number}.jpg")
            (files / f"{number}.jpg").unlink()
    data = bytearray((files / "00.zip").read_bytes())
    data[1000] ^= 255
    (files / "00.zip").write_bytes(data)
    _list(files, "train.csv", "id,latitude,longitude", ("1", "35", "139"), ("2", "35", "139"))
    images, rejected = _collect("osv5m", files, tmp_path / "archive")
    assert images[["source_image_id", "origin_id", "licence"]].to_numpy().tolist() == [["2", "mapillary:2", "CC-BY-SA-4.0"]]
    assert _reasons(rejected) == {"1": "unreadable"}


@pytest.mark.parametrize("name", ["local", "yfcc100m", "osv5m"])
def test_a_set_that_is_not_there_is_two_empty_tables(name, tmp_path):
    images, rejected = _collect(name, tmp_path / "none", tmp_path / "archive")
    assert (len(images), len(rejected)) == (0, 0)


def test_a_set_nobody_knows_is_told(tmp_path):
    with pytest.raises(SettingError, match="flickr"):
        collect_photo_set("flickr", tmp_path, tmp_path / "archive")


def test_progress_counts_photos(mine, tmp_path):
    progress = Progress()
    _collect("local", mine, tmp_path / "archive", progress=progress)
    assert (progress.done, progress.unit) == (9, "photos")


def test_real_photos_of_lund_are_all_outside_the_country(shared_data, tmp_path):
    images, rejected = _collect("local", shared_data / "photos" / "lund", tmp_path / "archive")
    assert len(images) == 0
    assert rejected["reason"].tolist() == ["outside_country"] * 29
