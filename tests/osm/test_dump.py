"""What a dump is and what only looks like one."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.osm.dump import check_dump


def test_a_whole_dump_passes(dump):
    check_dump(dump)


def test_a_real_dump_passes(shared_data):
    for path in sorted(shared_data.glob("*/*.osm.pbf")):
        check_dump(path)


@settings(deadline=None, max_examples=60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_dump_cut_anywhere_is_refused(dump, tmp_path_factory, share):
    data = dump.read_bytes()
    cut = int(share * len(data))
    # Between two blobs a shorter file is a whole file: only the published md5 can tell, and the download asks it.
    assume(cut not in {found.start() - 4 for found in re.finditer(b"\x0a\x07OSMData", data)})
    path = tmp_path_factory.getbasetemp() / "cut.osm.pbf"
    path.write_bytes(data[:cut])
    with pytest.raises(BadSourceFileError, match="materialise the asset `osm_dump` again"):
        check_dump(path)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>moved</html>", b"\x00" * 5000, b"\xff" * 5000, b"PK\x03\x04zip"])
def test_something_else_under_the_name_of_a_dump_is_refused(tmp_path, content):
    path = tmp_path / "page.osm.pbf"
    path.write_bytes(content)
    with pytest.raises(BadSourceFileError, match=r"page.osm.pbf: it is (no|a web page, not an) OSM PBF file"):
        check_dump(path)


def test_a_dump_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(MissingInputError, match="osm_dump"):
        check_dump(tmp_path / "none.osm.pbf")
