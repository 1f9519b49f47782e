"""What the model's heads say of many pictures, kept small: the likeliest classes of each and their probabilities.

The town head of all Japan has more classes than a table of test pictures has room for; an answer needs the top of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MOST = 64
"""Classes that are kept of a picture; what is left is shared evenly among the others."""

_CHUNK = 1024  # pictures whose asked classes are compared with the kept ones at once


@dataclass(frozen=True)
class HeadTops:
    """What one head says of n pictures.

    Attributes:
        n_classes: Of the head.
        index: `[n, m]` int32, class indices, likeliest first; m is `MOST` or, if less, `n_classes`.
        probability: `[n, m]` float32, of those classes.
    """

    n_classes: int
    index: NDArray[np.int32]
    probability: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, chosen: NDArray[np.int64] | NDArray[np.bool_] | slice) -> HeadTops:
        """Return some pictures: a mask, indices or a slice."""
        return HeadTops(self.n_classes, self.index[chosen], self.probability[chosen])

    def of(self, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probabilities of given classes.

        Args:
            classes: `[n, k]` class indices of each picture.

        Returns:
            `[n, k]`; of a class that was not kept, an even share of what is left.
        """
        others = max(self.n_classes - self.index.shape[1], 1)
        left = np.maximum(1.0 - self.probability.sum(axis=1, dtype=np.float64), 0.0) / others
        found = np.repeat(left[:, None], classes.shape[1], axis=1)
        for start in range(0, len(classes), _CHUNK):
            part = slice(start, start + _CHUNK)
            same = self.index[part][:, None, :] == classes[part][:, :, None]
            there = same.any(axis=2)
            kept = np.take_along_axis(self.probability[part], same.argmax(axis=2), axis=1)
            found[part] = np.where(there, kept, found[part])
        return found

    def entropy(self) -> NDArray[np.float64]:
        """Return how undecided the head is about each picture `[n]`: 0 is sure of one class, 1 has no idea."""
        kept = self.probability.astype(np.float64)
        left, others = np.maximum(1.0 - kept.sum(axis=1), 0.0), self.n_classes - kept.shape[1]
        surprise = -np.sum(kept * np.log(np.maximum(kept, 1e-12)), axis=1)
        surprise -= left * np.log(np.maximum(left, 1e-12) / max(others, 1))
        return np.asarray(surprise / max(np.log(self.n_classes), 1e-12)).clip(0.0, 1.0)


def keep_tops(probabilities: Mapping[str, NDArray[np.float32]]) -> dict[str, HeadTops]:
    """Return the likeliest classes of every head.

    Args:
        probabilities: `[n, classes]` by task, as `Embedder.read_views` gives them.
    """
    return {task: _tops(values) for task, values in probabilities.items()}


def _tops(values: NDArray[np.float32]) -> HeadTops:
    order = np.argsort(-values, axis=1, kind="stable")[:, :MOST]
    return HeadTops(values.shape[1], order.astype(np.int32), np.take_along_axis(values, order, axis=1).astype(np.float32))


def join_tops(parts: Sequence[HeadTops]) -> HeadTops:
    """Return the pictures of several parts, one after the other; at least one part."""
    return HeadTops(
        n_classes=parts[0].n_classes,
        index=np.concatenate([part.index for part in parts]),
        probability=np.concatenate([part.probability for part in parts]),
    )


def mean_tops(tops: HeadTops, counts: NDArray[np.int64] | Sequence[int]) -> HeadTops:
    """Return the mean of each run of `counts` pictures: the squares of a picture, the views of a panorama.

    Classes that were not kept count as impossible, which changes the mean by no more than what was left out.
    """
    counts = np.asarray(counts, dtype=np.int64)
    if len(counts) == len(tops):
        return tops
    most = tops.index.shape[1]
    run = np.repeat(np.arange(len(counts)), counts)
    keys, which = np.unique(run[:, None] * tops.n_classes + tops.index, return_inverse=True)
    mass = np.bincount(which.ravel(), weights=(tops.probability / counts[run][:, None]).ravel(), minlength=len(keys))
    order = np.lexsort((keys, -mass, keys // tops.n_classes))
    run_of = (keys // tops.n_classes)[order]
    rank = np.arange(len(order)) - np.searchsorted(run_of, np.arange(len(counts)))[run_of]
    kept = rank < most
    index, probability = np.zeros((len(counts), most), dtype=np.int32), np.zeros((len(counts), most), dtype=np.float32)
    index[run_of[kept], rank[kept]] = (keys % tops.n_classes)[order][kept]
    probability[run_of[kept], rank[kept]] = mass[order][kept]
    return HeadTops(tops.n_classes, index, probability)
