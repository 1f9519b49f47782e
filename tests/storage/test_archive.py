"""Any picture by its id, whichever table speaks of it; what is gone or damaged says so."""

from __future__ import annotations

import hashlib
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.errors import BadSourceFileError, HomeError, ImageError, MissingInputError
from geoloc_pipeline.storage.archive import PictureArchive
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.shards import write_shard

COLUMNS = ["image_id", "sha256", "shard", "offset", "size_bytes"]
STREET, PHOTOS = "street_view_images", "photo_collections"


def archived(home, asset_key, partition, pictures):
    """Archive pictures (id to bytes) as two shards and their table, with columns that nobody asks for."""
    rows, members = [], list(pictures.items())
    for number, half in enumerate((members[::2], members[1::2])):
        path = home.images(asset_key, partition) / f"{number:05d}.tar"
        written = write_shard(path, [(f"{image_id}.webp", data) for image_id, data in half]) if half else []
        rows += [
            (image_id, hashlib.sha256(data).hexdigest(), member.shard, member.offset, member.size_bytes)
            for (image_id, data), member in zip(half, written, strict=True)
        ]
    table = pa.table(pd.DataFrame(rows, columns=COLUMNS).assign(source="local", lat=35.0).sort_values("image_id"))
    path = home.table(asset_key, partition)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def an_id(number):
    return hashlib.sha256(str(number).encode()).hexdigest()[:16]


@pytest.fixture
def home(tmp_path):
    return Home.at(tmp_path / "home")


@pytest.fixture
def pictures(home):
    """Ten pictures in each of two prefectures and among the photos."""
    parts = {(STREET, "13"): range(10), (STREET, "47"): range(10, 20), (PHOTOS, "47"): range(20, 30)}
    held = {}
    for (asset_key, partition), numbers in parts.items():
        part = {an_id(number): f"picture {number}".encode() * (number + 1) for number in numbers}
        archived(home, asset_key, partition, part)
        held |= part
    return held


_PART = st.dictionaries(st.text("0123456789abcdef", min_size=1, max_size=16), st.binary(min_size=1, max_size=40), max_size=6)


@settings(max_examples=25, deadline=None)
@given(parts=st.lists(_PART, max_size=4), strangers=st.lists(st.text(max_size=20), max_size=4))
def test_every_picture_is_found_and_read_and_nothing_else_is(tmp_path_factory, parts, strangers):
    home, held = Home.at(tmp_path_factory.mktemp("home")), {}
    for number, part in enumerate(parts):
        archived(home, STREET if number % 2 else PHOTOS, f"{number:02d}", part)
    for number in (2, 0, 3, 1):  # of the same id the last to be put in counts: street view's of the first partition
        held |= parts[number] if number < len(parts) else {}
    archive = PictureArchive.open(home)
    for image_id, data in held.items():
        assert archive.read(image_id) == data
    for stranger in strangers:
        assert (archive.find(stranger) is None) == (stranger not in held)


def test_an_entry_says_where_the_picture_lies(home, pictures):
    archive = PictureArchive.open(home)
    for number, asset_key, partition in ((3, STREET, "13"), (14, STREET, "47"), (25, PHOTOS, "47")):
        entry, data = archive.find(an_id(number)), pictures[an_id(number)]
        assert (entry.image_id, entry.asset_key, entry.partition) == (an_id(number), asset_key, partition)
        assert entry.shard.parent == home.images(asset_key, partition)
        assert entry.shard.read_bytes()[entry.offset :][: entry.size_bytes] == data
        assert entry.sha256 == hashlib.sha256(data).hexdigest()


def test_a_picture_in_two_tables_is_one_picture(home, pictures):
    archived(home, PHOTOS, "13", {an_id(3): b"the same once more"})
    archive = PictureArchive.open(home)
    assert archive.find(an_id(3)).asset_key == STREET
    assert archive.read(an_id(3)) == pictures[an_id(3)]


def test_an_unknown_id_is_nothing_to_find_and_an_error_to_read(home, pictures, tmp_path):
    archive = PictureArchive.open(home)
    for stranger in ("", "no such", an_id(3) + "0", an_id(3)[:-1], "あ"):
        assert archive.find(stranger) is None
        with pytest.raises(MissingInputError, match=r"street_view_images or photo_collections.*materialise"):
            archive.extract(stranger, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_home_without_pictures_is_an_archive_of_none(home):
    assert PictureArchive.open(home).find(an_id(3)) is None
    archived(home, STREET, "13", {})
    assert PictureArchive.open(home).find(an_id(3)) is None


def test_a_picture_comes_out_as_a_plain_file_as_often_as_one_likes(home, pictures, tmp_path):
    archive = PictureArchive.open(home)
    for _ in range(2):
        path = archive.extract(an_id(25), tmp_path / "new" / "folder")
        assert path == tmp_path / "new" / "folder" / f"{an_id(25)}.webp"
        assert path.read_bytes() == pictures[an_id(25)]
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told(home, pictures, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HomeError, match="a file stands where a folder is needed"):
        PictureArchive.open(home).extract(an_id(25), tmp_path / "file" / "folder")


def test_a_changed_byte_is_told_with_the_cure_and_nothing_is_extracted(home, pictures, tmp_path):
    archive = PictureArchive.open(home)
    entry = archive.find(an_id(14))
    shard = bytearray(entry.shard.read_bytes())
    shard[entry.offset] ^= 1
    entry.shard.write_bytes(shard)
    with pytest.raises(ImageError, match=rf"{entry.shard} at .*SHA-256.*remove.*street_view_images of the partition 47"):
        archive.extract(an_id(14), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert archive.read(an_id(14), check=False) == bytes(shard[entry.offset :][: entry.size_bytes])
    others = [image_id for image_id in pictures if image_id != an_id(14)]
    assert all(archive.read(image_id) == pictures[image_id] for image_id in others)


def test_a_shard_that_is_cut_short_or_gone_is_told(home, pictures):
    archive = PictureArchive.open(home)
    entry = archive.find(an_id(14))
    os.truncate(entry.shard, entry.offset + 3)
    with pytest.raises(MissingInputError, match=r"cut short.*materialise"):
        archive.read(an_id(14))
    entry.shard.unlink()
    with pytest.raises(MissingInputError, match="materialise"):
        archive.read(an_id(14))


def test_what_is_collected_later_is_known_after_opening_again(home, pictures):
    before = PictureArchive.open(home)
    archived(home, STREET, "01", {an_id(99): b"later"})
    assert before.find(an_id(99)) is None
    assert PictureArchive.open(home).read(an_id(99)) == b"later"


def test_a_file_that_is_no_image_table_is_named(home, pictures):
    path = home.table(STREET, "13")
    bad = (
        lambda: path.write_bytes(b"no Parquet"),
        lambda: pq.write_table(pq.read_table(path).drop_columns("offset"), path),
        lambda: pq.write_table(pa.table({name: ["12"] for name in COLUMNS}), path),
    )
    whole = path.read_bytes()
    for spoil in bad:
        path.write_bytes(whole)
        spoil()
        with pytest.raises(BadSourceFileError, match=r"13\.parquet.*remove it and materialise"):
            PictureArchive.open(home)


def test_threads_and_processes_may_share_an_archive(home, pictures):
    archive = PictureArchive.open(home)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(archive.read, list(pictures) * 20)) == list(pictures.values()) * 20
    assert pickle.loads(pickle.dumps(archive)).read(an_id(25)) == pictures[an_id(25)]


def test_an_archive_is_small_in_memory(home):
    archived(home, STREET, "13", {an_id(number): b"x" for number in range(2000)})
    assert len(pickle.dumps(PictureArchive.open(home))) < 2000 * 80
