"""The one HTTP client: patient with passing faults, quick to give up on permanent ones, polite, and silent about secrets.

A fault is passing when asking again may help: no connection, a cut or short body, 408, 425, 429, 5xx. It is asked again with
growing, jittered waits, or after the time that `Retry-After` names. Everything else is permanent and raised at once. A service
that hides one kind in the other (Mapillary says "too much data" with a 500) gives its own `judge`.
"""

from __future__ import annotations

import email.utils
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import httpx

from geoloc_pipeline import __version__
from geoloc_pipeline.errors import SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.sources.pace import DailyBudget, TokenBucket
from geoloc_pipeline.sources.redaction import Redaction, quieten_http_logs

if TYPE_CHECKING:
    from pathlib import Path

    from geoloc_pipeline.storage.progress import Progress

log = logging.getLogger(__name__)

T = TypeVar("T")
Verdict = Literal["take", "again", "refused"]

TRIES = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
LONGEST_RETRY_AFTER_S = 900.0  # a service that asks for more is down for this run
ANSWER_DEADLINE_S = 300.0  # for one whole body in memory: a slow drip passes every read timeout
LARGEST_ANSWER_BYTES = 256 * 2**20
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_TIMEOUT = httpx.Timeout(connect=15.0, read=60.0, write=60.0, pool=60.0)


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Attributes:
        status: HTTP status.
        headers: Response headers, case-insensitive.
        content: Body, decoded from its transfer coding.
        url: What was asked, with secrets hidden.
    """

    status: int
    headers: httpx.Headers
    content: bytes
    url: str

    @property
    def sent_at(self) -> datetime:
        """When the service sent it (its Date header), whole seconds in UTC; now, for a service without a clock."""
        try:
            return email.utils.parsedate_to_datetime(self.headers["date"]).astimezone(UTC)
        except (KeyError, ValueError, TypeError):
            return datetime.now(UTC).replace(microsecond=0)

    def json(self) -> Any:
        """Return the body read as JSON; raises ValueError where it is none."""
        return json.loads(self.content)


def judge_by_status(answer: Answer) -> Verdict:
    """Return what HTTP itself says of an answer."""
    if answer.status < 400:
        return "take"
    return "again" if answer.status in PASSING else "refused"


class PassingFaultError(Exception):
    """Inside this floor only: asking again may help."""

    def __init__(self, reason: str, *, wait_s: float | None = None, has_gained: bool = False) -> None:
        super().__init__(reason)
        self.wait_s = wait_s  # what the service asks for
        self.has_gained = has_gained  # part of the thing came and is kept: the tries are counted anew


class HttpClient:
    """Asks services over HTTP; may be shared between threads.

    Args:
        transport: Where requests go; None: the network. The demo hands over its mirror.
        contact: E-mail address or page under which a service can reach whoever runs this; goes into the User-Agent.
        sleep: Waits for seconds.
        clock: Monotonic seconds.
        tries: How often one thing is asked before giving up, at least 1.
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
        per_second: Mapping[str, float] | None = None,
        budgets: Mapping[str, DailyBudget] | None = None,
    ) -> None:
        self.redaction = Redaction()
        quieten_http_logs(self.redaction)
        self.sleep, self.clock, self.tries = sleep, clock, tries
        self._budgets = dict(budgets or {})
        self._per_second = dict(per_second or {})
        self._buckets: dict[str, TokenBucket] = {}
        self._lock = threading.Lock()
        self._jitter = random.Random()
        self._client = httpx.Client(
            transport=transport,
            timeout=_TIMEOUT,
            max_redirects=5,
            headers={"User-Agent": f"geoloc-pipeline/{__version__} ({contact or 'no contact given'})"},
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def limit_rate(self, host: str, per_second: float) -> None:
        """Let at most `per_second` requests a second go to `host`, unless a rate was given for it before."""
        self._per_second.setdefault(host, per_second)

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
            verdict = "take" if answer.status in absent else judge(answer)
            if verdict == "again":
                raise PassingFaultError(self._said(answer), wait_s=retry_after_s(answer.headers))
            if verdict == "refused":
                raise SourceRefusedError(service=service, reason=f"{self._said(answer)} for {shown}", cure=cure)
            return answer

        return self.patiently(ask, service=service, shown=shown)

    def get_json(self, url: str, *, service: str, params: Mapping[str, str] | None = None, **options: Any) -> Any:
        """Return the JSON that a GET request is answered with; see `get` for `options`.

        Raises:
            SourceUnavailableError: Passing faults to the last try, or something else than JSON came.
            SourceRefusedError: A permanent fault.
            BudgetSpentError: The day's requests are used up.
        """
        answer = self.get(url, service=service, params=params, **options)
        try:
            return answer.json()
        except ValueError:
            kind = answer.headers.get("content-type", "no content type")
            raise SourceUnavailableError(
                service=service, url=answer.url, reason=f"it sent {len(answer.content)} bytes of {kind} that are no JSON"
            ) from None

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

    def shown(self, url: str, params: Mapping[str, str] | None = None) -> str:
        """Return a URL as it may be shown: without secrets."""
        return self.redaction.clean(httpx.URL(url, params=dict(params)) if params else url)

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
            except PassingFaultError as error:
                failed = 1 if error.has_gained else failed + 1
                wait_s = self._wait_s(failed) if error.wait_s is None else error.wait_s
                reason = f"{error} (tried {failed} times)" if failed >= self.tries else ""
                if wait_s > LONGEST_RETRY_AFTER_S:
                    reason = f"{error}; it asks to come back in {wait_s:.0f} s"
                if reason:
                    raise SourceUnavailableError(service=service, url=shown, reason=reason) from None
                log.info("%s: %s; asking %s again in %.1f s", service, error, shown, wait_s)
                self.sleep(wait_s)

    def _ask(
        self, url: str, *, params: Mapping[str, str] | None, headers: Mapping[str, str] | None, shown: str, follow: bool
    ) -> Answer:
        self._wait_for_turn(httpx.URL(url).host)
        request = self._client.build_request("GET", url, params=params, headers=dict(headers or {}))
        with self._faults():
            response = self._client.send(request, stream=True, follow_redirects=follow)
            try:
                content = self._whole_body(response)
            finally:
                response.close()
        return Answer(status=response.status_code, headers=response.headers, content=content, url=shown)

    def _whole_body(self, response: httpx.Response) -> bytes:
        until_s, body = self.clock() + ANSWER_DEADLINE_S, bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > LARGEST_ANSWER_BYTES:
                raise PassingFaultError(f"its answer is longer than {LARGEST_ANSWER_BYTES} bytes and was left")
            if self.clock() > until_s:
                raise PassingFaultError(f"its answer took longer than {ANSWER_DEADLINE_S:.0f} s and was left")
        said = response.headers.get("content-length", "")
        if said.isdigit() and "content-encoding" not in response.headers and len(body) < int(said):
            raise PassingFaultError(f"only {len(body)} of {said} bytes came")
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
        except (httpx.TransportError, httpx.TooManyRedirects, httpx.DecodingError) as error:
            # `from None`: the chain would show the library's error, whose text nobody has cleaned
            raise PassingFaultError(self.redaction.clean(f"{type(error).__name__}: {error}")) from None

    def _wait_for_turn(self, host: str) -> None:
        with self._lock:
            if host in self._per_second and host not in self._buckets:
                rate = self._per_second[host]
                self._buckets[host] = TokenBucket(rate, max(1, int(rate)), self.clock, self.sleep)
            bucket, budget = self._buckets.get(host), self._budgets.get(host)
        if budget:
            budget.spend()
        if bucket:
            bucket.take()

    def _said(self, answer: Answer) -> str:
        """Return status and the first words of an answer, for a message."""
        words = " ".join(answer.content[:300].decode("utf-8", "replace").split())
        return self.redaction.clean(f"HTTP {answer.status}" + (f" ({words})" if words else ""))

    def _wait_s(self, failed: int) -> float:
        """Return how long to wait after `failed` tries in a row, jittered so that many clients do not come back at once."""
        return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (failed - 1)) * self._jitter.uniform(0.5, 1.0)


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Return the seconds that `Retry-After` asks for, given as seconds or as a date; None without a readable one."""
    said = headers.get("retry-after", "").strip()
    if said.isdigit():
        return float(said)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
