"""One picture from whatever host an open provider names for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from geoloc_pipeline.errors import ImageError
from geoloc_pipeline.sources.http_policy import PASSING
from geoloc_pipeline.sources.street_view import Picture

if TYPE_CHECKING:
    from geoloc_pipeline.sources.http_async import AsyncHttpClient
    from geoloc_pipeline.sources.street_view import Shot

_GONE = frozenset(range(400, 500)) - PASSING


async def download_picture(http: AsyncHttpClient, url: str | None, *, shot: Shot, service: str, per_second: float) -> Picture:
    """Return the picture behind a link, its bytes unchecked.

    Args:
        http: Who asks.
        url: The link; None where the provider gives none.
        shot: What the provider tells of the picture.
        service: The provider's name, for messages.
        per_second: Pictures from the link's host at most.

    Raises:
        ImageError: There is no link (`no_picture`), or nothing behind it (`gone`).
        SourceUnavailableError: The host does not answer.
    """
    try:
        host = httpx.URL(url or "").host
    except httpx.InvalidURL:
        host = ""
    if url is None or not host:
        detail = f"{service} gives no download link for it"
        raise ImageError(image=shot.page_url, reason="no_picture", detail=detail)
    http.limit(host, service=service, per_second=per_second)
    answer = await http.get(url, service=f"{service}'s host {host}", absent=_GONE)
    if answer.status >= 400:
        raise ImageError(image=shot.page_url, reason="gone", detail=f"{host} answered HTTP {answer.status} for it")
    return Picture(shot=shot, contents={None: answer.content}, fetched_at=answer.sent_at)
