"""What stood in the way of a right answer: the gallery, the search, the gate, or the reading of the neighbours.

Each step can only lose what the one before had; so the shares fall from left to right, and the largest fall is where work pays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.evaluation.near import Places
from geoloc_pipeline.geo.sphere import distance_m, spherical_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

CEILING_KM = (1.0, 5.0, 25.0)
KEPT_FROM = 0.05
"""A gate has kept a neighbour when its area is at least this likely, compared with the likeliest area."""


def ceiling_table(
    *,
    true_lat: ArrayLike,
    true_lon: ArrayLike,
    gallery_lat: ArrayLike,
    gallery_lon: ArrayLike,
    found_lat: ArrayLike,
    found_lon: ArrayLike,
    gate: ArrayLike | None = None,
    error_km: ArrayLike,
    limits_km: Sequence[float] = CEILING_KM,
) -> pd.DataFrame:
    """Return in how many cases a right answer was possible at each step, for several meanings of right.

    Args:
        true_lat: `[q]` degrees.
        true_lon: Like `true_lat`.
        gallery_lat: `[n]` degrees of all gallery pictures.
        gallery_lon: Like `gallery_lat`.
        found_lat: `[q, k]` degrees of the neighbours of each query; NaN where absent.
        found_lon: Like `found_lat`.
        gate: `[q, k]` log of how well each neighbour's area agrees with the heads, 0 at best; None without a gate.
        error_km: `[q]` errors of the default read-out.
        limits_km: Radii of what is right.

    Returns:
        One row a radius: within_km, n, gallery_pct (the gallery holds a picture so near), search_pct (one of the neighbours is
        so near), gate_pct (and its area was not ruled out by the heads; NaN without a gate), answer_pct (so is the answer).
    """
    import pandas as pd

    true_lat, true_lon = np.asarray(true_lat, dtype=np.float64), np.asarray(true_lon, dtype=np.float64)
    gallery_km = Places(lat=gallery_lat, lon=gallery_lon).nearest_km(lat=true_lat, lon=true_lon)
    away_km = neighbour_errors_km(true_lat=true_lat, true_lon=true_lon, found_lat=found_lat, found_lon=found_lon)
    errors, n = np.asarray(error_km, dtype=np.float64), len(true_lat)
    is_kept = None if gate is None else np.asarray(gate, dtype=np.float64) >= np.log(KEPT_FROM)
    rows = []
    for limit in limits_km:
        near = away_km <= limit
        gated = _pct((near & is_kept).any(axis=1)) if is_kept is not None and n else float("nan")
        steps = (_pct(gallery_km <= limit), _pct(near.any(axis=1)) if n else float("nan"), gated, _pct(errors <= limit))
        rows.append((limit, n, *steps))
    return pd.DataFrame(rows, columns=["within_km", "n", "gallery_pct", "search_pct", "gate_pct", "answer_pct"])


def neighbour_errors_km(
    *, true_lat: ArrayLike, true_lon: ArrayLike, found_lat: ArrayLike, found_lon: ArrayLike
) -> NDArray[np.float64]:
    """Return `[q, k]` distances in km from the truths `[q]` to their neighbours `[q, k]`; infinite where one is absent."""
    lat, lon = np.asarray(found_lat, dtype=np.float64), np.asarray(found_lon, dtype=np.float64)
    present = np.isfinite(lat) & np.isfinite(lon)
    away_m = distance_m(
        lat=np.asarray(true_lat, dtype=np.float64)[:, None],
        lon=np.asarray(true_lon, dtype=np.float64)[:, None],
        to_lat=np.where(present, lat, 0.0),
        to_lon=np.where(present, lon, 0.0),
    )
    return np.where(present, away_m / 1000.0, np.inf)


def class_centres(codes: Sequence[object], *, lat: ArrayLike, lon: ArrayLike) -> dict[str, tuple[float, float]]:
    """Return the middle of the training pictures of each class: all that a classifier alone can answer.

    Args:
        codes: `[n]` code of each training picture; missing ones are left out.
        lat: `[n]` degrees.
        lon: `[n]` degrees.

    Returns:
        (lat, lon) in degrees by code, in code order.
    """
    import pandas as pd

    places = pd.DataFrame({"code": list(codes), "lat": np.asarray(lat), "lon": np.asarray(lon)}).dropna(subset=["code"])
    return {str(code): spherical_mean(lat=part["lat"], lon=part["lon"]) for code, part in places.groupby("code", sort=True)}


def floor_table(
    truths: Sequence[tuple[str, Sequence[object], dict[str, tuple[float, float]]]], *, true_lat: ArrayLike, true_lon: ArrayLike
) -> pd.DataFrame:
    """Return how well a classifier could do that is always right and answers with the middle of its class.

    Args:
        truths: Level, `[q]` true codes, and the classes' middles (`class_centres`), a level each.
        true_lat: `[q]` degrees.
        true_lon: Like `true_lat`.

    Returns:
        One row a level: level, n (pictures whose true class has training pictures), median_km, within_25_km_pct.
    """
    import pandas as pd

    lat, lon = np.asarray(true_lat, dtype=np.float64), np.asarray(true_lon, dtype=np.float64)
    rows: list[dict[str, Any]] = []
    for level, codes, centres in truths:
        middle = np.array([centres.get(str(code), (np.nan, np.nan)) for code in codes], dtype=np.float64).reshape(-1, 2)
        known = np.isfinite(middle[:, 0])
        if known.any():
            away_km = distance_m(lat=lat[known], lon=lon[known], to_lat=middle[known, 0], to_lon=middle[known, 1]) / 1000.0
            row = {"level": level, "n": int(known.sum()), "median_km": float(np.median(away_km))}
            rows.append(row | {"within_25_km_pct": _pct(away_km <= 25.0)})
    return pd.DataFrame(rows, columns=["level", "n", "median_km", "within_25_km_pct"])


def _pct(values: ArrayLike) -> float:
    return 100.0 * float(np.asarray(values, dtype=np.float64).mean()) if np.size(values) else float("nan")
