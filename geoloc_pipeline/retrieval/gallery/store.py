"""What the gallery asks of an engine, whichever it is.

A point's number tells its picture and its view, so that a search needs no payload to know which points are one picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

HNSW_LINKS = 16
HNSW_CONSTRUCTION = 100
EXACT_BELOW_POINTS = 20_000
"""Below this many points an engine reads them all: it takes a few milliseconds and misses nothing."""
OVERSAMPLING = 2.0
"""With quantised vectors, so many times more points than asked for are compared again with their full vectors."""
VIEW_BITS = 3
_VIEWS = {view: number for number, view in enumerate(("N", "E", "S", "W", "photo", "mean"))}

KEYWORDS = ("image_id", "source", "prefecture_code", "source_image_id", "capture_group")
"""Fields of the payload by which points are filtered or deleted; an engine keeps an index of each, and one of `location`."""
TOLD = ("image_id", "lat", "lon", "source", "prefecture_code", "municipality_code", "town_code", "hubness")
"""Fields of the payload that an answer needs; `hubness` only where hubs count less."""

Filters = Mapping[str, Sequence[str]]
"""By field of the payload, the values that are allowed."""


class Found(NamedTuple):
    """The points that were found for one vector, best first.

    Attributes:
        numbers: Of the points.
        scores: Cosine similarities.
    """

    numbers: NDArray[np.uint64]
    scores: NDArray[np.float32]


def point_number(image_id: str, view: str) -> int:
    """Return the number of a point: 60 bits of its picture's digest, then its view.

    Two of a million pictures share their digest once in two million galleries; the count check refuses such a gallery.
    """
    digest = hashlib.blake2b(image_id.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> (VIEW_BITS + 1) << VIEW_BITS) | _VIEWS[view]


class Store(Protocol):
    """Named collections of vectors, one of which is live; one process writes at a time, any number read.

    Attributes:
        is_quantised: Whether collections that are begun keep int8 copies of their vectors to walk the graph with.
    """

    is_quantised: bool

    def live(self) -> str:
        """Return the name of the live collection; empty when there is none."""

    def previous(self) -> str:
        """Return the name of the collection that was live before, the way back; empty when there is none."""

    def names(self) -> list[str]:
        """Return the names of the collections, sorted; what an attempt that died has left is among them."""

    def create(self, name: str, *, about: Mapping[str, Any], points: int = 0) -> None:
        """Begin a collection and keep what is to be known about it; what an attempt that died has left of it is removed.

        Args:
            name: Its name.
            about: What `about` shall return.
            points: How many will come, as far as known: a disk that is too small for them is told now.
        """

    def add(self, name: str, *, numbers: Sequence[int], vectors: NDArray[np.float32], payloads: Sequence[Any]) -> None:
        """Add points to a collection that was begun."""

    def finish(self, name: str) -> None:
        """Make a collection that was begun durable and quick to search."""

    def about(self, name: str) -> dict[str, Any]:
        """Return what was kept about a collection when it was begun."""

    def count(self, name: str) -> int:
        """Return the number of points of a collection."""

    def search(
        self, name: str, vectors: NDArray[np.float32], *, limit: int, exact: bool, breadth: int, every: Filters
    ) -> list[Found]:
        """Return the `limit` most similar points of each vector that pass every filter; `breadth` is HNSW's ef."""

    def payloads(self, name: str, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Return the fields `TOLD` of points by their number."""

    def scan(self, name: str, *, every: Filters) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.float32]]]:
        """Yield numbers and unit vectors of all points that pass every filter, in batches, by number."""

    def point_live_at(self, name: str) -> None:
        """Make a collection the live one, at once for everybody; the one that was live becomes the way back."""

    def forget(self, name: str, *, either: Filters) -> int:
        """Remove the points that match at least one filter, durably; return how many there were.

        The live collection and the way back answer throughout; either may get another name.
        """

    def remove(self, name: str) -> None:
        """Remove a collection; nothing happens when there is none."""

    def close(self) -> None:
        """Let go of everything."""
