"""AugMix for a whole batch: every picture has its own operators, strengths and weights.

The chains of all pictures are one batch, and a link of all chains is one round: its rows are sorted by operator on the host, so
that each operator works on neighbouring rows and nobody has to ask the device how many there are. What chance decided goes over
in one copy. Strengths are those of severity 3, torchvision's default: the first three of ten bins.

Paper: §3.1 ("three default transforms, applied independently three times to the same image … composited").
Source: AugMix (arXiv 1912.02781); torchvision.transforms.AugMix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from geoloc_pipeline.training.operators import GEOMETRIC, OPERATORS, PHOTOMETRIC, SEVERITY, strengths, warp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

LONGEST_CHAIN = 3  # of those whose depth is left to chance
_KINDS = {np.dtype(np.float32): torch.float32, np.dtype(np.int64): torch.int64}


class AugMixDraw(NamedTuple):
    """What chance decided for n pictures, k chains of up to l operators each.

    Attributes:
        operators: `[n, k, l]` index into `OPERATORS`; -1 where a chain is shorter.
        bins: `[n, k, l]` strength, 0 to 2.
        signs: `[n, k, l]` -1 or 1.
        original: `[n]` weight of the picture itself.
        weights: `[n, k]` weight of each chain's result.
    """

    operators: NDArray[np.int64]
    bins: NDArray[np.int64]
    signs: NDArray[np.int64]
    original: NDArray[np.float32]
    weights: NDArray[np.float32]

    def rows(self, chosen: slice) -> AugMixDraw:
        """Return the draws of some pictures."""
        return AugMixDraw(
            operators=self.operators[chosen],
            bins=self.bins[chosen],
            signs=self.signs[chosen],
            original=self.original[chosen],
            weights=self.weights[chosen],
        )


def draw_augmix(rng: np.random.Generator, count: int, *, chains: int, depth: int, blend: bool) -> AugMixDraw:
    """Return what chance decides for `count` pictures.

    Args:
        rng: Source of chance.
        count: Pictures.
        chains: Chains for each picture (mixture width).
        depth: Operators in a chain; 0: one to three.
        blend: Whether the picture itself is mixed in, with a weight from Beta(1, 1).

    Returns:
        The draws.
    """
    lengths = np.full((count, chains), depth) if depth else rng.integers(1, LONGEST_CHAIN + 1, (count, chains))
    longest = max(depth, LONGEST_CHAIN)
    operators = rng.integers(0, len(OPERATORS), (count, chains, longest))
    operators[np.arange(longest) >= lengths[..., None]] = -1
    original = rng.beta(1.0, 1.0, count) if blend else np.zeros(count)
    weights = rng.dirichlet(np.ones(chains), count) * (1.0 - original)[:, None]
    return AugMixDraw(
        operators=operators,
        bins=rng.integers(0, SEVERITY, operators.shape),
        signs=rng.integers(0, 2, operators.shape) * 2 - 1,
        original=original.astype(np.float32),
        weights=weights.astype(np.float32),
    )


class _Link(NamedTuple):
    """One link of every chain that is long enough, rows sorted by operator.

    Attributes:
        rows: `[m]` of the batch of chains.
        counts: Rows of each group: those that have ended, the geometric ones, each photometric operator.
        matrices: `[counts[1], 2, 3]`.
        values: `[m, 1, 1, 1]` strengths of the photometric operators.
    """

    rows: NDArray[np.int64]
    counts: tuple[int, ...]
    matrices: NDArray[np.float32]
    values: NDArray[np.float32]


def _sort_link(draw: AugMixDraw, number: int, *, side_px: int) -> _Link:
    """Return a link of all chains; the first one has every row, so that chains without any operator are there as well."""
    operators, bins, signs = (part[:, :, number].T.ravel() for part in (draw.operators, draw.bins, draw.signs))
    counts = np.bincount(operators + 1, minlength=len(OPERATORS) + 1)
    first = 1 + len(GEOMETRIC)
    groups = [int(counts[0]), int(counts[1:first].sum()), *counts[first:].tolist()]
    rows = np.argsort(operators, kind="stable")
    if number:
        rows, groups[0] = rows[groups[0] :], 0
    warped = rows[groups[0] : groups[0] + groups[1]]
    table, plus = strengths(side_px), (signs > 0).astype(np.int64)
    return _Link(
        rows=rows,
        counts=tuple(groups),
        matrices=table.matrices[operators[warped], bins[warped], plus[warped]],
        values=table.values[operators[rows], bins[rows], plus[rows]].reshape(-1, 1, 1, 1),
    )


def send(arrays: Sequence[NDArray[np.float32] | NDArray[np.int64]], device: torch.device) -> list[Tensor]:
    """Return arrays as tensors on a device, brought there in one copy that nobody waits for.

    Args:
        arrays: float32 or int64, of any shapes.
        device: Where to.

    Returns:
        Views into what was copied, in the same order.
    """
    starts = np.cumsum([0, *(-(-array.nbytes // 8) * 8 for array in arrays)])
    packed = torch.empty(int(starts[-1]), dtype=torch.uint8, pin_memory=device.type == "cuda")
    told = packed.numpy()
    for start, array in zip(starts, arrays, strict=False):
        told[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    there = packed.to(device, non_blocking=True)
    return [
        there[start : start + array.nbytes].view(_KINDS[array.dtype]).view(array.shape)
        for start, array in zip(starts, arrays, strict=False)
    ]


def apply_augmix(pixels: Tensor, draw: AugMixDraw) -> Tensor:
    """Return mixed pictures.

    Args:
        pixels: `[n, 3, side, side]` float32, whole numbers in 0…255.
        draw: From `draw_augmix`, for n pictures.

    Returns:
        The same shape, whole numbers in 0…255.
    """
    count, chains = draw.weights.shape
    links = [_sort_link(draw, number, side_px=pixels.shape[-1]) for number in range(draw.operators.shape[2])]
    told = [draw.original, draw.weights.T, links[0].rows % count]
    for link in links:
        told += [link.rows, link.matrices, link.values]
    original, weights, pictures, *sent = send(told, pixels.device)
    changed = torch.empty((chains * count, *pixels.shape[1:]), device=pixels.device)
    for number, link in enumerate(links):
        rows, matrices, values = sent[3 * number : 3 * number + 3]
        part = changed.index_select(0, rows) if number else pixels.index_select(0, pictures)
        _change(part, link.counts, matrices, values)
        changed.index_copy_(0, rows, part)
    mixed = pixels * original.view(-1, 1, 1, 1)
    for chain, weight in zip(changed.view(chains, *pixels.shape), weights, strict=True):
        mixed.add_(chain.mul_(weight.view(-1, 1, 1, 1)))
    return mixed.floor_().clamp_(0, 255)


def _change(pixels: Tensor, counts: tuple[int, ...], matrices: Tensor, values: Tensor) -> None:
    """Change pictures, sorted by operator, in place."""
    ends = np.cumsum(counts).tolist()
    if counts[1]:
        pixels[ends[0] : ends[1]] = warp(pixels[ends[0] : ends[1]], matrices)
    for operator, start, end in zip(PHOTOMETRIC.values(), ends[1:], ends[2:], strict=False):
        if end > start:
            operator(pixels[start:end], values[start:end])
