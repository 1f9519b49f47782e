"""The batched operators against torchvision's, one picture at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv
from torchvision.transforms.autoaugment import AugMix

from geoloc_pipeline.training.augmix import OPERATORS, SEVERITY, apply_augmix, draw_augmix, magnitude

SIDE = 48
BILINEAR = InterpolationMode.BILINEAR


def pictures(count: int = 5) -> torch.Tensor:
    rough = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(4))
    smooth = torch.nn.functional.interpolate(rough, size=(SIDE, SIDE), mode="bicubic")
    batch = (smooth * 255).clamp(0, 255).to(torch.uint8)
    batch[0] = 77  # of one colour: nothing to stretch
    return batch


def one_operator(batch: torch.Tensor, name: str, strength: int, sign: int) -> torch.Tensor:
    draw = draw_augmix(np.random.default_rng(0), len(batch), chains=1, depth=1, blend=False)
    draw.operators[..., 0] = OPERATORS.index(name)
    draw.bins[..., 0], draw.signs[..., 0] = strength, sign
    return apply_augmix(batch.float(), draw)


def affine(
    picture: torch.Tensor, *, translate: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0.0, 0.0)
) -> torch.Tensor:
    center = [0, 0] if shear != (0.0, 0.0) else None
    return tv.affine(picture, 0.0, list(translate), 1.0, list(shear), interpolation=BILINEAR, center=center)


TORCHVISION = {
    "shear_x": lambda p, m: affine(p, shear=(math.degrees(math.atan(m)), 0.0)),
    "shear_y": lambda p, m: affine(p, shear=(0.0, math.degrees(math.atan(m)))),
    "translate_x": lambda p, m: affine(p, translate=(int(m), 0)),
    "translate_y": lambda p, m: affine(p, translate=(0, int(m))),
    "rotate": lambda p, m: tv.rotate(p, m, interpolation=BILINEAR),
    "posterize": lambda p, m: tv.posterize(p, int(m)),
    "solarize": tv.solarize,
    "autocontrast": lambda p, _: tv.autocontrast(p),
    "equalize": lambda p, _: tv.equalize(p),
    "brightness": lambda p, m: tv.adjust_brightness(p, 1 + m),
    "color": lambda p, m: tv.adjust_saturation(p, 1 + m),
    "contrast": lambda p, m: tv.adjust_contrast(p, 1 + m),
    "sharpness": lambda p, m: tv.adjust_sharpness(p, 1 + m),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_torchvisions_within_one_grey_level(name: str):
    batch = pictures()
    for strength in range(SEVERITY):
        for sign in (-1, 1):
            value = magnitude(name, strength, sign, side_px=SIDE)
            theirs = torch.stack([TORCHVISION[name](picture, value) for picture in batch]).float()
            assert (one_operator(batch, name, strength, sign) - theirs).abs().max() <= 1


def test_strengths_are_the_first_bins_of_torchvisions_augmix():
    space = AugMix()._augmentation_space(10, (SIDE, SIDE))
    names = {
        "shear_x": "ShearX",
        "translate_y": "TranslateY",
        "rotate": "Rotate",
        "posterize": "Posterize",
        "solarize": "Solarize",
        "color": "Color",
    }
    for ours, theirs in names.items():
        for strength in range(10):
            expected = float(space[theirs][0][strength])
            assert magnitude(ours, strength, 1, side_px=SIDE) == pytest.approx(
                int(expected) if "translate" in ours else expected, abs=1e-4
            )


def test_each_picture_has_chance_of_its_own_and_the_same_at_every_call():
    batch = pictures(2)[1:].repeat(16, 1, 1, 1).float()
    draw = draw_augmix(np.random.default_rng(5), 16, chains=3, depth=0, blend=True)
    mixed = apply_augmix(batch, draw)
    assert len(torch.unique(mixed.flatten(1), dim=0)) > 12
    assert torch.equal(mixed, apply_augmix(batch, draw))


def test_a_share_of_the_pictures_gets_the_same_as_all_of_them():
    batch = pictures(8).float()
    draw = draw_augmix(np.random.default_rng(5), 8, chains=3, depth=0, blend=True)
    assert torch.equal(apply_augmix(batch, draw)[3:6], apply_augmix(batch[3:6], draw.rows(slice(3, 6))))


def test_weights_sum_to_one_with_and_without_the_original():
    for blend in (True, False):
        draw = draw_augmix(np.random.default_rng(1), 50, chains=3, depth=0, blend=blend)
        assert np.allclose(draw.original + draw.weights.sum(axis=1), 1, atol=1e-6)
        assert (draw.original > 0).any() == blend


def test_chains_are_one_to_three_operators_long_or_of_fixed_depth():
    lengths = (draw_augmix(np.random.default_rng(1), 200, chains=3, depth=0, blend=True).operators >= 0).sum(axis=2)
    assert set(lengths.ravel()) == {1, 2, 3}
    assert ((draw_augmix(np.random.default_rng(1), 9, chains=3, depth=3, blend=True).operators >= 0).sum(axis=2) == 3).all()
