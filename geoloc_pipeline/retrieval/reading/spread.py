"""How far neighbours stand from an answer, and what else tells how far to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.evaluation.regions import Signs
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.reading.readouts import checked_neighbours, softmax_weights
from geoloc_pipeline.retrieval.reading.settings import DEFAULT_SETTINGS, ReadoutSettings

RANK = 100
"""Of the neighbour whose similarity tells how familiar a photo is."""

NEAR_KM = (5.0, 25.0, 100.0)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours


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
    _, score, present = checked_neighbours(neighbours.lat, neighbours.lon, neighbours.score)
    weights = softmax_weights(score, settings.temperature)
    away_m = _away_m(neighbours, present, lat, lon)
    order = np.argsort(np.where(present, away_m, np.inf), axis=1, kind="stable")
    mass = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    half = (mass >= 0.5 - 1e-12).argmax(axis=1)
    return np.asarray(np.take_along_axis(away_m, order, axis=1)[np.arange(len(order)), half] / 1000.0)


def likeness(neighbours: Neighbours, *, rank: int = RANK) -> NDArray[np.float64]:
    """Return how like the gallery queries are `[q]`: the similarity of the neighbour of a rank; NaN where there are fewer.

    Not that of the best neighbour: one picture may be alike by chance, and a page of text or a night is like a few pictures and
    like few others. The figure depends on the rank and on what the gallery holds, and is worth something only beside others.

    Args:
        neighbours: Of a search, best first.
        rank: From 1.
    """
    there = np.isfinite(neighbours.lat) & np.isfinite(neighbours.lon)
    if there.shape[1] == 0:
        return np.full(len(there), np.nan)
    place = (there.cumsum(axis=1) >= rank).argmax(axis=1)
    score = np.asarray(neighbours.score, dtype=np.float64)[np.arange(len(there)), place]
    return np.where(there.sum(axis=1) >= rank, score, np.nan)


def signs_of(neighbours: Neighbours, *, lat: ArrayLike, lon: ArrayLike, settings: ReadoutSettings = DEFAULT_SETTINGS) -> Signs:
    """Return what tells how far to trust answers: agreement and reach of their neighbours.

    Agreement is the mean of the shares of weight within 5, 25 and 100 km of the answer; reach the median distance of the
    neighbours within 100 km, 100 km where there is none.

    Args:
        neighbours: Of a search, arrays `[q, k]`.
        lat: `[q]` answers in degrees.
        lon: Like `lat`.
        settings: `temperature` of the weights.
    """
    if len(neighbours.lat) == 0:
        return Signs(np.empty(0), np.empty(0))
    _, score, present = checked_neighbours(neighbours.lat, neighbours.lon, neighbours.score)
    weights = softmax_weights(score, settings.temperature)
    away_km = np.where(present, _away_m(neighbours, present, lat, lon) / 1000.0, np.inf)
    agreement = np.mean([(weights * (away_km <= limit_km)).sum(axis=1) for limit_km in NEAR_KM], axis=0)
    ordered = np.sort(away_km, axis=1)
    count = (ordered <= NEAR_KM[-1]).sum(axis=1)
    middle = ordered[np.arange(len(ordered)), np.maximum(count - 1, 0) // 2]
    return Signs(agreement=agreement, reach_km=np.where(count > 0, middle, NEAR_KM[-1]))


def _away_m(neighbours: Neighbours, present: NDArray[np.bool_], lat: ArrayLike, lon: ArrayLike) -> NDArray[np.float64]:
    """Return `[q, k]` distances of neighbours from answers; of absent ones, a number without meaning."""
    return distance_m(
        lat=np.asarray(lat)[:, None],
        lon=np.asarray(lon)[:, None],
        to_lat=np.where(present, neighbours.lat, 0.0),
        to_lon=np.where(present, neighbours.lon, 0.0),
    )
