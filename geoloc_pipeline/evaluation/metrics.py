"""The tables of an evaluation: errors of every read-out and baseline, and how often the regions held the truth.

Distances are geodesics on WGS 84 (`geo.sphere`); shares are in percent of all queries of a read-out, nothing is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.figures import error_figures, figure_intervals, figure_names, place_of, share_interval
from geoloc_pipeline.evaluation.words import BASELINES, MEAN_POSITION, UNTRAINED
from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.geo.sphere import distance_m, spherical_mean
from geoloc_pipeline.tables import ESTIMATES, as_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike

__all__ = [
    "MEAN_POSITION",
    "UNTRAINED",
    "calibration_table",
    "error_table",
    "fixed_answer_table",
    "interval_table",
    "mean_position_table",
    "outside_box_count",
    "place_table",
    "result_table",
]


def error_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return the errors of every read-out, in the order in which the read-outs first appear.

    Args:
        estimates: `ESTIMATES`.

    Returns:
        One row a read-out: readout, n, and the figures of `figures.error_figures`.

    Paper:
        §4, table 3 has the median and three of the shares.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = [
        {"readout": readout, "n": len(part), **error_figures(part["error_km"])}
        for readout, part in estimates.groupby("readout", sort=False)
    ]
    return pd.DataFrame(rows, columns=["readout", "n", *figure_names()])


def interval_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return every figure of every read-out with its 95 % interval, drawn by place.

    Args:
        estimates: `ESTIMATES`.

    Returns:
        One row a read-out and figure: readout, figure, value, low, high.
    """
    import pandas as pd

    rows = []
    for readout, part in estimates.groupby("readout", sort=False):
        values = error_figures(part["error_km"])
        ends = figure_intervals(part["error_km"], group=place_of(lat=part["true_lat"], lon=part["true_lon"]))
        rows += [(readout, name, value, *ends[name]) for name, value in values.items()]
    return pd.DataFrame(rows, columns=["readout", "figure", "value", "low", "high"])


def place_table(
    *,
    query_id: Sequence[str],
    true_lat: ArrayLike,
    true_lon: ArrayLike,
    lat: ArrayLike,
    lon: ArrayLike,
    readout: str,
) -> pd.DataFrame:
    """Return `ESTIMATES`, without regions, of answers that are known already.

    Args:
        query_id: `[q]` ids of the pictures.
        true_lat: `[q]` degrees, where they were taken.
        true_lon: Like `true_lat`.
        lat: `[q]` degrees, the answers.
        lon: Like `lat`.
        readout: Name of the read-out or baseline in the table.

    Returns:
        `ESTIMATES`.
    """
    n = len(query_id)
    columns = {
        "query_id": list(query_id),
        "readout": [readout] * n,
        "lat": np.broadcast_to(np.asarray(lat, dtype=np.float64), n),
        "lon": np.broadcast_to(np.asarray(lon, dtype=np.float64), n),
        "true_lat": np.asarray(true_lat, dtype=np.float64),
        "true_lon": np.asarray(true_lon, dtype=np.float64),
        "error_km": distance_m(lat=lat, lon=lon, to_lat=true_lat, to_lon=true_lon) / 1000.0,
        "region_50_km": np.full(n, np.nan),
        "region_90_km": np.full(n, np.nan),
    }
    return as_table(ESTIMATES, columns)


def fixed_answer_table(
    *, query_id: Sequence[str], true_lat: ArrayLike, true_lon: ArrayLike, lat: float, lon: float, readout: str = MEAN_POSITION
) -> pd.DataFrame:
    """Return `place_table` of a baseline that gives the same answer, `lat` and `lon` in degrees, to every query."""
    return place_table(query_id=query_id, true_lat=true_lat, true_lon=true_lon, lat=lat, lon=lon, readout=readout)


def mean_position_table(
    *, train_lat: ArrayLike, train_lon: ArrayLike, query_id: Sequence[str], true_lat: ArrayLike, true_lon: ArrayLike
) -> pd.DataFrame:
    """Return `ESTIMATES` of the baseline that looks at no picture: always the mean place of the training pictures.

    Args:
        train_lat: `[n]` degrees, n at least 1.
        train_lon: Like `train_lat`.
        query_id: `[q]` ids of the pictures.
        true_lat: `[q]` degrees.
        true_lon: Like `true_lat`.

    Returns:
        `ESTIMATES` under the read-out name `mean_position`.

    Raises:
        SettingError: There are no training pictures.
    """
    if np.size(train_lat) == 0:
        raise SettingError(setting="training places", value=0, cure="the mean position needs at least one training picture")
    lat, lon = spherical_mean(lat=train_lat, lon=train_lon)
    return fixed_answer_table(query_id=query_id, true_lat=true_lat, true_lon=true_lon, lat=lat, lon=lon)


def calibration_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return how often the regions held the truth.

    Args:
        estimates: `ESTIMATES`; answers without a region are left out.

    Returns:
        One row a read-out and level that has regions: readout, stated_pct, n, measured_pct, low_pct and high_pct (its 95 %
        interval, drawn by place), median_radius_km.
    """
    import pandas as pd

    rows = []
    for readout, part in estimates.groupby("readout", sort=False):
        for level in (50, 90):
            known = part[part[f"region_{level}_km"].notna()]
            if len(known):
                inside = known["error_km"] <= known[f"region_{level}_km"]
                radius = float(known[f"region_{level}_km"].median())
                low, high = share_interval(inside, group=place_of(lat=known["true_lat"], lon=known["true_lon"]))
                rows.append((readout, level, len(known), 100.0 * float(inside.mean()), low, high, radius))
    names = ["readout", "stated_pct", "n", "measured_pct", "low_pct", "high_pct", "median_radius_km"]
    return pd.DataFrame(rows, columns=names)


def outside_box_count(estimates: pd.DataFrame) -> dict[str, int]:
    """Return, by read-out, how many answers lie outside the box around Japan; most answers in the sea are inside it."""
    outside = ~in_japan_box(lat=estimates["lat"].to_numpy(), lon=estimates["lon"].to_numpy())
    return {str(name): int(outside[rows].sum()) for name, rows in estimates.groupby("readout", sort=False).indices.items()}


def result_table(estimates: pd.DataFrame, *, default: str, intervals: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the table by which the read-outs are judged: baselines first, then read-outs, best median last.

    Args:
        estimates: `ESTIMATES` of test queries: every read-out, and whichever baselines there are.
        default: The read-out that was chosen on validation.
        intervals: `interval_table` of the same estimates, where it is at hand.

    Returns:
        `error_table` with more columns: low_km and high_km (95 % interval of the median, drawn by place), kind (`baseline`
        or `readout`), is_default, of_mean_position_pct and of_untrained_pct (median in percent of the baseline's; NaN
        without that baseline).
    """
    table = error_table(estimates)
    intervals = interval_table(estimates) if intervals is None else intervals
    ends = intervals[intervals["figure"] == "median_km"].set_index("readout").reindex(table["readout"])
    table["low_km"], table["high_km"] = ends["low"].to_numpy(), ends["high"].to_numpy()
    table["kind"] = np.where(table["readout"].isin(list(BASELINES)), "baseline", "readout")
    table["is_default"] = table["readout"] == default
    medians = dict(zip(table["readout"], table["median_km"], strict=True))
    for baseline in (MEAN_POSITION, UNTRAINED):
        reference = medians.get(baseline, float("nan"))
        table[f"of_{baseline}_pct"] = 100.0 * table["median_km"] / (reference if reference > 0 else float("nan"))
    return table.sort_values(["kind", "median_km", "readout"], ascending=[True, False, True], ignore_index=True)
