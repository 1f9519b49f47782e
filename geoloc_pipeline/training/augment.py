"""The paper's augmentation for a whole batch, on the device that trains: crop, affine, AugMix, noise; no flips.

Text and the side of the road do not survive a mirror, and the paper mentions none. Chance is drawn for the global batch from
(seed, epoch, step), so any number of ranks sees the same pictures (the noise of single pixels aside).

Crop and affine are one matrix and one reading, where torchvision reads and rounds twice: a picture is a little sharper, and a
crop begins between pixels. A view at least 1.75 times as large as the input is read several times for each pixel; a smaller
one once, which is sharper than an antialiased reduction. `black` is what the affine uncovers of the crop, as in torchvision;
`reflect` shows what the view has beyond the crop, and mirrors only where the view itself ends.

Paper: §3.1, in the order of its text.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from geoloc_pipeline.training.augmix import AugMixDraw, apply_augmix, draw_augmix, send
from geoloc_pipeline.training.operators import places_of, read_through

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from geoloc_pipeline.training.config import TrainingConfig

_PORTION_VALUES = 2**20  # that a CPU changes at once: larger ones leave its cache, and malloc gives them fresh pages each time
_ATTEMPTS = 10  # torchvision tries a crop ten times before it takes the middle


class Draw(NamedTuple):
    """What chance decided for n pictures.

    Attributes:
        matrices: `[n, 2, 3]` from the output square to the input square, both spanning -1…1: crop and affine in one.
        affines: `[n, 2, 3]` from the output square to the crop: the affine alone.
        noisy: `[n]` whether noise is added.
        augmix: The chains; None when they are off.
    """

    matrices: NDArray[np.float32]
    affines: NDArray[np.float32]
    noisy: NDArray[np.bool_]
    augmix: AugMixDraw | None

    def rows(self, chosen: slice) -> Draw:
        """Return the draws of some pictures."""
        mix = None if self.augmix is None else self.augmix.rows(chosen)
        return Draw(self.matrices[chosen], self.affines[chosen], self.noisy[chosen], mix)


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
    matrices, affines = ((crop @ affine)[:, :2].astype(np.float32), affine[:, :2].astype(np.float32))
    return Draw(matrices=matrices, affines=affines, noisy=noisy, augmix=mix)


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
    squarest = np.clip(1.0, ratio[0], ratio[1])  # the largest crop in the middle, when no try fits
    width = np.where(found, width[rows, chosen], min(1.0, squarest))
    height = np.where(found, height[rows, chosen], min(1.0, 1.0 / squarest))
    matrices = np.tile(np.eye(3), (count, 1, 1))
    matrices[:, 0, 0], matrices[:, 1, 1] = width, height
    matrices[:, 0, 2] = rng.uniform(-1, 1, count) * (1 - width) * found
    matrices[:, 1, 2] = rng.uniform(-1, 1, count) * (1 - height) * found
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
    if pixels.device.type != "cpu":
        return _augment(pixels, draw, config, noise=noise)
    size = max(1, _PORTION_VALUES // (3 * config.input_px**2 * max(1, config.augmix)))
    changed = torch.empty(len(pixels), 3, config.input_px, config.input_px)
    for start in range(0, len(pixels), size):
        rows = slice(start, start + size)
        changed[rows] = _augment(pixels[rows], draw.rows(rows), config, noise=noise)
    return changed


def _augment(pixels: Tensor, draw: Draw, config: TrainingConfig, *, noise: torch.Generator) -> Tensor:
    matrices, affines, noisy = send([draw.matrices, draw.affines, draw.noisy.astype(np.float32)], pixels.device)
    cut = _read(
        pixels.float(), matrices, side_px=config.input_px, padding="reflection" if config.fill == "reflect" else "border"
    )
    if config.fill == "black":
        cut.mul_(_covered(affines, side_px=config.input_px))
    cut.round_().clamp_(0, 255)
    if draw.augmix is not None:
        cut = apply_augmix(cut, draw.augmix)
    if config.noise_levels and config.noise_probability:
        low, high = -config.noise_levels, config.noise_levels + 1
        grain = torch.randint(low, high, cut.shape, generator=noise, device=cut.device, dtype=torch.int8)
        cut.add_(grain * noisy.view(-1, 1, 1, 1)).clamp_(0, 255)
    return cut


def _read(pixels: Tensor, matrices: Tensor, *, side_px: int, padding: str) -> Tensor:
    """Return crop and affine of `[n, 3, side, side]` in one go: the mean of several readings where a whole view is shrunk."""
    finer = max(1, int(pixels.shape[-1] / side_px + 0.25))  # readings along a side of an output pixel
    total = torch.zeros(len(pixels), 3, side_px, side_px, device=pixels.device)
    for down, across in product([(2 * part + 1 - finer) / (finer * side_px) for part in range(finer)], repeat=2):
        shifted = matrices.clone()
        shifted[:, :, 2] += across * matrices[:, :, 0] + down * matrices[:, :, 1]
        total.add_(read_through(pixels, shifted, side_px=side_px, padding=padding))
    return total.div_(finer**2)


def _covered(affines: Tensor, *, side_px: int) -> Tensor:
    """Return `[n, 1, side_px, side_px]` how much of the crop each pixel shows after the affine: 0 to 1, as bilinear reading."""
    across, down = ((1 - places_of(affines, side_px=side_px).abs()) * (side_px / 2) + 0.5).clamp_(0, 1).unbind(-1)
    return (across * down).unsqueeze(1)
