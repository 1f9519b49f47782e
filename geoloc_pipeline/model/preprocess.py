"""From encoded pictures to what the network sees: one object for training's validation, embedding and queries.

A picture is read as the squares that cover it: one for a square view, two that overlap for a 4:3 photo, four side by side
for a 4:1 panorama. So nothing at a photo's edges is thrown away and nothing is distorted, and a panorama handed over as one
picture is read exactly as its four views.

The paper does not say how its evaluation cuts pictures (a centre crop would see a quarter of a panorama).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from geoloc_pipeline.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_ENOUGH_OVERLAP = 0.2  # of a side: up to 6:5 the middle square is the picture
MOST_SQUARES = 8


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


def resize_square(pixels: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Return a square picture in another size: by area when it shrinks, bicubic when it grows."""
    if pixels.shape[0] == side_px:
        return pixels
    how = cv2.INTER_AREA if pixels.shape[0] > side_px else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (side_px, side_px), interpolation=how), dtype=np.uint8)


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become numbers for one backbone.

    Attributes:
        input_px: Side of the square that the network sees.
        mean: Per channel, of pixels in [0, 1]; the backbone's own, not ImageNet's (0.5 for the paper's ViT).
        std: Per channel.
    """

    input_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def squares(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Return the squares that cover `[height, width, 3]` pixels, each in the size that the network sees."""
        height, width = pixels.shape[:2]
        count = count_squares(width_px=width, height_px=height)
        return [resize_square(cut_square(pixels, square), self.input_px) for square in range(count)]

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return `[n, 3, height, width]` numbers for the network from values in 0…255 (uint8 or float)."""
        scale = torch.tensor(self.std, device=pixels.device).mul(255.0).view(1, 3, 1, 1)
        shift = torch.tensor(self.mean, device=pixels.device).mul(255.0).view(1, 3, 1, 1)
        return (pixels.to(torch.float32) - shift) / scale

    def batch(self, squares: NDArray[np.uint8], *, device: torch.device | str = "cpu") -> Tensor:
        """Return normalised `[n, 3, side, side]` of `[n, side, side, 3]` RGB squares, on `device`."""
        return self.normalise(torch.from_numpy(squares).to(device).permute(0, 3, 1, 2))
