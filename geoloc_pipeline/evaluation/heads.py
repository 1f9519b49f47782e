"""How often the classification heads are right, a task each, as the paper states its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.evaluation.figures import share_interval
from geoloc_pipeline.evaluation.paper import HEADS_PCT

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

IGNORED = -1


def head_table(
    best: Mapping[str, NDArray[np.integer[Any]]],
    *,
    truth: Mapping[str, NDArray[np.integer[Any]]],
    n_classes: Mapping[str, int],
    place: ArrayLike,
) -> pd.DataFrame:
    """Return the accuracy of every head on pictures whose true class the head knows.

    A picture without a class (no road within 20 m, a town with too few training pictures) is left out of its task, as it is
    left out of the loss.

    Args:
        best: By task, `[q, m]` class indices, likeliest first.
        truth: By task, `[q]` true class indices; -1 where the head has no such class.
        n_classes: By task.
        place: `[q]` what belongs together in the intervals (`figures.place_of`).

    Returns:
        One row a task: task, n, left_out, n_classes, top1_pct, low_pct and high_pct (its 95 % interval), top5_pct, chance_pct
        (of a guess), paper_pct.

    Paper:
        §3.2 states one accuracy a task, without saying on which pictures; we take the test split, and top 1.
    """
    import pandas as pd

    place = np.asarray(place)
    rows: list[dict[str, Any]] = []
    for task, guesses in best.items():
        known = truth[task] != IGNORED
        hits = guesses[known] == np.asarray(truth[task])[known, None]
        first, n = hits[:, :1].any(axis=1), int(known.sum())
        low, high = share_interval(first, group=place[known])
        rows.append({
            "task": task,
            "n": n,
            "left_out": int((~known).sum()),
            "n_classes": n_classes[task],
            "top1_pct": 100.0 * float(first.mean()) if n else float("nan"),
            "low_pct": low,
            "high_pct": high,
            "top5_pct": 100.0 * float(hits[:, :5].any(axis=1).mean()) if n else float("nan"),
            "chance_pct": 100.0 / n_classes[task] if n_classes[task] else float("nan"),
            "paper_pct": HEADS_PCT.get(task, float("nan")),
        })  # fmt: skip
    return pd.DataFrame(rows)
