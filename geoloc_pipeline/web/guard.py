"""Who may ask, and what every response carries: token, host and origin checks, security headers, the count of requests.

A server on the loopback address answers this machine only: it checks the Host header, because a foreign web page can make a
browser send requests here under a name of its own (DNS rebinding). Any other address needs a token.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import time
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from geoloc_pipeline.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from geoloc_pipeline.web.metrics import Metrics

TOKEN_VARIABLE = "GEOLOC_SERVE_TOKEN"  # noqa: S105 -- its name, not a token
COOKIE = "geoloc_session"
_LEAST_TOKEN = 16
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Return whether a name or address, without port, means this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def checked_token(host: str, token: str) -> str:
    """Return the token that requests must bring; empty: none.

    Args:
        host: Address that the server listens on.
        token: Of the environment.

    Returns:
        The token.

    Raises:
        SettingError: The server would be open to others without a token, or its token can be guessed.
    """
    cure = f"set {TOKEN_VARIABLE} to at least {_LEAST_TOKEN} random characters, such as those of `openssl rand -hex 24`"
    if not token and not is_loopback(host):
        raise SettingError(setting="--host", value=host, cure=f"others can reach that address: {cure}, or leave --host out")
    if token and (len(token) < _LEAST_TOKEN or not token.isascii() or not token.isprintable() or set(token) & set(' ";,\\')):
        raise SettingError(setting=TOKEN_VARIABLE, value="(not shown)", cure=cure)
    return token


class Guard:
    """Stands before the application; an ASGI middleware."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[Route], token: str, metrics: Metrics) -> None:
        """Guard an application.

        Args:
            app: What is guarded.
            routes: Its addresses; metrics name requests by their patterns, so that they hold no ids.
            token: That requests to the API and the metrics must bring; empty: only this machine may ask.
            metrics: Told of every request.
        """
        self._app = app
        self._paths: dict[object, str] = {route.endpoint: route.path for route in routes}
        self._token = token
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s, status = time.perf_counter(), 500

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        try:
            if refusal is None:
                await self._app(scope, receive, send_guarded)
            else:
                await _refuse(send_guarded, *refusal)
        finally:
            route = self._paths.get(scope.get("endpoint"), "other")
            told = {"route": route, "method": scope["method"] if route != "other" else "any"}
            self._metrics.count("geoloc_requests_total", "Requests by route and status.", status=str(status), **told)
            taken_s = time.perf_counter() - started_s
            self._metrics.took("geoloc_request_seconds", "Seconds of whole requests by route.", taken_s, **told)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._token and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            return 421, "this server answers this machine only; open it as http://127.0.0.1"
        origin = headers.get("origin")
        if origin is not None and scope["method"] not in {"GET", "HEAD"} and urlsplit(origin).netloc != host:
            return 403, "this request comes from another site's page"
        path = scope["path"]
        if self._token and (path == "/metrics" or path.startswith("/api/")):
            return None if self.knows(headers) else (401, "a token is needed: send it as `Authorization: Bearer …`")
        return None

    def knows(self, headers: Headers) -> bool:
        """Return whether a request brings the token, in its header or in the cookie of a session."""
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            cookie = None
        given = bearer.strip() if scheme.lower() == "bearer" else (cookie.value if cookie is not None else "")
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode())


async def _refuse(send: Send, status: int, sentence: str) -> None:
    headers = [(b"content-type", b"application/json")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": sentence}).encode()})
