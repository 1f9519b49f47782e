"""How pictures become squares, and squares numbers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import ImageError
from geoloc_pipeline.model.preprocess import (
    MOST_SQUARES,
    Preprocessing,
    count_squares,
    cut_square,
    decode_view,
    resize_square,
)

HALF = Preprocessing(input_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 10_000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("width", "height", "squares"),
    [
        (448, 448, 1),
        (640, 640, 1),
        (1200, 1000, 1),
        (1024, 768, 2),
        (768, 1024, 2),
        (1920, 1080, 2),
        (1792, 448, 4),
        (30_000, 10, 8),
    ],
)
def test_a_picture_is_covered_by_squares_of_its_shorter_side(width: int, height: int, squares: int):
    assert count_squares(width_px=width, height_px=height) == squares


@given(width=st.integers(1, 300), height=st.integers(1, 300))
def test_squares_reach_both_ends_and_leave_no_gap(width: int, height: int):
    count = count_squares(width_px=width, height_px=height)
    side, length = min(width, height), max(width, height)
    marks = np.zeros((height, width, 3), dtype=np.uint8)
    for square in range(count):
        part = cut_square(marks, square)
        assert part.shape == (side, side, 3)
        part[:] = 1
    missed = length - int(marks[..., 0].any(axis=0 if width >= height else 1).sum())
    assert missed <= 0.2 * side + 1 or count == MOST_SQUARES


def test_a_panorama_as_one_picture_is_read_as_its_four_views():
    views = [noise(64, 64) + direction for direction in range(4)]
    assert all((a == b).all() for a, b in zip(HALF.squares(np.hstack(views)), [HALF.squares(v)[0] for v in views], strict=True))


def test_a_photo_loses_nothing_at_its_edges():
    photo = np.zeros((60, 80, 3), dtype=np.uint8)
    photo[:, :3] = 255
    photo[:, -3:] = 128
    left, right = HALF.squares(photo)
    assert left[:, 0].min() > 200
    assert 100 < right[:, -1].mean() < 150


def test_shrinking_averages_and_growing_keeps_the_picture():
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    flat = resize_square(np.repeat(board[..., None], 3, axis=2).astype(np.uint8), 16)
    assert abs(flat.astype(int) - 128).max() <= 1
    assert resize_square(noise(16, 16), 64).shape == (64, 64, 3)


def test_numbers_are_centred_with_the_backbones_own_mean_and_deviation():
    batch = HALF.batch(np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)]))
    assert batch.shape == (2, 3, 32, 32)
    assert torch.allclose(batch[0], torch.tensor(-1.0))
    assert torch.allclose(batch[1], torch.tensor(1.0))


def test_channels_come_out_red_first():
    red = np.zeros((8, 8, 3), dtype=np.uint8)
    red[..., 0] = 200
    encoded = cv2.imencode(".png", red[:, :, ::-1])[1].tobytes()
    assert (decode_view(encoded, name="red.png") == red).all()


@pytest.mark.parametrize("data", [b"", b"not a picture", cv2.imencode(".webp", noise(64, 64))[1].tobytes()[:40]])
def test_bytes_that_are_no_picture_are_named(data: bytes):
    with pytest.raises(ImageError, match=r"train-000\.tar at 512"):
        decode_view(data, name="train-000.tar at 512")
