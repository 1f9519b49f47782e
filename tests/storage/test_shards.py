"""Offsets point at the very bytes, and any tar tool reads the shard."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import MissingInputError
from geoloc_pipeline.storage.shards import read_member, write_shard


@given(data=st.lists(st.binary(min_size=1, max_size=2000), min_size=1, max_size=12))
def test_every_member_is_found_at_its_offset_and_by_tar(tmp_path_factory: pytest.TempPathFactory, data: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("shards")
    members = write_shard(folder / "00000.tar", ((f"{i}.webp", blob) for i, blob in enumerate(data)))
    with tarfile.open(folder / "00000.tar") as tar:
        for member, blob in zip(members, data, strict=True):
            found = read_member(folder, shard=member.shard, offset=member.offset, size_bytes=member.size_bytes)
            extracted = tar.extractfile(member.name)
            assert extracted is not None
            assert found == blob == extracted.read()


def test_the_same_members_make_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / f"{name}.tar", [("1.webp", b"one"), ("2.webp", b"two")])
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_shard_that_is_gone_or_cut_short_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="materialise"):
        read_member(tmp_path, shard="no.tar", offset=0, size_bytes=1)
    write_shard(tmp_path / "cut.tar", [("1.webp", b"one")])
    with pytest.raises(MissingInputError, match="cut short"):
        read_member(tmp_path, shard="cut.tar", offset=512, size_bytes=100_000)


def test_a_shard_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    for data in (b"old", b"new"):
        [member] = write_shard(tmp_path / "a.tar", [("1.webp", data)])
        assert read_member(tmp_path, shard="a.tar", offset=member.offset, size_bytes=3) == data


def test_no_file_stays_open_however_many_shards_are_read(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(30):
        [member] = write_shard(tmp_path / f"{number}.tar", [("1.webp", b"one")])
        read_member(tmp_path, shard=member.shard, offset=member.offset, size_bytes=member.size_bytes)
        with pytest.raises(MissingInputError):
            read_member(tmp_path, shard=member.shard, offset=member.offset, size_bytes=100_000)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
