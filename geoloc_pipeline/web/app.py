"""Three addresses: the page, an answer as JSON, an answer as an evidence page.

A photo comes as the raw body of a POST. It is never stored beyond its answer, its EXIF position is never looked at, and nothing
of it leaves this process but the answer.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from geoloc_pipeline.errors import GeolocError, ImageError, SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from geoloc_pipeline.retrieval.desk import Desk

LIMIT_BYTES = 40_000_000
MOST_NEIGHBOURS = 1000
PAGE = Path(__file__).with_name("page.html")
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
        "frame-src blob:; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def build_app(desk: Desk) -> Starlette:
    """Return the application.

    Args:
        desk: Opened once; questions are answered one after the other.

    Returns:
        An ASGI application with `GET /`, `POST /api/locate` and `POST /api/evidence`; the last two take a photo as raw body and
        `top_k` and `readout` as query parameters. An unusable photo or parameter gives 400, a too large one 413, each as
        `{"error": sentence}`.
    """
    one_at_a_time = anyio.CapacityLimiter(1)  # the model takes all the cores already

    async def respond(request: Request, *, as_page: bool) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LIMIT_BYTES:
                return _refusal(f"the photo is larger than {LIMIT_BYTES // 1_000_000} MB; send a smaller one", status=413)
        answer = partial(_answer, desk, body, dict(request.query_params), as_page=as_page)
        return await anyio.to_thread.run_sync(answer, limiter=one_at_a_time)

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"), headers=_HEADERS)

    async def locate(request: Request) -> Response:
        return await respond(request, as_page=False)

    async def evidence(request: Request) -> Response:
        return await respond(request, as_page=True)

    return Starlette(
        routes=[
            Route("/", page, methods=["GET"]),
            Route("/api/locate", locate, methods=["POST"]),
            Route("/api/evidence", evidence, methods=["POST"]),
        ]
    )


def _refusal(sentence: str, *, status: int) -> Response:
    return JSONResponse({"error": sentence}, status_code=status, headers=_HEADERS)


def _answer(desk: Desk, body: bytes, parameters: Mapping[str, str], *, as_page: bool) -> Response:
    with tempfile.TemporaryDirectory() as scratch:
        photo, page = Path(scratch) / "photo", Path(scratch) / "evidence.html"
        photo.write_bytes(body)
        try:
            answer = desk.locate(photo, top_k=_top_k(parameters), readout=parameters.get("readout", ""))
            if not as_page:
                return JSONResponse(answer.to_json(), headers=_HEADERS)
            desk.write_evidence(answer, photo, page, name="the photo that was asked about")
            return HTMLResponse(page.read_text(encoding="utf-8"), headers={"Cache-Control": "no-store"})
        except (ImageError, SettingError) as error:
            return _refusal(str(error).replace(str(photo), "the photo"), status=400)
        except GeolocError as error:
            return _refusal(str(error).replace(str(photo), "the photo"), status=503)


def _top_k(parameters: Mapping[str, str]) -> int:
    told = parameters.get("top_k", "100")
    if not told.isdigit() or not 1 <= int(told) <= MOST_NEIGHBOURS:
        raise SettingError(setting="top_k", value=told, cure=f"give a whole number from 1 to {MOST_NEIGHBOURS}")
    return int(told)
