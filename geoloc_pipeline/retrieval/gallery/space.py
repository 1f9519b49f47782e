"""The space in which a gallery compares: the model's own, whitened, or without hubs. Off unless asked for: see `Compare`.

Source: whitening as in Jégou and Chum 2012 (doi 10.1007/978-3-642-33709-3_55); hubness by CSLS, Conneau et al. 2018
(arXiv 1710.04087), of which the query's own half is left out, because it is the same for all of its neighbours.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

HUB_SAMPLE = 3000
HUB_NEIGHBOURS = 50
_SMALLEST_SPREAD = 1e-4
"""Directions with less than this part of the widest one's variance are noise: they are stretched no more than one with it."""


@dataclass(frozen=True)
class Compare:
    """How a gallery compares pictures with a photo; chosen when it is built, kept with it.

    Attributes:
        whitening: Power by which the vectors' principal axes are divided by their spread: 0 leaves them, 0.5 makes all alike.
        less_hubs: Whether half of a picture's own mean similarity to others is taken off its similarity to a photo: a picture
            that is like everything is no evidence.
    """

    whitening: float = 0.0
    less_hubs: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.whitening <= 0.5:
            raise SettingError(setting="whitening", value=self.whitening, cure="give a power from 0 (off) to 0.5 (wholly)")

    @property
    def label(self) -> str:
        """What distinguishes collections of the same vectors; empty for the model's own space."""
        parts = [f"whitening {self.whitening:g}"] if self.whitening else []
        return ", ".join([*parts, "less hubs"] if self.less_hubs else parts)


class Space:
    """Turns the model's vectors into those that are compared.

    Attributes:
        mean: `[512]`, or None for the model's own space.
        turn: `[512, 512]`.
    """

    def __init__(self, mean: NDArray[np.float32] | None = None, turn: NDArray[np.float32] | None = None) -> None:
        self.mean, self.turn = mean, turn

    @classmethod
    def fit(cls, batches: Iterable[NDArray[np.float32]], *, power: float) -> Space:
        """Return the whitened space of all vectors, which are seen once, batch by batch.

        Args:
            batches: `[n, 512]` unit vectors each.
            power: See `Compare.whitening`; 0 gives the model's own space without looking.

        Returns:
            The space, in the precision in which it is kept.
        """
        if not power:
            return cls()
        count, total, products = 0, np.zeros(EMBEDDING_SIZE), np.zeros((EMBEDDING_SIZE, EMBEDDING_SIZE))
        for batch in batches:
            rows = batch.astype(np.float64)
            count, total, products = count + len(rows), total + rows.sum(axis=0), products + rows.T @ rows
        mean = total / count
        variance, directions = np.linalg.eigh(products / count - np.outer(mean, mean))
        variance = np.maximum(variance, max(float(variance[-1]), 1e-12) * _SMALLEST_SPREAD)
        turn = directions * (variance / variance[-1]) ** -power
        return cls(mean.astype(np.float32), turn.astype(np.float16).astype(np.float32))

    def turned(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `[n, 512]` unit vectors of this space."""
        if self.mean is None or self.turn is None:
            return vectors
        moved = (vectors - self.mean) @ self.turn
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        # the mean itself has no direction: it stays what it was rather than becoming a number that is none
        return np.asarray(np.where(length > 1e-6, moved / np.maximum(length, 1e-6), vectors), dtype=np.float32)

    def as_dict(self) -> dict[str, str]:
        """Return what `from_dict` reads, in text: a megabyte when whitened, nothing otherwise."""
        if self.mean is None or self.turn is None:
            return {}
        kept = {"mean": self.mean.astype("<f4"), "turn": self.turn.astype("<f2")}
        return {name: base64.b64encode(values.tobytes()).decode() for name, values in kept.items()}

    @classmethod
    def from_dict(cls, told: Mapping[str, str]) -> Space:
        """Return the space that `as_dict` told of."""
        if not told:
            return cls()
        mean = np.frombuffer(base64.b64decode(told["mean"]), dtype="<f4").astype(np.float32)
        turn = np.frombuffer(base64.b64decode(told["turn"]), dtype="<f2").astype(np.float32)
        return cls(mean, turn.reshape(EMBEDDING_SIZE, EMBEDDING_SIZE))


def hubness(vectors: NDArray[np.float32], sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how like the gallery's others each vector is.

    Args:
        vectors: `[n, 512]` unit vectors.
        sample: `[m, 512]` unit vectors of the gallery, m at most `HUB_SAMPLE`; may hold the vectors themselves.

    Returns:
        `[n]` mean similarity to the `HUB_NEIGHBOURS` nearest of the sample, the nearest of all left out: it may be itself.
    """
    near = min(HUB_NEIGHBOURS + 1, len(sample))
    best = np.sort(np.partition(vectors @ sample.T, len(sample) - near, axis=1)[:, len(sample) - near :], axis=1)
    return np.asarray(best[:, :-1].mean(axis=1) if near > 1 else np.zeros(len(vectors)), dtype=np.float32)
