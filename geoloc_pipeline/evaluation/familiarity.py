"""How familiar a photo is: the share of validation pictures that were no more like the gallery than it.

A photo from indoors, of the night, from the air or from abroad is less like everything that is known than nearly all validation
pictures are. The share is a conformal p-value: of new pictures of the same kind as validation's, at most one in twenty has a
familiarity below 0.05.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MOST_LEVELS = 1000  # kept of validation's likenesses, evenly out of all


@dataclass(frozen=True)
class Familiarity:
    """What is normal.

    Attributes:
        n: Validation queries.
        levels: Their likenesses, ascending; at most `MOST_LEVELS` of them.
        rank: Of the neighbour whose similarity is the likeness.
    """

    n: int
    levels: tuple[float, ...]
    rank: int = 100

    def of(self, likeness: ArrayLike) -> NDArray[np.float64]:
        """Return the familiarity of queries `[q]`, above 0 and at most 1: higher likeness is more familiar; NaN stays NaN."""
        alike = np.atleast_1d(np.asarray(likeness, dtype=np.float64))
        below = np.searchsorted(np.asarray(self.levels, dtype=np.float64), alike, side="right")
        return np.where(np.isnan(alike), np.nan, (below + 1.0) / (len(self.levels) + 1.0))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Familiarity:
        """Return what `to_json` has written."""
        return cls(n=int(values["n"]), levels=tuple(float(level) for level in values["levels"]), rank=int(values["rank"]))


def learn_familiarity(likeness: ArrayLike, *, rank: int = 100) -> Familiarity:
    """Return what is normal among validation queries.

    Args:
        likeness: `[n]` of validation queries to the gallery, their own group hidden.
        rank: Of the neighbour whose similarity is the likeness.
    """
    ordered = np.sort(np.asarray(likeness, dtype=np.float64))
    kept = ordered[np.linspace(0, len(ordered) - 1, min(len(ordered), MOST_LEVELS)).round().astype(np.int64)]
    return Familiarity(n=len(ordered), levels=tuple(kept.tolist()), rank=rank)
