"""Requests and answers: ranges agree with slices of the file, whatever is asked."""

from __future__ import annotations

import itertools
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.demo.mirror_answers import (
    CHUNK_BYTES,
    Answer,
    Asked,
    BrokenConnectionError,
    as_json,
    file_answer,
    html,
    http_date,
)

CHANGED = datetime(2026, 9, 3, 20, 21, 51, tzinfo=UTC)
BODY = bytes(range(256)) * 700


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("served") / "file.bin"
    path.write_bytes(BODY)
    return path


def ask(path: Path, method: str = "GET", **headers: str) -> Answer:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return file_answer(Asked(method, "host", "/", {}, named), path, "application/octet-stream", changed_at=CHANGED)


@given(first=st.integers(0, len(BODY) + 50), length=st.integers(1, 400))
def test_a_range_is_a_slice_of_the_file(path: Path, first: int, length: int) -> None:
    answer = ask(path, range=f"bytes={first}-{first + length - 1}")
    if first >= len(BODY):
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(BODY)}")
        return
    part = BODY[first : first + length]
    assert (answer.status, b"".join(answer.chunks()), answer.size_bytes) == (206, part, len(part))
    assert answer.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(BODY)}"


@pytest.mark.parametrize(("asked", "wanted"), [("bytes=100-", BODY[100:]), ("bytes=-7", BODY[-7:]), ("bytes=-999999", BODY)])
def test_open_ranges(path: Path, asked: str, wanted: bytes) -> None:
    answer = ask(path, range=asked)
    assert answer.status == 206
    assert b"".join(answer.chunks()) == wanted


@pytest.mark.parametrize("asked", ["bytes=9-3", "bytes=-", "lines=1-2", "bytes=0-1,5-6", "nonsense"])
def test_a_range_that_cannot_be_read_gets_the_whole_file(path: Path, asked: str) -> None:
    answer = ask(path, range=asked)
    assert (answer.status, b"".join(answer.chunks())) == (200, BODY)


def test_if_range_gives_the_rest_only_of_the_same_file(path: Path) -> None:
    etag = ask(path).headers["ETag"]
    for fresh in (etag, http_date(CHANGED)):
        assert ask(path, range="bytes=5-", if_range=fresh).status == 206
    for stale in ('"other"', http_date(datetime(2020, 1, 1, tzinfo=UTC))):
        assert ask(path, range="bytes=5-", if_range=stale).status == 200


def test_an_unchanged_file_is_not_sent_again(path: Path) -> None:
    assert ask(path, if_none_match=ask(path).headers["ETag"]).status == 304
    assert ask(path, if_none_match='"other"').status == 200


def test_head_tells_the_whole_size(path: Path) -> None:
    answer = ask(path, "HEAD", range="bytes=0-3")
    assert (answer.status, answer.size_bytes) == (200, len(BODY))


def test_files_are_read_in_pieces(path: Path) -> None:
    sizes = [len(chunk) for chunk in ask(path).chunks()]
    assert len(sizes) == 3
    assert max(sizes) == CHUNK_BYTES


def test_a_cut_answer_breaks_off_where_it_was_told(path: Path) -> None:
    chunks = Answer(200, path, cut_after=100_000).chunks()
    assert next(chunks) + next(chunks) == BODY[:100_000]
    with pytest.raises(BrokenConnectionError):
        next(chunks)


@given(size=st.integers(1, 5000), cut=st.integers(0, 5000))
def test_a_drip_loses_nothing_and_can_be_cut(size: int, cut: int) -> None:
    body = BODY[:size]
    drops = list(Answer(200, body, pause_s=1e-9).chunks())
    assert b"".join(drops) == body
    assert len(drops) >= min(size, 100)
    got = b""
    with suppress(BrokenConnectionError):
        for drop in Answer(200, body, pause_s=1e-9, cut_after=min(cut, size - 1)).chunks():
            got += drop
    assert got == body[: min(cut, size - 1)]


def test_an_endless_answer_announces_no_length_and_begins_anew(path: Path) -> None:
    answer = Answer(200, path, is_endless=True)
    assert answer.announced_bytes is None
    got = b"".join(itertools.islice(answer.chunks(), 7))
    assert got == BODY + BODY + BODY[:CHUNK_BYTES]


def test_a_short_answer_announces_more_than_it_has(path: Path) -> None:
    answer = Answer(200, path, short_by=7)
    assert (answer.announced_bytes, answer.size_bytes) == (len(BODY) + 7, len(BODY))
    assert b"".join(answer.chunks()) == BODY
    assert Answer(200, path).announced_bytes == len(BODY)


def test_pages_and_json_are_utf_8() -> None:
    assert "見本".encode() in html(200, "t", "見本").body  # type: ignore[operator]
    assert as_json(200, {"name": "見本"}).body == '{"name": "見本"}'.encode()


def test_a_request_is_read_from_wsgi() -> None:
    environ = {
        "REQUEST_METHOD": "GET", "SERVER_NAME": "x", "PATH_INFO": "/a b", "QUERY_STRING": "k=1%7C2&k=3&e=",
        "HTTP_HOST": "Graph.Mapillary.com:443", "HTTP_IF_RANGE": '"x"',
    }  # fmt: skip
    asked = Asked.of(environ)
    assert (asked.host, asked.path, asked.query) == ("graph.mapillary.com", "/a b", {"k": "1|2", "e": ""})
    assert asked.headers["if-range"] == '"x"'
