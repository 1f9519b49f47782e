"""How a place is read from the neighbours that a search has found.

Every read-out works on many queries at once, on the sphere, and does not care in which longitude or order the neighbours come.
A neighbour whose latitude or longitude is NaN is absent (`hide_neighbours` makes such rows); similarities must be numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.errors import CollectionError, ModelError, SettingError
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M, distance_m, unit_vectors
from geoloc_pipeline.tables import ESTIMATES, as_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from geoloc_pipeline.evaluation.regions import Regions
    from geoloc_pipeline.retrieval.neighbours import Neighbours

__all__ = [
    "BATCH_READOUTS",
    "DEFAULT_SETTINGS",
    "READOUTS",
    "ReadoutSettings",
    "choose_default",
    "choose_settings",
    "estimate_table",
    "read_out",
    "spread_km",
]

TEMPERATURE = 0.05
"""Default of the softmax over cosine similarities; GeoCLIP's learned temperature is 0.025."""

BANDWIDTH_KM = 5.0
"""Default of the density mode: neighbours this near to each other speak for the same place."""

_CHUNK = 8  # queries whose [k, k] distances are in the processor's cache at once


@dataclass(frozen=True)
class ReadoutSettings:
    """What a person may turn.

    Attributes:
        temperature: Of the softmax over similarities; smaller: the best neighbours count more; infinite: all count the same.
        bandwidth_km: Of the density mode.
    """

    temperature: float = TEMPERATURE
    bandwidth_km: float = BANDWIDTH_KM

    def __post_init__(self) -> None:
        for name in ("temperature", "bandwidth_km"):
            if not getattr(self, name) > 0:
                raise SettingError(setting=f"read-out {name}", value=getattr(self, name), cure="give a number above 0")


DEFAULT_SETTINGS = ReadoutSettings()

Places = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def _checked(
    lat: ArrayLike, lon: ArrayLike, score: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return unit vectors `[q, k, 3]` (zero where absent), scores and which neighbours are there.

    Raises:
        CollectionError: A query has no neighbour at all.
        ModelError: The shapes differ, or a similarity is not finite.
    """
    lat, lon, score = (np.atleast_2d(np.asarray(values, dtype=np.float64)) for values in (lat, lon, score))
    if not lat.shape == lon.shape == score.shape:
        raise ModelError(
            what="the neighbours",
            reason=f"lat, lon and score have the shapes {lat.shape}, {lon.shape} and {score.shape}",
            cure="hand over the three arrays of one search",
        )
    present = np.isfinite(lat) & np.isfinite(lon)
    lonely = np.flatnonzero(~present.any(axis=1)) if present.shape[1] else np.arange(len(present))
    if len(lonely):
        raise CollectionError(
            collection="gallery",
            reason=f"the search gave no neighbour at all for {len(lonely)} of {len(lat)} queries",
            cure="fill the gallery (materialise `qdrant_collection`), or ask for more than what is filtered out",
        )
    broken = np.flatnonzero((present & ~np.isfinite(score)).any(axis=1))
    if len(broken):
        raise ModelError(
            what=f"the similarities of query {broken[0]} ({len(broken)} queries in all)",
            reason="they are not finite numbers",
            cure="the picture's or the gallery's embedding is broken: embed again with a checkpoint whose loss is finite",
        )
    vectors = np.where(present[..., None], unit_vectors(lat=np.where(present, lat, 0), lon=np.where(present, lon, 0)), 0.0)
    return vectors, np.where(present, score, -np.inf), present


def _places(vectors: NDArray[np.float64], fallback: NDArray[np.float64]) -> Places:
    """Return (lat, lon) of mean vectors `[q, 3]`; of `fallback` where the mean has no direction."""
    lost = np.linalg.norm(vectors, axis=1) < 1e-9
    x, y, z = np.where(lost[:, None], fallback, vectors).T
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def _softmax(score: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return weights `[q, k]` that sum to 1; 0 where the score is minus infinity."""
    peak = score.max(axis=1, keepdims=True)
    gap = np.where(np.isfinite(score), score - peak, 0.0)
    weights = np.where(np.isfinite(score), np.exp(gap / temperature), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _best(vectors: NDArray[np.float64], score: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the vector `[q, 3]` of the most similar neighbour; of equals, of the first."""
    return np.asarray(vectors[np.arange(len(vectors)), score.argmax(axis=1)])


def read_centroid(*, lat: ArrayLike, lon: ArrayLike, score: ArrayLike, settings: ReadoutSettings = DEFAULT_SETTINGS) -> Places:
    """Return the centre of all neighbours, on the sphere: the paper's rule.

    One wrong neighbour far away pulls the centre towards it, into the sea if need be.

    Args:
        lat: `[q, k]` or `[k]` degrees.
        lon: Like `lat`.
        score: Like `lat`; only checked.
        settings: Not used.

    Returns:
        `[q]` latitudes and `[q]` longitudes in degrees.

    Paper:
        §4: "the centroid of the 100 retrieved places". The paper does not say that it is taken on the sphere.
    """
    del settings
    vectors, score, _ = _checked(lat, lon, score)
    return _places(vectors.sum(axis=1), _best(vectors, score))


def read_weighted(*, lat: ArrayLike, lon: ArrayLike, score: ArrayLike, settings: ReadoutSettings = DEFAULT_SETTINGS) -> Places:
    """Return the centre of the neighbours, each weighing the softmax of its similarity.

    Args:
        lat: `[q, k]` or `[k]` degrees.
        lon: Like `lat`.
        score: Like `lat`; cosine similarities.
        settings: `temperature`.

    Returns:
        `[q]` latitudes and `[q]` longitudes in degrees.
    """
    vectors, score, _ = _checked(lat, lon, score)
    weights = _softmax(score, settings.temperature)
    return _places(np.einsum("qk,qkc->qc", weights, vectors), _best(vectors, score))


def read_nearest(*, lat: ArrayLike, lon: ArrayLike, score: ArrayLike, settings: ReadoutSettings = DEFAULT_SETTINGS) -> Places:
    """Return the place of the most similar neighbour.

    Args:
        lat: `[q, k]` or `[k]` degrees.
        lon: Like `lat`.
        score: Like `lat`; cosine similarities.
        settings: Not used.

    Returns:
        `[q]` latitudes and `[q]` longitudes in degrees.
    """
    del settings
    vectors, score, _ = _checked(lat, lon, score)
    best = _best(vectors, score)
    return _places(best, best)


def read_mode(*, lat: ArrayLike, lon: ArrayLike, score: ArrayLike, settings: ReadoutSettings = DEFAULT_SETTINGS) -> Places:
    """Return the place where the neighbours stand densest.

    A Gaussian kernel of `bandwidth_km` over all neighbours, each weighing the softmax of its similarity, is evaluated at every
    neighbour; around the densest one, the weighted mean of those within the bandwidth is the answer. Neighbours far away
    cannot pull it. Of equally dense places the one of the more similar neighbour wins.

    Args:
        lat: `[q, k]` or `[k]` degrees.
        lon: Like `lat`.
        score: Like `lat`; cosine similarities.
        settings: `bandwidth_km` and `temperature`.

    Returns:
        `[q]` latitudes and `[q]` longitudes in degrees.

    Source:
        Departs from the paper's centroid (§4), which one wrong neighbour in ten moves by tens of kilometres.
    """
    vectors, score, present = _checked(lat, lon, score)
    weights = _softmax(score, settings.temperature)
    bandwidth = settings.bandwidth_km * 1000.0 / MEAN_EARTH_RADIUS_M  # as a chord of the unit sphere
    means, best = np.empty((len(vectors), 3)), _best(vectors, score)
    for start in range(0, len(vectors), _CHUNK):
        part = slice(start, start + _CHUNK)
        v, w = vectors[part], weights[part]
        chord2 = np.maximum(2.0 - 2.0 * (v @ v.transpose(0, 2, 1)), 0.0)
        kernel = np.exp(np.maximum(chord2 / (-2.0 * bandwidth**2), -50.0))  # below, exp is slow and adds nothing
        density = (kernel @ w[..., None])[..., 0]
        density[~present[part]] = -np.inf
        # rounded, so that places which are equally dense tie whatever the order of the sums; then the similarity decides
        rank = np.where(density >= density.max(axis=1, keepdims=True) * (1 - 1e-9), score[part], -np.inf)
        peak = rank.argmax(axis=1)
        near = chord2[np.arange(len(v)), peak] <= bandwidth**2
        means[part] = np.einsum("qk,qkc->qc", w * near, v)
        best[part] = v[np.arange(len(v)), peak]
    return _places(means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-300), best)


BATCH_READOUTS: dict[str, Callable[..., Places]] = {
    "mode": read_mode,
    "weighted": read_weighted,
    "nearest": read_nearest,
    "centroid": read_centroid,
}
"""Read-outs of many queries at once, in the order in which ties of quality are broken."""


def _read_one(name: str, lat: ArrayLike, lon: ArrayLike, score: ArrayLike) -> tuple[float, float]:
    """Return (lat, lon) in degrees read from one query's neighbours `[k]`."""
    lats, lons = BATCH_READOUTS[name](lat=lat, lon=lon, score=score)
    return float(lats[0]), float(lons[0])


READOUTS: dict[str, Callable[[ArrayLike, ArrayLike, ArrayLike], tuple[float, float]]] = {
    name: partial(_read_one, name) for name in BATCH_READOUTS
}
"""Read-outs of one query with default settings: (lat [k], lon [k], score [k]) to (lat, lon)."""


def read_out(neighbours: Neighbours, readout: str, *, settings: ReadoutSettings = DEFAULT_SETTINGS) -> Places:
    """Return the places that one read-out gives for every query.

    Args:
        neighbours: Of a search, arrays `[q, k]`.
        readout: A name in `BATCH_READOUTS`.
        settings: Temperature and bandwidth.

    Returns:
        `[q]` latitudes and `[q]` longitudes in degrees.

    Raises:
        SettingError: There is no read-out of that name.
    """
    if readout not in BATCH_READOUTS:
        raise SettingError(setting="readout", value=readout, cure=f"choose one of {', '.join(BATCH_READOUTS)}")
    if len(neighbours.lat) == 0:
        return np.empty(0), np.empty(0)
    return BATCH_READOUTS[readout](lat=neighbours.lat, lon=neighbours.lon, score=neighbours.score, settings=settings)


def spread_km(
    neighbours: Neighbours, *, lat: ArrayLike, lon: ArrayLike, settings: ReadoutSettings = DEFAULT_SETTINGS
) -> NDArray[np.float64]:
    """Return how far the neighbours stand from the answers: the distance within which half of their weight lies.

    Small when they agree, hundreds of kilometres when they do not; regions are scaled by it.

    Args:
        neighbours: Of a search, arrays `[q, k]`.
        lat: `[q]` answers in degrees.
        lon: Like `lat`.
        settings: `temperature` of the weights.

    Returns:
        `[q]` kilometres.
    """
    if len(neighbours.lat) == 0:
        return np.empty(0)
    _, score, present = _checked(neighbours.lat, neighbours.lon, neighbours.score)
    weights = _softmax(score, settings.temperature)
    away_m = distance_m(
        lat=np.asarray(lat)[:, None],
        lon=np.asarray(lon)[:, None],
        to_lat=np.where(present, neighbours.lat, 0.0),
        to_lon=np.where(present, neighbours.lon, 0.0),
    )
    order = np.argsort(np.where(present, away_m, np.inf), axis=1, kind="stable")
    mass = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    half = (mass >= 0.5 - 1e-12).argmax(axis=1)
    return np.asarray(np.take_along_axis(away_m, order, axis=1)[np.arange(len(order)), half] / 1000.0)


def estimate_table(
    neighbours: Neighbours,
    *,
    query_id: Sequence[str],
    true_lat: ArrayLike,
    true_lon: ArrayLike,
    readouts: Iterable[str] = tuple(BATCH_READOUTS),
    settings: ReadoutSettings = DEFAULT_SETTINGS,
    regions: Mapping[str, Regions] | None = None,
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Return every read-out's answers to every query, beside the truth.

    Args:
        neighbours: Of a search, arrays `[q, k]`.
        query_id: `[q]` ids of the pictures.
        true_lat: `[q]` degrees, where they were taken.
        true_lon: Like `true_lat`.
        readouts: Names in `BATCH_READOUTS`.
        settings: Temperature and bandwidth.
        regions: Calibrated regions by read-out; without them both radii are missing.
        names: Other names for read-outs in the table, such as `{"mode": "untrained"}` for a control.

    Returns:
        `ESTIMATES`, without an order.
    """
    names, regions = names or {}, regions or {}
    true_lat, true_lon = np.asarray(true_lat, dtype=np.float64), np.asarray(true_lon, dtype=np.float64)
    columns: dict[str, list[Any]] = {column.name: [] for column in ESTIMATES.columns}
    for readout in readouts:
        lat, lon = read_out(neighbours, readout, settings=settings)
        error_km = distance_m(lat=lat, lon=lon, to_lat=true_lat, to_lon=true_lon) / 1000.0
        region_50_km = region_90_km = np.full(len(lat), np.nan)
        if readout in regions:
            region_50_km, region_90_km = regions[readout].radii_km(spread_km(neighbours, lat=lat, lon=lon, settings=settings))
        rows: tuple[Any, ...] = (
            list(query_id),
            [names.get(readout, readout)] * len(lat),
            lat,
            lon,
            true_lat,
            true_lon,
            error_km,
        )
        for name, values in zip(columns, (*rows, region_50_km, region_90_km), strict=True):
            columns[name].extend(values)
    return as_table(ESTIMATES, columns)


def choose_default(estimates: pd.DataFrame) -> str:
    """Return the read-out with the lowest median error; of equals, the first in `BATCH_READOUTS`.

    Hand over validation estimates: chosen on test, the figure for test would flatter.

    Args:
        estimates: `ESTIMATES`; rows of controls such as `mean_position` are left out.

    Returns:
        A name in `BATCH_READOUTS`; the first of them when there are no estimates at all.
    """
    medians = estimates.groupby("readout")["error_km"].median()
    known = [name for name in BATCH_READOUTS if name in medians.index]
    return min(known, key=lambda name: float(medians[name]), default=next(iter(BATCH_READOUTS)))


def choose_settings(
    neighbours: Neighbours,
    *,
    true_lat: ArrayLike,
    true_lon: ArrayLike,
    bandwidths_km: Sequence[float] = (0.5, 1.0, 2.0, 5.0, 10.0, 25.0),
    temperatures: Sequence[float] = (0.02, 0.05, 0.1, 0.2),
) -> ReadoutSettings:
    """Return the settings with which `mode` has the lowest median error; of equals, those nearest to the defaults.

    Args:
        neighbours: Of validation queries, their own group hidden, arrays `[q, k]`.
        true_lat: `[q]` degrees.
        true_lon: Like `true_lat`.
        bandwidths_km: To try.
        temperatures: To try.

    Returns:
        The best of all pairs; the defaults when there are no queries.
    """
    if len(neighbours.lat) == 0:
        return DEFAULT_SETTINGS

    def cost(settings: ReadoutSettings) -> tuple[float, float]:
        lat, lon = read_out(neighbours, "mode", settings=settings)
        median_m = float(np.median(distance_m(lat=lat, lon=lon, to_lat=true_lat, to_lon=true_lon)))
        departure = abs(np.log(settings.bandwidth_km / BANDWIDTH_KM)) + abs(np.log(settings.temperature / TEMPERATURE))
        return round(median_m, 3), float(departure)

    return min((ReadoutSettings(temperature=t, bandwidth_km=b) for b in bandwidths_km for t in temperatures), key=cost)
