"""How long an answer takes, by stage: the paper's experiment (§4, n = 100), with the parts that it adds up to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

STAGES = ("open", "decode", "preprocess", "embed", "search", "read-out", "names")
"""Opening model and gallery (the first answer only); decoding the file; cutting and scaling; the forward pass; the rest."""
TOGETHER = "together"


def latency_table(samples: Sequence[Mapping[str, float]], *, cold: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Return percentiles of each stage and of their sum.

    Args:
        samples: Seconds by stage, of each warm answer.
        cold: Seconds by stage of the first answer after everything was loaded anew; None: not measured.

    Returns:
        One row a stage, in the order of `STAGES`, then `together`: stage, n, p50_s, p95_s, mean_s, std_s, cold_s (NaN where not
        measured). Without samples no row.
    """
    import pandas as pd

    columns = ["stage", "n", "p50_s", "p95_s", "mean_s", "std_s", "cold_s"]
    if not samples:
        return pd.DataFrame(columns=columns)
    stages = [*(stage for stage in STAGES if stage in samples[0]), *sorted(set(samples[0]) - set(STAGES))]
    rows = []
    for stage in [*stages, TOGETHER]:
        took = np.array([sum(sample.values()) if stage == TOGETHER else sample[stage] for sample in samples])
        first = float("nan") if cold is None else sum(cold.values()) if stage == TOGETHER else cold.get(stage, float("nan"))
        p50, p95 = np.percentile(took, [50, 95])
        rows.append((stage, len(took), float(p50), float(p95), float(took.mean()), float(took.std()), first))
    return pd.DataFrame(rows, columns=columns)
