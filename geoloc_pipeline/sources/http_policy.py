"""What both HTTP clients think of answers and faults: which are passing, how long to wait, and what may be shown.

Belongs here: judgement, waits, messages without secrets. Does not belong here: sockets (`http.py`, `http_async.py`) and how
often a service may be asked (`pace.py`).
"""

from __future__ import annotations

import email.utils
import ipaddress
import json
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import httpx

from geoloc_pipeline import __version__
from geoloc_pipeline.errors import SourceRefusedError, SourceUnavailableError
from geoloc_pipeline.sources.redaction import Redaction, quieten_http_logs

log = logging.getLogger(__name__)

Verdict = Literal["take", "again", "refused"]

TRIES = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
LONGEST_RETRY_AFTER_S = 900.0  # a service that asks for more is down for this run
ANSWER_DEADLINE_S = 300.0  # for one whole body in memory: a slow drip passes every read timeout
LARGEST_ANSWER_BYTES = 256 * 2**20
MOST_REDIRECTS = 5
CONNECTION_FAULTS = (httpx.TransportError, httpx.TooManyRedirects, httpx.DecodingError, httpx.InvalidURL)
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})


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
        """Return the body read as JSON.

        Raises:
            ValueError: It is none.
        """
        try:
            return json.loads(self.content)
        except RecursionError:
            raise ValueError("its brackets are nested without end") from None


class PassingFaultError(Exception):
    """Inside this floor only: asking again may help.

    Attributes:
        wait_s: How long the service asks to wait; None where it does not say.
        has_gained: Part of the thing came and is kept: the tries are counted anew.
        concerns_all: The service asks everybody to wait, not just this request.
    """

    def __init__(
        self, reason: str, *, wait_s: float | None = None, has_gained: bool = False, concerns_all: bool = False
    ) -> None:
        super().__init__(reason)
        self.wait_s, self.has_gained, self.concerns_all = wait_s, has_gained, concerns_all


class Policy:
    """What the two clients share.

    Args:
        contact: E-mail address or page under which a service can reach whoever runs this; goes into the User-Agent.
        tries: How often one thing is asked before giving up, at least 1.
        deadline_s: For one whole answer.
        largest_bytes: Of one answer; a longer one is left.
    """

    def __init__(self, *, contact: str, tries: int, deadline_s: float, largest_bytes: int) -> None:
        self.redaction = Redaction()
        quieten_http_logs(self.redaction)
        self.tries, self.deadline_s, self.largest_bytes = tries, deadline_s, largest_bytes
        self.user_agent = f"geoloc-pipeline/{__version__} ({contact or 'no contact given'})"
        self._jitter = random.Random()

    def shown(self, url: str, params: Mapping[str, str] | None = None) -> str:
        """Return a URL as it may be shown: without secrets."""
        return self.redaction.clean(httpx.URL(url, params=dict(params)) if params else url)

    def said(self, answer: Answer) -> str:
        """Return status and the first words of an answer, for a message; what is well but for its kind, by its kind, too."""
        words = " ".join(answer.content[:300].decode("utf-8", "replace").split())
        kind = "" if answer.status >= 400 else f" {answer.headers.get('content-type', 'no content type')}"
        return self.redaction.clean(f"HTTP {answer.status}{kind}" + (f" ({words})" if words else ""))

    def fault(self, error: BaseException) -> PassingFaultError:
        """Return a library's error as a passing fault; raise it `from None`: nobody has cleaned the text of the chain."""
        return PassingFaultError(self.redaction.clean(f"{type(error).__name__}: {error}"))

    def too_slow(self) -> PassingFaultError:
        """Return the fault of an answer that passes its deadline."""
        return PassingFaultError(f"its answer took longer than {self.deadline_s:g} s and was left")

    def check_size(self, n_bytes: int) -> None:
        """Refuse an answer that grows beyond what is taken.

        Raises:
            PassingFaultError: It does.
        """
        if n_bytes > self.largest_bytes:
            raise PassingFaultError(f"its answer is longer than {self.largest_bytes} bytes and was left")

    def check_announced(self, headers: httpx.Headers) -> None:
        """Refuse an answer that is too long before it comes, where it says so.

        Raises:
            PassingFaultError: It is.
        """
        said = headers.get("content-length", "")
        self.check_size(int(said) if said.isdecimal() else 0)

    def check_whole(self, headers: httpx.Headers, n_bytes: int) -> None:
        """Refuse an answer of fewer bytes than were announced.

        Raises:
            PassingFaultError: It is one.
        """
        said = headers.get("content-length", "")
        if said.isdecimal() and "content-encoding" not in headers and n_bytes < int(said):
            raise PassingFaultError(f"only {n_bytes} of {said} bytes came")

    def judged(
        self, answer: Answer, *, judge: Callable[[Answer], Verdict], absent: frozenset[int], service: str, cure: str
    ) -> Answer:
        """Return an answer that is one.

        Raises:
            PassingFaultError: Asking again may help.
            SourceRefusedError: It will not.
        """
        verdict = "take" if answer.status in absent else judge(answer)
        if verdict == "again":
            wait_s = retry_after_s(answer.headers)
            raise PassingFaultError(self.said(answer), wait_s=wait_s, concerns_all=wait_s is not None or answer.status == 429)
        if verdict == "refused":
            raise SourceRefusedError(service=service, reason=f"{self.said(answer)} for {answer.url}", cure=cure)
        return answer

    def wait_after(self, fault: PassingFaultError, failed: int, *, service: str, shown: str) -> float:
        """Return how many seconds to wait before asking again.

        Args:
            fault: What happened last.
            failed: Tries in a row that failed.
            service: Name of the service, for messages.
            shown: What is asked for, without secrets.

        Returns:
            What the service asks for, else growing, jittered waits.

        Raises:
            SourceUnavailableError: Too many tries failed, or the service asks to stay away for long.
        """
        wait_s = wait_before_try_s(failed, self._jitter) if fault.wait_s is None else fault.wait_s
        reason = f"{fault} (tried {failed} times)" if failed >= self.tries else ""
        if wait_s > LONGEST_RETRY_AFTER_S:
            reason = f"{fault}; it asks to come back in {wait_s:.0f} s"
        if reason:
            raise SourceUnavailableError(service=service, url=shown, reason=reason) from None
        log.info("%s: %s; asking %s again in %.1f s", service, fault, shown, wait_s)
        return wait_s


def refuse_stray(response: httpx.Response) -> None:
    """Refuse a redirect that leaves the open network for this one, or HTTPS for plain HTTP.

    Services do send pictures from other hosts of theirs, so another public host is followed; a service that was broken into
    must not make us ask the machines beside us.

    Raises:
        SourceRefusedError: It is one.
    """
    if not response.has_redirect_location:
        return
    target = response.url.join(response.headers["location"])
    is_stray = not _is_local(response.url.host) and _is_local(target.host)
    if is_stray or target.scheme not in {"http", "https"} or (response.url.scheme == "https" and target.scheme == "http"):
        reason = f"it redirects to {target.scheme}://{target.host}"
        raise SourceRefusedError(service=response.url.host, reason=reason, cure="nothing was asked there; tell the service")


def _is_local(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))


def judge_by_status(answer: Answer) -> Verdict:
    """Return what HTTP itself says of an answer."""
    if answer.status < 400:
        return "take"
    return "again" if answer.status in PASSING else "refused"


def judge_picture(answer: Answer) -> Verdict:
    """Return what an answer for a picture means: a page in its place comes from a server in trouble, and passes."""
    if answer.status < 400 and answer.headers.get("content-type", "").lower().startswith("text/html"):
        return "again"
    return judge_by_status(answer)


def json_of(answer: Answer, *, service: str) -> Any:
    """Return the JSON of an answer.

    Raises:
        SourceUnavailableError: It is none.
    """
    try:
        return answer.json()
    except ValueError:
        kind = answer.headers.get("content-type", "no content type")
        reason = f"it sent {len(answer.content)} bytes of {kind} that are no JSON"
        raise SourceUnavailableError(service=service, url=answer.url, reason=reason) from None


def wait_before_try_s(failed: int, jitter: random.Random) -> float:
    """Return how long to wait after `failed` tries in a row, jittered so that many clients do not come back at once."""
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (failed - 1)) * jitter.uniform(0.5, 1.0)


def retry_after_s(headers: httpx.Headers) -> float | None:
    """Return the seconds that `Retry-After` asks for, given as seconds or as a date; None without a readable one."""
    said = headers.get("retry-after", "").strip()
    if said.isdecimal():
        return float(said)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
