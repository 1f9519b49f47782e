"""How fast and how much a service may be asked: a token bucket per host and a budget per day."""

from __future__ import annotations

import fcntl
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import BudgetSpentError
from geoloc_pipeline.storage.atomic import disk_errors

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class TokenBucket:
    """Spaces requests: `burst` at once, then `per_second`; safe to share between threads.

    Attributes:
        per_second: Requests a second in the long run; positive.
        burst: Requests that may go at once after a pause.
        clock: Monotonic seconds.
    """

    per_second: float
    burst: int
    clock: Callable[[], float]
    _free_at_s: float = field(default=float("-inf"), repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reserve(self) -> float:
        """Take the next turn, and return how many seconds the caller has to wait for it (in its own way of waiting).

        A turn is taken even by a caller who then gives up.
        """
        step_s = 1.0 / self.per_second
        with self._lock:
            now_s = self.clock()
            self._free_at_s = max(self._free_at_s, now_s - (self.burst - 1) * step_s)
            wait_s = max(0.0, self._free_at_s - now_s)
            self._free_at_s += step_s
        return wait_s

    def hold(self, seconds: float) -> None:
        """Give no further turn for so many seconds from now; the turns after that come one by one."""
        with self._lock:
            self._free_at_s = max(self._free_at_s, self.clock() + seconds)


def _today() -> date:
    return datetime.now(UTC).date()


@dataclass
class DailyBudget:
    """Counts requests of one UTC day and refuses the one too many.

    With a path, processes share the day: each takes `block` requests at a time out of the file, under a lock, and gives back
    what is left when it closes. A process that is killed loses its block for the day; the budget is never overspent.

    Attributes:
        service: Named in the error.
        limit: Requests a day.
        path: Where the count is kept between runs; None: only while this process lives.
        today: Which day it is.
        block: Requests taken out of the file at once.
    """

    service: str
    limit: int
    path: Path | None = None
    today: Callable[[], date] = _today
    block: int = 50
    _in_hand: int = field(default=0, repr=False)
    _spent: int = field(default=0, repr=False)
    _day: date | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def spend(self) -> None:
        """Count one request.

        Raises:
            BudgetSpentError: The day's requests are used up.
        """
        with self._lock:
            self._turn_page()
            if self._in_hand == 0:
                self._in_hand = self._take(self.block)
            if self._in_hand == 0:
                raise BudgetSpentError(service=self.service, limit=self.limit)
            self._in_hand -= 1

    def left(self) -> int:
        """Return how many more requests today allows."""
        with self._lock:
            self._turn_page()
            return self._in_hand + max(0, self.limit - self._kept())

    def close(self) -> None:
        """Give back what was taken out of the file and not spent."""
        with self._lock:
            self._turn_page()
            if self._in_hand:
                self._take(-self._in_hand)
                self._in_hand = 0

    def _turn_page(self) -> None:
        day = self.today()
        if day != self._day:
            self._day, self._in_hand, self._spent = day, 0, 0

    def _take(self, wanted: int) -> int:
        """Take requests out of the day's count (give back, when negative), and return how many."""
        with self._held():
            spent = self._kept()
            taken = min(wanted, max(0, self.limit - spent))
            self._keep(max(0, spent + taken))
        return taken

    @contextmanager
    def _held(self) -> Iterator[None]:
        if self.path is None:
            yield
            return
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.with_name(f"{self.path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield

    def _kept(self) -> int:
        if self.path is None:
            return self._spent
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            return max(0, int(kept["spent"])) if self._day and kept["day"] == self._day.isoformat() else 0
        except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError):
            return 0  # none yet, or spoilt

    def _keep(self, spent: int) -> None:
        self._spent = spent
        if self.path is None or self._day is None:
            return
        partial = self.path.with_name(f"{self.path.name}.partial")
        partial.write_text(json.dumps({"day": self._day.isoformat(), "spent": spent}), encoding="utf-8")
        partial.replace(self.path)  # no fsync: after a power cut a few requests are counted less, once
