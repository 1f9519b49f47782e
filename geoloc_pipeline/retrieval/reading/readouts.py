"""How a place is read from the neighbours that a search has found.

Every read-out works on many queries at once, on the sphere, and does not care in which longitude or order the neighbours come.
A neighbour whose latitude or longitude is NaN is absent (`hide_neighbours` makes such rows); similarities must be numbers.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.errors import CollectionError, ModelError, SettingError
from geoloc_pipeline.geo.sphere import unit_vectors
from geoloc_pipeline.retrieval.reading.mode import cluster_means, density_peaks
from geoloc_pipeline.retrieval.reading.settings import DEFAULT_SETTINGS, ReadoutSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours

Places = tuple["NDArray[np.float64]", "NDArray[np.float64]"]


def checked_neighbours(
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


def softmax_weights(score: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
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
    vectors, score, _ = checked_neighbours(lat, lon, score)
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
    vectors, score, _ = checked_neighbours(lat, lon, score)
    weights = softmax_weights(score, settings.temperature)
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
    vectors, score, _ = checked_neighbours(lat, lon, score)
    best = _best(vectors, score)
    return _places(best, best)


def read_mode(*, lat: ArrayLike, lon: ArrayLike, score: ArrayLike, settings: ReadoutSettings = DEFAULT_SETTINGS) -> Places:
    """Return the centre of the densest cluster of neighbours.

    A Gaussian kernel of `bandwidth_km` over all neighbours, each weighing the softmax of its similarity, is evaluated at every
    neighbour; the mean of the cluster around the densest one is the answer, and there everybody counts the same: among
    neighbours that agree, a little more similarity is no better evidence, and the mean of all of them is the steadier one.
    Neighbours far away cannot pull it. Of equally dense places the one of the more similar neighbour wins.

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
    return read_gated(lat=lat, lon=lon, score=score, settings=settings)


def read_gated(
    *,
    lat: ArrayLike,
    lon: ArrayLike,
    score: ArrayLike,
    gate: ArrayLike | None = None,
    settings: ReadoutSettings = DEFAULT_SETTINGS,
) -> Places:
    """Return the centre of the densest cluster of neighbours whose areas the model's heads believe in.

    As `read_mode`, but for `gate_weight` times the gate, which is added to similarity over temperature, and weighs in the mean.

    Args:
        lat: `[q, k]` or `[k]` degrees.
        lon: Like `lat`.
        score: Like `lat`; cosine similarities.
        gate: Like `lat`, from `gate.gate_neighbours`; without it (a model without heads, a gallery without codes) the answer is
            that of `read_mode`.
        settings: `bandwidth_km`, `temperature` and `gate_weight`.

    Returns:
        `[q]` latitudes and `[q]` longitudes in degrees.
    """
    vectors, score, present = checked_neighbours(lat, lon, score)
    belief = np.zeros_like(score) if gate is None else settings.gate_weight * np.atleast_2d(np.asarray(gate, dtype=np.float64))
    logits = np.where(present, np.where(present, score, 0.0) / settings.temperature + belief, -np.inf)
    peaks = density_peaks(
        vectors,
        softmax_weights(logits, 1.0),
        score=score,
        present=present,
        bandwidth_km=settings.bandwidth_km,
    )
    trust = np.exp(belief - np.where(present, belief, -np.inf).max(axis=1, keepdims=True))
    means = cluster_means(vectors, trust, peaks=peaks, present=present, bandwidth_km=settings.bandwidth_km)
    return _places(means, vectors[np.arange(len(vectors)), peaks])


BATCH_READOUTS: dict[str, Callable[..., Places]] = {
    "mode": read_mode,
    "gated": read_gated,
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
"""Read-outs of one query with default settings: (lat [k], lon [k], score [k]) to (lat, lon); `gated` is `mode` there."""


def read_out(neighbours: Neighbours, readout: str, *, settings: ReadoutSettings = DEFAULT_SETTINGS) -> Places:
    """Return the places that one read-out gives for every query.

    Args:
        neighbours: Of a search, arrays `[q, k]`.
        readout: A name in `BATCH_READOUTS`; `gated` is `mode` where the neighbours have no gate.
        settings: What was chosen on validation.

    Returns:
        `[q]` latitudes and `[q]` longitudes in degrees.

    Raises:
        SettingError: There is no read-out of that name.
    """
    if readout not in BATCH_READOUTS:
        raise SettingError(setting="readout", value=readout, cure=f"choose one of {', '.join(BATCH_READOUTS)}")
    if len(neighbours.lat) == 0:
        return np.empty(0), np.empty(0)
    read = partial(read_gated, gate=neighbours.gate) if readout == "gated" else BATCH_READOUTS[readout]
    return read(lat=neighbours.lat, lon=neighbours.lon, score=neighbours.score, settings=settings)
