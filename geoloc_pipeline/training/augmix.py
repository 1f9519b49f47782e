"""AugMix for a whole batch: every picture has its own operators, strengths and weights.

The operators give what torchvision's give for one picture (within one grey level), so this is torchvision's AugMix at the speed
of a batch. Strengths are those of severity 3, torchvision's default: the first three of ten bins.

Paper: §3.1 ("three default transforms, applied independently three times to the same image … composited").
Source: AugMix (arXiv 1912.02781); torchvision.transforms.AugMix.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

SEVERITY = 3
BINS = 10
LONGEST_CHAIN = 3
GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


class AugMixDraw(NamedTuple):
    """What chance decided for n pictures, k chains of up to 3 operators each.

    Attributes:
        operators: `[n, k, 3]` index into `OPERATORS`; -1 where a chain is shorter.
        bins: `[n, k, 3]` strength, 0 to 2.
        signs: `[n, k, 3]` -1 or 1.
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
    lengths = rng.integers(1, LONGEST_CHAIN + 1, (count, chains)) if depth == 0 else np.full((count, chains), depth)
    operators = rng.integers(0, len(OPERATORS), (count, chains, LONGEST_CHAIN))
    operators[np.arange(LONGEST_CHAIN) >= lengths[..., None]] = -1
    original = rng.beta(1.0, 1.0, count) if blend else np.zeros(count)
    weights = rng.dirichlet(np.ones(chains), count) * (1.0 - original)[:, None]
    return AugMixDraw(
        operators=operators,
        bins=rng.integers(0, SEVERITY, operators.shape),
        signs=rng.integers(0, 2, operators.shape) * 2 - 1,
        original=original.astype(np.float32),
        weights=weights.astype(np.float32),
    )


def apply_augmix(pixels: Tensor, draw: AugMixDraw) -> Tensor:
    """Return mixed pictures.

    Args:
        pixels: `[n, 3, height, width]` float32, whole numbers in 0…255.
        draw: From `draw_augmix`, for n pictures.

    Returns:
        The same shape, whole numbers in 0…255.
    """
    device = pixels.device
    mixed = pixels * torch.from_numpy(draw.original).to(device).view(-1, 1, 1, 1)
    for chain in range(draw.weights.shape[1]):
        changed = pixels
        for link in range(LONGEST_CHAIN):
            changed = _apply_link(
                changed, draw.operators[:, chain, link], draw.bins[:, chain, link], draw.signs[:, chain, link]
            )
        mixed = mixed + changed * torch.from_numpy(draw.weights[:, chain]).to(device).view(-1, 1, 1, 1)
    return mixed.floor_().clamp_(0, 255)


def _apply_link(pixels: Tensor, operators: NDArray[np.int64], bins: NDArray[np.int64], signs: NDArray[np.int64]) -> Tensor:
    changed, side = pixels.clone(), pixels.shape[-1]
    warped = [index for index, name in enumerate(OPERATORS) if name in GEOMETRIC]
    groups = [np.isin(operators, warped), *(operators == i for i in range(len(OPERATORS)) if i not in warped)]
    for group in groups:
        rows = np.flatnonzero(group)
        if len(rows) == 0:
            continue
        names = [OPERATORS[index] for index in operators[rows]]
        chosen = torch.from_numpy(rows).to(pixels.device)
        part = pixels[chosen]
        if names[0] in GEOMETRIC:
            matrices = [
                geometric_matrix(name, magnitude(name, int(b), int(s), side_px=side), side_px=side)
                for name, b, s in zip(names, bins[rows], signs[rows], strict=True)
            ]
            part = warp(part, torch.tensor(matrices, dtype=torch.float32, device=pixels.device))
        else:
            strengths = [magnitude(names[0], int(b), int(s)) for b, s in zip(bins[rows], signs[rows], strict=True)]
            part = PHOTOMETRIC[names[0]](part, torch.tensor(strengths, device=pixels.device).view(-1, 1, 1, 1))
        changed[chosen] = part
    return changed


def magnitude(name: str, strength: int, sign: int, *, side_px: int = 0) -> float:
    """Return the strength of an operator as torchvision's AugMix takes it from its bins.

    Args:
        name: One of `OPERATORS`.
        strength: Bin, 0 to 9.
        sign: -1 or 1; ignored where the operator has no direction.
        side_px: Side of the picture, for translations.

    Returns:
        Shear as a tangent, translation in whole pixels, rotation in degrees, posterisation in bits, solarisation as a
        threshold, colour operators as the distance from factor 1.
    """
    share = strength / (BINS - 1)
    if name in {"shear_x", "shear_y"}:
        return sign * 0.3 * share
    if name in {"translate_x", "translate_y"}:
        return float(int(sign * side_px / 3.0 * share))
    if name == "rotate":
        return sign * 30.0 * share
    if name == "posterize":
        return float(4 - int(torch.tensor(strength / ((BINS - 1) / 4)).round()))
    if name == "solarize":
        return 255.0 * (1.0 - share)
    return sign * 0.9 * share


def geometric_matrix(name: str, value: float, *, side_px: int) -> list[list[float]]:
    """Return the matrix that brings an output pixel, in pixels from the middle, to where it is read.

    Shears turn about the upper left corner, rotations about the middle, as in torchvision's AugMix.
    """
    if name == "shear_x":
        return [[1.0, value, value * side_px / 2], [0.0, 1.0, 0.0]]
    if name == "shear_y":
        return [[1.0, 0.0, 0.0], [value, 1.0, value * side_px / 2]]
    if name == "translate_x":
        return [[1.0, 0.0, -value], [0.0, 1.0, 0.0]]
    if name == "translate_y":
        return [[1.0, 0.0, 0.0], [0.0, 1.0, -value]]
    cos, sin = math.cos(math.radians(value)), math.sin(math.radians(value))
    return [[cos, -sin, 0.0], [sin, cos, 0.0]]


def warp(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Return pictures read through affine matrices: bilinear, black outside, rounded, as torchvision does.

    Args:
        pixels: `[n, 3, side, side]`.
        matrices: `[n, 2, 3]` from output to input, in pixels from the middle.

    Returns:
        The same shape.
    """
    side = pixels.shape[-1]
    theta = matrices.clone()
    theta[:, :, 2] *= 2.0 / side
    grid = F.affine_grid(theta, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False).round_()


def _grey(pixels: Tensor) -> Tensor:
    return (0.2989 * pixels[:, 0:1] + 0.587 * pixels[:, 1:2] + 0.114 * pixels[:, 2:3]).floor()


def _blend(pixels: Tensor, other: Tensor, distance: Tensor) -> Tensor:
    return (pixels + (pixels - other) * distance).clamp(0, 255).floor()


def _brightness(pixels: Tensor, distance: Tensor) -> Tensor:
    return (pixels * (1.0 + distance)).clamp(0, 255).floor()


def _color(pixels: Tensor, distance: Tensor) -> Tensor:
    return _blend(pixels, _grey(pixels), distance)


def _contrast(pixels: Tensor, distance: Tensor) -> Tensor:
    return _blend(pixels, _grey(pixels).mean(dim=(1, 2, 3), keepdim=True), distance)


def _sharpness(pixels: Tensor, distance: Tensor) -> Tensor:
    kernel = torch.ones(3, 3, device=pixels.device)
    kernel[1, 1] = 5.0
    smooth = pixels.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(pixels, (kernel / 13.0).expand(3, 1, 3, 3), groups=3).round()
    return _blend(pixels, smooth, distance)


def _posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    step = torch.exp2(8 - bits)
    return (pixels / step).floor() * step


def _solarize(pixels: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(pixels >= threshold, 255.0 - pixels, pixels)


def _autocontrast(pixels: Tensor, _: Tensor) -> Tensor:
    low, high = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    flat = high == low
    spread = torch.where(flat, 255.0, high - low)
    return ((pixels - torch.where(flat, 0.0, low)) * (255.0 / spread)).clamp(0, 255).floor()


def _equalize(pixels: Tensor, _: Tensor) -> Tensor:
    count, channels, height, width = pixels.shape
    levels = pixels.reshape(count * channels, -1).long()
    histogram = torch.zeros(count * channels, 256, dtype=torch.int64, device=pixels.device)
    histogram.scatter_add_(1, levels, torch.ones_like(levels))
    last = levels.amax(dim=1, keepdim=True)
    step = (height * width - histogram.gather(1, last)) // 255
    safe = step.clamp(min=1)
    table = F.pad(((histogram.cumsum(1) + safe // 2) // safe), (1, 0))[:, :-1].clamp(0, 255)
    equal = torch.where(step == 0, levels, table.gather(1, levels))
    return equal.view(count, channels, height, width).to(pixels.dtype)


PHOTOMETRIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "brightness": _brightness,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
}
OPERATORS = (*GEOMETRIC, *PHOTOMETRIC)
