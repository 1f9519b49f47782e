"""One WSGI app that is all the strangers at once: it serves a published world over their real protocols.

Belongs here: which host is asked.
Does not belong here: what each service answers (`mirror_files.py`, `mirror_mapillary.py`, `mirror_panoramax.py`,
`mirror_kartaview.py`, `mirror_google.py`) and the ways in (`mirror_transports.py`).

Every answer carries the world's own date.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.demo import mirror_google, mirror_kartaview, mirror_panoramax
from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.mirror_answers import Answer, Asked, html, http_date, status_line
from geoloc_pipeline.demo.mirror_faults import Fault, Faults
from geoloc_pipeline.demo.mirror_files import Estat, Geofabrik
from geoloc_pipeline.demo.mirror_google import GoogleStreetView
from geoloc_pipeline.demo.mirror_kartaview import KartaView
from geoloc_pipeline.demo.mirror_mapillary import CDN_HOST, LinkLife, Mapillary
from geoloc_pipeline.demo.mirror_panoramax import Panoramax
from geoloc_pipeline.demo.pictures import Renderer
from geoloc_pipeline.demo.publish import ESTAT, GEOFABRIK

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from geoloc_pipeline.demo.land import Land
    from geoloc_pipeline.demo.pictures import Draw

__all__ = ["DEMO_GOOGLE_KEY", "DEMO_TOKEN", "STREET_VIEW_HOSTS", "Fault", "Faults", "LinkLife", "Mirror"]

DEMO_TOKEN = "MLY|0000000000000000|made-up-demo-token"  # noqa: S105 - it opens nothing else
"""Opens the mirror's Mapillary."""
DEMO_GOOGLE_KEY = "AIza-made-up-demo-key-00000000000000000"
"""Opens the mirror's Google."""
STREET_VIEW_HOSTS = frozenset({
    "graph.mapillary.com", "tiles.mapillary.com", CDN_HOST, *mirror_panoramax.HOSTS, *mirror_kartaview.HOSTS,
    *mirror_google.HOSTS,
})  # fmt: skip
"""Hosts that a client of the mirror need not spare as it does the real ones."""


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
        google_key: str = DEMO_GOOGLE_KEY,
        google_secret: str = "",
        draw: Draw | None = None,
        faults: Faults | None = None,
        link_life: LinkLife | None = None,
    ) -> None:
        """Keeps what it serves; cameras are sent out when the first picture is asked for.

        Args:
            folder: A published world (`publish.publish_world`).
            land: The land that it was published from.
            token: The Mapillary token that is accepted.
            google_key: The key that Google accepts.
            google_secret: URL signing secret; with one, Google wants signatures.
            draw: Draws pictures; the demo's renderer if absent.
            faults: How it lets its clients down; not at all if absent.
            link_life: How long links to pictures work; thirty days of a clock that stands still if absent.
        """
        self._land, self._token, self._faults = land, token, faults or Faults()
        self._google_key, self._google_secret = google_key, google_secret
        self._draw: Draw = draw or Renderer(land)
        self._now = land.published_at + timedelta(days=1)
        self._life = link_life or LinkLife(clock=self._now.timestamp)
        self._geofabrik, self._estat = Geofabrik(folder / GEOFABRIK, land.published_at), Estat(folder / ESTAT)
        self._lock = Lock()
        self._sent_out: Coverage | None = None
        self._opened: _StreetView | None = None
        self.served: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answers one request as WSGI asks (PEP 3333)."""
        asked = Asked.of(environ)
        answer = self._faults.spoil(asked, self.answer(asked, environ.get("QUERY_STRING", "")))
        with self._lock:
            self.served[asked.host] += 1
        headers = {"Date": http_date(self._now), "Server": "made-up mirror", **answer.headers}
        if answer.content_type:
            headers["Content-Type"] = answer.content_type
        is_bodiless = answer.status in {204, 304} or (asked.method == "HEAD" and answer.status == 302)
        if answer.announced_bytes is not None and not is_bodiless:
            headers["Content-Length"] = str(answer.announced_bytes)
        start_response(status_line(answer.status), list(headers.items()))
        # an empty piece, and not no piece: for the latter wsgiref makes up a Content-Length of 0
        return iter((b"",)) if asked.method == "HEAD" or answer.status == 304 else answer.chunks()

    def answer(self, asked: Asked, raw_query: str) -> Answer:
        """Gives the service's answer to a request, its query also as sent, before any fault."""
        if asked.method not in {"GET", "HEAD"}:
            return html(405, "Method Not Allowed", "Only GET and HEAD are served.", Allow="GET, HEAD")
        if asked.host == "download.geofabrik.de":
            return self._geofabrik.answer(asked)
        if asked.host == "www.e-stat.go.jp":
            return self._estat.answer(asked)
        if asked.host in {"graph.mapillary.com", "tiles.mapillary.com"} or asked.host.endswith(".fbcdn.net"):
            return self._street_view.mapillary.answer(asked)
        if asked.host in mirror_panoramax.HOSTS:
            return self._street_view.panoramax.answer(asked)
        if asked.host in mirror_kartaview.HOSTS:
            return self._street_view.kartaview.answer(asked)
        if asked.host in mirror_google.HOSTS:
            return self._street_view.google.answer(asked, raw_query)
        return html(502, "Bad Gateway", f"The made-up world has no host {asked.host}.")

    @property
    def coverage(self) -> Coverage:
        """Where the cameras of all providers have been; sent out when first asked for."""
        with self._lock:
            if self._sent_out is None:
                self._sent_out = Coverage(self._land)
            return self._sent_out

    @property
    def _street_view(self) -> _StreetView:
        coverage = self.coverage
        with self._lock:
            if self._opened is None:
                driven = coverage.only("mapillary")
                self._opened = _StreetView(
                    Mapillary(driven, self._draw, token=self._token, link_life=self._life),
                    Panoramax(coverage.only("panoramax"), self._draw),
                    KartaView(coverage.only("kartaview"), self._draw),
                    GoogleStreetView(driven, self._draw, key=self._google_key, secret=self._google_secret),
                )
            return self._opened


@dataclass(frozen=True)
class _StreetView:
    """The providers of street view; Google's cars have been wherever Mapillary's have."""

    mapillary: Mapillary
    panoramax: Panoramax
    kartaview: KartaView
    google: GoogleStreetView
