"""Objects in and out, ranges and listings, on a real S3 server and on a folder; one clear error for each fault."""

from __future__ import annotations

import pytest

from geoloc_pipeline.errors import MissingInputError, SourceUnavailableError
from geoloc_pipeline.storage import objects
from geoloc_pipeline.storage.objects import open_store


@pytest.fixture
def store(s3, tmp_path):
    import fsspec

    objects._opened.cache_clear()
    fsspec.filesystem("s3").clear_instance_cache()
    return open_store(f"s3://homes/{tmp_path.name}")


def test_what_is_put_is_had(store, tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")
    store.put("a/b", b"small")
    store.put_file("a/c", tmp_path / "file")
    assert store.get("a/b") == b"small"
    assert store.get_range("a/c", offset=3, size_bytes=4) == b"3456"
    assert store.get_range("a/c", offset=8, size_bytes=40) == b"89"
    store.get_file("a/c", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"0123456789"
    assert (store.size("a/c"), store.size("a/d")) == (10, None)


def test_a_listing_tells_keys_sizes_and_a_tag_that_changes_with_the_bytes(store):
    store.put("m/one", b"1")
    store.put("m/two/deep", b"22")
    store.put("elsewhere", b"3")
    first = list(store.listed("m"))
    assert [(one.key, one.size_bytes) for one in first] == [("m/one", 1), ("m/two/deep", 2)]
    store.put("m/one", b"9")
    second = list(store.listed("m"))
    assert first[0].tag != second[0].tag
    assert first[1].tag == second[1].tag
    assert list(store.listed("nothing")) == []


def test_what_is_gone_is_missing_and_may_be_removed_again(store):
    store.put("x", b"1")
    store.remove("x")
    store.remove("x")
    with pytest.raises(MissingInputError, match="x"):
        store.get("x")


def test_a_storage_that_is_not_there_is_asked_for_a_while_and_named(store, monkeypatch):
    import socket

    import fsspec

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(objects, "_PAUSE_S", 0.001)
    objects._opened.cache_clear()
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(SourceUnavailableError, match="run the same step again later"):
        open_store(store.url).get("x")
