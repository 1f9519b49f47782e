"""A home on object storage: whole or not at all, whoever publishes, whatever the storage does. Against a real S3 server."""

from __future__ import annotations

import json
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError, SettingError, SourceRefusedError
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import read_receipt, write_receipt
from geoloc_pipeline.storage.shards import read_member, shard_size, write_shard
from geoloc_pipeline.storage.shared import home_at, shared_home

REFUSALS = {"slow down": (503, "<Error><Code>SlowDown</Code></Error>"), "refused": (403, "")}


class Storage:
    """An S3 server, and the nodes that use it."""

    def __init__(self, folder, client):
        self._folder, self.client, self._count = folder, client, 0

    def url(self):
        self._count += 1
        return f"s3://homes/{self._folder.name}/{self._count}"

    def node(self, url, name):
        return home_at(url, {"GEOLOC_WORKING_COPIES": str(self._folder / name)})

    def keys(self, url, below=""):
        prefix = f"{url.removeprefix('s3://homes/')}/{below}"
        told = self.client.list_objects_v2(Bucket="homes", Prefix=prefix)
        return {item["Key"]: item["LastModified"] for item in told.get("Contents", [])}


class Faults:
    """A way to the server on which some requests go wrong."""

    def __init__(self, port):
        self.plan = lambda method, path, number: None
        self.asked, self.refusal = [], ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self):
                body = self._body()
                outer.asked.append((self.command, self.path))
                fault = outer.plan(self.command, self.path, len(outer.asked))
                if fault == "cut":
                    self.close_connection = True
                    return
                if fault in REFUSALS:
                    status, told = REFUSALS[fault]
                    self._send(status, {"Content-Type": "application/xml"}, (outer.refusal or told).encode())
                    return
                way = HTTPConnection("127.0.0.1", port, timeout=30)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
                way.request(self.command, self.path, body, headers)
                answer = way.getresponse()
                self._send(answer.status, dict(answer.getheaders()), answer.read())

            def _body(self):
                if self.headers.get("Expect", "").lower() == "100-continue":
                    self.send_response_only(100)
                    self.end_headers()
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def _send(self, status, headers, data):
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in {"content-length", "transfer-encoding", "connection", "server", "date"}:
                        self.send_header(name, value)
                length = headers.get("Content-Length") if self.command == "HEAD" else None
                self.send_header("Content-Length", length or str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass  # noqa: N815  (names of the standard library)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def faults(s3_port):
    faults = Faults(s3_port)
    yield faults
    faults.close()


@pytest.fixture
def storage(s3, faults, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{faults.port}")
    from geoloc_pipeline.storage import objects, shared

    for cached in (objects._opened, shared._opened):
        cached.cache_clear()
    import fsspec

    fsspec.filesystem("s3").clear_instance_cache()
    monkeypatch.setattr(objects, "_PAUSE_S", 0.01)
    return Storage(tmp_path, s3)


def make(home: Home, text: str, *, partition: str = "47_okinawa", shard: tuple[bytes, ...] = ()) -> None:
    """Make an artefact of two tables, and of a tar shard where pictures are given."""
    files = [home.table("street_view_images", partition), home.rejected("street_view_images", partition)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text} {file.relative_to(home.root)}")
    bulk = []
    if shard:
        bulk = [home.images("street_view_images", partition) / "00000.tar"]
        write_shard(bulk[0], [(f"{number}.webp", data) for number, data in enumerate(shard)])
    path = home.receipt("street_view_images", partition)
    write_receipt(path, inputs={"text": text}, files=files, bulk=bulk, root=home.root)


def texts(home: Home, partition: str = "47_okinawa") -> list[str]:
    return [
        path.read_text().split()[0]
        for path in (home.table("street_view_images", partition), home.rejected("street_view_images", partition))
    ]


def test_what_one_node_publishes_another_one_has(storage):
    url = storage.url()
    one, other = storage.node(url, "one"), storage.node(url, "other")
    make(one, "first")
    shared_home(one).publish("street_view_images", "47_okinawa")
    shared_home(other).refresh()
    assert read_receipt(other.receipt("street_view_images", "47_okinawa")) == read_receipt(
        one.receipt("street_view_images", "47_okinawa")
    )
    assert not other.table("street_view_images", "47_okinawa").exists()
    shared_home(other).fetch("street_view_images", "47_okinawa")
    assert texts(other) == ["first", "first"]


def test_nothing_is_seen_before_the_manifest_is_written(storage, faults):
    url = storage.url()
    one, other = storage.node(url, "one"), storage.node(url, "other")
    make(one, "first")
    shared_home(one).publish("street_view_images", "47_okinawa")
    make(one, "second")
    faults.plan = lambda method, path, _: "cut" if method == "PUT" and "/manifests/" in path else None
    with pytest.raises(OSError, match="nothing was lost"):
        shared_home(one).publish("street_view_images", "47_okinawa")
    faults.plan = lambda *_: None
    shared_home(other).refresh()
    shared_home(other).fetch("street_view_images", "47_okinawa")
    assert texts(other) == ["first", "first"]
    assert shared_home(other).unnamed(before_s=time.time() - 60) == []  # they may be about to be named
    assert len(shared_home(other).unnamed(before_s=time.time() + 60)) == 2  # its two tables
    shared_home(one).publish("street_view_images", "47_okinawa")
    shared_home(other).refresh()
    shared_home(other).fetch("street_view_images", "47_okinawa")
    assert texts(other) == ["second", "second"]


def test_of_two_nodes_that_publish_at_once_one_is_seen_whole(storage):
    url = storage.url()
    nodes = [storage.node(url, name) for name in ("one", "other")]
    reader = storage.node(url, "reader")
    for turn in range(8):
        for number, node in enumerate(nodes):
            make(node, f"{turn}-{number}")
        both = [threading.Thread(target=shared_home(node).publish, args=("street_view_images", "47_okinawa")) for node in nodes]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        shared_home(reader).refresh()
        shared_home(reader).fetch("street_view_images", "47_okinawa")
        assert len(set(texts(reader))) == 1
        assert texts(reader)[0].startswith(f"{turn}-")


def test_pictures_are_read_where_they_are(storage, faults):
    url, pictures = storage.url(), (b"a" * 700, b"b" * 3000, b"c")
    one, other = storage.node(url, "one"), storage.node(url, "other")
    make(one, "first", shard=pictures)
    members = write_shard(one.root / "same.tar", [(f"{number}.webp", data) for number, data in enumerate(pictures)])
    shared_home(one).publish("street_view_images", "47_okinawa")
    shared_home(other).bring()
    folder = other.images("street_view_images", "47_okinawa")
    assert not folder.exists()
    assert shard_size(folder / "00000.tar") == (one.root / "same.tar").stat().st_size
    del faults.asked[:]
    for member, data in zip(members, pictures, strict=True):
        assert read_member(folder, shard="00000.tar", offset=member.offset, size_bytes=member.size_bytes) == data
    assert [method for method, _ in faults.asked] == ["GET"] * 3
    with pytest.raises(MissingInputError):
        read_member(folder, shard="00009.tar", offset=0, size_bytes=1)
    shared_home(other).bring_shards("street_view_images")
    assert (folder / "00000.tar").read_bytes() == (one.root / "same.tar").read_bytes()


def test_only_what_changed_is_sent_and_brought(storage, faults):
    url = storage.url()
    one, other = storage.node(url, "one"), storage.node(url, "other")
    make(one, "first", shard=(b"a" * 100,))
    shared_home(one).publish("street_view_images", "47_okinawa")
    shared_home(other).bring(shards=True)
    before = storage.keys(url, "objects/")
    one.table("street_view_images", "47_okinawa").write_text("changed")
    receipt = read_receipt(one.receipt("street_view_images", "47_okinawa"))
    write_receipt(
        one.receipt("street_view_images", "47_okinawa"),
        inputs={},
        files=[one.root / name for name in receipt.hashed],
        bulk=[one.images("street_view_images", "47_okinawa") / "00000.tar"],
        root=one.root,
    )
    shared_home(one).publish("street_view_images", "47_okinawa")
    after = storage.keys(url, "objects/")
    assert len(after.keys() - before.keys()) == 1
    assert {key: after[key] for key in before} == before
    del faults.asked[:]
    shared_home(other).bring(shards=True)
    assert sum("/objects/" in path for method, path in faults.asked if method == "GET") == 1
    del faults.asked[:]
    shared_home(other).bring(shards=True)
    assert all("/objects/" not in path for _, path in faults.asked)


def test_what_is_shown_beside_is_brought_alone_and_no_old_table_passes_for_the_new_one(storage):
    url = storage.url()
    one, other = storage.node(url, "one"), storage.node(url, "other")
    preview = one.preview("street_view_images", "47_okinawa")
    preview.parent.mkdir(parents=True)
    for text in ("first", "second"):
        make(one, text)
        preview.write_text(f"shown {text}")
        shared_home(one).publish("street_view_images", "47_okinawa", [preview])
        shared_home(other).refresh()
        shared_home(other).fetch("street_view_images", "47_okinawa", beside=True)
        assert other.preview("street_view_images", "47_okinawa").read_text() == f"shown {text}"
        assert other.table("street_view_images", "47_okinawa").exists() == (text == "second")
        shared_home(other).fetch("street_view_images", "47_okinawa")
        assert texts(other) == [text, text]


def test_a_storage_that_is_busy_is_asked_again(storage, faults):
    url = storage.url()
    one, other = storage.node(url, "one"), storage.node(url, "other")
    faults.plan = lambda _method, _path, number: ("slow down", "cut", None)[number % 3]
    make(one, "first", shard=(b"a" * 100,))
    shared_home(one).publish("street_view_images", "47_okinawa")
    shared_home(other).bring(shards=True)
    assert texts(other) == ["first", "first"]


def test_a_damaged_object_is_named_and_nothing_is_half_written(storage):
    url = storage.url()
    one, other = storage.node(url, "one"), storage.node(url, "other")
    make(one, "first")
    shared_home(one).publish("street_view_images", "47_okinawa")
    key = min(storage.keys(url, "objects/"))
    body = storage.client.get_object(Bucket="homes", Key=key)["Body"].read()
    storage.client.put_object(Bucket="homes", Key=key, Body=body[::-1])
    shared_home(other).refresh()
    with pytest.raises(BadSourceFileError, match="damaged"):
        shared_home(other).fetch("street_view_images", "47_okinawa")
    storage.client.delete_object(Bucket="homes", Key=key)
    with pytest.raises(MissingInputError, match="materialise the asset again"):
        shared_home(other).fetch("street_view_images", "47_okinawa")


@pytest.mark.parametrize("name", ["../outside.parquet", "/etc/outside", "tables/../../outside"])
def test_a_manifest_that_leads_outside_is_refused(storage, name):
    url = storage.url()
    one, other = storage.node(url, "one"), storage.node(url, "other")
    make(one, "first")
    shared_home(one).publish("street_view_images", "47_okinawa")
    [key] = storage.keys(url, "manifests/")
    told = json.loads(storage.client.get_object(Bucket="homes", Key=key)["Body"].read())
    told["objects"][name] = next(iter(told["objects"].values()))
    storage.client.put_object(Bucket="homes", Key=key, Body=json.dumps(told).encode())
    shared_home(other).refresh()
    with pytest.raises(BadSourceFileError, match="outside"):
        shared_home(other).fetch("street_view_images", "47_okinawa")


def test_what_this_node_is_making_is_left_alone(storage):
    url = storage.url()
    one, other = storage.node(url, "one"), storage.node(url, "other")
    make(one, "first")
    shared_home(one).publish("street_view_images", "47_okinawa")
    note = shared_home(other).making("street_view_images", "47_okinawa")
    shared_home(other).refresh()
    assert not other.receipt("street_view_images", "47_okinawa").exists()
    note.unlink()
    shared_home(other).refresh()
    assert other.receipt("street_view_images", "47_okinawa").exists()


# --- bad input ----------------------------------------------------------------------------------------------------------


def test_a_bucket_that_does_not_exist_is_told_before_any_work(storage):
    with pytest.raises(SettingError, match="there is no bucket 'nowhere'"):
        shared_home(storage.node("s3://nowhere/home", "one"))


def test_missing_credentials_are_told_with_their_variables(storage, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(SourceRefusedError, match="AWS_ACCESS_KEY_ID"):
        shared_home(storage.node(storage.url(), "one"))


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken", "InvalidAccessKeyId"])
def test_refused_credentials_are_told_and_not_shown(storage, faults, code):
    faults.plan, faults.refusal = lambda *_: "refused", f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    with pytest.raises(SourceRefusedError, match="renew them") as raised:
        shared_home(storage.node(storage.url(), "one"))
    assert "secret" not in str(raised.value).replace("SECRET", "")


@pytest.mark.parametrize("url", ["nosuch://bucket/home", "s3://", "s3://user:hidden@bucket/home"])
def test_a_url_that_cannot_work_says_what_can(storage, url):
    with pytest.raises(SettingError, match="GEOLOC_HOME") as raised:
        shared_home(storage.node(url, "one"))
    assert "hidden" not in str(raised.value)


def test_a_home_of_another_version_is_refused(storage):
    url = storage.url()
    shared_home(storage.node(url, "one"))
    [key] = storage.keys(url, "home.json")
    storage.client.put_object(Bucket="homes", Key=key, Body=b'{"layout": 1, "version": "0.0.7"}')
    with pytest.raises(SettingError, match=r"geoloc_pipeline 0\.0\.7 .*install the same version"):
        shared_home(storage.node(url, "other"))


def test_a_file_url_is_a_folder(tmp_path):
    assert home_at(f"file://{tmp_path}/home", {}) == Home.at(tmp_path / "home")
    assert shared_home(Home.at(tmp_path / "home")) is None
