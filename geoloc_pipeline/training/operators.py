"""AugMix's thirteen operators, each on many pictures at once and each picture with a strength of its own.

They give what torchvision's give for one picture, within one grey level. Pixels are whole numbers in float32: a GPU computes
with them as they are. No operator asks the device for an answer, and none multiplies matrices: TF32 and autocast do not
matter.

Source: torchvision.transforms.functional, torchvision.transforms.autoaugment.
"""

from __future__ import annotations

import math
from functools import lru_cache
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
GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")


class Strengths(NamedTuple):
    """What every operator takes, by its index in `OPERATORS`, its bin and its sign (0: minus, 1: plus).

    Attributes:
        matrices: `[5, 3, 2, 2, 3]` of the geometric operators, for `warp`.
        values: `[13, 3, 2]` what the others take.
    """

    matrices: NDArray[np.float32]
    values: NDArray[np.float32]


@lru_cache(maxsize=8)
def strengths(side_px: int) -> Strengths:
    """Return the strengths of all operators on pictures of one size."""
    matrices = np.zeros((len(GEOMETRIC), SEVERITY, 2, 2, 3), dtype=np.float32)
    values = np.zeros((len(OPERATORS), SEVERITY, 2), dtype=np.float32)
    for index, name in enumerate(OPERATORS):
        for strength in range(SEVERITY):
            for plus, sign in enumerate((-1, 1)):
                value = magnitude(name, strength, sign, side_px=side_px)
                if name in GEOMETRIC:
                    matrices[index, strength, plus] = geometric_matrix(name, value, side_px=side_px)
                values[index, strength, plus] = 2.0 ** (8 - value) if name == "posterize" else value
    return Strengths(matrices=matrices, values=values)


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
        return float(4 - round(strength / ((BINS - 1) / 4)))
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


def places_of(matrices: Tensor, *, side_px: int) -> Tensor:
    """Return `[n, side_px, side_px, 2]` where each pixel of a square is brought by `[n, 2, 3]` matrices; squares span -1…1."""
    # F.affine_grid multiplies matrices, which TF32 rounds to a tenth of a pixel and which takes a CPU longer than the reading
    line = (torch.arange(side_px, device=matrices.device, dtype=torch.float32) * 2 + 1) / side_px - 1
    across = matrices[:, None, None, :, 0] * line.view(1, 1, side_px, 1)
    down = matrices[:, None, None, :, 1] * line.view(1, side_px, 1, 1) + matrices[:, None, None, :, 2]
    return across + down


def read_through(pixels: Tensor, matrices: Tensor, *, side_px: int, padding: str = "zeros") -> Tensor:
    """Return pictures read through affine matrices, bilinear, not rounded.

    Args:
        pixels: `[n, 3, side, side]` float32.
        matrices: `[n, 2, 3]` from the output square to the input square, both spanning -1…1.
        side_px: Side of the output.
        padding: What lies outside: `zeros`, `border` or `reflection`.

    Returns:
        `[n, 3, side_px, side_px]`.
    """
    places = places_of(matrices, side_px=side_px)
    return F.grid_sample(pixels, places, mode="bilinear", padding_mode=padding, align_corners=False)


def warp(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Return pictures read through affine matrices: bilinear, black outside, rounded, as torchvision does.

    Args:
        pixels: `[n, 3, side, side]`.
        matrices: `[n, 2, 3]` from output to input, in pixels from the middle.

    Returns:
        The same shape.
    """
    side = pixels.shape[-1]
    scale = torch.ones(3, device=pixels.device)
    scale[2:] = 2.0 / side
    return read_through(pixels, matrices * scale, side_px=side).round_()


def _grey(pixels: Tensor) -> Tensor:
    return (0.2989 * pixels[:, 0:1]).add_(0.587 * pixels[:, 1:2]).add_(0.114 * pixels[:, 2:3]).floor_()


def _blend(pixels: Tensor, other: Tensor, distance: Tensor) -> None:
    pixels.mul_(1.0 + distance).sub_(other * distance).clamp_(0, 255).floor_()


def _brightness(pixels: Tensor, distance: Tensor) -> None:
    pixels.mul_(1.0 + distance).clamp_(0, 255).floor_()


def _color(pixels: Tensor, distance: Tensor) -> None:
    _blend(pixels, _grey(pixels), distance)


def _contrast(pixels: Tensor, distance: Tensor) -> None:
    _blend(pixels, _grey(pixels).mean(dim=(1, 2, 3), keepdim=True), distance)


def _sharpness(pixels: Tensor, distance: Tensor) -> None:
    inner = pixels[:, :, 1:-1, 1:-1]  # torchvision leaves the border as it is
    beside = pixels[..., :-2] + pixels[..., 1:-1] + pixels[..., 2:]
    around = beside[:, :, :-2] + beside[:, :, 1:-1] + beside[:, :, 2:]  # nine pixels; the middle one counts five times
    _blend(inner, around.add_(inner, alpha=4.0).div_(13.0).round_(), distance)


def _posterize(pixels: Tensor, step: Tensor) -> None:
    pixels.div_(step).floor_().mul_(step)


def _solarize(pixels: Tensor, threshold: Tensor) -> None:
    pixels.copy_(torch.where(pixels >= threshold, 255.0 - pixels, pixels))


def _autocontrast(pixels: Tensor, _: Tensor) -> None:
    low, high = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    spread = high - low
    flat = spread == 0
    low, spread = low.masked_fill(flat, 0.0), spread.masked_fill(flat, 255.0)  # torch.where would wait to bring a number over
    pixels.sub_(low).mul_(255.0 / spread).clamp_(0, 255).floor_()


def _equalize(pixels: Tensor, _: Tensor) -> None:
    levels = pixels.reshape(pixels.shape[0] * pixels.shape[1], -1).long()
    histogram = torch.zeros(len(levels), 256, dtype=torch.int64, device=pixels.device)
    histogram.scatter_add_(1, levels, torch.ones_like(levels))
    last = levels.amax(dim=1, keepdim=True)
    step = (levels.shape[1] - histogram.gather(1, last)) // 255
    safe = step.clamp(min=1)
    table = F.pad(((histogram.cumsum(1) + safe // 2) // safe), (1, 0))[:, :-1].clamp(0, 255)
    unchanged = torch.arange(256, device=pixels.device).expand_as(table)
    table = torch.where(step == 0, unchanged, table).to(pixels.dtype)
    pixels.copy_(table.gather(1, levels).view_as(pixels))


PHOTOMETRIC: dict[
    str, Callable[[Tensor, Tensor], None]
] = {  # each changes pictures in place: `[n, 3, side, side]`, `[n, 1, 1, 1]`
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
