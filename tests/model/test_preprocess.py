"""How pictures become squares, and squares numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoloc_pipeline.errors import ImageError, SettingError
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


@pytest.mark.parametrize(("from_px", "to_px"), [(448, 224), (640, 448), (448, 64), (64, 224), (33, 32), (7, 50), (1, 8)])
@pytest.mark.parametrize(
    ("interpolation", "theirs"), [("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)]
)
def test_a_picture_is_resized_as_pillow_resizes_it(from_px: int, to_px: int, interpolation: str, theirs: Image.Resampling):
    pixels = noise(from_px, from_px)
    expected = np.asarray(Image.fromarray(pixels).resize((to_px, to_px), theirs))
    ours = resize_square(pixels, to_px, interpolation=interpolation)
    assert (ours.dtype, ours.shape, ours.flags["C_CONTIGUOUS"]) == (np.uint8, (to_px, to_px, 3), True)
    off = np.abs(ours.astype(int) - expected)
    assert off.max() <= (1 if to_px < from_px else 2)  # where it grows, both round once more
    assert (off > 1).mean() < 1e-3


def test_the_two_interpolations_differ():
    pixels = noise(64, 64)
    squares = [
        Preprocessing(input_px=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation=how).squares(pixels)[0]
        for how in ("bilinear", "bicubic")
    ]
    assert np.abs(squares[0].astype(int) - squares[1]).max() > 1
    assert (squares[1] == resize_square(pixels, 32)).all()


def test_a_cut_out_of_a_read_only_picture_can_be_resized():
    photo = noise(60, 80)
    expected = resize_square(np.ascontiguousarray(photo[:, 20:]), 32)
    photo.flags.writeable = False
    assert (resize_square(cut_square(photo, 1), 32) == expected).all()


def test_threads_side_by_side_resize_as_one_does():
    pictures = [noise(200 + number, 200 + number) for number in range(16)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda picture: resize_square(picture, 96), pictures))
    assert all((a == resize_square(b, 96)).all() for a, b in zip(together, pictures, strict=True))


def test_an_interpolation_that_we_cannot_do_is_named_with_the_cure():
    with pytest.raises(SettingError, match=r"interpolation is 'lanczos'.*bilinear, bicubic"):
        Preprocessing(input_px=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="lanczos")


@given(
    mean=st.tuples(*[st.floats(0.0, 1.0)] * 3),
    std=st.tuples(*[st.floats(0.1, 1.0)] * 3),
    value=st.integers(0, 255),
)
def test_normalising_is_what_it_says(mean: tuple[float, ...], std: tuple[float, ...], value: int):
    found = Preprocessing(input_px=2, mean=mean, std=std).normalise(torch.full((1, 3, 2, 2), value, dtype=torch.uint8))
    expected = (value / 255 - np.array(mean)) / np.array(std)
    assert np.allclose(found[0, :, 0, 0].numpy(), expected, atol=1e-4)


def test_normalising_under_inference_leaves_gradients_possible_later():
    preprocessing = Preprocessing(input_px=2, mean=(0.123, 0.4, 0.5), std=(0.3, 0.2, 0.321))
    pixels = torch.rand(1, 3, 2, 2) * 255
    with torch.inference_mode():
        first = preprocessing.normalise(pixels)
    learned = pixels.clone().requires_grad_()
    second = preprocessing.normalise(learned)
    second.sum().backward()
    assert learned.grad is not None
    assert torch.equal(first, second.detach())


@pytest.mark.skipif("AVX2" not in torch.backends.cpu.get_cpu_capability().replace("512", "2"), reason="torch's byte kernels")
def test_a_decoding_thread_resizes_without_threads_of_its_own():
    program = """
import os, numpy as np
from concurrent.futures import ThreadPoolExecutor
from geoloc_pipeline.model.preprocess import resize_square
import torch
torch.set_num_threads(4)
pixels = np.zeros((640, 640, 3), dtype=np.uint8)
count = lambda: len(os.listdir("/proc/self/task"))
with ThreadPoolExecutor(1) as pool:
    before = pool.submit(count).result()
    pool.submit(resize_square, pixels, 448).result()
    after = count()
    pool.submit(lambda: torch.rand(2000, 2000).add_(1).sum()).result()
    print(after - before, count() > before)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "4"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["0", "True"], done.stderr  # True: others do, so the count can see them
