"""Whether confidence is worth anything: how often regions hold the truth, and what is gained by not answering in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from geoloc_pipeline.errors import SettingError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

WRONG_KM = 25.0  # paper table 3's middle distance


def risk_coverage(confidence: ArrayLike, error_km: ArrayLike, *, limit_km: float = WRONG_KM) -> pd.DataFrame:
    """Return what answering only the surest queries brings, from the surest one alone to all of them.

    Equally sure queries are answered together: no order among them is pretended.

    Args:
        confidence: `[n]`, higher is surer.
        error_km: `[n]` errors of the answers.
        limit_km: An answer farther away than this is wrong.

    Returns:
        One row a distinct confidence, falling: coverage (share of queries that are answered), confidence (the least that is
        answered), median_km (of the answered), risk (share of the answered that are wrong).
    """
    confidence, error_km = np.asarray(confidence, dtype=np.float64), np.asarray(error_km, dtype=np.float64)
    order = np.argsort(-confidence, kind="stable")
    ordered, errors = confidence[order], error_km[order]
    answered = np.arange(1, len(order) + 1)
    is_last = np.append(ordered[:-1] != ordered[1:], True) if len(order) else np.zeros(0, dtype=bool)
    risk = np.cumsum(errors > limit_km) / answered
    return pd.DataFrame({
        "coverage": (answered / max(len(order), 1))[is_last],
        "confidence": ordered[is_last],
        "median_km": pd.Series(errors).expanding().median().to_numpy()[is_last],
        "risk": risk[is_last],
    })  # fmt: skip


def area_under_risk(table: pd.DataFrame) -> float:
    """Return the mean risk over all coverages: the lower, the better the confidence sorts answers. NaN without queries.

    Args:
        table: From `risk_coverage`.
    """
    steps = np.diff(table["coverage"].to_numpy(), prepend=0.0)
    return float(np.sum(steps * table["risk"].to_numpy())) if len(table) else float("nan")


def threshold_for_risk(table: pd.DataFrame, wanted: float) -> float | None:
    """Return the least confidence at which answers are wrong no more often than wanted; None when there is none.

    Chosen on validation pictures, it is a promise about new ones only as far as they are alike.

    Args:
        table: From `risk_coverage`.
        wanted: Share of given answers that may be wrong, between 0 and 1.

    Raises:
        SettingError: `wanted` is not between 0 and 1.
    """
    if not 0 <= wanted <= 1:
        raise SettingError(setting="wanted risk", value=wanted, cure="give a share from 0 to 1")
    kept = table[table["risk"] <= wanted]
    return float(kept["confidence"].iloc[-1]) if len(kept) else None


def separation(inside: ArrayLike, outside: ArrayLike) -> float:
    """Return the chance that a picture of one kind scores higher than one of another (area under the ROC curve).

    Args:
        inside: `[n]` scores of those that should score high.
        outside: `[m]` scores of those that should score low.

    Returns:
        1: always; 0.5: the score knows nothing; NaN when one kind has no pictures.
    """
    ordered, inside = np.sort(np.asarray(outside, dtype=np.float64)), np.asarray(inside, dtype=np.float64)
    if not len(ordered) or not len(inside):
        return float("nan")
    below, up_to = (np.searchsorted(ordered, inside, side=side) for side in ("left", "right"))
    return float(np.mean((below + up_to) / 2.0) / len(ordered))
