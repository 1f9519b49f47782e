"""Errors, intervals, baselines and bias of many answers at once.

Distances are geodesics on WGS 84 (`geo.sphere`); shares are in percent of all queries of a read-out, nothing is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.geo.prefectures import BY_CODE
from geoloc_pipeline.geo.sphere import distance_m, spherical_mean
from geoloc_pipeline.geo.tiles import tile_of
from geoloc_pipeline.tables import ESTIMATES, as_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

WITHIN_KM = (1.0, 25.0, 100.0)  # paper table 3
MEAN_POSITION = "mean_position"
UNTRAINED = "untrained"
PLACE_ZOOM = 15  # a tile is 1.0 km wide at 35°N: pictures in one tile are one place when intervals are estimated


def _within(error_km: NDArray[np.float64], limit_km: float) -> float:
    return 100.0 * float(np.mean(error_km <= limit_km)) if len(error_km) else float("nan")


def error_table(estimates: pd.DataFrame, *, within_km: Sequence[float] = WITHIN_KM) -> pd.DataFrame:
    """Return the errors of every read-out, in the order in which the read-outs first appear.

    Args:
        estimates: `ESTIMATES`.
        within_km: Distances whose shares are told.

    Returns:
        One row a read-out: readout, n, median_km, mean_km, p90_km, within_1_km_pct, within_25_km_pct, within_100_km_pct.

    Paper:
        §4, table 3 has the median and the three shares.
    """
    import pandas as pd

    rows = []
    for readout, part in estimates.groupby("readout", sort=False):
        errors = part["error_km"].to_numpy(dtype=np.float64)
        row: dict[str, Any] = {"readout": readout, "n": len(errors), "median_km": float(np.median(errors))}
        row |= {"mean_km": float(errors.mean()), "p90_km": float(np.percentile(errors, 90))}
        rows.append(row | {f"within_{limit:g}_km_pct": _within(errors, limit) for limit in within_km})
    columns = ["readout", "n", "median_km", "mean_km", "p90_km", *(f"within_{limit:g}_km_pct" for limit in within_km)]
    return pd.DataFrame(rows, columns=columns)


def median_interval(
    error_km: ArrayLike, *, group: ArrayLike, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the bootstrap interval of the median error, drawing whole groups.

    Pictures of one place are right or wrong together, so drawing single pictures would give an interval that is too narrow.

    Args:
        error_km: `[n]` errors, km.
        group: `[n]` what belongs together: a place (`place_of`), a sequence, a split group.
        draws: How many times the groups are drawn anew.
        level: Chance that the interval holds the median.
        seed: Of the draws; the same seed gives the same interval.

    Returns:
        Lower and upper end in km; (NaN, NaN) for no errors at all.
    """
    errors = np.asarray(error_km, dtype=np.float64)
    if len(errors) == 0:
        return float("nan"), float("nan")
    order = np.argsort(errors, kind="stable")
    _, member = np.unique(np.asarray(group)[order], return_inverse=True)
    n_groups, ordered = int(member.max()) + 1, errors[order]
    chance = np.random.default_rng(seed)
    medians = np.empty(draws)
    for draw in range(draws):
        times = np.bincount(chance.integers(0, n_groups, n_groups), minlength=n_groups)[member]
        mass = times.cumsum()
        low, high = np.searchsorted(mass, [(mass[-1] - 1) // 2, mass[-1] // 2], side="right")
        medians[draw] = (ordered[low] + ordered[high]) / 2
    tail = 100 * (1 - level) / 2
    low_km, high_km = np.percentile(medians, [tail, 100 - tail])
    return float(low_km), float(high_km)


def place_of(*, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.str_]:
    """Return a name for the square kilometre or so in which each place lies; a group for `median_interval`."""
    x, y = tile_of(lat=lat, lon=lon, zoom=PLACE_ZOOM)
    return np.char.add(np.char.add(x.astype(str), "/"), y.astype(str))


def fixed_answer_table(
    *, query_id: Sequence[str], true_lat: ArrayLike, true_lon: ArrayLike, lat: float, lon: float, readout: str = MEAN_POSITION
) -> pd.DataFrame:
    """Return `ESTIMATES` of a baseline that gives the same answer to every query.

    Args:
        query_id: `[q]` ids of the pictures.
        true_lat: `[q]` degrees, where they were taken.
        true_lon: Like `true_lat`.
        lat: The answer in degrees.
        lon: The answer in degrees.
        readout: Name of the baseline in the table.

    Returns:
        `ESTIMATES` without regions.
    """
    n = len(query_id)
    true_lat, true_lon = np.asarray(true_lat, dtype=np.float64), np.asarray(true_lon, dtype=np.float64)
    columns = {
        "query_id": list(query_id),
        "readout": [readout] * n,
        "lat": np.full(n, lat),
        "lon": np.full(n, lon),
        "true_lat": true_lat,
        "true_lon": true_lon,
        "error_km": distance_m(lat=lat, lon=lon, to_lat=true_lat, to_lon=true_lon) / 1000.0,
        "region_50_km": np.full(n, np.nan),
        "region_90_km": np.full(n, np.nan),
    }
    return as_table(ESTIMATES, columns)


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


def prefecture_table(
    estimates: pd.DataFrame, *, true_code: Mapping[str, str], estimated_code: Mapping[str, str | None]
) -> pd.DataFrame:
    """Return errors and bias per prefecture for the answers of one read-out.

    Args:
        estimates: `ESTIMATES` of one read-out.
        true_code: Prefecture code of where each query was taken, by `query_id`.
        estimated_code: Prefecture code of where each answer lies, by `query_id`; None in the sea or abroad.

    Returns:
        One row a prefecture that is true or answered, in code order: prefecture_code, prefecture, n, median_km,
        within_25_km_pct, truth_share_pct, answer_share_pct, even_share_pct. The last is the share of answers if every
        prefecture had the same number of queries. Answers in the sea are in no row, so shares may sum to less than 100.

    Paper:
        §4, table 4: 1,000 queries of each prefecture, and the share of answers that fall in each. We weigh the queries
        that there are instead of drawing equally many; `bias_std_pct` is the figure that the paper states as 0.8325.
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
            "within_25_km_pct": _within(here, 25.0),
            "truth_share_pct": 100.0 * float(is_true.mean()),
            "answer_share_pct": 100.0 * float(is_answer.mean()),
            "even_share_pct": 100.0 * float(np.nansum(weight[is_answer])),
        })  # fmt: skip
    names = ("prefecture_code", "prefecture", "n", "median_km", "within_25_km_pct", "truth_share_pct", "answer_share_pct")
    return pd.DataFrame(rows, columns=[*names, "even_share_pct"])


def bias_std_pct(prefectures: pd.DataFrame) -> float:
    """Return the standard deviation of `even_share_pct` over the prefectures that have queries; 0 is without bias.

    Paper:
        §4 states 0.8325 over 47 prefectures. With fewer prefectures the even share is larger, so figures of different
        numbers of prefectures do not compare.
    """
    shares = prefectures.loc[prefectures["n"] > 0, "even_share_pct"]
    return float(shares.std(ddof=0)) if len(shares) else float("nan")


def calibration_table(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return how often the regions held the truth.

    Args:
        estimates: `ESTIMATES`; answers without a region are left out.

    Returns:
        One row a read-out and level that has regions: readout, stated_pct, n, measured_pct, median_radius_km.
    """
    import pandas as pd

    rows = []
    for readout, part in estimates.groupby("readout", sort=False):
        for level in (50, 90):
            known = part[part[f"region_{level}_km"].notna()]
            if len(known):
                inside = known["error_km"] <= known[f"region_{level}_km"]
                radius = float(known[f"region_{level}_km"].median())
                rows.append((readout, level, len(known), 100.0 * float(inside.mean()), radius))
    return pd.DataFrame(rows, columns=["readout", "stated_pct", "n", "measured_pct", "median_radius_km"])


def outside_box_count(estimates: pd.DataFrame) -> dict[str, int]:
    """Return, by read-out, how many answers lie outside the box around Japan; most answers in the sea are inside it."""
    outside = ~in_japan_box(lat=estimates["lat"].to_numpy(), lon=estimates["lon"].to_numpy())
    return {str(name): int(outside[rows].sum()) for name, rows in estimates.groupby("readout", sort=False).indices.items()}


def result_table(estimates: pd.DataFrame, *, default: str) -> pd.DataFrame:
    """Return the table by which the read-outs are judged: baselines first, then read-outs, best median first.

    Args:
        estimates: `ESTIMATES` of test queries: `mean_position`, `untrained` and every read-out, whichever there are.
        default: The read-out that was chosen on validation.

    Returns:
        `error_table` with more columns: low_km and high_km (95 % interval of the median, drawn by place), kind (`baseline`
        or `readout`), is_default, of_mean_position_pct and of_untrained_pct (median in percent of the baseline's; NaN
        without that baseline).
    """
    table = error_table(estimates)
    groups = {str(name): part for name, part in estimates.groupby("readout", sort=False)}
    ends = [
        median_interval(part["error_km"], group=place_of(lat=part["true_lat"], lon=part["true_lon"]))
        for part in (groups[str(name)] for name in table["readout"])
    ]
    table["low_km"], table["high_km"] = [low for low, _ in ends], [high for _, high in ends]
    is_baseline = table["readout"].isin([MEAN_POSITION, UNTRAINED])
    table["kind"] = np.where(is_baseline, "baseline", "readout")
    table["is_default"] = table["readout"] == default
    medians = dict(zip(table["readout"], table["median_km"], strict=True))
    for baseline in (MEAN_POSITION, UNTRAINED):
        reference = medians.get(baseline, float("nan"))
        table[f"of_{baseline}_pct"] = 100.0 * table["median_km"] / (reference if reference > 0 else float("nan"))
    return table.sort_values(["kind", "median_km", "readout"], ascending=[True, False, True], ignore_index=True)
