"""In which order squares are learned: it depends on seed, epoch and step alone.

Every square is read by offset, so the order is a true shuffle over the whole country, and any step of any epoch can be started
from without replaying what came before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def epoch_order(
    pictures: NDArray[np.int64], *, views: str, global_batch: int, seed: int, epoch: int, together: int = 1
) -> NDArray[np.int64]:
    """Return the squares of an epoch in the order in which they are learned, whole steps only.

    Args:
        pictures: `[n]` picture of each square.
        views: `all` squares, or `one` of every picture at random (with `together`: one group).
        global_batch: Squares per step over all ranks. What is left over at the end waits for another epoch; when there are
            fewer squares than that, some come twice.
        seed: Of the run.
        epoch: From 0.
        together: Squares of one picture that stand side by side; a picture that has too few brings some twice.

    Returns:
        `[steps, global_batch]` numbers of squares.
    """
    random = np.random.default_rng([seed, epoch, 0])
    order = random.permutation(len(pictures))
    if together > 1:
        order = _grouped(pictures, order, together=together, only_one=views == "one", random=random)
    elif views == "one":
        order = order[np.sort(np.unique(pictures[order], return_index=True)[1])]
    if len(order) < global_batch:
        order = np.resize(order, global_batch)
    steps = len(order) // global_batch
    return order[: steps * global_batch].reshape(steps, global_batch)


def _grouped(
    pictures: NDArray[np.int64], order: NDArray[np.int64], *, together: int, only_one: bool, random: np.random.Generator
) -> NDArray[np.int64]:
    """Return `order` in groups of `together` squares of one picture, the groups at random."""
    by_picture = order[np.argsort(pictures[order], kind="stable")]
    _, starts, counts = np.unique(pictures[by_picture], return_index=True, return_counts=True)
    groups = np.ones_like(counts) if only_one else -(-counts // together)
    picture = np.repeat(np.arange(len(counts)), groups)
    nth = np.arange(len(picture)) - np.repeat(np.cumsum(groups) - groups, groups)
    places = (nth[:, None] * together + np.arange(together)) % counts[picture][:, None]
    found: NDArray[np.int64] = random.permutation(by_picture[starts[picture][:, None] + places]).reshape(-1)
    return found
