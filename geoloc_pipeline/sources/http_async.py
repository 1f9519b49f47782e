"""The HTTP client of `http.py` for many requests in flight: the same patience and silence, awaited.

httpx's own asynchronous transport spends 5 to 9 ms of processor time on an answer of 50 KB when 64 connections are open;
aiohttp's, behind the same httpx interface, half a millisecond (`httpx-aiohttp`, by httpx's maintainers).
"""

from __future__ import annotations

import asyncio
import math
import time
import urllib.request
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import httpx
import yarl
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

from geoloc_pipeline.sources.http_policy import (
    ANSWER_DEADLINE_S,
    CONNECTION_FAULTS,
    LARGEST_ANSWER_BYTES,
    MOST_REDIRECTS,
    TRIES,
    Answer,
    PassingFaultError,
    Policy,
    Verdict,
    json_of,
    judge_picture,
    refuse_stray,
)
from geoloc_pipeline.sources.pace import DailyBudget, TokenBucket

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

T = TypeVar("T")


class AsyncHttpClient(Policy):
    """Asks services over HTTP from the tasks of one event loop; made and closed inside that loop (`async with`).

    A host that says 429, or names a time to come back, is left alone by all tasks until then.

    Args:
        transport: Where requests go; None: the network. The demo hands over its mirror.
        contact: E-mail address or page under which a service can reach whoever runs this; goes into the User-Agent.
        sleep: Waits for seconds.
        clock: Monotonic seconds.
        tries: How often one thing is asked before giving up, at least 1.
        connections: Open to one host at once at most.
        deadline_s: For one whole answer; a slow drip passes every read timeout.
        largest_bytes: Of one answer; a longer one is left.
        budgets_folder: Where the day's requests are counted between runs; None: only while this client lives.
        per_second: Rates that go before those of `limit`, by host.
        per_day: Budgets that go before those of `limit`, by host.
    """

    def __init__(
        self,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        contact: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        tries: int = TRIES,
        connections: int = 64,
        deadline_s: float = ANSWER_DEADLINE_S,
        largest_bytes: int = LARGEST_ANSWER_BYTES,
        budgets_folder: Path | None = None,
        per_second: Mapping[str, float] | None = None,
        per_day: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(contact=contact, tries=tries, deadline_s=deadline_s, largest_bytes=largest_bytes)
        self.sleep, self.clock = sleep, clock
        self._budgets_folder = budgets_folder
        self._per_second, self._per_day = dict(per_second or {}), dict(per_day or {})
        self._buckets: dict[str, TokenBucket] = {}
        self._budgets: dict[str, DailyBudget] = {}
        self._slots: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(connections))
        self._client = httpx.AsyncClient(
            transport=transport or _Network(),
            timeout=httpx.Timeout(connect=15.0, read=min(60.0, deadline_s), write=60.0, pool=None),
            max_redirects=MOST_REDIRECTS,
            event_hooks={"response": [_refuse_stray]},
            headers={"User-Agent": self.user_agent},
        )
        self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # nobody's cookies are kept or sent

    async def __aenter__(self) -> AsyncHttpClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections and write down what was spent."""
        try:
            await self._client.aclose()
        finally:
            for budget in self._budgets.values():
                budget.close()

    def limit(self, host: str, *, service: str, per_second: float | None = None, per_day: int | None = None) -> None:
        """Let at most so many requests a second and a day go to `host`, unless the client was given others for it.

        Args:
            host: Without port.
            service: Its name, for messages.
            per_second: In the long run; a second's worth may go at once.
            per_day: Of UTC; counted across processes that share the budgets' folder.
        """
        rate, limit = self._per_second.get(host, per_second), self._per_day.get(host, per_day)
        if rate is not None:
            self._buckets.setdefault(host, TokenBucket(rate, max(1, int(rate)), self.clock))
        if limit is not None and host not in self._budgets:
            path = self._budgets_folder / f"{host}.json" if self._budgets_folder else None
            self._budgets[host] = DailyBudget(service, limit, path)

    def left_today(self, host: str) -> int | None:
        """Return how many more requests the day's budget of a host allows; None without one."""
        budget = self._budgets.get(host)
        return budget.left() if budget else None

    async def get(
        self,
        url: str,
        *,
        service: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        judge: Callable[[Answer], Verdict] = judge_picture,
        absent: frozenset[int] = frozenset(),
        cure: str = "check the settings of this service",
        follow_redirects: bool = True,
    ) -> Answer:
        """Return the answer to a GET request, after as many tries as it takes; arguments and errors as of `HttpClient.get`.

        Street view comes as JSON, tiles and pictures: a page in place of one is a server in trouble, and passes.
        """
        shown = self.shown(url, params)
        failed = 0
        while True:
            try:
                answer = await self._ask(url, params=params, headers=headers, shown=shown, follow=follow_redirects)
                return self.judged(answer, judge=judge, absent=absent, service=service, cure=cure)
            except PassingFaultError as fault:
                failed += 1
                wait_s = self.wait_after(fault, failed, service=service, shown=shown)
                if fault.concerns_all:
                    self._bucket(httpx.URL(url).host).hold(wait_s)
                else:
                    await self.sleep(wait_s)

    async def get_json(self, url: str, *, service: str, params: Mapping[str, str] | None = None, **options: Any) -> Any:
        """Return the JSON that a GET request is answered with; arguments and errors as of `HttpClient.get_json`."""
        return json_of(await self.get(url, service=service, params=params, **options), service=service)

    def _bucket(self, host: str) -> TokenBucket:
        return self._buckets.setdefault(host, TokenBucket(math.inf, 1, self.clock))

    async def _ask(
        self, url: str, *, params: Mapping[str, str] | None, headers: Mapping[str, str] | None, shown: str, follow: bool
    ) -> Answer:
        try:
            request = self._client.build_request("GET", url, params=params, headers=dict(headers or {}))
            host = request.url.host
            async with self._slots[host]:  # before the turn: turns that wait for a connection would be taken all at once
                if host in self._budgets:
                    self._budgets[host].spend()
                wait_s = self._bucket(host).reserve()
                if wait_s > 0:
                    await self.sleep(wait_s)
                response, content = await self._whole(request, follow=follow)
        except (*CONNECTION_FAULTS, aiohttp.ClientError) as error:  # httpx-aiohttp lets some of aiohttp's own through
            raise self.fault(error) from None
        return Answer(status=response.status_code, headers=response.headers, content=content, url=shown)

    async def _whole(self, request: httpx.Request, *, follow: bool) -> tuple[httpx.Response, bytes]:
        body = bytearray()
        try:
            async with asyncio.timeout(self.deadline_s):
                response = await self._client.send(request, stream=True, follow_redirects=follow)
                try:
                    self.check_announced(response.headers)
                    async for piece in response.aiter_bytes():
                        body += piece
                        self.check_size(len(body))
                finally:
                    await response.aclose()
        except TimeoutError:
            raise self.too_slow() from None
        self.check_whole(response.headers, len(body))
        return response, bytes(body)


async def _refuse_stray(response: httpx.Response) -> None:
    refuse_stray(response)


class _Network(AiohttpTransport):
    """Leaves URLs as they are: aiohttp would write some of their escapes anew, and a signed link would be another one."""

    def __init__(self) -> None:
        super().__init__()
        self._proxies = urllib.request.getproxies()

    def get_client(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=self.ssl_context)  # 0: the client's slots are the limit
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(self.client, aiohttp.ClientSession):
            self.client = self.get_client()
        limits_s, host = request.extensions["timeout"], request.url.host
        has_proxy = self._proxies and not urllib.request.proxy_bypass(host)
        response = await self.client.get(
            _as_it_is(request.url),
            headers=request.headers,
            allow_redirects=False,
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(sock_connect=limits_s["connect"], sock_read=limits_s["read"]),
            proxy=self._proxies.get(request.url.scheme) if has_proxy else None,
        )
        return httpx.Response(response.status, headers=response.raw_headers, stream=AiohttpResponseStream(response))


def _as_it_is(url: httpx.URL) -> yarl.URL:
    whole = yarl.URL(str(url), encoded=True)
    try:
        is_complete = whole.raw_host and whole.port  # what is encoded is not checked before it is read
    except ValueError:
        is_complete = False
    if not is_complete:
        raise httpx.InvalidURL(f"no host or port in {url}")
    return whole
