"""Archives as photo sets ship them: whole, in raw parts whose cuts go anywhere, spoilt, huge; nothing is unpacked."""

from __future__ import annotations

import io
import random
import tarfile
import tracemalloc
import zipfile
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.sources.photo_archives import Archive, archives_in
from geoloc_pipeline.sources.photo_files import PictureIndex


def _tar(members, *, form=tarfile.GNU_FORMAT):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_000_000_000
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _parts(folder, data, cuts, *, stem="mp-16-images"):
    folder.mkdir(exist_ok=True)
    edges = [0, *sorted(cuts), len(data)]
    paths = [folder / f"{stem}{number:02d}" for number in range(len(edges) - 1)]
    for path, start, end in zip(paths, edges, edges[1:], strict=False):
        path.write_bytes(data[start:end])
    return paths


_PICTURES = {f"./images/{number:02x}_{'x' * number}.jpg": random.Random(number).randbytes(number * 97) for number in range(12)}
_PICTURES["./images/" + "long" * 40 + ".jpg"] = b"a name that needs a header of its own"
_WHOLE = _tar(_PICTURES)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_form_of_tar_is_read_as_tarfile_writes_it(tmp_path, form):
    pictures = {name: content for name, content in _PICTURES.items() if form != tarfile.USTAR_FORMAT or len(name) < 100}
    (tmp_path / "all.tar").write_bytes(_tar(pictures, form=form))
    index = PictureIndex(tmp_path)
    assert {name: index.find(name.removeprefix("./")).read() for name in pictures} == pictures


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, len(_WHOLE)), max_size=6))
def test_a_tar_cut_anywhere_reads_as_the_whole_one(tmp_path_factory, cuts):
    folder = tmp_path_factory.mktemp("cut")
    _parts(folder, _WHOLE, cuts)
    index = PictureIndex(folder)
    for name, content in _PICTURES.items():
        found = index.find(name.removeprefix("./"))
        assert found.read() == content
        assert found.modified_at == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(600, len(_WHOLE) - 1))
def test_of_the_first_parts_alone_the_whole_members_come(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("first")
    _parts(folder, _WHOLE, [cut // 2, cut])[2].unlink()
    (archive,) = archives_in(sorted(folder.iterdir()))
    there = {member.name for member in archive.members()}
    with tarfile.open(fileobj=io.BytesIO(_WHOLE)) as whole:
        fits = {info.name.removeprefix("./") for info in whole if info.offset_data + info.size <= cut}
    assert there == fits


def test_a_missing_part_before_others_is_named(tmp_path):
    parts = _parts(tmp_path, _WHOLE, [2000, 4000, 6000])
    parts[1].unlink()
    with pytest.raises(BadSourceFileError, match=r"mp-16-images01.*missing before mp-16-images03"):
        PictureIndex(tmp_path).find("a.jpg")
    parts[0].unlink()
    with pytest.raises(BadSourceFileError, match=r"mp-16-images01|mp-16-images00"):
        PictureIndex(tmp_path).find("a.jpg")


def test_parts_of_other_names_and_two_tars_side_by_side_are_told_apart(tmp_path):
    _parts(tmp_path / "one", _tar({"a.jpg": b"a" * 3000}), [1000], stem="x.tar.")
    _parts(tmp_path / "two", _tar({"b.jpg": b"b" * 3000}), [700, 1500], stem="y.tar.part-")
    (tmp_path / "notes01").write_text("no part of anything")
    index = PictureIndex(tmp_path)
    assert (index.find("a.jpg").read(), index.find("b.jpg").read()) == (b"a" * 3000, b"b" * 3000)


@pytest.mark.parametrize("spoil", [slice(5000, 5600), slice(0, 100)], ids=["in the middle", "at the start"])
def test_a_spoilt_tar_is_named_and_never_taken_for_a_short_one(tmp_path, spoil):
    data = bytearray(_tar({f"{number}.jpg": b"" for number in range(20)}))
    data[spoil] = b"\xff" * (spoil.stop - spoil.start)
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(BadSourceFileError, match=r"x\.tar"):
        PictureIndex(tmp_path).find("1.jpg")


def test_a_joined_tar_that_ends_in_a_member_is_named(tmp_path):
    (tmp_path / "x.tar").write_bytes(_tar({"a.jpg": b"a" * 100, "b.jpg": b"b" * 5000})[:3000])
    with pytest.raises(BadSourceFileError, match=r"x\.tar"):
        PictureIndex(tmp_path).find("a.jpg")


def test_zips_are_read_stored_deflated_and_with_clocks_that_never_ran(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number, method in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)):
            info = zipfile.ZipInfo(f"00/{number}.jpg", (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.extra = method, b"\x99\x99\x04\x00abcd"
            archive.writestr(info, b"picture" * 500)
    data = (tmp_path / "a.zip").read_bytes().replace(b"\x21\x00", b"\x00\x00")  # the 1st of January to the 0th of nothing
    (tmp_path / "a.zip").write_bytes(data)
    index = PictureIndex(tmp_path)
    assert [index.find(f"{number}.jpg").read() for number in (0, 1)] == [b"picture" * 500] * 2
    assert index.find("00/1.jpg").modified_at.year == 1980


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_spoilt_or_strange_member_of_a_zip_costs_that_picture_alone(tmp_path, method):
    content = random.Random(1).randbytes(2000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("bad.jpg", content)
        archive.writestr(zipfile.ZipInfo("good.jpg"), content)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[1000:1004] = bytes(value ^ 255 for value in data[1000:1004])
    (tmp_path / "a.zip").write_bytes(data)
    index = PictureIndex(tmp_path)
    with pytest.raises(OSError, match=r"spoilt|packed"):
        index.find("bad.jpg").read()
    assert index.find("good.jpg").read() == content


def test_a_zip_that_lies_of_a_size_fills_no_memory(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jpg", b"\0" * 200_000_000)
    data = (tmp_path / "bomb.zip").read_bytes().replace((200_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    (tmp_path / "bomb.zip").write_bytes(data)
    file = PictureIndex(tmp_path).find("bomb.jpg")
    tracemalloc.start()
    with pytest.raises(OSError, match="spoilt"):
        file.read()
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_file_that_was_cut_after_it_was_listed_reads_short_and_does_not_hang(tmp_path):
    paths = _parts(tmp_path, b"0123456789" * 100, [300, 600])
    archive = Archive.of(paths)
    assert archive.read(250, 500) == (b"0123456789" * 100)[250:750]
    assert archive.read(900, 500) == b"0123456789" * 10
    paths[1].write_bytes(b"")
    assert archive.read(250, 500) == b"0123456789" * 5


def test_an_index_holds_about_a_hundred_bytes_a_picture_and_is_made_when_first_asked(tmp_path):
    count = 4000
    members = {f"./images/{number:02x}_{9_000_000_000 + number}.jpg": b"" for number in range(count)}
    (tmp_path / "mp16.tar").write_bytes(_tar(members))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    index = PictureIndex(tmp_path)
    assert tracemalloc.get_traced_memory()[0] - before < 2000, "nothing is read before the first question"
    assert index.find("00/9000000000.jpg") is not None
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held < 150 * count
