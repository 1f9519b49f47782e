"""Near-duplicates: test pictures that the gallery as good as holds, and what the figures are without them.

A picture of the same spot by the same camera a second later is found again by any embedding; figures that rest on such pairs
say nothing about photos of strangers. pinpoint-rl still counts 4 to 5 of 100 such pairs in test sets cleaned of shared authors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.evaluation.figures import error_figures

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike

ALIKE_FROM = 0.95
"""Cosine from which two embeddings count as the same picture; it says little of a model that maps everything alike, so the
report states the median cosine beside it."""


def duplicate_table(error_km: ArrayLike, *, best_score: ArrayLike, alike_from: float = ALIKE_FROM) -> pd.DataFrame:
    """Return the figures of near-duplicates and of all other test pictures.

    Args:
        error_km: `[q]` errors of the default read-out.
        best_score: `[q]` cosine of the most similar gallery picture.
        alike_from: Cosine from which a picture counts as a near-duplicate.

    Returns:
        Rows `near_duplicates` and `others`: pictures, n, share_pct, median_score, and the figures of `error_figures`.
    """
    import pandas as pd

    errors, score = np.asarray(error_km, dtype=np.float64), np.asarray(best_score, dtype=np.float64)
    is_alike = score >= alike_from
    rows: list[dict[str, Any]] = []
    for name, chosen in (("near_duplicates", is_alike), ("others", ~is_alike)):
        row: dict[str, Any] = {"pictures": name, "n": int(chosen.sum())}
        row["share_pct"] = 100.0 * float(chosen.mean()) if len(chosen) else float("nan")
        row["median_score"] = float(np.median(score[chosen])) if chosen.any() else float("nan")
        rows.append(row | error_figures(errors[chosen]))
    return pd.DataFrame(rows)
