"""What a search returns, as everything after it sees it: arrays of neighbours, best first, some of them hidden.

A neighbour whose latitude or longitude is NaN is absent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class NeighboursLike(Protocol):
    """What a search returns: arrays `[q, k]`, best first (`retrieval.gallery.Neighbours`)."""

    @property
    def image_id(self) -> NDArray[np.object_]:
        """Return ids `[q, k]`."""

    @property
    def lat(self) -> NDArray[np.float64]:
        """Return latitudes `[q, k]` in degrees."""

    @property
    def lon(self) -> NDArray[np.float64]:
        """Return longitudes `[q, k]` in degrees."""

    @property
    def score(self) -> NDArray[np.float32]:
        """Return cosine similarities `[q, k]`."""


@dataclass(frozen=True)
class VisibleNeighbours:
    """Neighbours after some were hidden; absent ones have NaN places and an empty id."""

    image_id: NDArray[np.object_]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    score: NDArray[np.float32]


def hide_neighbours(neighbours: NeighboursLike, hidden: ArrayLike, *, top_k: int) -> VisibleNeighbours:
    """Return the `top_k` best neighbours that are not hidden, best first.

    A validation picture stands in the gallery itself, and so may its sequence: to calibrate on validation, search for more
    than `top_k` and hide the picture and its split group, or the regions will promise too much.

    Args:
        neighbours: Of a search, arrays `[q, k]`.
        hidden: `[q, k]`, true where a neighbour must not be seen.
        top_k: How many are kept at most.

    Returns:
        Arrays `[q, min(top_k, k)]`; where fewer are left, absent neighbours (NaN place, similarity 0, id "") fill the end.
    """
    hidden = np.asarray(hidden, dtype=bool)
    order = np.argsort(hidden, axis=1, kind="stable")[:, :top_k]
    gone = np.take_along_axis(hidden, order, axis=1)

    def kept(values: NDArray[np.generic], nothing: object) -> NDArray[np.generic]:
        return np.where(gone, nothing, np.take_along_axis(np.asarray(values), order, axis=1))  # type: ignore[call-overload,no-any-return]

    return VisibleNeighbours(
        image_id=kept(np.asarray(neighbours.image_id, dtype=object), "").astype(object),
        lat=kept(neighbours.lat, np.nan).astype(np.float64),
        lon=kept(neighbours.lon, np.nan).astype(np.float64),
        score=kept(neighbours.score, 0.0).astype(np.float32),
    )
