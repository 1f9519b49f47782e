"""How far the truth may be from an answer: radii that held it 50 and 90 times in 100 on validation pictures.

Split conformal prediction: whatever the model, the radius holds the truth of a new picture with the stated chance, as long as
new pictures are like those it was calibrated on. It promises nothing for a photo of another kind (indoor, night, abroad).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.errors import SettingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

FLOOR_KM = 0.25
"""Added to a spread before it scales a region: neighbours at one single spot do not prove an error of zero."""

FEW = 30
"""Below this many calibration pictures, the text warns how rough the radii are."""


@dataclass(frozen=True)
class Regions:
    """Calibrated radii of one read-out.

    Attributes:
        n: Validation pictures that they were calibrated on.
        factor_50: Radius over scale that holds the truth in 50 of 100 cases; None when there were too few pictures.
        factor_90: The same for 90 of 100.
        is_scaled: Whether the scale is the spread of the neighbours; otherwise it is 1 km for every answer.
    """

    n: int
    factor_50: float | None
    factor_90: float | None
    is_scaled: bool

    def radii_km(self, spread_km: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return both radii in km for answers whose neighbours spread `spread_km` `[q]`; NaN where not known."""
        scale = _scale(np.atleast_1d(np.asarray(spread_km, dtype=np.float64)), is_scaled=self.is_scaled)
        small, large = (scale * (math.nan if factor is None else factor) for factor in (self.factor_50, self.factor_90))
        return small, large

    def text(self) -> str:
        """Return one honest sentence about where the radii come from and how rough they are."""
        if self.factor_50 is None:
            return f"No region: {self.n} validation pictures are too few to calibrate one."
        if self.factor_90 is None:
            return f"Calibrated on only {self.n} validation pictures: enough for the 50 % radius, too few for the 90 % one (9)."
        rough = round(196 * math.sqrt(0.9 * 0.1 / (self.n + 2)))
        words = f"Calibrated on {self.n} validation pictures; for new pictures of the same kind "
        if self.n < FEW:
            return words + f"the 90 % radius is rough (it may hold the truth {rough} points less often than stated)."
        return words + f"the 90 % radius holds the truth in 90 of 100 cases, give or take {max(rough, 1)}."

    def to_json(self) -> dict[str, Any]:
        """Return plain values, to be kept beside the gallery."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Regions:
        """Return what `to_json` has written."""
        return cls(**values)


def _scale(spread_km: NDArray[np.float64], *, is_scaled: bool) -> NDArray[np.float64]:
    return spread_km + FLOOR_KM if is_scaled else np.ones_like(spread_km)


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


def calibrate_regions(error_km: ArrayLike, *, spread_km: ArrayLike | None = None) -> Regions:
    """Return regions calibrated on the errors of validation pictures.

    The trap: a validation picture stands in the gallery. Its own picture and split group must be hidden from its neighbours
    before the error is measured, or the regions are too small.

    Args:
        error_km: `[n]` errors of one read-out, km.
        spread_km: `[n]` spread of the same answers' neighbours, km; without it every answer gets the same radii.

    Returns:
        The regions; without radii where there are too few pictures. A 50 % radius needs 1 picture, a 90 % radius 9.
    """
    errors = np.asarray(error_km, dtype=np.float64)
    scale = np.ones_like(errors) if spread_km is None else _scale(np.asarray(spread_km, dtype=np.float64), is_scaled=True)
    known = np.isfinite(errors) & np.isfinite(scale)
    ratio = (errors / scale)[known]
    return Regions(
        n=len(ratio),
        factor_50=conformal_quantile(ratio, level=0.5),
        factor_90=conformal_quantile(ratio, level=0.9),
        is_scaled=spread_km is not None,
    )
