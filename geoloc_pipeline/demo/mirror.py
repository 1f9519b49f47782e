"""One WSGI app that is all the strangers at once: it serves a published world over their real protocols.

Belongs here: which host is asked, and the two ways in: as an httpx transport inside the process, or over a loopback socket.
Does not belong here: what each service answers (`mirror_files.py`, `mirror_mapillary.py`).

Clients keep the services' real URLs; the transport brings them here. Every answer carries the world's own date.
"""

from __future__ import annotations

import io
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from socketserver import ThreadingMixIn
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import httpx

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.mirror_answers import Answer, Asked, BrokenConnectionError, html, http_date, status_line
from geoloc_pipeline.demo.mirror_faults import Fault, Faults
from geoloc_pipeline.demo.mirror_files import Estat, Geofabrik
from geoloc_pipeline.demo.mirror_mapillary import LinkLife, Mapillary
from geoloc_pipeline.demo.pictures import Renderer
from geoloc_pipeline.demo.publish import ESTAT, GEOFABRIK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from geoloc_pipeline.demo.land import Land
    from geoloc_pipeline.demo.pictures import Draw

__all__ = ["DEMO_TOKEN", "Fault", "Faults", "LinkLife", "Mirror", "mirror_transport", "serve_on_loopback"]

DEMO_TOKEN = "MLY|0000000000000000|made-up-demo-token"  # noqa: S105 - it opens nothing else
"""Opens the mirror."""


class Mirror:
    """WSGI app; dispatches on the Host header.

    Attributes:
        served: Answers given so far, by host; for those who want to see that nothing was asked twice.
    """

    def __init__(
        self,
        folder: Path,
        land: Land,
        *,
        token: str = DEMO_TOKEN,
        draw: Draw | None = None,
        faults: Faults | None = None,
        link_life: LinkLife | None = None,
    ) -> None:
        """Keeps what it serves; cameras are sent out when the first picture is asked for.

        Args:
            folder: A published world (`publish.publish_world`).
            land: The land that it was published from.
            token: The Mapillary token that is accepted.
            draw: Draws pictures; the demo's renderer if absent.
            faults: How it lets its clients down; not at all if absent.
            link_life: How long links to pictures work; thirty days of a clock that stands still if absent.
        """
        self._land, self._token, self._faults = land, token, faults or Faults()
        self._draw: Draw = draw or Renderer(land)
        self._now = land.published_at + timedelta(days=1)
        self._life = link_life or LinkLife(clock=self._now.timestamp)
        self._geofabrik, self._estat = Geofabrik(folder / GEOFABRIK, land.published_at), Estat(folder / ESTAT)
        self._lock = Lock()
        self._sent_out: Coverage | None = None
        self._opened: Mapillary | None = None
        self.served: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers one request as WSGI asks (PEP 3333)."""
        asked = Asked.of(environ)
        answer = self._faults.spoil(asked, self.answer(asked))
        with self._lock:
            self.served[asked.host] += 1
        headers = {"Date": http_date(self._now), "Server": "made-up mirror", **answer.headers}
        if answer.content_type:
            headers["Content-Type"] = answer.content_type
        if answer.status not in {204, 304} and not (asked.method == "HEAD" and answer.status == 302):
            headers["Content-Length"] = str(answer.size_bytes)
        start_response(status_line(answer.status), list(headers.items()))
        # an empty piece, and not no piece: for the latter wsgiref makes up a Content-Length of 0
        return iter((b"",)) if asked.method == "HEAD" or answer.status == 304 else answer.chunks()

    def answer(self, asked: Asked) -> Answer:
        """Gives the service's answer to a request, before any fault."""
        if asked.method not in {"GET", "HEAD"}:
            return html(405, "Method Not Allowed", "Only GET and HEAD are served.", Allow="GET, HEAD")
        if asked.host == "download.geofabrik.de":
            return self._geofabrik.answer(asked)
        if asked.host == "www.e-stat.go.jp":
            return self._estat.answer(asked)
        if asked.host in {"graph.mapillary.com", "tiles.mapillary.com"} or asked.host.endswith(".fbcdn.net"):
            return self._mapillary.answer(asked)
        return html(502, "Bad Gateway", f"The made-up world has no host {asked.host}.")

    @property
    def coverage(self) -> Coverage:
        """Where the cameras have been; sent out when first asked for."""
        with self._lock:
            if self._sent_out is None:
                self._sent_out = Coverage(self._land)
            return self._sent_out

    @property
    def _mapillary(self) -> Mapillary:
        coverage = self.coverage
        with self._lock:
            if self._opened is None:
                self._opened = Mapillary(coverage, self._draw, token=self._token, link_life=self._life)
            return self._opened


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


def mirror_transport(mirror: Mirror) -> httpx.BaseTransport:
    """Gives a transport that ends in the mirror, inside this process; bodies are streamed."""
    return _InProcess(app=mirror)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Says nothing on stderr: broken connections are what tests come here for."""

    def log_message(self, format: str, *args: Any) -> None:
        """Stays silent."""

    def get_stderr(self) -> Any:
        """Gives tracebacks a place where nobody reads them."""
        return io.StringIO()

    def address_string(self) -> str:
        """Does not ask a name server."""
        return str(self.client_address[0])


class _Loopback(httpx.HTTPTransport):
    """Sends every request to one port of this machine, with the Host header of the URL that was asked for."""

    def __init__(self, port: int) -> None:
        super().__init__(trust_env=False)
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return super().handle_request(
            httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions)
        )


@contextmanager
def serve_on_loopback(mirror: Mirror) -> Iterator[httpx.BaseTransport]:
    """Serves the mirror on a free port of 127.0.0.1.

    Args:
        mirror: The app.

    Yields:
        A transport that takes requests for the services' real URLs there, through a real socket.
    """
    server = _Server(("127.0.0.1", 0), _Handler)
    server.set_app(mirror)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    transport = _Loopback(server.server_port)
    try:
        yield transport
    finally:
        transport.close()
        server.shutdown()
        server.server_close()
        thread.join()
