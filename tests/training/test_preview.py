"""The picture of what the augmentation makes of views."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from geoloc_pipeline.errors import SplitError
from geoloc_pipeline.model.preprocess import resize_square
from geoloc_pipeline.training.augment import augment, draw_augmentation
from geoloc_pipeline.training.config import make_config
from geoloc_pipeline.training.preview import draw_augmented, encode, preview_run
from geoloc_pipeline.training.run import read_run

SIDE = 32


def config(**overrides):
    return make_config("demo", {"input_px": SIDE, "view_px": 48, "seed": 3, "augmix": 3, **overrides})


def views(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (60 + 3 * n, 60)) for n in range(count)]


def cells(picture: np.ndarray, row: int) -> list[np.ndarray]:
    line = picture[row * (SIDE + 2) : row * (SIDE + 2) + SIDE]
    return [line[:, left : left + SIDE] for left in range(0, line.shape[1], SIDE + 2)]


def test_every_view_has_a_row_that_begins_with_itself_and_goes_on_with_different_pictures():
    seen = views()
    picture = draw_augmented(seen, config(), columns=5)
    assert picture.shape == (3 * SIDE + 4, 5 * SIDE + 8, 3)
    for row, view in enumerate(seen):
        first, *others = cells(picture, row)
        assert np.array_equal(first, resize_square(view[:60, (view.shape[1] - 60) // 2 :][:, :60], SIDE))
        assert len({cell.tobytes() for cell in others} | {first.tobytes()}) == 5


def test_it_shows_what_the_training_loop_gets():
    view = resize_square(views()[0], 48)
    draw, noise = draw_augmentation(config(), 4, epoch=0, step=0), torch.Generator().manual_seed(3)
    batch = torch.from_numpy(np.stack([view] * 4)).permute(0, 3, 1, 2)
    learned = augment(batch, draw, config(), noise=noise).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(np.stack(cells(draw_augmented([view], config(), columns=5), 0)[1:]), learned)


def test_gaps_are_white():
    picture = draw_augmented(views(), config())
    for start in (SIDE, 2 * SIDE + 2):
        assert (picture[start : start + 2] == 255).all()
        assert (picture[:, start : start + 2] == 255).all()


def test_the_seed_decides():
    picture = draw_augmented(views(), config())
    assert np.array_equal(picture, draw_augmented(views(), config()))
    assert not np.array_equal(picture, draw_augmented(views(), config(seed=4)))


@pytest.mark.parametrize(("count", "columns"), [(0, 6), (1, 1), (0, 1), (4, 2)])
def test_few_views_or_columns_give_a_small_picture(count: int, columns: int):
    picture = draw_augmented(views(count), config(), columns=columns)
    assert picture.shape == (max(0, count * (SIDE + 2) - 2), columns * (SIDE + 2) - 2, 3)


def test_a_run_shows_its_training_views_in_a_small_png(grown):
    run = read_run(grown.config("preview"))
    data = preview_run(run)
    picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture.shape == (3 * SIDE + 4, 5 * SIDE + 8, 3)
    assert len(data) < 60_000
    assert preview_run(run) == data
    assert len({cells(picture, row)[0].tobytes() for row in range(3)}) == 3


def test_a_run_without_training_views_says_so(country):
    shards = country.config("preview")
    run = read_run(shards)
    with pytest.raises(SplitError, match="no training picture"):
        preview_run(run.__class__(**{**vars(run), "shards": ()}))


def test_a_picture_is_made_small_enough_and_no_larger():
    for side, expected in ((400, 100), (80, 80)):
        picture = np.full((side // 2, side, 3), (250, 120, 30), dtype=np.uint8)
        back = cv2.imdecode(np.frombuffer(encode(picture, longest_px=100), dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
        assert back.shape == (expected // 2, expected, 3)
        assert np.abs(back.astype(int) - (250, 120, 30)).max() < 8
