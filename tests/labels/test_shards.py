"""Views in tar shards."""

from __future__ import annotations

import hashlib
import io
import tarfile

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.labels.shards import views_of, write_training_shards
from geoloc_pipeline.storage.progress import Progress, read_progress
from geoloc_pipeline.storage.shards import read_member, write_shard
from geoloc_pipeline.tables import TRAINING_SHARDS, check_table

GREYS = {"N": 40, "E": 90, "S": 150, "W": 210}


def webp(pixels, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "webp", quality=90, **options)
    return stream.getvalue()


def strip(views, side):
    """A square of one grey for each letter; black where a view is missing."""
    return np.hstack([np.full((side, side, 3), GREYS.get(letter, 0), dtype=np.uint8) for letter in views])


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture
def archive(tmp_path, images_of):
    """Three pictures as collected: a panorama, one with gaps, a photo with EXIF GPS."""
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (35.0, 40.0, 1.0)
    pixels = {
        "b": (webp(strip("NESW", 96)), "NESW"),
        "a": (webp(strip("N-S-", 64)), "N-S-"),
        "c": (webp(np.full((80, 120, 3), 77, dtype=np.uint8), exif=exif), "photo"),
    }
    members = write_shard(tmp_path / "archive" / "0.tar", [(f"{name}.webp", data) for name, (data, _) in pixels.items()])
    manifest = images_of(
        list(pixels),
        [35.6, 35.7, 35.8],
        [139.7] * 3,
        views=[views for _, views in pixels.values()],
        offset=[member.offset for member in members],
        size_bytes=[member.size_bytes for member in members],
        sha256=[hashlib.sha256(data).hexdigest() for data, _ in pixels.values()],
    )
    return manifest, tmp_path / "archive"


@pytest.fixture
def labelled(labelled_of):
    return labelled_of([(0, 0), (1, 0), (2, 0)], image_id=["a", "b", "c"], road_id=["JP:4", None, None])


@pytest.fixture
def splits():
    return pd.DataFrame({"image_id": ["a", "b", "c"], "split": ["train", "val", "test"]})


def test_every_view_lies_where_the_table_says_with_its_labels(archive, labelled, splits, tmp_path):
    progress = Progress(tmp_path / "progress.json")
    table = write_training_shards(labelled, splits, [archive], tmp_path / "out", side_px=64, progress=progress)
    check_table(TRAINING_SHARDS, table)
    assert list(zip(table["image_id"] + "." + table["view"], table["split"], strict=True)) == [
        ("a.N", "train"), ("a.S", "train"), ("b.E", "val"), ("b.N", "val"), ("b.S", "val"), ("b.W", "val"), ("c.photo", "test"),
    ]  # fmt: skip
    assert table["road_id"].notna().to_list() == [True, True, *[False] * 5]
    assert read_progress(tmp_path / "progress.json") == (3, 3, "images")
    for row in table.itertuples():
        data = read_member(tmp_path / "out", shard=row.shard, offset=row.offset, size_bytes=row.size_bytes)
        pixels = opened(data)
        assert pixels.shape == (row.height_px, row.width_px, 3)
        assert np.abs(pixels.astype(int) - GREYS.get(row.view, 77)).max() <= 3


def test_views_are_never_larger_than_asked_and_never_enlarged(archive, labelled, splits, tmp_path):
    for side_px, sizes in ((448, [64, 64, 96, 96, 96, 96, 80]), (32, [32] * 7)):
        table = write_training_shards(labelled, splits, [archive], tmp_path / "out", side_px=side_px)
        assert table["height_px"].to_list() == sizes
    assert table["width_px"].to_list() == [32] * 6 + [48]  # the photo keeps its shape


def test_no_view_carries_exif(archive, labelled, splits, tmp_path):
    table = write_training_shards(labelled, splits, [archive], tmp_path / "out")
    for row in table.itertuples():
        data = read_member(tmp_path / "out", shard=row.shard, offset=row.offset, size_bytes=row.size_bytes)
        assert not Image.open(io.BytesIO(data)).getexif()
        assert b"EXIF" not in data


def test_the_same_pictures_give_the_same_bytes_and_old_shards_go(archive, labelled, splits, tmp_path):
    one = write_training_shards(labelled, splits, [archive], tmp_path / "out", shard_bytes=1)
    assert len(list((tmp_path / "out").iterdir())) == 7
    other = write_training_shards(labelled.iloc[::-1], splits.iloc[::-1], [archive], tmp_path / "again", shard_bytes=1)
    assert one.equals(other)
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    whole = write_training_shards(labelled, splits, [archive], tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["00000.tar"]
    assert set(whole["shard"]) == {"00000.tar"}


def test_any_tar_reader_finds_the_views_by_name(archive, labelled, splits, tmp_path):
    write_training_shards(labelled, splits, [archive], tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "00000.tar") as tar:
        assert tar.getnames() == [
            "a.N.webp", "a.S.webp", "b.N.webp", "b.E.webp", "b.S.webp", "b.W.webp", "c.photo.webp",
        ]  # fmt: skip


def test_a_strip_without_room_for_missing_views_is_understood_too():
    packed = views_of(webp(strip("NS", 64)), "N-S-", side_px=448, image="a")
    assert [(view.name, int(opened(view.webp).mean().round(-1))) for view in packed] == [("N", 40), ("S", 150)]


def test_a_labelled_picture_that_is_in_no_manifest_is_told(archive, labelled, splits, tmp_path):
    manifest, folder = archive
    with pytest.raises(MissingInputError, match="such as b"):
        write_training_shards(labelled, splits, [(manifest[manifest["image_id"] != "b"], folder)], tmp_path / "out")
    with pytest.raises(MissingInputError, match="dataset_splits"):
        write_training_shards(labelled, splits.iloc[1:], [archive], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("data", "views"), [(b"no picture", "NESW"), (webp(strip("NES", 64)), "NESW")])
def test_a_damaged_archive_is_told_with_the_picture(data, views):
    with pytest.raises(ImageError, match=r"picture x.*archive is damaged"):
        list(views_of(data, views, side_px=448, image="picture x"))


def test_a_damaged_archive_leaves_no_half_shard(archive, labelled, splits, tmp_path):
    manifest, folder = archive
    manifest["offset"] += 100
    with pytest.raises(ImageError):
        write_training_shards(labelled, splits, [(manifest, folder)], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_picture_whose_bytes_are_not_those_that_were_archived_is_told(archive, labelled, splits, tmp_path):
    manifest, folder = archive
    member = manifest.set_index("image_id").loc["b"]
    data = bytearray((folder / member["shard"]).read_bytes())
    data[member["offset"] + member["size_bytes"] - 1] ^= 1  # a decoder would not notice the last byte
    (folder / member["shard"]).write_bytes(bytes(data))
    with pytest.raises(ImageError, match=r"b: its bytes in .*another SHA-256"):
        write_training_shards(labelled, splits, [archive], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_nothing_gives_an_empty_table_and_an_empty_folder(archive, labelled, splits, tmp_path):
    table = write_training_shards(labelled.iloc[:0], splits, [archive], tmp_path / "out")
    check_table(TRAINING_SHARDS, table)
    assert table.empty
    assert write_training_shards(labelled.iloc[:0], splits, [], tmp_path / "out").empty
