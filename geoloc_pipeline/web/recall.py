"""What the server keeps of a visit, for a while and within bounds: what the model said of a photo, and which pictures it named.

The first lets a visitor ask again with another filter without sending the photo once more: it is 512 numbers and some
probabilities, never the photo. The second is why thumbnails are served only of pictures that some answer has named.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recall(Generic[Value]):
    """The values that were put in lately, by a name; the oldest go first, and every one after a while."""

    def __init__(self, *, most: int, keep_s: float) -> None:
        """Begin empty.

        Args:
            most: How many are kept.
            keep_s: For how long after they were last used.
        """
        self._most, self._keep_s = most, keep_s
        self._kept: OrderedDict[str, tuple[float, Value]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            self._forget()
            return len(self._kept)

    def put(self, value: Value, name: str = "") -> str:
        """Keep a value under a name, one that cannot be guessed when none is given; return the name."""
        name = name or secrets.token_urlsafe(16)
        with self._lock:
            self._kept.pop(name, None)
            self._kept[name] = (time.monotonic(), value)
            self._forget()
        return name

    def get(self, name: str) -> Value | None:
        """Return the value of a name, which counts as used; None when it was never put in, or is forgotten."""
        with self._lock:
            self._forget()
            found = self._kept.pop(name, None)
            if found is None:
                return None
            self._kept[name] = (time.monotonic(), found[1])
            return found[1]

    def drop(self, name: str) -> bool:
        """Forget a name at once; return whether it was known."""
        with self._lock:
            return self._kept.pop(name, None) is not None

    def values(self) -> list[Value]:
        """Return what is kept, the longest unused first."""
        with self._lock:
            self._forget()
            return [value for _, value in self._kept.values()]

    def _forget(self) -> None:
        oldest_s = time.monotonic() - self._keep_s
        while self._kept and (len(self._kept) > self._most or next(iter(self._kept.values()))[0] < oldest_s):
            self._kept.popitem(last=False)
