"""Copies of dumps: which stay, which version each has, and a local file among them that is never lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import BadSourceFileError, HomeError, MissingInputError, SettingError
from geoloc_pipeline.sources.dump_copies import (
    DumpVersion,
    Retention,
    adopt_dump,
    day_in,
    drop_old_copies,
    read_dump_version,
    refuse_older,
)

_DAYS = st.lists(
    st.integers(0, 900).map(lambda days: f"{datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=days):%y%m%d}"),
    unique=True,
    max_size=30,
)


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _dumps(folder):
    return [name for name in _names(folder) if name.endswith(".osm.pbf")]


# --- which stay ----------------------------------------------------------------------------------------------------------


@given(days=_DAYS, newest=st.integers(1, 8), firsts=st.integers(0, 5))
def test_the_newest_stay_and_the_earliest_of_the_last_months(days, newest, firsts):
    kept = Retention(newest=newest, firsts_of_month=firsts).kept(days)
    months = sorted({day[:4] for day in days}, reverse=True)[:firsts]
    for day in days:
        is_new = sum(other > day for other in days) < newest
        is_first = day[:4] in months and not any(other < day for other in days if other[:4] == day[:4])
        assert (day in kept) == (is_new or is_first)


@given(days=_DAYS, newest=st.integers(1, 5), firsts=st.integers(0, 4))
def test_copies_that_come_one_by_one_leave_the_same_as_all_at_once(days, newest, firsts):
    rule, there = Retention(newest=newest, firsts_of_month=firsts), []
    for day in sorted(days):
        there = sorted(rule.kept([*there, day]))
    assert set(there) == rule.kept(days)


@pytest.mark.parametrize("wrong", [{"newest": 0}, {"newest": -1}, {"firsts_of_month": -1}])
def test_a_rule_that_keeps_nothing_is_a_mistake(wrong):
    with pytest.raises(SettingError, match="retention"):
        Retention(**wrong)


def test_what_goes_takes_its_note_along_and_nothing_else(tmp_path, grow_dump):
    for day in (3, 4, 5):
        path = grow_dump(tmp_path / "own" / f"{day}.osm.pbf", day=day, sequence=4860 + day)
        adopt_dump(path, tmp_path / "in", region="kanto")
    for name in ("kanto-south-260101.osm.pbf", "kanto-260902.osm.pbf.part", "kanto-260902.osm.pbf.part.json", "notes.txt"):
        (tmp_path / "in" / name).write_text("x")
    drop_old_copies(tmp_path / "in/kanto-260905.osm.pbf", kept=Retention(newest=1))
    assert _names(tmp_path / "in") == [
        "kanto-260905.osm.pbf", "kanto-260905.osm.pbf.json", "kanto-south-260101.osm.pbf", "notes.txt",
    ]  # fmt: skip
    assert _names(tmp_path / "own") == ["3.osm.pbf", "4.osm.pbf", "5.osm.pbf"]


def test_the_copy_that_has_just_come_stays_whatever_its_day(tmp_path, grow_dump):
    for day in (3, 4, 5):
        grow_dump(tmp_path / f"kanto-26090{day}.osm.pbf", day=day)
    drop_old_copies(tmp_path / "kanto-260903.osm.pbf", kept=Retention(newest=1))
    assert _names(tmp_path) == ["kanto-260903.osm.pbf", "kanto-260905.osm.pbf"]


# --- which version -------------------------------------------------------------------------------------------------------


def test_any_dump_has_a_version(tmp_path, shared_data):
    path = shared_data / "tokyo" / "tokyo.osm.pbf"
    version = read_dump_version(path, region="tokyo")
    assert version.sequence == 4891
    assert version.md5 == hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(MissingInputError):
        read_dump_version(tmp_path / "none.osm.pbf", region="x")


def test_without_a_header_the_day_is_in_the_name_or_the_files_own(tmp_path, grow_dump):
    for name, wanted in (
        ("kanto-260901.osm.pbf", datetime(2026, 9, 1, tzinfo=UTC)),
        ("mine.osm.pbf", datetime(2020, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("kanto-269999.osm.pbf", datetime(2020, 5, 6, 7, 8, 9, tzinfo=UTC)),
    ):
        path = grow_dump(tmp_path / name, has_header=False)
        moment = datetime(2020, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp()
        os.utime(path, (moment, moment))
        version = read_dump_version(path, region="kanto")
        assert (version.sequence, version.timestamp) == (0, wanted)


def test_a_spoilt_note_beside_a_dump_is_ignored(tmp_path, grow_dump):
    path = adopt_dump(grow_dump(tmp_path / "x.osm.pbf"), tmp_path / "in", region="kanto")
    right = read_dump_version(path, region="kanto")
    assert right.md5 == hashlib.md5(path.read_bytes()).hexdigest()
    for text in ("{", "[]", json.dumps({"md5": "x"}), json.dumps({"md5": "x", "size_bytes": 1})):
        path.with_name(f"{path.name}.json").write_text(text)
        assert read_dump_version(path, region="kanto") == right


def _version(sequence, day, hour=20):
    return DumpVersion("kanto", sequence, datetime(2026, 9, day, hour, tzinfo=UTC), "")


@pytest.mark.parametrize(
    ("one", "other", "is_older"),
    [
        (_version(4862, 2), _version(4863, 3), True),
        (_version(4863, 3), _version(4863, 3), False),
        (_version(4863, 3), _version(4864, 3), True),
        (_version(4890, 9), _version(7_271_351, 3), False),  # a newer map of Geofabrik's, an older one of the planet's series
        (_version(7_271_351, 3), _version(4890, 9), True),
        (_version(0, 3, hour=0), _version(4863, 3), False),  # of one day, as far as is known
        (_version(0, 2, hour=0), _version(4863, 3), True),
        (_version(4863, 3), _version(0, 4, hour=0), True),
    ],
)
def test_the_older_map_is_told_from_the_newer(one, other, is_older):
    assert one.is_older_than(other) is is_older
    assert not (is_older and other.is_older_than(one))


def test_a_newest_copy_that_cannot_be_read_does_not_count(tmp_path, grow_dump):
    grow_dump(tmp_path / "kanto-260903.osm.pbf", day=3, sequence=4863)
    (tmp_path / "kanto-260909.osm.pbf").write_bytes(b"cut")
    refuse_older(_version(4864, 4), tmp_path / "kanto-260904.osm.pbf")
    with pytest.raises(BadSourceFileError, match=r"older than the copy in hand kanto-260903"):
        refuse_older(_version(4862, 2), tmp_path / "kanto-260902.osm.pbf")


def test_days_are_read_only_from_dated_names():
    assert day_in("kanto-260903.osm.pbf") == datetime(2026, 9, 3, tzinfo=UTC)
    for name in ("kanto-latest.osm.pbf", "kanto-260903.osm.pbf.part", "kanto-261301.osm.pbf"):
        assert day_in(name) is None


# --- a local file --------------------------------------------------------------------------------------------------------


def test_a_local_dump_stands_beside_the_others_by_its_datas_day_and_takes_no_room(tmp_path, grow_dump):
    path = grow_dump(tmp_path / "own" / "my map.pbf", day=7)
    copy = adopt_dump(path, tmp_path / "in" / "kanto", region="kanto")
    assert copy == tmp_path / "in/kanto/kanto-260907.osm.pbf"
    assert copy.samefile(path)
    assert _names(copy.parent) == ["kanto-260907.osm.pbf", "kanto-260907.osm.pbf.json"]
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    assert json.loads(copy.with_name(f"{copy.name}.json").read_text()) == {"md5": md5, "size_bytes": path.stat().st_size}


def test_without_a_header_the_day_is_that_of_the_file(tmp_path, grow_dump):
    path = grow_dump(tmp_path / "own.osm.pbf", has_header=False)
    moment = datetime(2020, 5, 6, 7, 8, 9, tzinfo=UTC).timestamp()
    os.utime(path, (moment, moment))
    assert adopt_dump(path, tmp_path / "in", region="us/vermont").name == "vermont-200506.osm.pbf"


def test_the_same_file_twice_changes_nothing(tmp_path, grow_dump):
    path = grow_dump(tmp_path / "own.osm.pbf")
    copy = adopt_dump(path, tmp_path / "in", region="kanto")
    facts = {file: file.stat() for file in copy.parent.iterdir()}
    assert adopt_dump(path, tmp_path / "in", region="kanto") == copy
    twin = tmp_path / "twin.osm.pbf"
    twin.write_bytes(path.read_bytes())  # the same map in another file
    assert adopt_dump(twin, tmp_path / "in", region="kanto") == copy
    assert {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in copy.parent.iterdir()} == {
        file: (fact.st_ino, fact.st_mtime_ns) for file, fact in facts.items()
    }


@pytest.mark.parametrize("is_in_place", [False, True])
def test_a_changed_file_of_the_same_day_takes_the_place_of_the_former(tmp_path, grow_dump, is_in_place):
    path = grow_dump(tmp_path / "own.osm.pbf")
    copy = adopt_dump(path, tmp_path / "in", region="kanto")
    changed = grow_dump(tmp_path / "changed.osm.pbf", nodes=50).read_bytes()
    if not is_in_place:
        path.unlink()
    path.write_bytes(changed)
    assert adopt_dump(path, tmp_path / "in", region="kanto") == copy
    assert copy.read_bytes() == changed
    assert read_dump_version(copy, region="kanto").md5 == hashlib.md5(changed).hexdigest()
    assert len(_names(copy.parent)) == 2


def test_where_links_are_not_allowed_it_is_copied(tmp_path, grow_dump, monkeypatch):
    def refuse(self, target):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    path = grow_dump(tmp_path / "own.osm.pbf")
    copy = adopt_dump(path, tmp_path / "in", region="kanto")
    assert copy.read_bytes() == path.read_bytes()
    assert not copy.samefile(path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 10))
    with pytest.raises(HomeError, match="only 10 are free"):
        adopt_dump(grow_dump(tmp_path / "next.osm.pbf", day=8), tmp_path / "in", region="kanto")
    assert _dumps(tmp_path / "in") == [copy.name]
    assert len(_names(tmp_path / "in")) == 2


def test_an_older_local_dump_is_refused_like_any_other(tmp_path, grow_dump):
    adopt_dump(grow_dump(tmp_path / "new.osm.pbf", day=5, sequence=4865), tmp_path / "in", region="kanto")
    before = _names(tmp_path / "in")
    with pytest.raises(BadSourceFileError, match=r"sequence 4863 .* older than .*sequence 4865 .*remove .*kanto-260905"):
        adopt_dump(grow_dump(tmp_path / "old.osm.pbf", day=3, sequence=4863), tmp_path / "in", region="kanto")
    assert _names(tmp_path / "in") == before


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>", b"PK\x03\x04"])
def test_what_is_no_dump_is_not_adopted(tmp_path, content):
    path = tmp_path / "own.osm.pbf"
    with pytest.raises(MissingInputError, match="local dump of kanto"):
        adopt_dump(path, tmp_path / "in", region="kanto")
    path.write_bytes(content)
    with pytest.raises(BadSourceFileError, match=r"own\.osm\.pbf: .*put a whole \.osm\.pbf there"):
        adopt_dump(path, tmp_path / "in", region="kanto")
    assert _names(tmp_path) == ["own.osm.pbf"]


def test_a_region_that_cannot_be_a_files_name_is_told(tmp_path, grow_dump):
    with pytest.raises(SettingError, match="letters, digits"):
        adopt_dump(grow_dump(tmp_path / "own.osm.pbf"), tmp_path / "in", region="my region")


@pytest.mark.parametrize("name", ["kanto-260903.osm.pbf", "kanto-260101.osm.pbf", "mine.osm.pbf"])
def test_an_original_among_the_copies_is_never_removed(tmp_path, grow_dump, name):
    """Under the right day, under a wrong one, or under no day at all."""
    path = grow_dump(tmp_path / name, day=3)
    content = path.read_bytes()
    adopt_dump(path, tmp_path, region="kanto")
    adopt_dump(path, tmp_path, region="kanto")
    later = adopt_dump(grow_dump(tmp_path / "later" / "x.osm.pbf", day=9, sequence=4869), tmp_path, region="kanto")
    drop_old_copies(later, kept=Retention(newest=1))
    assert path.read_bytes() == content
    assert _dumps(tmp_path) == sorted({name, "kanto-260909.osm.pbf"})


def test_a_link_to_a_dump_is_followed(tmp_path, grow_dump):
    path = grow_dump(tmp_path / "own" / "real.osm.pbf")
    (tmp_path / "link.osm.pbf").symlink_to(path)
    copy = adopt_dump(tmp_path / "link.osm.pbf", tmp_path / "in", region="kanto")
    assert copy.samefile(path)
    assert not copy.is_symlink()
