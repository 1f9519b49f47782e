"""The addresses of the search page and its API, put together; `openapi.py` describes them.

A photo comes as the raw body of a POST (or as a file of a form). It stays in memory and is forgotten with its answer, its EXIF
position has no part in the answer, and nothing of it leaves this process but the answer.
"""

from __future__ import annotations

import json
import logging
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from geoloc_pipeline.errors import GeolocError, ImageError, SettingError
from geoloc_pipeline.retrieval.answering.atlas import coast_geojson
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS
from geoloc_pipeline.web import batch
from geoloc_pipeline.web.answering import LIMIT_BYTES, Answering, one_photo, photos_in
from geoloc_pipeline.web.guard import COOKIE, Guard
from geoloc_pipeline.web.metrics import CONTENT_TYPE, Metrics
from geoloc_pipeline.web.openapi import openapi
from geoloc_pipeline.web.pages import STATIC, api_page, preferred_language, search_page, static_file
from geoloc_pipeline.web.wishes import read_wishes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from geoloc_pipeline.retrieval.answering.desk import Desk
    from geoloc_pipeline.web.wishes import Wishes

_LOG = logging.getLogger(__name__)
_WIDTHS_PX = {"240": 240, "960": 960}
_EVIDENCE_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
)


def build_app(desk: Desk, *, token: str = "") -> Guard:
    """Return the application.

    Args:
        desk: Opened once, for all requests.
        token: That the API asks for; empty: only requests of this machine are answered.

    Returns:
        An ASGI application: the page at `/`, the API below `/api`, `/openapi.json`, `/healthz` and `/metrics`.
    """
    metrics = Metrics()
    site = Site(desk, metrics, token=token)
    faults: Any = {HTTPException: _refused, GeolocError: _failed, Exception: _broken}
    routes = site.routes()
    app = Starlette(routes=routes, lifespan=site.lifespan, exception_handlers=faults)
    return Guard(app, routes=routes, token=token, metrics=metrics)


class Site:
    """What each address answers."""

    def __init__(self, desk: Desk, metrics: Metrics, *, token: str) -> None:
        self._desk = desk
        self._metrics = metrics
        self._token = token
        self._answering = Answering(desk, metrics)
        self._batches = batch.Batches(self._answering)

    def routes(self) -> list[Route]:
        """Return the addresses."""
        return [
            Route("/", self.page),
            Route("/static/{name}", self.static),
            Route("/api", self.api_page),
            Route("/openapi.json", self.openapi),
            Route("/api/session", self.session, methods=["POST"]),
            Route("/api/about", self.about),
            Route("/api/outlines", self.outlines),
            Route("/api/locate", self.locate, methods=["POST"]),
            Route("/api/evidence", self.evidence, methods=["POST"]),
            Route("/api/pictures/{image_id}", self.picture),
            Route("/api/batch", self.begin_batch, methods=["POST"]),
            Route("/api/batch/{id}", self.batch, methods=["GET"]),
            Route("/api/batch/{id}", self.end_batch, methods=["DELETE"]),
            Route("/healthz", self.healthz),
            Route("/metrics", self.metrics),
        ]

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Make everything warm while the first visitor is on the way; let go of everything at the end."""
        threading.Thread(target=self._warm, name="warm", daemon=True).start()
        yield
        await self._batches.close()
        self._desk.close()

    def _warm(self) -> None:
        try:
            self._desk.warm()
        except GeolocError as error:  # the server starts all the same: /healthz and every answer say it too
            _LOG.warning("%s", error)

    # --- answers --------------------------------------------------------------------------------------------------------

    async def locate(self, request: Request) -> Response:
        """Return the answer to a photo as JSON."""
        wishes = await self._wishes(request)
        async with self._answering.body_of(request) as body:
            photo = one_photo(body, request.headers.get("content-type", ""))
            told = await self._answering.run(partial(self._answering.located, photo, wishes))
        return Response(told, media_type="application/json")

    async def evidence(self, request: Request) -> Response:
        """Return the evidence page of a photo."""
        wishes = await self._wishes(request)
        async with self._answering.body_of(request) as body:
            photo = one_photo(body, request.headers.get("content-type", ""))
            page = await self._answering.run(partial(self._answering.evidence, photo, wishes))
        headers = {"Content-Security-Policy": _EVIDENCE_POLICY, "Content-Disposition": 'attachment; filename="evidence.html"'}
        return HTMLResponse(page, headers=headers)

    async def begin_batch(self, request: Request) -> Response:
        """Begin a job of many photos."""
        wishes = await self._wishes(request)
        async with self._answering.body_of(request, limit_bytes=batch.LIMIT_BYTES) as body:
            photos = photos_in(body, request.headers.get("content-type", ""))
        name, job = self._batches.start(photos, wishes)
        return JSONResponse({"id": name} | job.told(), status_code=202, headers={"Location": f"/api/batch/{name}"})

    async def batch(self, request: Request) -> Response:
        """Return how far a job is."""
        name = request.path_params["id"]
        return JSONResponse({"id": name} | self._batches.job(name).told())

    async def end_batch(self, request: Request) -> Response:
        """End a job."""
        self._batches.stop(request.path_params["id"])
        return Response(status_code=204)

    async def _wishes(self, request: Request) -> Wishes:
        known = await self._answering.run_aside(lambda: (self._desk.atlas.prefectures, self._desk.album.sources))
        language = preferred_language(request.headers.get("accept-language", ""))
        told = request.query_params.multi_items()
        return read_wishes(told, prefecture_codes=known[0], sources=known[1], language=language)

    # --- what surrounds them --------------------------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        """Return the search page."""
        told = request.query_params.get("lang", "")
        language = told if told in {"en", "ja"} else preferred_language(request.headers.get("accept-language", ""))
        return HTMLResponse(search_page(language), headers={"Vary": "Accept-Language", "Content-Language": language})

    async def static(self, request: Request) -> Response:
        """Return a script or style of the page.

        Raises:
            HTTPException: 404 for every other file.
        """
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404, "there is no such file")
        data, tag = static_file(name)
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, media_type=STATIC[name], headers=headers)

    async def api_page(self, _: Request) -> Response:
        """Return the description of the API for people."""
        return HTMLResponse(Markup(api_page()))  # noqa: S704 -- rendered with everything escaped

    async def openapi(self, _: Request) -> Response:
        """Return the description of the API."""
        return JSONResponse(openapi())

    async def session(self, request: Request) -> Response:
        """Turn a token into a cookie, so that a page's pictures load too.

        Raises:
            HTTPException: 400 when no token is asked for.
        """
        if not self._token:  # the guard has seen to it that whoever comes here with a token brings the right one
            raise HTTPException(400, "this server asks for no token")
        response = Response(status_code=204)
        is_secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, self._token, httponly=True, samesite="strict", secure=is_secure, path="/")
        return response

    async def about(self, _: Request) -> Response:
        """Return what can be searched and how."""
        return JSONResponse(await self._answering.run_aside(self._about))

    def _about(self) -> dict[str, Any]:
        collection, points = self._desk.gallery.told()
        return {
            "model_version": self._desk.embedder.model_version,
            "collection": collection,
            "points": points,
            "readout": self._desk.calibration.readout,
            "readouts": list(BATCH_READOUTS),
            "prefectures": [{"code": code, "name": name} for code, name in self._desk.atlas.prefectures.items()],
            "sources": list(self._desk.album.sources),
            "limit_bytes": LIMIT_BYTES,
        }

    async def outlines(self, request: Request) -> Response:
        """Return outlines of areas as GeoJSON.

        Raises:
            SettingError: There is no such level, or no prefecture is named for municipalities.
        """
        level = request.query_params.get("level", "prefecture")
        if level not in {"coast", "prefecture", "municipality"}:
            raise SettingError(setting="level", value=level, cure="choose one of coast, prefecture, municipality")
        codes = request.query_params.getlist("prefecture")
        if level == "municipality" and not codes:
            raise SettingError(setting="prefecture", value="", cure="name the prefectures whose municipalities you want")

        def told() -> bytes:
            shown = coast_geojson() if level == "coast" else self._desk.atlas.geojson(level, codes or None)
            return json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()

        headers = {"Cache-Control": "private, max-age=300"}
        return Response(await self._answering.run_aside(told), media_type="application/geo+json", headers=headers)

    async def picture(self, request: Request) -> Response:
        """Return a picture that an answer has named.

        Raises:
            HTTPException: 404 for every other picture.
            SettingError: It cannot be had in that width.
        """
        told = request.query_params.get("width", "240")
        if told not in _WIDTHS_PX:
            raise SettingError(setting="width", value=told, cure=f"choose one of {', '.join(_WIDTHS_PX)}")
        image_id = request.path_params["image_id"]
        data = await self._answering.run_aside(partial(self._answering.thumbnail, image_id, _WIDTHS_PX[told]))
        if data is None:
            raise HTTPException(404, "no answer has named this picture, or it is no longer at hand")
        return Response(data, media_type="image/webp", headers={"Cache-Control": "private, max-age=3600"})

    async def healthz(self, _: Request) -> Response:
        """Return whether the model and the gallery answer."""
        return JSONResponse({"status": "ok"} | await self._answering.run_aside(self._desk.check))

    async def metrics(self, _: Request) -> Response:
        """Return what the server counts of itself."""
        try:
            collection, points = await self._answering.run_aside(self._desk.gallery.told)
            told = {"collection": collection, "model": self._desk.embedder.model_version}
            self._metrics.gauge("geoloc_gallery_points", "Points of the live collection.", points, **told)
            self._metrics.gauge("geoloc_gallery_up", "Whether the gallery answers.", 1)
        except GeolocError:
            self._metrics.gauge("geoloc_gallery_up", "Whether the gallery answers.", 0)
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})


# --- faults -------------------------------------------------------------------------------------------------------------


async def _refused(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _failed(_: Request, error: GeolocError) -> Response:
    status = 503
    if isinstance(error, ImageError):
        status = 413 if error.reason == "too_large" else 400
    elif isinstance(error, SettingError):
        status = 400
    else:
        _LOG.warning("%s", error)
    return JSONResponse({"error": str(error)}, status_code=status)


async def _broken(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "something broke here; the server's log says what"}, status_code=500)
