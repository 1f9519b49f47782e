"""Chunks stand whole or not at all, and are found again."""

from __future__ import annotations

import hashlib
import threading
import time
from datetime import UTC, datetime

import pandas as pd
import pytest

from geoloc_pipeline.imagery.journal import (
    Archived,
    Journal,
    image_id_of,
    images_table,
    joined_tables,
    rejected_table,
    remove_unused_shards,
)
from geoloc_pipeline.storage.shards import read_member
from geoloc_pipeline.tables import REJECTED, STREET_VIEW_IMAGES, check_table


def _picture(number, content=None):
    data = content or f"picture {number}".encode() * 50
    row = {
        "image_id": image_id_of("mapillary", str(number)),
        "source": "mapillary",
        "source_image_id": str(number),
        "origin_id": f"mapillary:{number}",
        "accuracy_m": None,
        "content_sha256": hashlib.sha256(str(number).encode()).hexdigest(),
        "lat": 35.0 + number / 1000,
        "lon": 139.0,
        "requested_lat": 35.0,
        "requested_lon": 139.0,
        "point_id": f"p{number}",
        "is_wanted": True,
        "views": "NESW",
        "width_px": 4,
        "height_px": 1,
        "captured_at": None if number % 2 else datetime(2026, 1, 1, tzinfo=UTC),
        "fetched_at": datetime(2026, 2, 1, tzinfo=UTC),
        "licence": "CC-BY-SA-4.0",
        "attribution": "x",
        "source_url": "u",
        "capture_group": "g",
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    return Archived(row, data)


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path, STREET_VIEW_IMAGES, recipe=["a"])


def test_a_chunk_reads_back_as_it_was_written(journal):
    written = journal.write("c", [_picture(1), _picture(2)], [("mapillary", "3", "gone", "why")])
    read = journal.read("c")
    for contract, one, two in zip((STREET_VIEW_IMAGES, REJECTED), written, read, strict=True):
        check_table(contract, two)
        pd.testing.assert_frame_equal(one.sort_values(list(contract.key), ignore_index=True), two)
    for row in read[0].to_dict("records"):
        data = read_member(journal.folder, shard=row["shard"], offset=row["offset"], size_bytes=row["size_bytes"])
        assert hashlib.sha256(data).hexdigest() == row["sha256"]


def test_a_chunk_without_pictures_stands_too(journal):
    journal.write("c", [], [("mapillary", "3", "gone", "why")])
    images, rejected = journal.read("c")
    assert (len(images), len(rejected)) == (0, 1)
    assert not (journal.folder / "c.tar").exists()


@pytest.mark.parametrize("spoil", ["c.tar", "c.manifest.parquet", "c.rejected.parquet"])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_chunk_that_lacks_a_part_does_not_stand(journal, spoil, how):
    journal.write("c", [_picture(1)], [("mapillary", "3", "gone", "why")])
    path = journal.folder / spoil
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:600])
    assert journal.read("c") is None


def test_names_depend_on_place_contents_and_recipe(tmp_path):
    one, other = (Journal(tmp_path, STREET_VIEW_IMAGES, recipe=recipe) for recipe in (["a"], ["b"]))
    names = {one.chunk_name(0, [1]), one.chunk_name(1, [1]), one.chunk_name(0, [2]), other.chunk_name(0, [1])}
    assert len(names) == 4
    assert one.chunk_name(0, [1]) == one.chunk_name(0, [1])


def test_a_picture_is_found_in_any_chunk_of_the_recipe_but_never_a_spoilt_one(tmp_path):
    one, other = (Journal(tmp_path, STREET_VIEW_IMAGES, recipe=recipe) for recipe in (["a"], ["b"]))
    name = one.chunk_name(0, ["x"])
    one.write(name, [_picture(1), _picture(2)], [])
    found = Journal(tmp_path, STREET_VIEW_IMAGES, recipe=["a"]).find(image_id_of("mapillary", "2"))
    assert found.data == _picture(2).data
    assert set(found.row) == set(_picture(2).row)
    assert other.find(image_id_of("mapillary", "2")) is None
    assert one.find(image_id_of("mapillary", "9")) is None
    shard = tmp_path / f"{name}.tar"
    content = shard.read_bytes()
    shard.write_bytes(content.replace(b"picture 2", b"picture X"))
    assert Journal(tmp_path, STREET_VIEW_IMAGES, recipe=["a"]).find(image_id_of("mapillary", "2")) is None


def test_shards_nobody_speaks_of_are_removed_and_only_those(journal):
    kept, _ = journal.write("kept", [_picture(1)], [])
    journal.write("unused", [_picture(2)], [])
    assert remove_unused_shards(journal.folder, kept) == 1
    assert journal.read("kept") is not None
    assert journal.read("unused") is None
    assert sorted(path.name for path in journal.folder.iterdir() if path.name != ".lock") == [
        "kept.manifest.parquet",
        "kept.rejected.parquet",
        "kept.tar",
    ]


def test_nothing_is_removed_while_a_collector_is_at_work(journal):
    kept, _ = journal.write("kept", [_picture(1)], [])
    journal.write("of_another_run", [_picture(2)], [])
    with journal.held():
        assert remove_unused_shards(journal.folder, kept) == 0
    assert journal.read("of_another_run") is not None
    assert remove_unused_shards(journal.folder, kept) == 1


def test_a_second_collector_waits_and_leftovers_are_cleared(journal, tmp_path):
    (tmp_path / "c.tar.77.partial").write_bytes(b"half")
    order = []

    def second():
        with Journal(tmp_path, STREET_VIEW_IMAGES, recipe=["a"]).held():
            order.append("second")

    with journal.held():
        assert not (tmp_path / "c.tar.77.partial").exists()
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_tables_of_chunks_become_one_in_key_order_without_doubles():
    rows = [
        picture.row | {"shard": "c.tar", "offset": 0, "size_bytes": 1} for picture in (_picture(3), _picture(1), _picture(2))
    ]
    images = images_table(STREET_VIEW_IMAGES, rows)
    rejections = [("a", "1", "r", "first"), ("a", "1", "r", "second")]
    joined, rejected = joined_tables(
        STREET_VIEW_IMAGES, [(images[:2], rejected_table(rejections)), (images[2:], rejected_table([]))], rejections
    )
    check_table(STREET_VIEW_IMAGES, joined)
    check_table(REJECTED, rejected)
    assert list(joined["image_id"]) == sorted(row["image_id"] for row in rows)
    assert rejected["detail"].tolist() == ["first"]
    nothing = joined_tables(STREET_VIEW_IMAGES, [], [])
    check_table(STREET_VIEW_IMAGES, nothing[0])
    check_table(REJECTED, nothing[1])


def test_an_image_id_is_sixteen_digits_of_its_source():
    assert image_id_of("mapillary", "1") == hashlib.sha256(b"mapillary\n1").hexdigest()[:16]
    assert image_id_of("a", "b\nc") != image_id_of("a\nb", "d")
