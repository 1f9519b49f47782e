"""The one HTTP client: patient with passing faults, quick to give up on permanent ones, polite, and silent about secrets.

A fault is passing when asking again may help: no connection, a cut or short body, 408, 425, 429, 5xx. It is asked again with
growing, jittered waits, or after the time that `Retry-After` names. Everything else is permanent and raised at once. A service
that hides one kind in the other (Mapillary says "too much data" with a 500) gives its own `judge`.

`http_async.py` is the same for many requests in flight; what both think of answers stands in `http_policy.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from geoloc_pipeline.sources.http_policy import (
    ANSWER_DEADLINE_S,
    CONNECTION_FAULTS,
    LARGEST_ANSWER_BYTES,
    MOST_REDIRECTS,
    PASSING,
    TRIES,
    Answer,
    PassingFaultError,
    Policy,
    Verdict,
    json_of,
    judge_by_status,
    refuse_stray,
    retry_after_s,
)
from geoloc_pipeline.sources.pace import DailyBudget, TokenBucket

if TYPE_CHECKING:
    from pathlib import Path

    from geoloc_pipeline.storage.progress import Progress

__all__ = ["PASSING", "Answer", "HttpClient", "PassingFaultError", "Verdict", "judge_by_status", "retry_after_s"]

T = TypeVar("T")

_TIMEOUT = httpx.Timeout(connect=15.0, read=60.0, write=60.0, pool=60.0)


class HttpClient(Policy):
    """Asks services over HTTP; may be shared between threads.

    Args:
        transport: Where requests go; None: the network. The demo hands over its mirror.
        contact: E-mail address or page under which a service can reach whoever runs this; goes into the User-Agent.
        sleep: Waits for seconds.
        clock: Monotonic seconds.
        tries: How often one thing is asked before giving up, at least 1.
        largest_bytes: Of one answer in memory; a longer one is left.
        per_second: Highest rate of requests by host; hosts that are not named are not slowed.
        budgets: Daily budgets by host.
    """

    def __init__(
        self,
        *,
        transport: httpx.BaseTransport | None = None,
        contact: str = "",
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        tries: int = TRIES,
        largest_bytes: int = LARGEST_ANSWER_BYTES,
        per_second: Mapping[str, float] | None = None,
        budgets: Mapping[str, DailyBudget] | None = None,
    ) -> None:
        super().__init__(contact=contact, tries=tries, deadline_s=ANSWER_DEADLINE_S, largest_bytes=largest_bytes)
        self.sleep, self.clock = sleep, clock
        self._budgets = dict(budgets or {})
        self._per_second = dict(per_second or {})
        self._buckets: dict[str, TokenBucket] = {}
        self._lock = threading.Lock()
        self._client = httpx.Client(
            transport=transport,
            timeout=_TIMEOUT,
            max_redirects=MOST_REDIRECTS,
            headers={"User-Agent": self.user_agent},
            event_hooks={"response": [refuse_stray]},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(
        self,
        url: str,
        *,
        service: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        judge: Callable[[Answer], Verdict] = judge_by_status,
        absent: frozenset[int] = frozenset(),
        cure: str = "check the settings of this service",
        follow_redirects: bool = True,
    ) -> Answer:
        """Return the answer to a GET request, after as many tries as it takes.

        Args:
            url: What to ask for.
            service: Name of the service, for messages.
            params: Query parameters.
            headers: Further request headers. `Authorization` is dropped on a redirect to another host.
            judge: Decides on an answer that came whole.
            absent: Statuses that mean "nothing there" and are returned like any answer.
            cure: What the user can do when the service refuses.
            follow_redirects: Whether a redirect is followed or returned.

        Returns:
            The answer, whole.

        Raises:
            SourceUnavailableError: Passing faults to the last try.
            SourceRefusedError: A permanent fault.
            BudgetSpentError: The day's requests are used up.
        """
        shown = self.shown(url, params)

        def ask() -> Answer:
            answer = self._ask(url, params=params, headers=headers, shown=shown, follow=follow_redirects)
            return self.judged(answer, judge=judge, absent=absent, service=service, cure=cure)

        return self.patiently(ask, service=service, shown=shown)

    def get_json(self, url: str, *, service: str, params: Mapping[str, str] | None = None, **options: Any) -> Any:
        """Return the JSON that a GET request is answered with; see `get` for `options`.

        Raises:
            SourceUnavailableError: Passing faults to the last try, or something else than JSON came.
            SourceRefusedError: A permanent fault.
            BudgetSpentError: The day's requests are used up.
        """
        return json_of(self.get(url, service=service, params=params, **options), service=service)

    def download(
        self,
        url: str,
        path: Path,
        *,
        service: str,
        md5: str | None = None,
        check: Callable[[Path], None] | None = None,
        progress: Progress | None = None,
        absent: frozenset[int] = frozenset(),
    ) -> bool:
        """Bring a file to `path`, whole and verified or not at all; see `sources.download.download_file`."""
        from geoloc_pipeline.sources.download import download_file

        return download_file(self, url, path, service=service, md5=md5, check=check, progress=progress, absent=absent)

    @contextmanager
    def stream(
        self, url: str, *, headers: Mapping[str, str] | None = None, follow_redirects: bool = True
    ) -> Iterator[httpx.Response]:
        """Yield an answer whose body is still to come; a fault of the connection becomes a passing fault.

        Args:
            url: What to ask for.
            headers: Further request headers.
            follow_redirects: Whether a redirect is followed or yielded.

        Yields:
            The response.

        Raises:
            PassingFaultError: No connection, or it was cut.
        """
        self._wait_for_turn(httpx.URL(url).host)
        sent = dict(headers or {})
        with self._faults(), self._client.stream("GET", url, headers=sent, follow_redirects=follow_redirects) as response:
            yield response

    def patiently(self, attempt: Callable[[], T], *, service: str, shown: str) -> T:
        """Return what `attempt` returns, calling it again after each passing fault, with growing waits.

        Args:
            attempt: Raises `PassingFaultError` when trying again may help.
            service: Name of the service, for messages.
            shown: What is asked for, without secrets.

        Returns:
            What the first try that works returns.

        Raises:
            SourceUnavailableError: Too many tries failed, or the service asks to stay away for long.
        """
        failed = 0
        while True:
            try:
                return attempt()
            except PassingFaultError as fault:
                failed = 1 if fault.has_gained else failed + 1
                self.sleep(self.wait_after(fault, failed, service=service, shown=shown))

    def _ask(
        self, url: str, *, params: Mapping[str, str] | None, headers: Mapping[str, str] | None, shown: str, follow: bool
    ) -> Answer:
        with self._faults():
            request = self._client.build_request("GET", url, params=params, headers=dict(headers or {}))
            self._wait_for_turn(request.url.host)
            response = self._client.send(request, stream=True, follow_redirects=follow)
            try:
                content = self._whole_body(response)
            finally:
                response.close()
        return Answer(status=response.status_code, headers=response.headers, content=content, url=shown)

    def _whole_body(self, response: httpx.Response) -> bytes:
        until_s, body = self.clock() + self.deadline_s, bytearray()
        self.check_announced(response.headers)
        for piece in response.iter_bytes():
            body += piece
            self.check_size(len(body))
            if self.clock() > until_s:
                raise self.too_slow()
        self.check_whole(response.headers, len(body))
        return bytes(body)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Make every fault of the connection a passing fault, told without secrets.

        Yields:
            None.

        Raises:
            PassingFaultError: No connection, it was cut, or redirects went in circles.
        """
        try:
            yield
        except CONNECTION_FAULTS as error:
            raise self.fault(error) from None

    def _wait_for_turn(self, host: str) -> None:
        with self._lock:
            if host in self._per_second and host not in self._buckets:
                rate = self._per_second[host]
                self._buckets[host] = TokenBucket(rate, max(1, int(rate)), self.clock)
            bucket, budget = self._buckets.get(host), self._budgets.get(host)
        if budget:
            budget.spend()
        wait_s = bucket.reserve() if bucket else 0.0
        if wait_s > 0:
            self.sleep(wait_s)
