"""How far a running step is, told through a small file that anyone may watch.

Rooms call `Progress.advance`; the demo's display, and whoever has no display, reads the files. A step in another process, on
another core, tells its progress the same way.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

INTERVAL_S = 0.25


@dataclass
class Progress:
    """The progress of one step.

    Attributes:
        path: Where it is told (`Home.progress`); None: nobody watches.
        total: How many things there are to do; 0 while unknown.
        unit: What is counted, such as images.
        done: How many are done.
    """

    path: Path | None = None
    total: int = 0
    unit: str = ""
    done: int = 0
    _told_at_s: float = field(default=0.0, repr=False)

    def advance(self, count: int = 1) -> None:
        """Count `count` more things as done."""
        self.tell(self.done + count)

    def tell(self, done: int, *, total: int | None = None, unit: str | None = None) -> None:
        """Say how many things are done (and, when it has changed, of how many, and what they are)."""
        self.done = done
        self.total = self.total if total is None else total
        self.unit = self.unit if unit is None else unit
        now_s = time.monotonic()
        if self.path and (now_s - self._told_at_s >= INTERVAL_S or self.done >= self.total):
            self._told_at_s = now_s
            self.path.parent.mkdir(parents=True, exist_ok=True)
            partial = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            partial.write_text(json.dumps({"done": self.done, "total": self.total, "unit": self.unit}), encoding="utf-8")
            partial.replace(self.path)  # no fsync: progress may be lost, but is never half written


def read_progress(path: Path) -> tuple[int, int, str]:
    """Return (done, total, unit) of a step; (0, 0, "") when it has told nothing yet, or nothing readable."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return int(told["done"]), int(told["total"]), str(told["unit"])
    except (FileNotFoundError, ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return 0, 0, ""
