"""Faults that tests ask the mirror for: the ways in which services let their clients down.

Belongs here: which answers are spoilt, how, and how often.
Does not belong here: pictures that are bad for good (`pictures.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlencode

from geoloc_pipeline.demo.mirror_answers import Answer, as_json, html

if TYPE_CHECKING:
    from geoloc_pipeline.demo.mirror_answers import Asked

FOREVER = 10**9
Kind = Literal[
    "too_many_requests", "server_error", "bad_gateway", "unavailable", "forbidden", "refused_token", "expired", "html",
    "wrong_md5", "redirect_loop", "cut", "short", "endless", "drip",
]  # fmt: skip

_PAGES: dict[str, tuple[int, str, str]] = {
    "too_many_requests": (429, "Too Many Requests", "Please slow down."),
    "unavailable": (503, "Service Unavailable", "Please come back later."),
    "server_error": (500, "Internal Server Error", "Something went wrong on our side."),
    "bad_gateway": (502, "Bad Gateway", "The server behind this one does not answer."),
    "forbidden": (403, "Forbidden", "You are not allowed to see this."),
    "html": (200, "Maintenance", "We are back soon."),
}
_EXPIRED = b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>\n'


@dataclass(frozen=True)
class Fault:
    """One way to fail.

    Attributes:
        kind: `too_many_requests` (429), `server_error` (500), `bad_gateway` (502), `unavailable` (503), `forbidden` (403),
            `refused_token` (401, code 190), `expired` (403 with a store's XML, as for a link that is too old), `html` (a page
            with 200 instead of the body), `wrong_md5` (a checksum that fits nothing), `redirect_loop` (to itself; each turn
            counts), `cut` (the connection breaks in the middle of the body), `short` (more is announced than comes),
            `endless` (a body without length or end), `drip` (a body in a hundred drops, `pause_s` apart).
        where: Only URLs (host and path, without scheme and query) that contain this.
        times: How many of those requests fail; then all is well.
        retry_after: The `Retry-After` of 429 and 503, seconds or a date; empty for none.
        ending: Only URLs that end in this as well: a file, say, and not its checksum.
        after: How many requests that fit pass before it strikes.
        pause_s: Before each drop of `drip`.
    """

    kind: Kind
    where: str = ""
    times: int = 1
    retry_after: str = "1"
    ending: str = ""
    after: int = 0
    pause_s: float = 0.05


class Faults:
    """Faults that wait for their requests, and count them; may be asked from several threads."""

    def __init__(self, *faults: Fault) -> None:
        """Lays the faults out.

        Args:
            faults: The first that fits a request strikes, alone.
        """
        self._faults = faults
        self._spared = [fault.after for fault in faults]
        self._left = [fault.times for fault in faults]
        self._lock = Lock()
        self.struck = 0

    def spoil(self, asked: Asked, answer: Answer) -> Answer:
        """Gives the answer, or what becomes of it.

        Args:
            asked: The request.
            answer: What the service would say.

        Returns:
            The same answer when no fault waits for the request.
        """
        fault = self._next(asked, answer)
        return answer if fault is None else _spoilt(fault, asked, answer)

    def _next(self, asked: Asked, answer: Answer) -> Fault | None:
        with self._lock:
            for number, fault in enumerate(self._faults):
                if self._left[number] > 0 and _fits(fault, asked, answer):
                    if self._spared[number] > 0:
                        self._spared[number] -= 1
                        continue
                    self._left[number] -= 1
                    self.struck += 1
                    return fault
        return None


def _fits(fault: Fault, asked: Asked, answer: Answer) -> bool:
    """Tells whether a fault is meant for here, and can strike: wrong checksums need a checksum, spoilt bodies a body."""
    if fault.where not in asked.host + asked.path or not asked.path.endswith(fault.ending):
        return False
    if fault.kind == "wrong_md5":
        return asked.path.endswith(".md5") and answer.status == 200
    if fault.kind in {"html", "cut", "short", "endless", "drip"}:
        return answer.status in {200, 206} and asked.method == "GET" and answer.size_bytes > 1
    return True


def _spoilt(fault: Fault, asked: Asked, answer: Answer) -> Answer:
    if fault.kind in _PAGES:
        status, title, text = _PAGES[fault.kind]
        page = html(status, title, text)
        return replace(page, headers={"Retry-After": fault.retry_after}) if status in {429, 503} and fault.retry_after else page
    if fault.kind == "wrong_md5":
        return replace(answer, body=b"0123456789abcdef0123456789abcdef  what-ever.osm.pbf\n")
    if fault.kind == "refused_token":
        return token_error("made-up-trace")
    if fault.kind == "expired":
        return Answer(403, _EXPIRED, "application/xml")
    if fault.kind == "redirect_loop":
        query = f"?{urlencode(asked.query)}" if asked.query else ""
        return html(302, "Found", "It is here.", Location=f"https://{asked.host}{quote(asked.path)}{query}")
    if fault.kind == "short":
        return replace(answer, short_by=1000)
    if fault.kind == "endless":
        return replace(answer, is_endless=True)
    if fault.kind == "drip":
        return replace(answer, pause_s=fault.pause_s)
    return replace(answer, cut_after=answer.size_bytes // 2)


def token_error(trace: str) -> Answer:
    """Gives what the Graph API says of a token that is missing or not valid."""
    message = "Invalid OAuth access token - Cannot parse access token"
    return as_json(401, {"error": {"message": message, "type": "OAuthException", "code": 190, "fbtrace_id": trace}})
