"""What the mirror is asked and what it answers, between WSGI and the services.

Belongs here: requests and answers as records, byte ranges, streaming a file, the fixed date.
Does not belong here: what a service says (`mirror_files.py`, `mirror_mapillary.py`) and faults (`mirror_faults.py`).

Source: RFC 9110 (ranges, conditional requests).
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes:
        method: GET or HEAD; others are refused.
        host: Without port, lower case.
        path: Decoded.
        query: First value of each parameter.
        headers: By lower-case name.
    """

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]

    @classmethod
    def of(cls, environ: dict[str, Any]) -> Asked:
        """Reads a WSGI environment."""
        headers = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
        return cls(
            method=environ["REQUEST_METHOD"],
            host=headers.get("host", environ["SERVER_NAME"]).split(":")[0].lower(),
            path=environ.get("PATH_INFO", "/"),
            query={key: values[0] for key, values in parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True).items()},
            headers=headers,
        )


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        status: HTTP status.
        body: Bytes, or the file that is streamed.
        content_type: Empty for none.
        headers: More of them.
        start: First byte of the file that is sent.
        stop: The byte after the last; None for the end.
        cut_after: Bytes after which the connection breaks; None: it holds.
        short_by: Bytes that are announced and do not come.
        is_endless: Whether the body begins anew whenever it ends; its length is not announced.
        pause_s: Before each of the hundred drops in which a body comes; 0: it comes at once.
    """

    status: int
    body: bytes | Path = b""
    content_type: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    start: int = 0
    stop: int | None = None
    cut_after: int | None = None
    short_by: int = 0
    is_endless: bool = False
    pause_s: float = 0.0

    @property
    def size_bytes(self) -> int:
        """How many bytes the body has."""
        if isinstance(self.body, bytes):
            return len(self.body)
        return (self.body.stat().st_size if self.stop is None else self.stop) - self.start

    @property
    def announced_bytes(self) -> int | None:
        """How long the body is said to be; None where nothing is said."""
        return None if self.is_endless else self.size_bytes + self.short_by

    def chunks(self) -> Iterator[bytes]:
        """Yields the body piece by piece.

        Yields:
            At most `CHUNK_BYTES` at a time.

        Raises:
            BrokenConnectionError: The answer is one that breaks off.
        """
        sent = 0
        for chunk in self._drops() if self.pause_s else self._pieces():
            if self.cut_after is not None and sent + len(chunk) > self.cut_after:
                yield chunk[: self.cut_after - sent]
                raise BrokenConnectionError(f"the mirror broke off after {self.cut_after} bytes, as it was told to")
            sent += len(chunk)
            yield chunk
        while self.is_endless:
            yield from self._pieces()

    def _drops(self) -> Iterator[bytes]:
        size = max(self.size_bytes // 100, 1)
        for piece in self._pieces():
            for start in range(0, len(piece), size):
                time.sleep(self.pause_s)
                yield piece[start : start + size]

    def _pieces(self) -> Iterator[bytes]:
        if isinstance(self.body, bytes):
            yield self.body
            return
        left = self.size_bytes
        with self.body.open("rb") as stream:
            stream.seek(self.start)
            while left > 0 and (chunk := stream.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk


class BrokenConnectionError(ConnectionError):
    """The mirror ends a connection in the middle of an answer, on purpose."""


def http_date(moment: datetime) -> str:
    """Gives an aware UTC time as HTTP writes it."""
    return format_datetime(moment, usegmt=True)


def status_line(status: int) -> str:
    """Gives status and reason."""
    return f"{status} {HTTPStatus(status).phrase}"


def html(status: int, title: str, text: str, **headers: str) -> Answer:
    """Gives a page as web servers write them."""
    page = f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p></body></html>\n"
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Answer(status, page.encode(), "text/html; charset=utf-8", named)


def as_json(status: int, body: object) -> Answer:
    """Gives a JSON answer."""
    return Answer(status, json.dumps(body, ensure_ascii=False).encode(), "application/json; charset=UTF-8")


def file_answer(asked: Asked, path: Path, content_type: str, *, changed_at: datetime) -> Answer:
    """Serves a file as a plain web server does: conditional, whole, or one range of it.

    Args:
        asked: The request; `If-None-Match`, `Range` and `If-Range` count.
        path: The file.
        content_type: What to call it.
        changed_at: Aware UTC time; makes the ETag too, so that it does not depend on the disk.

    Returns:
        304, 200, 206, or 416 with the size. Several ranges at once, or a range that cannot be read, get the whole file.
    """
    size = path.stat().st_size
    etag = f'"{size:x}-{int(changed_at.timestamp() * 1e6):x}"'
    headers = {"ETag": etag, "Last-Modified": http_date(changed_at), "Accept-Ranges": "bytes"}
    if asked.headers.get("if-none-match") in {etag, "*"}:
        return Answer(304, headers=headers)
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.headers.get("range", "").strip())
    is_fresh = asked.headers.get("if-range", etag) in {etag, headers["Last-Modified"]}
    if asked.method != "GET" or not found or not any(found.groups()) or not is_fresh:
        return Answer(200, path, content_type, headers)
    first, last = found.groups()
    start, stop = (int(first), min(int(last) + 1 if last else size, size)) if first else (max(size - int(last), 0), size)
    if first and last and int(last) < int(first):
        return Answer(200, path, content_type, headers)
    if start >= size or stop <= start:
        return Answer(416, b"", "text/html", headers | {"Content-Range": f"bytes */{size}"})
    return Answer(206, path, content_type, headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}, start, stop)
