"""How far the truth may be from an answer: radii that held it 50 and 90 times in 100 on validation pictures.

Split conformal prediction: whatever the model, the radius holds the truth of a new picture with the stated chance, as long as
new pictures are like those it was calibrated on. It promises nothing for a photo of another kind (indoor, night, abroad).

Answers are sorted into classes by how far their neighbours agree, and each class has radii of its own (Mondrian conformal
prediction): where neighbours contradict each other the truth may be in another prefecture, where they agree it is in this one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from geoloc_pipeline.errors import SettingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FLOOR_KM = 1.0
"""Added to the reach before it scales a region: neighbours at one single spot do not prove an error of zero."""

FEW = 30
"""Below this many calibration pictures, the text warns how rough the radii are."""

CLASSES = 5
LEAST_OF_A_CLASS = 40  # the 90 % radius of so few holds 90 of 100, give or take 5


class Signs(NamedTuple):
    """What tells, before the truth is known, how far to trust an answer.

    Attributes:
        agreement: `[q]`, 0 to 1: how much of the neighbours' weight stands near the answer.
        reach_km: `[q]` how far those that stand near it are from it.
    """

    agreement: NDArray[np.float64]
    reach_km: NDArray[np.float64]

    def rows(self, chosen: NDArray[np.bool_]) -> Signs:
        """Return some answers' signs."""
        return Signs(self.agreement[chosen], self.reach_km[chosen])


@dataclass(frozen=True)
class Regions:
    """Calibrated radii of one read-out.

    Attributes:
        n: Validation queries that they were calibrated on.
        edges: Agreements at which the next class of answers begins; one fewer than classes.
        factors_50: By class, radius over (reach + `FLOOR_KM`) that holds the truth in 50 of 100 cases; None where too few
            queries tell.
        factors_90: The same for 90 of 100.
    """

    n: int
    edges: tuple[float, ...]
    factors_50: tuple[float | None, ...]
    factors_90: tuple[float | None, ...]

    def radii_km(self, signs: Signs) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return both radii in km for answers with these signs `[q]`; NaN where not known."""
        which = np.searchsorted(np.asarray(self.edges, dtype=np.float64), signs.agreement, side="right")
        scale = np.asarray(signs.reach_km, dtype=np.float64) + FLOOR_KM
        small, large = (
            scale * np.array([math.nan if factor is None else factor for factor in factors], dtype=np.float64)[which]
            for factors in (self.factors_50, self.factors_90)
        )
        return small, large

    def text(self) -> str:
        """Return one honest sentence about where the radii come from and how rough they are."""
        if self.factors_50[0] is None:
            return f"No region: {self.n} validation pictures are too few to calibrate one (materialise `evaluation_report`)."
        if self.factors_90[0] is None:
            return f"Calibrated on only {self.n} validation pictures: enough for the 50 % radius, too few for the 90 % one (9)."
        rough = round(196 * math.sqrt(0.9 * 0.1 / (self.n + 2)))
        words = f"Calibrated on {self.n} validation pictures; for new pictures of the same kind "
        if self.n < FEW:
            return words + f"the 90 % radius is rough (it may hold the truth {rough} points less often than stated)."
        return words + f"the 90 % radius holds the truth in 90 of 100 cases, give or take {max(rough, 1)}."

    def to_json(self) -> dict[str, Any]:
        """Return plain values, to be kept beside the gallery."""
        return {
            "n": self.n,
            "edges": list(self.edges),
            "factors_50": list(self.factors_50),
            "factors_90": list(self.factors_90),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Regions:
        """Return what `to_json` has written; an earlier version's radii had another scale and are as if never calibrated."""
        if "edges" not in values:
            return NOTHING_KNOWN
        small, large = (tuple(values[name]) for name in ("factors_50", "factors_90"))
        return cls(n=int(values["n"]), edges=tuple(values["edges"]), factors_50=small, factors_90=large)


NOTHING_KNOWN = Regions(n=0, edges=(), factors_50=(None,), factors_90=(None,))


def conformal_quantile(values: ArrayLike, *, level: float) -> float | None:
    """Return the smallest value that a new one of the same kind stays below with at least the chance `level`.

    Args:
        values: `[n]` finite numbers.
        level: Between 0 and 1.

    Returns:
        The ceil((n + 1) * level)-th smallest value; None when n is too small for such a promise (9 are needed for 0.9).

    Raises:
        SettingError: `level` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise SettingError(setting="level of a region", value=level, cure="give a number between 0 and 1")
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    rank = math.ceil((len(ordered) + 1) * level - 1e-9)
    return float(ordered[rank - 1]) if 1 <= rank <= len(ordered) else None


def class_edges(agreement: ArrayLike, *, classes: int = CLASSES, least: int = LEAST_OF_A_CLASS) -> tuple[float, ...]:
    """Return the agreements at which a new class begins: classes of about equal size, none smaller than `least`.

    Equal agreements are never parted, so that a class can be larger than the others; with few queries there is one class.

    Args:
        agreement: `[n]` of validation answers.
        classes: Most classes.
        least: Fewest queries of a class.
    """
    ordered = np.sort(np.asarray(agreement, dtype=np.float64))
    size = max(len(ordered) / classes, least)
    edges, start = [], 0
    for place in np.flatnonzero(np.diff(ordered) > 0) + 1:
        if place - start >= size - 1e-9 and len(ordered) - place >= least:
            edges.append(float(ordered[place]))
            start = int(place)
    return tuple(edges)


def calibrate_regions(error_km: ArrayLike, signs: Signs) -> Regions:
    """Return regions calibrated on the errors of validation pictures.

    The trap: a validation picture stands in the gallery. Its own picture and split group must be hidden from its neighbours
    before the error is measured, or the regions are too small; and if settings were chosen by these very errors, they are too
    small as well (`retrieval.choice` has folds for that).

    Args:
        error_km: `[n]` errors of one read-out, km.
        signs: Of the same answers.

    Returns:
        The regions; without radii where there are too few pictures. A 50 % radius needs 1 picture, a 90 % radius 9.
    """
    errors = np.asarray(error_km, dtype=np.float64)
    known = np.isfinite(errors) & np.isfinite(signs.agreement) & np.isfinite(signs.reach_km)
    if not known.any():
        return NOTHING_KNOWN
    signs = signs.rows(known)
    ratio = errors[known] / (signs.reach_km + FLOOR_KM)
    edges = class_edges(signs.agreement)
    which = np.searchsorted(np.asarray(edges), signs.agreement, side="right")
    small, large = (
        tuple(conformal_quantile(ratio[which == each], level=level) for each in range(len(edges) + 1)) for level in (0.5, 0.9)
    )
    return Regions(n=len(ratio), edges=edges, factors_50=small, factors_90=large)
