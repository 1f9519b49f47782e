"""Views out of shards: whole batches, in order, ahead of their use, and known by their bytes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.model.preprocess import Preprocessing
from geoloc_pipeline.retrieval.embedding.views import ShardViews, check_shards

PREPROCESSING = Preprocessing(input_px=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SHAPES = [(48, 48), (48, 64), (40, 160), (32, 32), (64, 48)] * 9  # 1, 2, 4, 1 and 2 squares


@pytest.fixture(scope="module")
def pixels(noise):
    return [noise(number, *shape) for number, shape in enumerate(SHAPES)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory, write_views, pixels):
    folder = tmp_path_factory.mktemp("views")
    return write_views(folder, [(f"a{n:03}", "photo", "train", each) for n, each in enumerate(pixels)]), folder


def read(views: ShardViews, *, squares: int, chosen=None, ahead: bool = True):
    return list(
        views.batches(
            PREPROCESSING, chosen=np.arange(len(views)) if chosen is None else np.asarray(chosen), squares=squares, ahead=ahead
        )
    )


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(("squares", "threads"), [(8, 3), (64, 1), (1_000, 2)])
def test_batches_hold_the_squares_of_whole_views_in_order(stored, pixels, squares, threads, ahead):
    rows, folder = stored
    batches = read(ShardViews(rows, folder, maker="m", threads=threads), squares=squares, ahead=ahead)
    assert [row for batch in batches for row in range(batch.rows.start, batch.rows.stop)] == list(range(len(rows)))
    assert all(len(batch.pixels) == batch.counts.sum() <= squares for batch in batches)
    expected = [square for each in pixels for square in PREPROCESSING.squares(each)]
    assert np.array_equal(np.concatenate([batch.pixels.numpy() for batch in batches]), np.stack(expected))


def test_a_batch_is_as_full_as_whole_views_allow(stored):
    rows, folder = stored
    views = ShardViews(rows, folder, maker="m")
    for batch, following in zip(batches := read(views, squares=9), batches[1:], strict=False):
        assert batch.counts.sum() + following.counts[0] > 9


def test_a_view_that_is_larger_than_a_batch_still_comes(stored):
    rows, folder = stored
    assert [len(batch.pixels) for batch in read(ShardViews(rows, folder, maker="m"), squares=1, chosen=[2, 0])] == [4, 1]


def test_only_what_is_chosen_is_read(stored):
    rows, folder = stored
    views = ShardViews(rows, folder, maker="m")
    every = np.concatenate([batch.pixels.numpy() for batch in read(views, squares=8)])
    (batch,) = read(views, squares=8, chosen=[3, 0])
    assert np.array_equal(batch.pixels.numpy(), every[[7, 0]])


def test_what_a_vector_is_made_from_is_the_maker_and_the_bytes_alone(stored, tmp_path, write_views, pixels):
    rows, folder = stored
    views = ShardViews(rows, folder, maker="m")
    names = views.made_from()
    assert len(set(names)) == len(rows)
    assert [name for batch in read(views, squares=8) for name in batch.made_from] == names
    assert set(ShardViews(rows, folder, maker="n").made_from()).isdisjoint(names)
    turned = write_views(tmp_path, [("z", "photo", "val", each) for each in reversed(pixels)])  # elsewhere, under other names
    assert ShardViews(turned, tmp_path, maker="m").made_from() == names[::-1]


def test_a_missing_or_cut_shard_is_told_before_anything_is_read(stored, tmp_path):
    rows, folder = stored
    check_shards(rows, folder)
    with pytest.raises(MissingInputError, match=r"000\.tar.*materialise `training_shards`"):
        check_shards(rows, tmp_path)
    (tmp_path / "000.tar").write_bytes((folder / "000.tar").read_bytes()[: int(rows["offset"].iloc[-1]) + 100])
    with pytest.raises(MissingInputError, match=r"bytes are left.*cut short.*materialise `training_shards`"):
        check_shards(rows, tmp_path)


def test_a_view_that_is_no_picture_or_of_another_shape_is_named(stored, tmp_path):
    rows, folder = stored
    with pytest.raises(ImageError, match=r"covered by 1 squares, and by 4"):
        read(ShardViews(rows.assign(width_px=160, height_px=40).iloc[:1], folder, maker="m"), squares=8)
    damaged = bytearray((folder / "000.tar").read_bytes())
    at = int(rows["offset"].iloc[7])
    damaged[at : at + 64] = bytes(64)
    (tmp_path / "000.tar").write_bytes(damaged)
    with pytest.raises(ImageError, match=rf"000\.tar at {at}"):
        read(ShardViews(rows, tmp_path, maker="m"), squares=8)
    assert cv2.getNumThreads() == 1  # OpenCV has no threads of its own beside ours
