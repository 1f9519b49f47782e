"""The paper's bias experiment: equally many pictures of every prefecture, and where the answers fall.

Paper:
    §4: 1,000 pictures of each prefecture at random; the share of each prefecture among the answers; their standard deviation
    over the 47 prefectures is stated as 0.8325 (percentage points), the five most answered as "table 4".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.evaluation.paper import BIAS_PER_PREFECTURE
from geoloc_pipeline.geo.prefectures import BY_CODE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


@dataclass(frozen=True)
class Bias:
    """What the experiment found.

    Attributes:
        shares: One row a prefecture that has pictures, the most answered first: prefecture_code, prefecture, n (pictures that
            there are), share_pct (of the answers), of_fair_pct (share in percent of the fair share).
        fair_pct: The share of each if there were no bias.
        std_pct: Standard deviation of the shares; the figure that the paper states as 0.8325.
        of_fair: `std_pct` over `fair_pct`, which compares between different numbers of prefectures (the paper: 0.39).
        gini: Of the shares; 0 without bias, 1 when one prefecture has all answers.
        kl_bits: Kullback-Leibler divergence of the shares from even ones, bits.
        drawn: Pictures drawn of each prefecture.
        repeated: Prefectures with fewer pictures than that, whose pictures were drawn more than once.
        unplaced_pct: Answers in none of these prefectures: the sea, abroad, or a prefecture without test pictures.
    """

    shares: pd.DataFrame
    fair_pct: float
    std_pct: float
    of_fair: float
    gini: float
    kl_bits: float
    drawn: int
    repeated: int
    unplaced_pct: float


def prefecture_bias(
    *,
    true_code: Mapping[str, str],
    estimated_code: Mapping[str, str | None],
    per_prefecture: int = BIAS_PER_PREFECTURE,
    seed: int = 0,
) -> Bias | None:
    """Return the shares of answers when every prefecture asks equally often.

    A prefecture with at least `per_prefecture` pictures is drawn from without replacement, as the paper did; one with fewer is
    drawn from with replacement. The paper had 4,480 pictures at least, but most of them were training pictures; ours are test
    pictures alone.

    Args:
        true_code: Prefecture code of where each query was taken, by `query_id`.
        estimated_code: Prefecture code of where each answer lies, by `query_id`; None in the sea or abroad.
        per_prefecture: Pictures drawn of each prefecture.
        seed: Of the draws.

    Returns:
        The experiment's outcome; None without queries.
    """
    import pandas as pd

    queries = pd.DataFrame(sorted(true_code.items()), columns=["query_id", "truth"]).dropna()
    if queries.empty:
        return None
    queries["answer"] = queries["query_id"].map(dict(estimated_code)).astype(object)
    chance = np.random.default_rng(seed)
    counts = queries["truth"].value_counts().sort_index()
    drawn = [
        chance.choice(part["answer"].to_numpy(dtype=object), per_prefecture, replace=len(part) < per_prefecture)
        for _, part in queries.groupby("truth", sort=True)
    ]
    answers = pd.Series(np.concatenate(drawn), dtype=object)
    share = 100.0 * answers.value_counts().reindex(counts.index, fill_value=0).to_numpy(dtype=np.float64) / len(answers)
    fair = 100.0 / len(counts)
    table = pd.DataFrame({"prefecture_code": counts.index, "n": counts.to_numpy(), "share_pct": share})
    table["prefecture"] = [BY_CODE[code].name if code in BY_CODE else code for code in table["prefecture_code"]]
    table["of_fair_pct"] = 100.0 * share / fair
    std = float(share.std())
    return Bias(
        shares=table.sort_values(["share_pct", "prefecture_code"], ascending=[False, True], ignore_index=True),
        fair_pct=fair,
        std_pct=std,
        of_fair=std / fair,
        gini=_gini(share),
        kl_bits=_kl_bits(share),
        drawn=per_prefecture,
        repeated=int((counts < per_prefecture).sum()),
        unplaced_pct=max(100.0 - float(share.sum()), 0.0),
    )


def _gini(share: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    ordered, n = np.sort(share), len(share)
    if ordered.sum() == 0:
        return float("nan")
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def _kl_bits(share: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    if share.sum() == 0:
        return float("nan")
    part = share[share > 0] / share.sum()
    return max(float((part * np.log2(part * len(share))).sum()), 0.0)
