"""What the search page counts of itself, as text that Prometheus reads: requests, seconds by route and stage, queue, gallery.

Nothing of a photo, an answer or a visitor is counted, only how many and how long.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, gauges and histograms; may be told from several threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._about: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[Labels, float]] = defaultdict(dict)
        self._buckets: dict[str, dict[Labels, list[int]]] = defaultdict(dict)

    def count(self, name: str, about: str, **labels: str) -> None:
        """Add 1 to a counter."""
        key = _key(labels)
        with self._lock:
            self._about[name] = ("counter", about)
            self._values[name][key] = self._values[name].get(key, 0.0) + 1.0

    def gauge(self, name: str, about: str, value: float, **labels: str) -> None:
        """Set a gauge; what it said under other labels is dropped."""
        with self._lock:
            self._about[name] = ("gauge", about)
            self._values[name] = {_key(labels): float(value)}

    def took(self, name: str, about: str, seconds: float, **labels: str) -> None:
        """Add a duration to a histogram."""
        key = _key(labels)
        with self._lock:
            self._about[name] = ("histogram", about)
            counts = self._buckets[name].setdefault(key, [0] * (len(BOUNDS_S) + 1))
            counts[bisect_left(BOUNDS_S, seconds)] += 1
            self._values[name][key] = self._values[name].get(key, 0.0) + max(0.0, seconds)

    def text(self) -> str:
        """Return everything in Prometheus' text format, always in the same order."""
        with self._lock:
            lines = [line for name in sorted(self._about) for line in self._lines(name)]
        return "\n".join(lines) + "\n"

    def _lines(self, name: str) -> Iterable[str]:
        kind, about = self._about[name]
        yield f"# HELP {name} {about}"
        yield f"# TYPE {name} {kind}"
        for labels, value in sorted(self._values[name].items()):
            if kind != "histogram":
                yield f"{name}{_braced(labels)} {value:g}"
                continue
            total = 0
            for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), self._buckets[name][labels], strict=True):
                total += count
                yield f"{name}_bucket{_braced((*labels, ('le', bound)))} {total}"
            yield f"{name}_sum{_braced(labels)} {value:.6f}"
            yield f"{name}_count{_braced(labels)} {total}"


def _key(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _braced(labels: Labels) -> str:
    escaped = (f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels)
    return f"{{{','.join(escaped)}}}" if labels else ""


_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
