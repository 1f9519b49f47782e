"""The ways into the mirror: httpx transports inside the process, or a socket of this machine.

Clients keep the services' real URLs; the transport brings them here.
"""

from __future__ import annotations

import asyncio
import io
import socket
import time
from contextlib import contextmanager, suppress
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

import httpx
from httpx_aiohttp import AiohttpTransport

from geoloc_pipeline.demo.mirror_answers import BrokenConnectionError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from geoloc_pipeline.demo.mirror import Mirror

_HANDFUL_BYTES, _HANDFUL_S = 1 << 18, 0.05  # of a body, taken out of the mirror at once


# --- inside the process ---------------------------------------------------------------------------------------------------


class _InProcess(httpx.WSGITransport):
    """Turns a broken connection of the mirror into what httpx says of a broken socket."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        return httpx.Response(response.status_code, headers=response.headers, stream=_Breakable(response.stream))


class _Breakable(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except BrokenConnectionError as error:
            raise httpx.RemoteProtocolError(str(error)) from error

    def close(self) -> None:
        self._stream.close()


class _InThread(httpx.AsyncBaseTransport):
    """Lets the mirror work in a thread, so that the event loop is free."""

    def __init__(self, mirror: Mirror) -> None:
        self._inner = _InProcess(app=mirror)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await asyncio.to_thread(self._inner.handle_request, request)
        return httpx.Response(response.status_code, headers=response.headers, stream=_Handfuls(response.stream))


class _Handfuls(httpx.AsyncByteStream):
    """A body that is taken out of the mirror by threads, as much at a time as comes quickly."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._pieces, self._lock = stream, iter(stream), Lock()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while handful := await asyncio.to_thread(self._take):
            yield handful

    async def aclose(self) -> None:
        await asyncio.to_thread(self._close)

    def _take(self) -> bytes:
        with self._lock:
            handful, until_s = b"", time.monotonic() + _HANDFUL_S
            for piece in self._pieces:
                handful += piece
                if len(handful) >= _HANDFUL_BYTES or (handful and time.monotonic() > until_s):
                    break
            return handful

    def _close(self) -> None:
        with self._lock:  # a thread whose task was cancelled may still be taking
            self._stream.close()


def mirror_transport(mirror: Mirror) -> httpx.BaseTransport:
    """Gives a transport that ends in the mirror, inside this process; bodies are streamed."""
    return _InProcess(app=mirror)


def async_mirror_transport(mirror: Mirror) -> httpx.AsyncBaseTransport:
    """Gives a transport for asynchronous clients that ends in the mirror, inside this process; bodies are streamed."""
    return _InThread(mirror)


# --- over a socket --------------------------------------------------------------------------------------------------------


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 512  # many come at once

    def __init__(self, app: Any, latency_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.app, self.latency_s = app, latency_s
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Notes the connection: one that is kept alive outlives the answer."""
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forgets the connection."""
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Ends what is still open."""
        for connection in list(self._open):
            with suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)


class _Answering(ServerHandler):
    """Speaks HTTP/1.1, and tells whether the answer was as long as it was announced."""

    headers: Any
    status: str
    environ: dict[str, Any]
    bytes_sent: int
    http_version = "1.1"
    is_whole = False

    def send_headers(self) -> None:
        """Announces the end of the connection where nothing else marks the end of the body."""
        if "Content-Length" not in self.headers and not self.status.startswith("304"):
            self.headers["Connection"] = "close"
        super().send_headers()

    def finish_content(self) -> None:
        """Compares what was sent with what was announced."""
        super().finish_content()
        has_no_body = self.environ["REQUEST_METHOD"] == "HEAD" or self.status.startswith("304")
        self.is_whole = has_no_body or self.headers["Content-Length"] == str(self.bytes_sent)


class _Handler(WSGIRequestHandler):
    """Says nothing on stderr: broken connections are what tests come here for."""

    server: _Server
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer's head and body leave together
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Answers one request after the other, until one of the two sides has enough."""
        try:
            while self._has_next():
                time.sleep(self.server.latency_s)
                out: Any = self.wfile
                answering = _Answering(self.rfile, out, self.get_stderr(), self.get_environ(), multithread=True)
                answering.request_handler = self  # type: ignore[attr-defined]  # for its log
                answering.run(self.server.app)
                if self.close_connection or not answering.is_whole:
                    return
        except OSError:  # the client has left
            return

    def _has_next(self) -> bool:
        self.raw_requestline = self.rfile.readline(65537)
        return bool(self.raw_requestline) and bool(self.parse_request())

    def finish(self) -> None:
        """Closes the connection, whoever has left first."""
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Stays silent."""

    def get_stderr(self) -> Any:
        """Gives tracebacks a place where nobody reads them."""
        return io.StringIO()

    def address_string(self) -> str:
        """Does not ask a name server."""
        return str(self.client_address[0])


@contextmanager
def serve_on_port(mirror: Mirror, *, latency_s: float = 0.0) -> Iterator[int]:
    """Serves the mirror on a free port of 127.0.0.1, over connections that are kept alive.

    Args:
        mirror: The app.
        latency_s: How long each answer is in coming.

    Yields:
        The port; `async_loopback` and `serve_on_loopback` lead there from the services' real URLs.
    """
    server = _Server(mirror, latency_s)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        server.hang_up()
        thread.join()


class _Loopback(httpx.HTTPTransport):
    """Sends every request to one port of this machine, with the Host header of the URL that was asked for."""

    def __init__(self, port: int) -> None:
        super().__init__(trust_env=False)
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(_redirected(request, self._port))


class _AsyncLoopback(AiohttpTransport):
    """The same over asynchronous sockets."""

    def __init__(self, port: int) -> None:
        super().__init__(verify=False, trust_env=False)  # no certificate is ever shown
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await super().handle_async_request(_redirected(request, self._port))


def _redirected(request: httpx.Request, port: int) -> httpx.Request:
    url = request.url.copy_with(scheme="http", host="127.0.0.1", port=port)
    return httpx.Request(request.method, url, headers=request.headers, extensions=request.extensions)


@contextmanager
def serve_on_loopback(mirror: Mirror) -> Iterator[httpx.BaseTransport]:
    """Serves the mirror on a free port of 127.0.0.1.

    Args:
        mirror: The app.

    Yields:
        A transport that takes requests for the services' real URLs there, through a real socket.
    """
    with serve_on_port(mirror) as port, _Loopback(port) as transport:
        yield transport


def async_loopback(port: int) -> httpx.AsyncBaseTransport:
    """Gives a transport that takes requests for the services' real URLs to a port of `serve_on_port`, over aiohttp's sockets.

    It belongs to the event loop that it is first used in, and ends with the client that it is given to.

    Args:
        port: Of 127.0.0.1.
    """
    return _AsyncLoopback(port)
