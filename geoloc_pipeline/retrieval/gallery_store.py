"""What the gallery asks of an engine, whichever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

HNSW_LINKS = 16
HNSW_CONSTRUCTION = 100
EXACT_BELOW_POINTS = 20_000
"""Below this many points an engine reads them all: it takes a few milliseconds and misses nothing."""


class Hit(NamedTuple):
    """One point that was found.

    Attributes:
        score: Cosine similarity.
        payload: What was stored with it.
    """

    score: float
    payload: dict[str, Any]


class Store(Protocol):
    """Named collections of vectors, one of which is live."""

    def live(self) -> str:
        """Return the name of the live collection; empty when there is none."""

    def names(self) -> list[str]:
        """Return the names of the collections, sorted; what an attempt that died has left is among them."""

    def create(self, name: str) -> None:
        """Begin a collection; what an attempt that died has left of it is removed."""

    def add(self, name: str, *, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[dict[str, Any]]) -> None:
        """Add points to a collection that was begun."""

    def finish(self, name: str) -> None:
        """Make a collection that was begun durable and quick to search."""

    def count(self, name: str) -> int:
        """Return the number of points of a collection."""

    def search(self, name: str, vectors: NDArray[np.float32], *, limit: int, exact: bool, breadth: int) -> list[list[Hit]]:
        """Return the `limit` most similar points of each vector, best first; `breadth` is HNSW's ef."""

    def point_live_at(self, name: str) -> None:
        """Make a collection the live one, at once for everybody."""

    def remove(self, name: str) -> None:
        """Remove a collection."""

    def close(self) -> None:
        """Let go of everything."""
