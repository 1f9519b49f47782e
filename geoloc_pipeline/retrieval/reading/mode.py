"""The density mode: where neighbours stand densest, and the mean of the cluster that they form there.

Belongs here: unit vectors in, unit vectors out.
Does not belong here: what a neighbour weighs (`readouts.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M

if TYPE_CHECKING:
    from numpy.typing import NDArray

REACH = 4.0
"""A cluster reaches this many times as far as its median neighbour: 4.7 sigma of a Gaussian one, so that nobody is left out."""

_GROWTHS = 6  # most; four times as far each time, so 5 km become the whole country if neighbours stand evenly all over it
_CHUNK = 8  # queries whose [k, k] distances are in the processor's cache at once


def density_peaks(
    vectors: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    score: NDArray[np.float64],
    present: NDArray[np.bool_],
    bandwidth_km: float,
) -> NDArray[np.int64]:
    """Return `[q]` which neighbour stands densest; of equally dense ones, the one with the highest score.

    Args:
        vectors: `[q, k, 3]` unit vectors.
        weights: `[q, k]` of a neighbour in the density of the places around it.
        score: `[q, k]` similarities.
        present: `[q, k]` which neighbours are there.
        bandwidth_km: Of the Gaussian kernel.
    """
    bandwidth = bandwidth_km * 1000.0 / MEAN_EARTH_RADIUS_M  # as a chord of the unit sphere
    peaks = np.empty(len(vectors), dtype=np.int64)
    for start in range(0, len(vectors), _CHUNK):
        part = slice(start, start + _CHUNK)
        v = vectors[part]
        chord2 = np.maximum(2.0 - 2.0 * (v @ v.transpose(0, 2, 1)), 0.0)
        kernel = np.exp(np.maximum(chord2 / (-2.0 * bandwidth**2), -50.0))  # below, exp is slow and adds nothing
        density = (kernel @ weights[part][..., None])[..., 0]
        density[~present[part]] = -np.inf
        # rounded, so that places which are equally dense tie whatever the order of the sums; then the similarity decides
        rank = np.where(density >= density.max(axis=1, keepdims=True) * (1 - 1e-9), score[part], -np.inf)
        peaks[part] = rank.argmax(axis=1)
    return peaks


def cluster_means(
    vectors: NDArray[np.float64],
    weights: NDArray[np.float64],
    *,
    peaks: NDArray[np.int64],
    present: NDArray[np.bool_],
    bandwidth_km: float,
) -> NDArray[np.float64]:
    """Return `[q, 3]` means of the clusters around the peaks; without direction (length 0) where a mean has none.

    A cluster begins as the neighbours within the bandwidth of the peak, and grows to `REACH` times the distance of its median
    neighbour from its centre until it no longer changes: a bandwidth that is somewhat too small for the cluster does no harm,
    and what stands apart from it stays out. A bandwidth of a third of sigma finds clumps instead of the cluster.

    Args:
        vectors: `[q, k, 3]` unit vectors.
        weights: `[q, k]` of a neighbour in the mean.
        peaks: `[q]` from `density_peaks`.
        present: `[q, k]` which neighbours are there.
        bandwidth_km: Least reach of a cluster.
    """
    least2 = (bandwidth_km * 1000.0 / MEAN_EARTH_RADIUS_M) ** 2
    centres = vectors[np.arange(len(vectors)), peaks]
    near = present & (_chord2(vectors, centres) <= least2)
    for _ in range(_GROWTHS):
        centres = _unit(np.einsum("qk,qkc->qc", weights * near, vectors), instead=centres)
        away2 = _chord2(vectors, centres)
        ordered = np.sort(np.where(near, away2, np.inf), axis=1)
        median2 = ordered[np.arange(len(ordered)), (near.sum(axis=1) - 1).clip(0) // 2]
        grown = present & (away2 <= np.maximum(REACH**2 * median2, least2)[:, None])
        if (grown == near).all():
            break
        near = grown
    return np.asarray(np.einsum("qk,qkc->qc", weights * near, vectors))


def _chord2(vectors: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum(2.0 - 2.0 * np.einsum("qkc,qc->qk", vectors, centres), 0.0))


def _unit(vectors: NDArray[np.float64], *, instead: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(lengths > 1e-9, vectors / lengths.clip(1e-300), instead)
