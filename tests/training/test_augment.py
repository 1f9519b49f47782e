"""Crop, affine and noise of a whole batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as tv

from geoloc_pipeline.training.augment import Draw, _affine_matrices, augment, draw_augmentation
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


BOXES = [(0, 0, 64, 64), (8, 20, 32, 32), (3, 5, 40, 48), (30, 10, 16, 24), (0, 12, 60, 52)]


def cropped(box: tuple[int, int, int, int], affine: np.ndarray | None = None, side: int = 64) -> Draw:
    """Return the draw of one picture whose crop (top, left, height, width) and affine are given."""
    top, left, height, width = box
    crop = np.diag([width / side, height / side, 1.0])
    crop[:2, 2] = (2 * left + width) / side - 1, (2 * top + height) / side - 1
    affine = np.eye(3) if affine is None else affine
    whole, alone = ((crop @ affine)[None, :2].astype(np.float32), affine[None, :2].astype(np.float32))
    return Draw(matrices=whole, affines=alone, noisy=np.zeros(1, dtype=bool), augmix=None)


def some_affine(seed: int, *, both: bool = False) -> tuple[np.ndarray, float, list[float]]:
    rng = np.random.default_rng(seed)
    zoom, (shear_x, shear_y) = rng.uniform(1.0, 1.1, 1)[0], rng.uniform(-15, 15, (2, 1))[:, 0]
    matrix = _affine_matrices(np.random.default_rng(seed), 1, scale=(1.0, 1.1), shear_deg=15, both=both)[0]
    return matrix, float(zoom), [float(shear_x), float(shear_y) if both else 0.0]


@pytest.mark.parametrize("box", BOXES)
def test_a_crop_is_torchvisions_crop_and_resize(box: tuple[int, int, int, int]):
    pixels, config = smooth(1, 64), make_config("demo", {"input_px": 32, **PLAIN})
    ours = augment(pixels, cropped(box), config, noise=torch.Generator())
    theirs = tv.resized_crop(pixels, *box, [32, 32], interpolation=InterpolationMode.BILINEAR, antialias=True)
    assert (ours - theirs.float())[..., 1:-1, 1:-1].abs().mean() < 1.5


@pytest.mark.parametrize("both", [False, True])
def test_crop_and_affine_in_one_reading_are_nearly_torchvisions_one_after_the_other(both: bool):
    pixels, config = smooth(1, 64), make_config("demo", {"input_px": 32, "fill": "black", **PLAIN})
    how = {"interpolation": InterpolationMode.BILINEAR}
    off, swapped, covered = [], [], []
    for number, box in enumerate(BOXES * 4):
        matrix, zoom, shear = some_affine(number, both=both)
        ours = augment(pixels, cropped(box, matrix), config, noise=torch.Generator())
        resized = tv.resized_crop(pixels, *box, [32, 32], antialias=True, **how)
        theirs = tv.affine(resized, 0.0, [0, 0], zoom, shear, **how).float()
        other = tv.resized_crop(tv.affine(pixels, 0.0, [0, 0], zoom, shear, **how), *box, [32, 32], antialias=True, **how)
        off.append((ours - theirs).abs().mean())
        swapped.append((ours - other.float()).abs().mean())
        black, far = theirs == 0, torch.nn.functional.max_pool2d((theirs > 0).float(), 3, 1, 1) == 0
        assert (ours[far] == 0).all()  # the corners that the affine uncovers are black, a line of half covered pixels aside
        covered += [(ours[black] < 128).float().mean()] if black.any() else []
    assert min(covered) > 0.9
    assert max(off) < 2
    assert np.mean(swapped) > 3 * np.mean(off)


def shrunk(pixels: torch.Tensor, input_px: int) -> torch.Tensor:
    return run(pixels, **PLAIN, input_px=input_px, crop_scale=[1.0, 1.0], crop_ratio=[1.0, 1.0])


@pytest.mark.parametrize(("view_px", "input_px"), [(128, 64), (96, 64), (192, 64), (80, 64)])
def test_a_whole_view_is_shrunk_nearly_as_by_torchvisions_antialiasing(view_px: int, input_px: int):
    rough = torch.rand(4, 3, view_px, view_px, generator=torch.Generator().manual_seed(4)) * 255
    grain = torch.nn.functional.avg_pool2d(rough, 3, 1, 1).to(torch.uint8)  # nothing is harder to shrink
    for pixels, bound in ((smooth(4, view_px), 0.6), (grain, 5.0)):
        theirs = tv.resize(pixels, [input_px, input_px], interpolation=InterpolationMode.BILINEAR, antialias=True)
        assert (shrunk(pixels, input_px) - theirs.float())[..., 2:-2, 2:-2].abs().mean() < bound


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_whole_view_of_a_multiple_of_the_size_is_shrunk_by_the_mean_of_its_pixels(times: int):
    pixels = torch.randint(
        0, 256, (2, 3, 32 * times, 32 * times), dtype=torch.uint8, generator=torch.Generator().manual_seed(4)
    )
    expected = torch.nn.functional.avg_pool2d(pixels.float(), times)
    assert (shrunk(pixels, 32) - expected).abs().max() <= 0.51


def test_crops_have_torchvisions_sizes_and_stay_inside():
    config = make_config("demo", {"crop_scale": [0.08, 1.0], **PLAIN})
    matrices = draw_augmentation(config, 4000, epoch=0, step=0).matrices
    width, height = matrices[:, 0, 0], matrices[:, 1, 1]
    assert ((np.abs(matrices[:, 0, 2]) <= 1 - width + 1e-6) & (np.abs(matrices[:, 1, 2]) <= 1 - height + 1e-6)).all()
    torch.manual_seed(0)
    theirs = [RandomResizedCrop.get_params(torch.zeros(3, 500, 500), [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    areas = np.array([h * w / 250_000 for _, _, h, w in theirs])
    assert np.quantile(width * height, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(areas, [0.1, 0.5, 0.9]), abs=0.03)


def test_crops_have_torchvisions_shapes_and_places():
    config = make_config("demo", {"crop_scale": [0.08, 1.0], **PLAIN})
    matrices = draw_augmentation(config, 4000, epoch=0, step=0).matrices
    torch.manual_seed(0)
    blank = torch.zeros(3, 500, 500)
    boxes = np.array([RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]) / 500
    shares = [0.05, 0.25, 0.5, 0.75, 0.95]
    width, height = matrices[:, 0, 0], matrices[:, 1, 1]
    assert np.quantile(width / height, shares) == pytest.approx(np.quantile(boxes[:, 3] / boxes[:, 2], shares), abs=0.03)
    for axis, size, start in ((0, width, boxes[:, 1]), (1, height, boxes[:, 0])):
        ours = (matrices[:, axis, 2] + 1 - size) / 2  # left or upper edge, as a share of the view
        assert np.quantile(ours, shares) == pytest.approx(np.quantile(start, shares), abs=0.03)


@pytest.mark.parametrize(("scale", "ratio"), [((0.5, 0.6), (1.0, 1.0)), ((0.1, 0.2), (0.5, 2.0)), ((0.9, 1.0), (0.75, 4 / 3))])
def test_crops_keep_to_the_scale_and_ratio_asked_for(scale: tuple[float, float], ratio: tuple[float, float]):
    config = make_config("demo", {**PLAIN, "crop_scale": list(scale), "crop_ratio": list(ratio)})
    matrices = draw_augmentation(config, 500, epoch=0, step=0).matrices
    area, shape = matrices[:, 0, 0] * matrices[:, 1, 1], matrices[:, 0, 0] / matrices[:, 1, 1]
    assert scale[0] - 1e-6 <= area.min()
    assert area.max() <= scale[1] + 1e-6
    assert ratio[0] - 1e-6 <= shape.min()
    assert shape.max() <= ratio[1] + 1e-6
    assert area.max() - area.min() > 0.9 * (scale[1] - scale[0])


def test_a_crop_that_never_fits_becomes_the_largest_in_the_middle_as_torchvisions():
    for ratio in ([2.0, 3.0], [0.3, 0.4]):
        config = make_config("demo", {**PLAIN, "crop_scale": [0.99, 1.0], "crop_ratio": ratio})
        matrix = draw_augmentation(config, 1, epoch=0, step=0).matrices[0]
        top, left, height, width = RandomResizedCrop.get_params(torch.zeros(3, 600, 600), [0.99, 1.0], ratio)
        expected = [[width / 600, 0, (2 * left + width) / 600 - 1], [0, height / 600, (2 * top + height) / 600 - 1]]
        assert matrix == pytest.approx(np.array(expected), abs=0.01)


@pytest.mark.parametrize("both", [False, True])
def test_the_affine_is_torchvisions(both: bool):
    pixels = smooth(1, 64)
    for seed in range(5):
        matrix, zoom, shear = some_affine(seed, both=both)
        theta = torch.tensor(matrix[None, :2], dtype=torch.float32)
        grid = torch.nn.functional.affine_grid(theta, [1, 3, 64, 64], align_corners=False)
        ours = torch.nn.functional.grid_sample(pixels.float(), grid, align_corners=False)
        theirs = tv.affine(pixels, 0.0, [0, 0], zoom, shear, interpolation=InterpolationMode.BILINEAR)
        assert (ours - theirs.float()).abs().max() <= 1


def test_affines_enlarge_and_shear_as_much_as_asked_for_and_along_y_only_if_asked():
    knobs = {"crop_scale": [1.0, 1.0], "crop_ratio": [1.0, 1.0], "affine_scale": [1.2, 1.5], "shear_deg": 20.0}
    for both in (False, True):
        config = make_config("demo", {**knobs, "shear_both": both})
        forward = np.linalg.inv(draw_augmentation(config, 2000, epoch=0, step=0).affines[:, :, :2].astype(float))
        zoom = forward[:, 0, 0]
        angles = np.degrees(np.arctan(forward[:, 0, 1] / zoom))
        assert (zoom.min(), zoom.max()) == pytest.approx((1.2, 1.5), abs=0.005)
        assert (angles.min(), angles.max()) == pytest.approx((-20, 20), abs=0.2)
        along_y = np.degrees(np.arctan(forward[:, 1, 0] / zoom))
        assert (along_y.min(), along_y.max()) == pytest.approx((-20, 20) if both else (0, 0), abs=0.2)


def test_black_fill_uncovers_corners_and_reflection_does_not():
    white = torch.full((64, 3, 32, 32), 255, dtype=torch.uint8)
    for keeps in ({"crop_scale": [1.0, 1.0], "crop_ratio": [1.0, 1.0]}, {"crop_scale": [0.3, 0.5]}):
        assert run(white, fill="black", augmix=0, noise_levels=0, **keeps).min() == 0
        assert run(white, fill="reflect", augmix=0, noise_levels=0, **keeps).min() == 255


@pytest.mark.parametrize(("probability", "touched"), [(0.0, 0.0), (1.0, 1.0), (0.2, 0.2)])
def test_as_many_pictures_get_noise_as_asked_for_and_of_the_strength_asked_for(probability: float, touched: float):
    noise = (
        run(torch.full((600, 3, 16, 16), 100, dtype=torch.uint8), augmix=0, noise_probability=probability, noise_levels=3) - 100
    )
    strongest = noise.flatten(1).abs().amax(dim=1)
    assert (strongest > 0).float().mean() == pytest.approx(touched, abs=0.06)
    assert strongest.max() == (3 if probability else 0)


def test_noise_is_one_stream_however_many_pictures_are_changed_at_once():
    pixels, config = torch.full((400, 3, 32, 32), 100, dtype=torch.uint8), make_config("demo", {"input_px": 32})
    draw = draw_augmentation(config, 400, epoch=0, step=0)
    stream = torch.randint(-10, 11, pixels.shape, generator=torch.Generator().manual_seed(7), dtype=torch.int8)
    noisy = augment(pixels, draw, config, noise=torch.Generator().manual_seed(7)) - 100
    assert torch.equal(noisy, stream * torch.from_numpy(draw.noisy).view(-1, 1, 1, 1).float())


def test_noise_stays_within_black_and_white():
    for level in (0, 255):
        noisy = run(torch.full((20, 3, 16, 16), level, dtype=torch.uint8), augmix=0)
        assert (noisy - level).abs().max() == 10
        assert noisy.min() >= 0
        assert noisy.max() <= 255


def test_each_switch_of_the_mixing_changes_pictures():
    pixels, made = smooth(8, 48), []
    for knobs in (
        {"augmix": 0},
        {"augmix": 1},
        {"augmix": 3},
        {"augmix": 3, "augmix_depth": 3},
        {"augmix": 3, "augmix_blend": False},
    ):
        made.append(run(pixels, noise_levels=0, **knobs))
    assert all((one - other).abs().mean() > 1 for place, one in enumerate(made) for other in made[:place])


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
    config, pixels = make_config("demo", {"noise_levels": 0, "augmix": 3, "input_px": 32}), smooth(150, 96)  # several portions
    draw = draw_augmentation(config, 150, epoch=0, step=0)
    whole = augment(pixels, draw, config, noise=torch.Generator())
    parts = [augment(pixels[part], draw.rows(part), config, noise=torch.Generator()) for part in (slice(0, 70), slice(70, 150))]
    assert torch.equal(whole, torch.cat(parts))


def test_pixels_may_lie_in_memory_as_the_decoder_leaves_them_and_are_left_as_they_are():
    config, pixels = make_config("demo", {"augmix": 3}), smooth(6, 96)
    beside = pixels.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    draw = draw_augmentation(config, 6, epoch=0, step=0)
    one, other = (augment(given, draw, config, noise=torch.Generator().manual_seed(1)) for given in (pixels, beside))
    assert torch.equal(one, other)
    assert torch.equal(beside, smooth(6, 96))


def test_nothing_waits_for_the_device():
    config = make_config("paper", {"noise_levels": 0, "input_px": 16})
    draw = draw_augmentation(config, 40, epoch=0, step=0)
    pixels = torch.zeros(40, 3, 32, 32, dtype=torch.uint8, device="meta")  # has no values to wait for
    assert augment(pixels, draw, config, noise=torch.Generator()).shape == (40, 3, 16, 16)
