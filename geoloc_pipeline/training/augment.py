"""The paper's augmentation for a whole batch, on the device that trains: crop, affine, AugMix, noise; no flips.

Text and the side of the road do not survive a mirror, and the paper mentions none. Chance is drawn for the global batch from
(seed, epoch, step), so any number of ranks sees the same pictures.

Paper: §3.1, in the order of its text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows

from geoloc_pipeline.training.augmix import AugMixDraw, apply_augmix, draw_augmix

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from geoloc_pipeline.training.config import TrainingConfig

_ATTEMPTS = 10  # torchvision tries a crop ten times before it takes the middle


class Draw(NamedTuple):
    """What chance decided for n pictures.

    Attributes:
        matrices: `[n, 2, 3]` from the output square to the input square, both spanning -1…1: crop and affine in one.
        noisy: `[n]` whether noise is added.
        augmix: The chains; None when they are off.
    """

    matrices: NDArray[np.float32]
    noisy: NDArray[np.bool_]
    augmix: AugMixDraw | None

    def rows(self, chosen: slice) -> Draw:
        """Return the draws of some pictures."""
        mix = None if self.augmix is None else self.augmix.rows(chosen)
        return Draw(matrices=self.matrices[chosen], noisy=self.noisy[chosen], augmix=mix)


def draw_augmentation(config: TrainingConfig, count: int, *, epoch: int, step: int) -> Draw:
    """Return what chance decides for the `count` pictures of one global batch.

    Args:
        config: Of the run.
        count: Pictures.
        epoch: From 0.
        step: In the epoch, from 0.

    Returns:
        The draws, the same at every call.
    """
    rng = np.random.default_rng([config.seed, epoch, 1, step])
    crop = _crop_matrices(rng, count, scale=config.crop_scale, ratio=config.crop_ratio)
    affine = _affine_matrices(rng, count, scale=config.affine_scale, shear_deg=config.shear_deg, both=config.shear_both)
    noisy = rng.random(count) < config.noise_probability
    mix = None
    if config.augmix:
        mix = draw_augmix(rng, count, chains=config.augmix, depth=config.augmix_depth, blend=config.augmix_blend)
    return Draw(matrices=(crop @ affine)[:, :2].astype(np.float32), noisy=noisy, augmix=mix)


def _crop_matrices(
    rng: np.random.Generator, count: int, *, scale: tuple[float, ...], ratio: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return `[n, 3, 3]` matrices of torchvision's RandomResizedCrop on a square."""
    area = rng.uniform(scale[0], scale[1], (count, _ATTEMPTS))
    shape = np.exp(rng.uniform(np.log(ratio[0]), np.log(ratio[1]), (count, _ATTEMPTS)))
    width, height = np.sqrt(area * shape), np.sqrt(area / shape)
    fits = (width <= 1) & (height <= 1)
    chosen = np.argmax(fits, axis=1)
    rows = np.arange(count)
    found = fits[rows, chosen]
    width, height = np.where(found, width[rows, chosen], 1.0), np.where(found, height[rows, chosen], 1.0)
    matrices = np.tile(np.eye(3), (count, 1, 1))
    matrices[:, 0, 0], matrices[:, 1, 1] = width, height
    matrices[:, 0, 2] = rng.uniform(-1, 1, count) * (1 - width)
    matrices[:, 1, 2] = rng.uniform(-1, 1, count) * (1 - height)
    return matrices


def _affine_matrices(
    rng: np.random.Generator, count: int, *, scale: tuple[float, ...], shear_deg: float, both: bool
) -> NDArray[np.float64]:
    """Return `[n, 3, 3]` matrices from output to input: enlarged by `scale`, sheared by up to `shear_deg`."""
    zoom = rng.uniform(scale[0], scale[1], count)
    shear = np.tan(np.radians(rng.uniform(-shear_deg, shear_deg, (2, count))))
    forward = np.tile(np.eye(3), (count, 1, 1))
    forward[:, 0, 1] = -shear[0]
    if both:
        forward[:, 1, 0] = -shear[1]
        forward[:, 1, 1] = 1 + shear[0] * shear[1]
    forward[:, :2, :2] *= zoom[:, None, None]
    return np.asarray(np.linalg.inv(forward), dtype=np.float64)


def augment(pixels: Tensor, draw: Draw, config: TrainingConfig, *, noise: torch.Generator) -> Tensor:
    """Return augmented pictures.

    Args:
        pixels: `[n, 3, side, side]` uint8, on the device that trains.
        draw: What chance decided for them.
        config: Of the run.
        noise: Generator on that device, for the noise of each pixel.

    Returns:
        `[n, 3, input_px, input_px]` float32 in 0…255.
    """
    cut = _sample(pixels, torch.from_numpy(draw.matrices).to(pixels.device), side_px=config.input_px, fill=config.fill)
    if draw.augmix is not None:
        cut = apply_augmix(cut, draw.augmix)
    if config.noise_levels and config.noise_probability:
        low, high = -config.noise_levels, config.noise_levels + 1
        grain = torch.randint(low, high, cut.shape, generator=noise, device=cut.device, dtype=torch.int8)
        noisy = torch.from_numpy(draw.noisy).to(cut.device).view(-1, 1, 1, 1)
        cut = (cut + grain * noisy).clamp_(0, 255)
    return cut


def _sample(pixels: Tensor, matrices: Tensor, *, side_px: int, fill: str) -> Tensor:
    """Return crop and affine of `[n, 3, side, side]` in one reading, averaged where the crop is shrunk."""
    finer = 2 if pixels.shape[-1] >= 1.75 * side_px else 1
    grid = F.affine_grid(matrices, [len(pixels), 3, finer * side_px, finer * side_px], align_corners=False)
    padding = "reflection" if fill == "reflect" else "zeros"
    read = F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode=padding, align_corners=False)
    return (F.avg_pool2d(read, finer) if finer > 1 else read).round_().clamp_(0, 255)
