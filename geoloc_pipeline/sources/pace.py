"""How fast and how much a service may be asked: a token bucket per host and a budget per day."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import BudgetSpentError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class TokenBucket:
    """Spaces requests: `burst` at once, then `per_second`; safe to share between threads.

    Attributes:
        per_second: Requests a second in the long run; positive.
        burst: Requests that may go at once after a pause.
        clock: Monotonic seconds.
        sleep: Waits for seconds.
    """

    per_second: float
    burst: int
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    _free_at_s: float = field(default=float("-inf"), repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self) -> None:
        """Wait until one more request may go."""
        step_s = 1.0 / self.per_second
        with self._lock:  # the turn is taken under the lock, the waiting is done outside it
            now_s = self.clock()
            self._free_at_s = max(self._free_at_s, now_s - (self.burst - 1) * step_s)
            wait_s = self._free_at_s - now_s
            self._free_at_s += step_s
        if wait_s > 0:
            self.sleep(wait_s)


def _today() -> date:
    return datetime.now(UTC).date()


@dataclass
class DailyBudget:
    """Counts requests of one UTC day and refuses the one too many.

    Attributes:
        service: Named in the error.
        limit: Requests a day.
        path: Where the count is kept between runs; None: only while this process lives.
        today: Which day it is.
    """

    service: str
    limit: int
    path: Path | None = None
    today: Callable[[], date] = _today
    _spent: int = field(default=0, repr=False)
    _day: date | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def spend(self) -> None:
        """Count one request.

        Raises:
            BudgetSpentError: The day's requests are used up.
        """
        with self._lock:
            day = self.today()
            if day != self._day:
                self._day, self._spent = day, self._kept(day)
            if self._spent >= self.limit:
                raise BudgetSpentError(service=self.service, limit=self.limit)
            self._spent += 1
            self._keep(day)

    def _kept(self, day: date) -> int:
        if self.path is None:
            return 0
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            return int(kept["spent"]) if kept["day"] == day.isoformat() else 0
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return 0

    def _keep(self, day: date) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_name(f"{self.path.name}.partial")
        partial.write_text(json.dumps({"day": day.isoformat(), "spent": self._spent}), encoding="utf-8")
        partial.replace(self.path)  # no fsync: after a power cut a few requests are counted less, once
