"""Crop, affine and noise of a whole batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as tv

from geoloc_pipeline.training.augment import _affine_matrices, augment, draw_augmentation
from geoloc_pipeline.training.config import make_config

PLAIN = {"augmix": 0, "noise_levels": 0, "affine_scale": [1.0, 1.0], "shear_deg": 0.0}


def smooth(count: int, side: int) -> torch.Tensor:
    rough = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    return (torch.nn.functional.interpolate(rough, size=(side, side), mode="bicubic") * 255).clamp(0, 255).to(torch.uint8)


def run(pixels: torch.Tensor, seed: int = 0, **overrides: object) -> torch.Tensor:
    config = make_config("demo", {"input_px": 32, "seed": seed, **overrides})
    draw = draw_augmentation(config, len(pixels), epoch=0, step=0)
    return augment(pixels, draw, config, noise=torch.Generator().manual_seed(seed))


def test_with_everything_off_a_picture_of_the_right_size_stays_as_it_is():
    pixels = smooth(4, 32)
    assert torch.equal(run(pixels, crop_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0], **PLAIN), pixels.float())


@pytest.mark.parametrize(
    ("top", "left", "height", "width"), [(0, 0, 64, 64), (8, 20, 32, 32), (3, 5, 40, 48), (30, 10, 16, 24)]
)
def test_a_crop_is_torchvisions_crop_and_resize(top: int, left: int, height: int, width: int):
    pixels, config = smooth(1, 64), make_config("demo", {"input_px": 32, **PLAIN})
    matrix = [[width / 64, 0, (left + width / 2) / 32 - 1], [0, height / 64, (top + height / 2) / 32 - 1]]
    draw = draw_augmentation(config, 1, epoch=0, step=0)._replace(matrices=np.array([matrix], dtype=np.float32))
    ours = augment(pixels, draw, config, noise=torch.Generator())
    box = [top, left, height, width]
    theirs = tv.resized_crop(pixels, *box, [32, 32], interpolation=InterpolationMode.BILINEAR, antialias=True)
    assert (ours - theirs.float())[..., 1:-1, 1:-1].abs().mean() < 1.5


def test_crops_have_torchvisions_sizes_and_stay_inside():
    config = make_config("demo", {"crop_scale": [0.08, 1.0], **PLAIN})
    matrices = draw_augmentation(config, 4000, epoch=0, step=0).matrices
    width, height = matrices[:, 0, 0], matrices[:, 1, 1]
    assert ((np.abs(matrices[:, 0, 2]) <= 1 - width + 1e-6) & (np.abs(matrices[:, 1, 2]) <= 1 - height + 1e-6)).all()
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(torch.zeros(3, 500, 500), [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    areas = np.array([h * w / 250_000 for _, _, h, w in theirs])
    assert np.quantile(width * height, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(areas, [0.1, 0.5, 0.9]), abs=0.03)


def test_the_affine_is_torchvisions():
    pixels = smooth(1, 64)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        zoom, (shear_x, _) = rng.uniform(1.0, 1.1, 1)[0], rng.uniform(-15, 15, (2, 1))[:, 0]
        matrix = _affine_matrices(np.random.default_rng(seed), 1, scale=(1.0, 1.1), shear_deg=15, both=False)[:, :2]
        grid = torch.nn.functional.affine_grid(torch.tensor(matrix, dtype=torch.float32), [1, 3, 64, 64], align_corners=False)
        ours = torch.nn.functional.grid_sample(pixels.float(), grid, align_corners=False)
        theirs = tv.affine(pixels, 0.0, [0, 0], zoom, [shear_x, 0.0], interpolation=InterpolationMode.BILINEAR)
        assert (ours - theirs.float()).abs().max() <= 1


def test_black_fill_uncovers_corners_and_reflection_does_not():
    white = torch.full((64, 3, 32, 32), 255, dtype=torch.uint8)
    keeps = {"augmix": 0, "noise_levels": 0, "crop_scale": [1.0, 1.0], "crop_ratio": [1.0, 1.0]}
    assert run(white, fill="black", **keeps).min() == 0
    assert run(white, fill="reflect", **keeps).min() == 255


def test_noise_is_whole_numbers_from_minus_ten_to_ten_on_half_of_the_pictures():
    grey = torch.full((400, 3, 32, 32), 100, dtype=torch.uint8)
    noise = run(grey, augmix=0) - 100
    touched = noise.flatten(1).abs().amax(dim=1) > 0
    assert 0.4 < touched.float().mean() < 0.6
    assert (noise.min(), noise.max()) == (-10, 10)
    assert torch.equal(noise, noise.round())
    assert len(torch.unique(noise[touched])) == 21


def test_no_picture_is_ever_mirrored():
    ramp = torch.linspace(0, 255, 64).repeat(64, 1).expand(200, 3, 64, 64).to(torch.uint8)
    cut = run(ramp, augmix=3, noise_levels=0, crop_scale=[0.2, 1.0])
    assert (cut[..., -8:].mean(dim=(1, 2, 3)) > cut[..., :8].mean(dim=(1, 2, 3))).float().mean() > 0.9  # solarised ones aside


def test_chance_depends_on_seed_epoch_and_step_alone():
    config = make_config("demo")
    one, same = (draw_augmentation(config, 8, epoch=2, step=5).matrices for _ in range(2))
    assert (one == same).all()
    for other in ({"epoch": 3, "step": 5}, {"epoch": 2, "step": 6}):
        assert not (draw_augmentation(config, 8, **other).matrices == one).all()


def test_two_ranks_see_together_what_one_sees_alone():
    config, pixels = make_config("demo", {"noise_levels": 0}), smooth(8, 96)
    draw = draw_augmentation(config, 8, epoch=0, step=0)
    whole = augment(pixels, draw, config, noise=torch.Generator())
    parts = [augment(pixels[part], draw.rows(part), config, noise=torch.Generator()) for part in (slice(0, 4), slice(4, 8))]
    assert torch.equal(whole, torch.cat(parts))
