"""How far neighbours stand from an answer, and what else tells how far to trust it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.readouts import checked_neighbours, softmax_weights
from geoloc_pipeline.retrieval.settings import DEFAULT_SETTINGS, ReadoutSettings

NEAREST = 10

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from geoloc_pipeline.retrieval.neighbours import Neighbours


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


def likeness(neighbours: Neighbours) -> NDArray[np.float64]:
    """Return how like the gallery queries are `[q]`: the mean similarity of their `NEAREST` best neighbours."""
    score = np.where(np.isfinite(neighbours.lat), neighbours.score, np.nan)[:, :NEAREST].astype(np.float64)
    return np.asarray(np.nanmean(score, axis=1))
