"""What a search returns, as everything after it sees it: arrays of neighbours, best first, some of them hidden.

A neighbour whose latitude or longitude is NaN is absent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

AREAS = ("prefecture", "municipality", "town")
"""Levels at which a gallery knows in which area a picture stands; heads of the model have the same names."""


@dataclass(frozen=True)
class Where:
    """Which pictures of the gallery may be neighbours.

    Attributes:
        prefecture_codes: Two digits, such as `13`; empty: all.
        sources: Providers or photo sets, such as `mapillary`; empty: all.
    """

    prefecture_codes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def filters(self) -> dict[str, tuple[str, ...]]:
        """Return the values that are allowed, by field of a point's payload."""
        told = {"prefecture_code": self.prefecture_codes, "source": self.sources}
        return {key: values for key, values in told.items() if values}


@dataclass(frozen=True)
class Neighbours:
    """The most similar pictures of q queries, best first; every array is `[q, k]`.

    Attributes:
        image_id: A picture comes once in a row; empty where a neighbour is absent.
        lat: Degrees; NaN where absent.
        lon: Degrees; NaN where absent.
        score: Cosine similarity of a picture's best point; 0 where absent.
        codes: By level of `AREAS`, the code of the area in which each picture stands, empty where it is not known; a level that
            the gallery does not know is missing.
        source: Provider or photo set of each picture; None where the gallery does not know it.
        gate: Log of how well each neighbour's area agrees with what the model's heads say of the query, 0 at best; None where
            the heads were not asked.
    """

    image_id: NDArray[np.object_]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    score: NDArray[np.float32]
    codes: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)
    source: NDArray[np.object_] | None = None
    gate: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.lat)

    def queries(self, chosen: NDArray[Any] | list[int] | slice) -> Neighbours:
        """Return the rows of some queries: a mask, indices or a slice."""

        def part(values: NDArray[Any] | None) -> Any:
            return None if values is None else values[chosen]

        return replace(
            self,
            image_id=part(self.image_id),
            lat=part(self.lat),
            lon=part(self.lon),
            score=part(self.score),
            codes={level: part(codes) for level, codes in self.codes.items()},
            source=part(self.source),
            gate=part(self.gate),
        )


def hide_neighbours(neighbours: Neighbours, hidden: ArrayLike, *, top_k: int) -> Neighbours:
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

    def kept(values: NDArray[Any], nothing: object) -> Any:
        ordered = np.take_along_axis(np.asarray(values), order, axis=1)
        ordered[gone] = nothing
        return ordered

    return Neighbours(
        image_id=kept(np.asarray(neighbours.image_id, dtype=object), ""),
        lat=kept(np.asarray(neighbours.lat, dtype=np.float64), np.nan),
        lon=kept(np.asarray(neighbours.lon, dtype=np.float64), np.nan),
        score=kept(np.asarray(neighbours.score, dtype=np.float32), 0.0),
        codes={level: kept(codes, "") for level, codes in neighbours.codes.items()},
        source=None if neighbours.source is None else kept(neighbours.source, ""),
        gate=None if neighbours.gate is None else kept(neighbours.gate, 0.0),
    )
