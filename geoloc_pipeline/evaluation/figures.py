"""The figures by which answers are judged, and how sure each figure is.

Intervals are bootstrapped over places, not over pictures: pictures of one place are right or wrong together, so drawing single
pictures would give intervals that are too narrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.geo.tiles import tile_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

WITHIN_KM = (1.0, 5.0, 25.0, 100.0, 200.0, 750.0)
"""1, 25 and 100 km are the paper's (§4, table 3); with 200 and 750 km they are the steps that other works state."""
BEYOND_KM = (200.0, 500.0)
"""An answer farther off than this has failed."""
QUANTILES = {"median_km": 0.5, "p90_km": 0.9, "p95_km": 0.95}
PLACE_ZOOM = 15  # a tile is 1.0 km wide at 35°N: pictures in one tile are one place when intervals are estimated
DRAWS = 1000
LEVEL = 0.95


def figure_names(*, within_km: Sequence[float] = WITHIN_KM, beyond_km: Sequence[float] = BEYOND_KM) -> list[str]:
    """Return the names of the figures, in the order of `error_figures`."""
    shares = [f"within_{limit:g}_km_pct" for limit in within_km]
    return ["median_km", "mean_km", "p90_km", "p95_km", *shares, *(f"beyond_{limit:g}_km_pct" for limit in beyond_km)]


def error_figures(
    error_km: ArrayLike, *, within_km: Sequence[float] = WITHIN_KM, beyond_km: Sequence[float] = BEYOND_KM
) -> dict[str, float]:
    """Return median, mean, 90th and 95th percentile in km, shares within distances and of failures in percent.

    Args:
        error_km: `[n]` errors, km; an error of exactly a limit is within it.
        within_km: Distances whose shares are told.
        beyond_km: Distances beyond which an answer counts as failed.

    Returns:
        By the names of `figure_names`; NaN for no errors at all.
    """
    errors = np.sort(np.asarray(error_km, dtype=np.float64))
    values = _figures(errors, np.arange(1, len(errors) + 1), np.cumsum(errors), within_km, beyond_km)
    return dict(zip(figure_names(within_km=within_km, beyond_km=beyond_km), values, strict=True))


def _figures(
    ordered: Floats, mass: NDArray[np.int64], total: Floats, within: Sequence[float], beyond: Sequence[float]
) -> Floats:
    """Return the figures of ordered errors of which the first i come `mass[i-1]` times in all, with the sum `total[i-1]`."""
    if not len(mass) or mass[-1] == 0:
        return np.full(4 + len(within) + len(beyond), np.nan)
    n = int(mass[-1])

    def quantile(share: float) -> float:
        place = share * (n - 1)
        low, high = np.searchsorted(mass, [int(place), min(int(place) + 1, n - 1)], side="right")
        return float(ordered[low] + (ordered[high] - ordered[low]) * (place - int(place)))

    def pct_within(limit_km: float) -> float:
        last = int(np.searchsorted(ordered, limit_km, side="right"))
        return 100.0 * float(mass[last - 1]) / n if last else 0.0

    quantiles = [quantile(share) for share in QUANTILES.values()]
    shares = [*map(pct_within, within), *(100.0 - pct_within(limit) for limit in beyond)]
    return np.array([quantiles[0], float(total[-1]) / n, *quantiles[1:], *shares])


def figure_intervals(
    error_km: ArrayLike,
    *,
    group: ArrayLike,
    within_km: Sequence[float] = WITHIN_KM,
    beyond_km: Sequence[float] = BEYOND_KM,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Return the bootstrap interval of every figure, drawing whole groups.

    Args:
        error_km: `[n]` errors, km.
        group: `[n]` what belongs together: a place (`place_of`), a sequence, a split group.
        within_km: As of `error_figures`.
        beyond_km: As of `error_figures`.
        draws: How many times the groups are drawn anew.
        level: Chance that an interval holds the figure.
        seed: Of the draws; the same seed gives the same intervals.

    Returns:
        Lower and upper end, by the names of `figure_names`; (NaN, NaN) for no errors at all.
    """
    names = figure_names(within_km=within_km, beyond_km=beyond_km)
    errors = np.asarray(error_km, dtype=np.float64)
    if len(errors) == 0:
        return dict.fromkeys(names, (float("nan"), float("nan")))
    order = np.argsort(errors, kind="stable")
    ordered = errors[order]
    found = [
        _figures(ordered, times.cumsum(), np.cumsum(times * ordered), within_km, beyond_km)
        for times in _draws_of(np.asarray(group)[order], draws=draws, seed=seed)
    ]
    low, high = np.percentile(np.array(found), _tails(level), axis=0)
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


def _draws_of(group: NDArray[np.generic], *, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each row comes in each draw of as many groups as there are."""
    _, member = np.unique(group, return_inverse=True)
    n_groups = int(member.max()) + 1
    chance = np.random.default_rng(seed)
    for _ in range(draws):
        yield np.bincount(chance.integers(0, n_groups, n_groups), minlength=n_groups)[member]


def _tails(level: float) -> tuple[float, float]:
    return 50.0 * (1.0 - level), 100.0 - 50.0 * (1.0 - level)


def median_interval(
    error_km: ArrayLike, *, group: ArrayLike, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """Return the bootstrap interval of the median error in km alone, drawing whole groups; see `figure_intervals`."""
    return figure_intervals(error_km, group=group, within_km=(), beyond_km=(), draws=draws, level=level, seed=seed)["median_km"]


def share_interval(
    is_so: ArrayLike, *, group: ArrayLike, draws: int = DRAWS, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """Return the bootstrap interval of a share in percent, drawing whole groups.

    Args:
        is_so: `[n]` true or false.
        group: `[n]` what belongs together.
        draws: How many times the groups are drawn anew.
        level: Chance that the interval holds the share.
        seed: Of the draws.

    Returns:
        Lower and upper end in percent; (NaN, NaN) of nothing.
    """
    values = np.asarray(is_so, dtype=bool)
    if len(values) == 0:
        return float("nan"), float("nan")
    shares = [
        100.0 * float(times @ values) / float(times.sum()) for times in _draws_of(np.asarray(group), draws=draws, seed=seed)
    ]
    low, high = np.percentile(shares, _tails(level))
    return float(low), float(high)


def place_of(*, lat: ArrayLike, lon: ArrayLike) -> NDArray[np.str_]:
    """Return a name for the square kilometre or so in which each place lies; a group for intervals."""
    x, y = tile_of(lat=lat, lon=lon, zoom=PLACE_ZOOM)
    return np.char.add(np.char.add(x.astype(str), "/"), y.astype(str))
