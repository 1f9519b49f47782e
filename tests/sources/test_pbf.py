"""A PBF is known from a page, a whole one from a cut one; at every length."""

from __future__ import annotations

from datetime import datetime

import osmium
import pytest

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.sources.pbf import check_pbf, read_replication, replication_in


@pytest.fixture
def dump(tmp_path):
    path = tmp_path / "small.osm.pbf"
    header = osmium.io.Header()
    header.set("osmosis_replication_timestamp", "2026-09-03T20:21:51Z")
    header.set("osmosis_replication_sequence_number", "4867")
    with osmium.SimpleWriter(str(path), header=header) as writer:
        for number in range(1, 200):
            writer.add_node(
                osmium.osm.mutable.Node(id=number, location=(139.0 + number / 1000, 35.0), tags={"name": f"n{number}"})
            )
    return path


def test_a_whole_file_passes_and_tells_its_version(dump):
    check_pbf(dump, shown=dump)
    sequence, timestamp = read_replication(dump)
    assert sequence == 4867
    assert timestamp.isoformat() == "2026-09-03T20:21:51+00:00"


def test_a_file_cut_anywhere_is_found_out_unless_the_cut_is_between_blobs(dump, tmp_path):
    whole = dump.read_bytes()
    header_end = 4 + int.from_bytes(whole[:4], "big")
    header_end = next(end for end in range(header_end, len(whole)) if whole[end + 6 : end + 13] == b"OSMData")
    for length in range(0, len(whole), 7):
        cut = tmp_path / "cut.osm.pbf"
        cut.write_bytes(whole[:length])
        if length == header_end:
            continue
        with pytest.raises(BadSourceFileError, match=r"named\.osm\.pbf"):
            check_pbf(cut, shown=tmp_path / "named.osm.pbf")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html><body>Not here", "web page"),
        (b"\n <html>", "web page"),
        (b"", "empty"),
        (b"PK\x03\x04" + b"\0" * 100, "no OSM PBF"),
        (b"\0\0\0\x0b\x0a\x07OSMData\x18\x01\x00", "no OSM header"),
        (b"\xff" * 600, "no OSM PBF"),
    ],
)
def test_something_else_is_told_as_what_it_is(tmp_path, content, said):
    path = tmp_path / "x.osm.pbf"
    path.write_bytes(content)
    with pytest.raises(BadSourceFileError, match=said):
        check_pbf(path, shown=path)


def test_the_first_bytes_tell_as_much_as_the_file_or_nothing_at_all(dump):
    whole = dump.read_bytes()
    header_end = whole.index(b"OSMData") - 6  # 4 bytes of length, a tag, the length of this name
    for length in range(0, len(whole), 3):
        if length < header_end:
            with pytest.raises(BadSourceFileError, match=r"^named: "):
                replication_in(whole[:length], shown="named")
        else:
            assert replication_in(whole[:length], shown="named") == read_replication(dump)


def test_a_dump_without_replication_has_no_version(tmp_path):
    path = tmp_path / "plain.osm.pbf"
    with osmium.SimpleWriter(str(path)) as writer:
        writer.add_node(osmium.osm.mutable.Node(id=1, location=(139.0, 35.0)))
    assert read_replication(path) == (0, None)


def test_what_starts_with_data_or_a_page_has_no_header(dump):
    whole = dump.read_bytes()
    for start in (whole[whole.index(b"OSMData") - 6 :], b"<!DOCTYPE html><html>" + b" " * 200, b""):
        with pytest.raises(BadSourceFileError):
            replication_in(start, shown="named")


def test_real_headers_are_read_as_osmium_reads_them(shared_data):
    for path in sorted(shared_data.glob("*/*.osm.pbf")):
        with osmium.io.Reader(str(path)) as reader:
            said = reader.header().get("osmosis_replication_timestamp")
            number = reader.header().get("osmosis_replication_sequence_number") or "0"
        assert read_replication(path) == (int(number), datetime.fromisoformat(said))
        assert replication_in(path.read_bytes()[:65536], shown=path) == read_replication(path)


def test_a_spoilt_header_is_our_error(tmp_path, dump):
    spoilt = bytearray(dump.read_bytes())
    spoilt[30:60] = b"\xff" * 30
    path = tmp_path / "spoilt.osm.pbf"
    path.write_bytes(spoilt)
    with pytest.raises(BadSourceFileError, match="header cannot be read"):
        read_replication(path)


def test_real_extracts_pass_and_real_ones_cut_do_not(shared_data, tmp_path):
    for path in sorted(shared_data.glob("*/*.osm.pbf")):
        check_pbf(path, shown=path)
        cut = tmp_path / "cut.osm.pbf"
        cut.write_bytes(path.read_bytes()[:-1000])
        with pytest.raises(BadSourceFileError, match="was cut"):
            check_pbf(cut, shown=cut)
