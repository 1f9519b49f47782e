"""A Qdrant server that is down, hangs, is full or refuses the key: over real sockets, HTTP and gRPC."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import pytest

from geoloc_pipeline.errors import CollectionError, SettingError, SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.retrieval.gallery.faults import server_faults
from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation, build_gallery, open_gallery
from geoloc_pipeline.retrieval.gallery.server import ServerStore, connect

pytestmark = [pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")]


@contextmanager
def http_server(status: int, body: bytes, *, wait_s: float = 0.0) -> Iterator[int]:
    """Answer every request alike; give the port."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            time.sleep(wait_s)
            with suppress(ConnectionError):  # who asked has given up
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = answer  # noqa: N815

        def log_message(self, *told: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def grpc_server(code: grpc.StatusCode, details: str) -> Iterator[int]:
    """Abort every call alike; give the port."""

    class Aborts(grpc.GenericRpcHandler):
        def service(self, call):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: context.abort(code, details))

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Aborts()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None)


FAULTS = [
    (401, grpc.StatusCode.UNAUTHENTICATED, "wrong key", SourceRefusedError, "GEOLOC_QDRANT_API_KEY"),
    (403, grpc.StatusCode.PERMISSION_DENIED, "read only", SourceRefusedError, "GEOLOC_QDRANT_API_KEY"),
    (507, grpc.StatusCode.RESOURCE_EXHAUSTED, "No space left on device", CollectionError, "out of disk.*free some space"),
    (500, grpc.StatusCode.INTERNAL, "No space left on device: WAL", CollectionError, "out of disk.*free some space"),
    (500, grpc.StatusCode.INTERNAL, "a panic", CollectionError, "a panic.*server's log"),
    (503, grpc.StatusCode.UNAVAILABLE, "starting", SourceUnavailableError, "deploy/qdrant"),
    (404, grpc.StatusCode.NOT_FOUND, "no collection", CollectionError, "no collection.*server's log"),
]


@pytest.mark.parametrize(("status", "code", "text", "kind", "cure"), FAULTS)
def test_a_fault_is_told_with_the_address_and_the_cure_over_http(status, code, text, kind, cure: str):
    with http_server(status, b'{"status": {"error": "%s"}}' % text.encode()) as port:
        location = GalleryLocation(url=f"http://user:secret@127.0.0.1:{port}", api_key="hush")
        with pytest.raises(kind, match=rf"(?s)127\.0\.0\.1:{port}.*{cure}") as caught:
            open_gallery(location)
    assert not {"secret", "hush"} & set(str(caught.value).replace(":", " ").replace("@", " ").split())


@pytest.mark.parametrize(("status", "code", "text", "kind", "cure"), FAULTS)
def test_a_fault_is_told_with_the_address_and_the_cure_over_grpc(status, code, text, kind, cure: str):
    with grpc_server(code, text) as port:
        store = ServerStore(connect(f"http://127.0.0.1:1?grpc_port={port}"), url="http://127.0.0.1:1")
        with pytest.raises(kind, match=rf"(?s)127\.0\.0\.1:1.*{cure}"):
            store.search("photos__a__b", np.zeros((1, 512), np.float32), limit=5, exact=False, breadth=64, every={})


def test_a_server_that_hangs_is_given_up_after_the_time_that_its_address_names():
    started = time.monotonic()
    with http_server(200, b"{}", wait_s=3.0) as port, pytest.raises(SourceUnavailableError, match="timeout_s"):
        open_gallery(GalleryLocation(url=f"http://127.0.0.1:{port}?timeout_s=1"))
    assert time.monotonic() - started < 15.0


def test_a_server_that_does_not_answer_is_named_without_its_credentials(gallery_world):
    location = GalleryLocation(url="http://user:secret@127.0.0.1:9", api_key="hush")
    assert location.label == "http://127.0.0.1:9"
    assert "hush" not in repr(location)
    for work in (open_gallery, lambda where: build_gallery(gallery_world.embeddings(2), location=where)):
        with pytest.raises(SourceUnavailableError, match=r"Qdrant.*127\.0\.0\.1:9.*deploy/qdrant.*nothing was lost") as caught:
            work(location)
        assert "secret" not in str(caught.value)


def test_something_else_at_the_address_is_no_qdrant():
    with http_server(200, b"<html>hello</html>") as port, pytest.raises(CollectionError, match="does not answer like Qdrant"):
        open_gallery(GalleryLocation(url=f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize("query", ["grpc_port=http", "timeout_s=0", "speed=11"])
def test_an_address_with_a_setting_that_is_not_known_is_refused(query: str):
    with pytest.raises(SettingError, match="grpc_port and timeout_s"):
        GalleryLocation(url=f"http://127.0.0.1:6333?{query}").store()


def test_other_faults_pass():
    with pytest.raises(KeyError), server_faults("http://qdrant.example", collection="photos"):
        raise KeyError("ours")


def test_int8_and_deferred_indexing_are_asked_for_when_a_collection_is_begun():
    asked: dict[str, object] = {}

    class Client:
        def collection_exists(self, name: str) -> bool:
            return False

        def create_collection(self, name: str, **told: object) -> None:
            asked.update(told)

    ServerStore(Client(), url="", is_quantised=True).create("photos__a__b", about={"labels": []})
    assert asked["optimizers_config"].indexing_threshold == 0
    assert asked["quantization_config"].scalar.type == "int8"
    assert asked["metadata"] == {"labels": []}
