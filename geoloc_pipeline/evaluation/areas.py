"""Where the answers are right and where not: by prefecture and municipality, by source, in towns and in the country.

A figure over all pictures is a figure of the places with the most pictures; means over areas count every area alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.evaluation.figures import error_figures, median_interval, place_of
from geoloc_pipeline.geo.prefectures import BY_CODE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import geopandas as gpd
    import pandas as pd

URBAN, RURAL, UNKNOWN = "urban", "rural", "unknown"
URBAN_PER_KM2 = 4000.0
"""Inhabitants per km² from which a town block is urban: the threshold of Japan's densely inhabited districts (人口集中地区),
without their second condition, that adjoining blocks hold 5,000 people together."""
_EQUAL_AREA = "EPSG:6933"


def prefecture_table(
    estimates: pd.DataFrame, *, true_code: Mapping[str, str], estimated_code: Mapping[str, str | None]
) -> pd.DataFrame:
    """Return errors and shares per prefecture for the answers of one read-out.

    Args:
        estimates: `ESTIMATES` of one read-out.
        true_code: Prefecture code of where each query was taken, by `query_id`.
        estimated_code: Prefecture code of where each answer lies, by `query_id`; None in the sea or abroad.

    Returns:
        One row a prefecture that is true or answered, in code order: prefecture_code, prefecture, n, median_km,
        within_25_km_pct, truth_share_pct, answer_share_pct, even_share_pct. The last is the share of answers if every
        prefecture had the same number of queries: what the paper's experiment (`bias`) comes to with endless draws. Answers in
        the sea are in no row, so shares may sum to less than 100.
    """
    import pandas as pd

    truth = estimates["query_id"].map(dict(true_code))
    answer = estimates["query_id"].map(dict(estimated_code))
    errors = estimates["error_km"].to_numpy(dtype=np.float64)
    weight = 1.0 / truth.map(truth.value_counts()).to_numpy(dtype=np.float64) / max(truth.nunique(), 1)
    rows = []
    for code in sorted(set(truth.dropna()) | set(answer.dropna())):
        is_true, is_answer = (truth == code).to_numpy(), (answer == code).to_numpy()
        here = errors[is_true]
        rows.append({
            "prefecture_code": code,
            "prefecture": BY_CODE[code].name if code in BY_CODE else code,
            "n": len(here),
            "median_km": float(np.median(here)) if len(here) else float("nan"),
            "within_25_km_pct": 100.0 * float(np.mean(here <= 25.0)) if len(here) else float("nan"),
            "truth_share_pct": 100.0 * float(is_true.mean()),
            "answer_share_pct": 100.0 * float(is_answer.mean()),
            "even_share_pct": 100.0 * float(np.nansum(weight[is_answer])),
        })  # fmt: skip
    names = ("prefecture_code", "prefecture", "n", "median_km", "within_25_km_pct", "truth_share_pct", "answer_share_pct")
    return pd.DataFrame(rows, columns=[*names, "even_share_pct"])


def macro_table(estimates: pd.DataFrame, *, areas: Mapping[str, Mapping[str, str | None]]) -> pd.DataFrame:
    """Return means over areas, in which every area counts alike.

    Args:
        estimates: `ESTIMATES`.
        areas: By level, such as `municipality`: the code of the area in which each query was taken, by `query_id`; None, or no
            entry: the query is left out.

    Returns:
        One row a read-out and level: readout, level, n_areas, n, median_km (mean of the areas' medians), within_25_km_pct (mean
        of the areas' shares), worst_median_km.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for readout, part in estimates.groupby("readout", sort=False):
        for level, code_of in areas.items():
            codes = part["query_id"].map(dict(code_of))
            known = part[codes.notna()]
            if known.empty:
                continue
            by_area = known.groupby(codes[codes.notna()])["error_km"]
            medians, shares = by_area.median(), by_area.apply(lambda errors: 100.0 * float((errors <= 25.0).mean()))
            row = {"readout": readout, "level": level, "n_areas": len(medians), "n": len(known)}
            row |= {"median_km": float(medians.mean()), "within_25_km_pct": float(shares.mean())}
            rows.append(row | {"worst_median_km": float(medians.max())})
    columns = ["readout", "level", "n_areas", "n", "median_km", "within_25_km_pct", "worst_median_km"]
    return pd.DataFrame(rows, columns=columns)


def group_table(
    estimates: pd.DataFrame, *, label_of: Mapping[str, str], column: str, order: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the figures of one read-out for each kind of picture, such as each source.

    Args:
        estimates: `ESTIMATES` of one read-out.
        label_of: Kind of each query, by `query_id`; without an entry, `unknown`.
        column: Name of the first column, such as `source`.
        order: Labels that come first, in this order; the others follow by name.

    Returns:
        One row a kind that has queries: the label, n, low_km and high_km (95 % interval of the median), and the figures of
        `error_figures`.
    """
    import pandas as pd

    labels = np.array([label_of.get(query, UNKNOWN) for query in estimates["query_id"]], dtype=object)
    rows = []
    for label in [*(name for name in order if (labels == name).any()), *sorted(set(labels) - set(order))]:
        part = estimates[labels == label]
        low, high = median_interval(part["error_km"], group=place_of(lat=part["true_lat"], lon=part["true_lon"]))
        rows.append({column: label, "n": len(part), "low_km": low, "high_km": high, **error_figures(part["error_km"])})
    return pd.DataFrame(rows)


def urban_towns(towns: gpd.GeoDataFrame, *, urban_per_km2: float = URBAN_PER_KM2) -> dict[str, str]:
    """Return `urban`, `rural` or `unknown` for every town block.

    Args:
        towns: `CENSUS_TOWNS`.
        urban_per_km2: Inhabitants per km² from which a block is urban.

    Returns:
        By town code; a block without population figures or without area is `unknown`, one without people `rural`.
    """
    area_km2 = towns.geometry.to_crs(_EQUAL_AREA).area.to_numpy(dtype=np.float64) / 1e6
    people = towns["population"].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.isfinite(people) & (area_km2 > 0)
    density = np.divide(people, area_km2, out=np.zeros(len(towns)), where=known)
    kind = np.where(~known, UNKNOWN, np.where(density >= urban_per_km2, URBAN, RURAL))
    return dict(zip(towns["town_code"].astype(str), kind.tolist(), strict=True))
