"""Spoilt files through the public entry points: taken, or turned away in our own words. More: `benchmarks.mutations`."""

from __future__ import annotations

import io
import json
import struct
import sys
import zipfile
from pathlib import Path

import pytest

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.imagery.intake import Intake
from geoloc_pipeline.sources.census import read_towns
from geoloc_pipeline.sources.census_archive import check_archive
from geoloc_pipeline.sources.photo_archives import Archive
from geoloc_pipeline.storage.parquet import read_table
from geoloc_pipeline.storage.progress import read_progress
from geoloc_pipeline.storage.receipts import read_receipt
from geoloc_pipeline.tables import CENSUS_TOWNS
from geoloc_pipeline.training.run import read_run

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks stand beside the tests
from benchmarks._doors import DOORS, case
from benchmarks._seeds import grow_seeds
from benchmarks._watched import run_case

BAD = ("not ours", "slow", "memory")
FEW = {"pbf_inner": 1, "journal": 4, "archive_index": 6, "photo_set_archive": 6, "photo_set_list": 6, "photo_set_sqlite": 4}
ONCE_THROUGH = {
    "archive_index": (168,), "checkpoint": (53, 289), "export": (25, 265), "note": (4, 44, 64, 196), "pbf_inner": (40,),
    "photo_set_archive": (183,), "provider": (186, 346, 743, 838),
}  # fmt: skip
"""Cases that ended in an error that was not ours, until they did not."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds")
    grow_seeds(folder)
    return folder


@pytest.mark.parametrize("door", DOORS)
def test_a_spoilt_file_is_taken_or_turned_away_in_our_own_words(door, seeds):
    for number in (*range(FEW.get(door, 16)), *ONCE_THROUGH.get(door, ())):
        outcome = run_case(door, number, seeds)
        assert outcome.kind not in BAD, outcome


def test_the_same_number_spoils_the_same_way_and_another_in_another(seeds):
    for door in DOORS:
        cases = [case(door, number, seeds) for number in (0, 0, len(DOORS[door].seeds(seeds, door)))]
        assert cases[0] == cases[1] != cases[2]


def test_every_seed_passes_its_door_unspoilt(seeds, tmp_path):
    for name, door in DOORS.items():
        seed = door.seeds(seeds, name)[0]
        scratch = tmp_path / name
        scratch.mkdir()
        door.enter(seed.read_bytes(), str(seed.relative_to(seeds / name)), scratch, seeds)


def zip_of(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("_", "."), data)
    return stream.getvalue()


@pytest.mark.parametrize("strike", ["nameless", "before_the_file"])
def test_a_zip_with_a_member_without_name_or_before_the_file_is_spoilt(tmp_path, strike):
    data = bytearray(zip_of(a_shp=b"shape"))
    directory = data.index(b"PK\x01\x02")
    if strike == "nameless":
        data[directory + 28 : directory + 30] = b"\x00\x00"
    else:
        end = data.index(b"PK\x05\x06")
        data[end + 16 : end + 20] = struct.pack("<I", 0xFFFFFFF0 + 0)
        data[end + 12 : end + 16] = struct.pack("<I", 0x7FFFFFFF)
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with pytest.raises(BadSourceFileError, match="fetch"):
        check_archive(path, shown=path)
    with pytest.raises(BadSourceFileError, match="cannot be read"):
        list(Archive.of([path]).members())


@pytest.mark.parametrize("part", [".dbf", ".prj"])
def test_a_spoilt_part_of_a_shapefile_names_the_archive(seeds, tmp_path, part):
    with zipfile.ZipFile(seeds / "shapefile" / "seed.zip") as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in members if name.lower().endswith(part))
    members[name] = b"GEOGCS[" if part == ".prj" else members[name][: len(members[name]) // 3]
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    with pytest.raises(BadSourceFileError, match=r"x\.zip: .*; remove it and fetch"):
        read_towns(path)


def test_a_table_whose_pages_are_spoilt_says_what_to_materialise(seeds, tmp_path):
    whole = (seeds / "table" / "census_towns.parquet").read_bytes()
    path = tmp_path / "census_towns.parquet"
    for spoilt in (whole[:4] + bytes(400) + whole[404:], whole[:-60] + b"\xff" * 40 + whole[-20:]):
        path.write_bytes(spoilt)
        with pytest.raises(BadSourceFileError, match="materialise the asset again"):
            read_table(CENSUS_TOWNS, path)


def test_notes_in_no_encoding_or_of_another_kind_count_as_absent(tmp_path):
    for data in (b"\xff\xfe{", b"[1]", b'{"done": "many"}', b"[" * 100_000, b'{"done": 1e999, "total": 1, "unit": ""}'):
        path = tmp_path / "note.json"
        path.write_bytes(data)
        assert read_progress(path) == (0, 0, "")
        assert read_receipt(path) is None
    path.write_text(json.dumps({"fingerprint": "", "content_hash": "", "inputs": {}, "files": ["a"]}), encoding="utf-8")
    assert read_receipt(path) is None


def test_an_intake_that_tells_of_four_gigabytes_is_cut_off_unread(tmp_path):
    path = tmp_path / "0-r-x.intake"
    path.write_bytes(struct.pack(">4sIII", b"geo1", 0xFFFFFFF0, 0xFFFFFFF0, 0) + b"rest")
    assert len(Intake(tmp_path, recipe="r")) == 0
    assert path.stat().st_size == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("preset", {}), ("output", 3), ("shards", [["a"]]), ("shards", {"a": "b"}), ("overrides", [1]), ("progress", [])],
)
def test_a_training_run_of_another_kind_of_values_is_named(tmp_path, key, value):
    told = {"preset": "demo", "vocabulary": "v", "shards": [["a", "b"]], "output": "o", key: value}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(BadSourceFileError, match=rf"{key} of another kind than an? .*; write it again"):
        read_run(path)
