"""AugMix on whole batches against torchvision: every operator, and a plain loop over pictures and chains."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv
from torchvision.transforms.autoaugment import AugMix

from geoloc_pipeline.training.augmix import AugMixDraw, apply_augmix, draw_augmix, send
from geoloc_pipeline.training.operators import (
    GEOMETRIC,
    OPERATORS,
    PHOTOMETRIC,
    SEVERITY,
    geometric_matrix,
    magnitude,
    strengths,
    warp,
)

THRESHOLDS = {"posterize", "solarize", "autocontrast", "equalize"}  # where one grey level before can be many after
BILINEAR = InterpolationMode.BILINEAR
CAMEL = {name: "".join(part.capitalize() for part in name.split("_")) for name in OPERATORS} | {"autocontrast": "AutoContrast"}


def pictures(side: int = 48, count: int = 6) -> torch.Tensor:
    chance = torch.Generator().manual_seed(4)
    rough = torch.rand(count, 3, 9, 9, generator=chance)
    smooth = torch.nn.functional.interpolate(rough, size=(side, side), mode="bicubic")
    batch = (smooth * 255).clamp(0, 255).to(torch.uint8)
    batch[0] = 77  # of one colour: nothing to stretch
    batch[1] = torch.randint(0, 256, (3, side, side), generator=chance)  # and one of nothing but edges
    batch[2, :, : side // 2] = batch[2, :, : side // 2] // 3 + 40  # one without black and white
    return batch


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


def ours(name: str, batch: torch.Tensor, bins: list[int], pluses: list[int]) -> torch.Tensor:
    table, index, changed = strengths(batch.shape[-1]), OPERATORS.index(name), batch.float()
    if name in GEOMETRIC:
        return warp(changed, torch.from_numpy(table.matrices[index][bins, pluses]))
    PHOTOMETRIC[name](changed, torch.from_numpy(table.values[index][bins, pluses]).view(-1, 1, 1, 1))
    return changed


@pytest.mark.parametrize("side", [48, 33])
@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_is_torchvisions_within_one_grey_level_though_every_picture_has_a_strength_of_its_own(
    name: str, side: int
):
    batch = pictures(side)
    for turn in range(SEVERITY):
        bins, pluses = [(row + turn) % SEVERITY for row in range(6)], [(row // 3 + turn) % 2 for row in range(6)]
        values = [magnitude(name, b, 2 * plus - 1, side_px=side) for b, plus in zip(bins, pluses, strict=True)]
        theirs = torch.stack([TORCHVISION[name](picture, value) for picture, value in zip(batch, values, strict=True)])
        apart = (ours(name, batch, bins, pluses) - theirs.float()).abs()
        assert apart.max() <= 1
        assert (apart > 0).float().mean() < 0.02


@pytest.mark.parametrize("name", OPERATORS)
def test_an_operator_changes_nothing_else_under_autocast(name: str):
    batch, bins, pluses = pictures(), [0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 1, 1]
    exact = ours(name, batch, bins, pluses)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(name, batch, bins, pluses), exact)


@pytest.mark.parametrize("name", [name for name in OPERATORS if name not in {"autocontrast", "equalize"}])
def test_strengths_are_the_first_bins_of_torchvisions_augmix(name: str):
    theirs, signed = AugMix()._augmentation_space(10, (48, 48))[CAMEL[name]]
    for strength in range(10):
        expected = int(theirs[strength]) if "translate" in name else float(theirs[strength])
        assert magnitude(name, strength, 1, side_px=48) == pytest.approx(expected, abs=1e-4)
        assert magnitude(name, strength, -1, side_px=48) == pytest.approx(-expected if signed else expected, abs=1e-4)


def test_torchvision_has_the_same_operators():
    assert set(AugMix()._augmentation_space(10, (48, 48))) == set(CAMEL.values())


def test_a_translation_by_whole_pixels_moves_them_untouched():
    batch = pictures().float()
    moved = warp(batch, torch.tensor([geometric_matrix("translate_x", 5.0, side_px=48)] * 6))
    assert torch.equal(moved[..., 5:], batch[..., :-5])
    assert (moved[..., :5] == 0).all()


def drawn(count: int, *, chains: int = 3, depth: int = 0, blend: bool = True, seed: int = 5) -> AugMixDraw:
    return draw_augmix(np.random.default_rng(seed), count, chains=chains, depth=depth, blend=blend)


def one_by_one(batch: torch.Tensor, draw: AugMixDraw) -> torch.Tensor:
    mixed = []
    for row, picture in enumerate(batch):
        total = float(draw.original[row]) * picture.float()
        for chain, weight in enumerate(draw.weights[row].tolist()):
            changed = picture
            for number, strength, sign in zip(*(part[row, chain] for part in draw[:3]), strict=True):
                if number >= 0:
                    name = OPERATORS[number]
                    value = magnitude(name, int(strength), int(sign), side_px=picture.shape[-1])
                    changed = TORCHVISION[name](changed, value)
            total += weight * changed.float()
        mixed.append(total.to(torch.uint8).float())
    return torch.stack(mixed)


@pytest.mark.parametrize(("chains", "depth", "blend"), [(3, 0, True), (3, 3, True), (3, 0, False), (1, 3, False), (5, 2, True)])
def test_a_batch_is_what_torchvision_makes_of_each_picture(chains: int, depth: int, blend: bool):
    batch = pictures(count=24)
    draw = drawn(24, chains=chains, depth=depth, blend=blend)
    apart = (apply_augmix(batch.float(), draw) - one_by_one(batch, draw)).abs()
    calm = ~np.isin(draw.operators, [OPERATORS.index(name) for name in THRESHOLDS]).any(axis=(1, 2))
    assert (apart > 1).float().mean() < 0.01
    assert apart.mean() < 0.1
    assert apart[torch.from_numpy(calm)].le(3).all()


def test_operators_strengths_and_weights_are_spread_as_torchvisions():
    draw = drawn(6000)
    used = draw.operators[draw.operators >= 0]
    assert np.bincount(used) / len(used) == pytest.approx(np.full(13, 1 / 13), rel=0.05)
    assert np.bincount(draw.bins.ravel()) / draw.bins.size == pytest.approx(np.full(3, 1 / 3), rel=0.03)
    assert (draw.signs > 0).mean() == pytest.approx(0.5, abs=0.01)
    torch.manual_seed(0)
    of_two, of_three = (AugMix()._sample_dirichlet(torch.ones(6000, width)) for width in (2, 3))
    shares = np.linspace(0.05, 0.95, 19)
    assert np.quantile(draw.original, shares) == pytest.approx(np.quantile(of_two[:, 0], shares), abs=0.03)
    chains = draw.weights / draw.weights.sum(axis=1, keepdims=True)
    assert np.quantile(chains, shares, axis=0) == pytest.approx(np.quantile(of_three, shares, axis=0), abs=0.03)


def test_pictures_change_as_much_as_by_torchvisions_augmix():
    batch = pictures(32, count=9)[3:].repeat(60, 1, 1, 1)
    torch.manual_seed(1)
    theirs = torch.stack([AugMix()(picture) for picture in batch]).float()
    change, expected = (
        (made - batch).abs().flatten(1).mean(dim=1) for made in (apply_augmix(batch.float(), drawn(len(batch))), theirs)
    )
    assert float(change.mean()) == pytest.approx(float(expected.mean()), rel=0.15)
    assert float(change.quantile(0.9)) == pytest.approx(float(expected.quantile(0.9)), rel=0.15)


def test_each_picture_has_chance_of_its_own_and_the_same_at_every_call():
    batch = pictures()[3:4].repeat(16, 1, 1, 1).float()
    draw = drawn(16)
    mixed = apply_augmix(batch, draw)
    assert len(torch.unique(mixed.flatten(1), dim=0)) > 12
    assert torch.equal(mixed, apply_augmix(batch, draw))


def test_a_share_of_the_pictures_gets_the_same_as_all_of_them():
    batch, draw = pictures(count=8).float(), drawn(8)
    assert torch.equal(apply_augmix(batch, draw)[3:6], apply_augmix(batch[3:6], draw.rows(slice(3, 6))))


def test_a_chain_without_operators_keeps_the_picture_and_what_is_given_is_left_as_it_is():
    batch = pictures(count=8).float()
    before, draw = batch.clone(), drawn(8)
    draw.operators[:4] = -1
    mixed = apply_augmix(batch, draw)
    assert (mixed[:4] - before[:4]).abs().max() <= 1  # weights sum to one but for rounding
    assert (mixed[4:] - before[4:]).abs().max() > 1
    assert torch.equal(batch, before)


def test_weights_sum_to_one_with_and_without_the_original():
    for blend in (True, False):
        draw = drawn(50, blend=blend)
        assert np.allclose(draw.original + draw.weights.sum(axis=1), 1, atol=1e-6)
        assert (draw.original > 0).any() == blend


@pytest.mark.parametrize("chains", [1, 2, 4])
def test_there_are_as_many_chains_as_asked_for(chains: int):
    draw = drawn(4, chains=chains)
    assert draw.weights.shape == (4, chains)
    assert draw.operators.shape == (4, chains, 3)


def test_chains_are_one_to_three_operators_long_or_of_fixed_depth():
    lengths = (drawn(3000).operators >= 0).sum(axis=2)
    assert np.bincount(lengths.ravel()) / lengths.size == pytest.approx([0, 1 / 3, 1 / 3, 1 / 3], abs=0.02)
    for depth in (1, 2, 3, 5):
        assert ((drawn(9, depth=depth).operators >= 0).sum(axis=2) == depth).all()


class Asked(TorchDispatchMode):
    """Notes every call that reaches a device."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function._schema.name)
        return function(*args, **(kwargs or {}))


def test_more_pictures_are_not_more_calls_and_one_copy_carries_all_chance():
    counts = []
    for count in (200, 400):
        with Asked() as asked:
            apply_augmix(torch.zeros(count, 3, 8, 8, device="meta"), drawn(count))
        counts.append(len(asked.names))
        assert asked.names.count("aten::_to_copy") - asked.names.count("aten::scatter_add_") * 2 == 1  # equalize's own aside
    assert counts[0] == counts[1]


def test_nothing_waits_for_the_device():
    mixed = apply_augmix(torch.zeros(50, 3, 8, 8, device="meta"), drawn(50))  # a meta tensor has no values to wait for
    assert mixed.shape == (50, 3, 8, 8)


def test_what_is_sent_arrives_as_it_was():
    arrays = [
        np.arange(3, dtype=np.float32),
        np.arange(6).reshape(2, 3).T,
        np.zeros((0, 2, 3), dtype=np.float32),
        np.array([7]),
    ]
    for array, tensor in zip(arrays, send(arrays, torch.device("cpu")), strict=True):
        assert tensor.numpy().dtype == array.dtype
        assert np.array_equal(tensor.numpy(), array)
