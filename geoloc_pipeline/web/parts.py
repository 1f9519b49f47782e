"""Reads `multipart/form-data`: several photos in one request, as forms and `curl -F` send them.

Belongs here: cutting a body, which is in memory already and bounded, at its boundaries. What stands in a part is never decoded.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from geoloc_pipeline.errors import SettingError

MOST_PARTS = 1000
_LONGEST_HEADER_BYTES = 4096
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_FILENAME = re.compile(r'filename="((?:[^"\\]|\\.)*)"|filename=([^\s;"]+)', re.IGNORECASE)


class Part(NamedTuple):
    """One file of a form.

    Attributes:
        name: File name as the sender told it, without folders; for people only.
        data: Its bytes.
    """

    name: str
    data: bytes


def is_multipart(content_type: str) -> bool:
    """Return whether a request's content type says that its body has parts."""
    return content_type.strip().lower().startswith("multipart/form-data")


def file_parts(body: bytes, content_type: str) -> list[Part]:
    """Return the files of a form in their order; fields without a file name are left out.

    Args:
        body: Of the request, whole.
        content_type: Its header.

    Returns:
        Names and bytes.

    Raises:
        SettingError: It names no boundary, the body does not begin or end with it, or there are too many parts.
    """
    told = _BOUNDARY.search(content_type)
    if told is None:
        raise SettingError(
            setting="Content-Type", value=content_type[:100], cure="name the boundary, as every HTTP client does"
        )
    mark = b"--" + (told[1] or told[2]).encode("latin-1", "replace")
    if body.count(mark) > MOST_PARTS + 1:
        raise SettingError(setting="multipart body", value=f"over {MOST_PARTS} parts", cure="send fewer photos at once")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise SettingError(setting="multipart body", value="without its last boundary", cure="send the whole form again")
    parts = []
    for piece in pieces[1:-1]:
        head, found, data = piece[:_LONGEST_HEADER_BYTES].partition(b"\r\n\r\n")
        name = _name_of(head.decode("utf-8", "replace"))
        if found and name is not None:
            parts.append(Part(name=name, data=data + piece[_LONGEST_HEADER_BYTES:]))
    return parts


def _name_of(head: str) -> str | None:
    for line in head.split("\r\n"):
        if line.lower().startswith("content-disposition:") and (told := _FILENAME.search(line)):
            name = told[1] if told[1] is not None else told[2]
            return re.split(r"[/\\]", name)[-1][:200] or "photo"
    return None
