"""Downloads resume on a real socket, are verified, and leave nothing half written."""

from __future__ import annotations

import hashlib
import http.server
import shutil
import threading

import httpx
import pytest

from geoloc_pipeline.errors import (
    BadSourceFileError,
    ChecksumMismatchError,
    HomeError,
    SourceRefusedError,
    SourceUnavailableError,
)
from geoloc_pipeline.sources.http import HttpClient
from geoloc_pipeline.storage.progress import Progress

BODY = bytes(range(256)) * 4000  # 1 MB


class _Files:
    """A file server on loopback that understands Range and If-Range, and cuts connections when told so."""

    def __init__(self):
        self.body, self.etag, self.cuts, self.status = BODY, '"one"', [], 200
        self.asked = []
        files = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                files.serve(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/big.bin"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def serve(self, handler):
        asked_range = handler.headers.get("Range")
        self.asked.append(asked_range)
        if self.status != 200:
            handler.send_error(self.status)
            return
        body, start = self.body, 0
        if asked_range and handler.headers.get("If-Range") == self.etag:
            start = int(asked_range.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(body)}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.send_header("ETag", self.etag)
        handler.end_headers()
        stop = len(body)
        if self.cuts:
            stop = min(stop, start + self.cuts.pop(0))
        handler.wfile.write(body[start:stop])
        if stop < len(body):
            handler.wfile.flush()
            handler.connection.close()


@pytest.fixture
def files():
    served = _Files()
    yield served
    served.server.shutdown()
    served.server.server_close()
    served.thread.join()


def _client(**settings):
    return HttpClient(sleep=lambda seconds: None, **settings)


def _md5(data):
    return hashlib.md5(data).hexdigest()


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_is_cut_again_and_again_arrives_whole_and_no_byte_twice(files, tmp_path):
    files.cuts = [100_000] * 8  # more cuts than tries: what brings bytes does not count as failed
    progress = Progress()
    _client(tries=3).download(files.url, tmp_path / "big.bin", service="A", md5=_md5(BODY), progress=progress)
    assert (tmp_path / "big.bin").read_bytes() == BODY
    assert files.asked[0] is None
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in files.asked[1:]]
    assert starts == sorted(starts)
    assert all(start > 0 for start in starts)
    assert _names(tmp_path) == ["big.bin"]
    assert progress.done == len(BODY)


def test_a_later_run_goes_on_where_an_earlier_one_died(files, tmp_path):
    files.cuts = [300_000, 0, 0]
    with pytest.raises(SourceUnavailableError):
        _client(tries=2).download(files.url, tmp_path / "big.bin", service="A")
    assert not (tmp_path / "big.bin").exists()
    have = (tmp_path / "big.bin.part").stat().st_size
    assert 0 < have <= 300_000
    files.asked.clear()
    files.cuts = []
    _client().download(files.url, tmp_path / "big.bin", service="A", md5=_md5(BODY))
    assert files.asked == [f"bytes={have}-"]
    assert (tmp_path / "big.bin").read_bytes() == BODY


def test_two_versions_are_never_glued_together(files, tmp_path):
    files.cuts = [300_000, 0, 0]
    with pytest.raises(SourceUnavailableError):
        _client(tries=2).download(files.url, tmp_path / "big.bin", service="A")
    files.body, files.etag, files.cuts = BODY[::-1], '"two"', []
    _client().download(files.url, tmp_path / "big.bin", service="A")
    assert (tmp_path / "big.bin").read_bytes() == BODY[::-1]


def test_a_part_that_is_whole_already_is_only_verified(files, tmp_path):
    (tmp_path / "big.bin.part").write_bytes(BODY)
    (tmp_path / "big.bin.part.json").write_text('{"validator": "\\"one\\""}')
    _client().download(files.url, tmp_path / "big.bin", service="A", md5=_md5(BODY))
    assert (tmp_path / "big.bin").read_bytes() == BODY
    assert len(files.asked) == 1


def test_a_part_spoilt_on_disk_is_fetched_anew(files, tmp_path):
    (tmp_path / "big.bin.part").write_bytes(b"\0" * 1000)
    (tmp_path / "big.bin.part.json").write_text('{"validator": "\\"one\\""}')
    _client().download(files.url, tmp_path / "big.bin", service="A", md5=_md5(BODY))
    assert (tmp_path / "big.bin").read_bytes() == BODY
    assert files.asked == ["bytes=1000-", None]


@pytest.mark.parametrize("spoilt", ["", "{", "[]", '{"validator": 3}'])
def test_a_part_of_unknown_version_is_not_trusted(files, tmp_path, spoilt):
    (tmp_path / "big.bin.part").write_bytes(b"\0" * 1000)
    (tmp_path / "big.bin.part.json").write_text(spoilt)
    _client().download(files.url, tmp_path / "big.bin", service="A")
    assert (tmp_path / "big.bin").read_bytes() == BODY


def test_a_wrong_md5_leaves_nothing_and_the_former_file_alone(files, tmp_path):
    (tmp_path / "big.bin").write_bytes(b"former")
    with pytest.raises(ChecksumMismatchError, match=f"big.bin has md5 {_md5(BODY)}, the service says {'0' * 32}"):
        _client().download(files.url, tmp_path / "big.bin", service="A", md5="0" * 32)
    assert (tmp_path / "big.bin").read_bytes() == b"former"
    assert _names(tmp_path) == ["big.bin"]


def test_a_file_that_fails_its_check_leaves_nothing(files, tmp_path):
    def check(part):
        assert part.read_bytes() == BODY
        raise BadSourceFileError(path="x", reason="it is not what it should be", cure="none")

    with pytest.raises(BadSourceFileError):
        _client().download(files.url, tmp_path / "big.bin", service="A", check=check)
    assert _names(tmp_path) == []


def test_a_full_disk_is_noticed_before_the_start(files, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 2000))
    with pytest.raises(HomeError, match=r"68,132,864 bytes are needed \(1,024,000 are to come.*only 2,000 are free"):
        _client().download(files.url, tmp_path / "big.bin", service="A")
    assert _names(tmp_path) == []


def test_a_file_that_is_not_there_is_a_value_for_those_who_ask(files, tmp_path):
    files.status = 404
    assert not _client().download(files.url, tmp_path / "big.bin", service="A", absent=frozenset({404}))
    assert _names(tmp_path) == []
    files.status = 200
    assert _client().download(files.url, tmp_path / "big.bin", service="A", absent=frozenset({404}))


def test_a_file_that_is_gone_is_refused_at_once_and_a_sick_server_asked_again(files, tmp_path):
    files.status = 404
    with pytest.raises(SourceRefusedError, match="404"):
        _client().download(files.url, tmp_path / "big.bin", service="A")
    assert len(files.asked) == 1
    files.status = 503
    with pytest.raises(SourceUnavailableError, match="503"):
        _client(tries=3).download(files.url, tmp_path / "big.bin", service="A")
    assert len(files.asked) == 4


def test_a_server_that_sends_more_than_it_said_is_not_believed(tmp_path):
    answer = httpx.Response(200, headers={"Content-Length": "3"}, stream=httpx.ByteStream(b"12345"))
    client = HttpClient(transport=httpx.MockTransport(lambda request: answer), sleep=lambda seconds: None, tries=1)
    with pytest.raises(SourceUnavailableError, match="more than the announced 3"):
        client.download("https://x.example.org/f", tmp_path / "f", service="A")
    assert not (tmp_path / "f").exists()
