"""From encoded pictures to what the network sees: one object for training's validation, embedding and queries.

A picture is read as the squares that cover it: one for a square view, two that overlap for a 4:3 photo, four side by side
for a 4:1 panorama. So nothing at a photo's edges is thrown away and nothing is distorted, and a panorama handed over as one
picture is read exactly as its four views.

The paper does not say how its evaluation cuts pictures (a centre crop would see a quarter of a panorama).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

from geoloc_pipeline.errors import ImageError, SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

_ENOUGH_OVERLAP = 0.2  # of a side: up to 6:5 the middle square is the picture
MOST_SQUARES = 8
INTERPOLATIONS = ("bilinear", "bicubic")


def decode_view(data: bytes, *, name: str) -> NDArray[np.uint8]:
    """Return `[height, width, 3]` RGB of an encoded picture of our own shards.

    Args:
        data: WebP, JPEG or PNG.
        name: For the error.

    Returns:
        Pixels, as stored: orientation was settled when the shard was written.

    Raises:
        ImageError: The bytes are no picture.
    """
    how = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION  # to turn BGR around afterwards costs a third of the decoding
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), how) if data else None
    if pixels is None:
        raise ImageError(
            image=name,
            reason="undecodable",
            detail=f"its {len(data)} bytes are no picture that OpenCV can read",
            cure="remove its shard and materialise `training_shards` again",
        )
    return np.asarray(pixels, dtype=np.uint8)


def count_squares(*, width_px: int, height_px: int) -> int:
    """Return how many squares of the shorter side cover a picture, 1 to 8."""
    longer, shorter = max(width_px, height_px), min(width_px, height_px)
    return int(np.clip(np.ceil(longer / shorter - _ENOUGH_OVERLAP), 1, MOST_SQUARES))


def cut_square(pixels: NDArray[np.uint8], square: int) -> NDArray[np.uint8]:
    """Return one of the squares that cover a picture, counted from the left (or from the top of a tall one).

    Args:
        pixels: `[height, width, 3]`.
        square: 0 to `count_squares` - 1.

    Returns:
        `[side, side, 3]`, a view into `pixels`.
    """
    height, width = pixels.shape[:2]
    side, count = min(height, width), count_squares(width_px=width, height_px=height)
    slack = max(height, width) - side
    start = slack // 2 if count == 1 else round(slack * square / (count - 1))
    return pixels[:, start : start + side] if width >= height else pixels[start : start + side]


def resize_square(pixels: NDArray[np.uint8], side_px: int, *, interpolation: str = "bicubic") -> NDArray[np.uint8]:
    """Return a square picture in another size, as Pillow's resize (which timm's backbones were trained with) makes it.

    The kernel widens when a picture shrinks, so that nothing is skipped. On a CPU with AVX2 it computes in the calling thread
    alone, so that threads that decode side by side do not crowd each other out.

    Args:
        pixels: `[side, side, 3]`.
        side_px: Side of what comes out.
        interpolation: `bilinear` or `bicubic`.

    Returns:
        `[side_px, side_px, 3]`; `pixels` itself where there is nothing to do.
    """
    if pixels.shape[0] == side_px:
        return pixels
    whole = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))  # channels last: torch's fast way through bytes
    resized = F.interpolate(whole.permute(2, 0, 1)[None], size=(side_px, side_px), mode=interpolation, antialias=True)
    return np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy())


@lru_cache(maxsize=32)
def _shift_and_scale(
    mean: tuple[float, float, float], std: tuple[float, float, float], device: torch.device
) -> tuple[Tensor, Tensor]:
    # kept on the device: a copy of Python's numbers at every call would make the CPU wait for the GPU
    with torch.inference_mode(mode=False):  # who asks first must not decide whether others may compute gradients
        shift = torch.tensor(mean, device=device).mul(255.0).view(1, 3, 1, 1)
        scale = torch.tensor(std, device=device).mul(255.0).view(1, 3, 1, 1)
    return shift, scale


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become numbers for one backbone.

    Attributes:
        input_px: Side of the square that the network sees.
        mean: Per channel, of pixels in [0, 1]; the backbone's own, not ImageNet's (0.5 for the paper's ViT).
        std: Per channel.
        interpolation: `bilinear` or `bicubic`; the backbone's own.
    """

    input_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            cure = f"use one of {', '.join(INTERPOLATIONS)}, or a backbone that was trained with one of them"
            raise SettingError(setting="interpolation", value=self.interpolation, cure=cure)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Preprocessing:
        """Return the preprocessing that `dataclasses.asdict` told a file."""
        mean, std = (tuple(float(value) for value in plain[name]) for name in ("mean", "std"))
        return cls(
            input_px=int(plain["input_px"]),
            mean=(mean[0], mean[1], mean[2]),
            std=(std[0], std[1], std[2]),
            interpolation=str(plain["interpolation"]),
        )

    def squares(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Return the squares that cover `[height, width, 3]` pixels, each in the size that the network sees."""
        height, width = pixels.shape[:2]
        count = count_squares(width_px=width, height_px=height)
        squares = (cut_square(pixels, square) for square in range(count))
        return [resize_square(square, self.input_px, interpolation=self.interpolation) for square in squares]

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return `[n, 3, height, width]` numbers for the network from values in 0…255 (uint8 or float)."""
        shift, scale = _shift_and_scale(self.mean, self.std, pixels.device)
        return (pixels.to(torch.float32) - shift) / scale

    def batch(self, squares: NDArray[np.uint8], *, device: torch.device | str = "cpu") -> Tensor:
        """Return normalised `[n, 3, side, side]` of `[n, side, side, 3]` RGB squares, on `device`."""
        return self.normalise(torch.from_numpy(squares).to(device).permute(0, 3, 1, 2))
