"""The squares, their order, and what is wrong with a data set that cannot be learned from."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.model.preprocess import Preprocessing, decode_view
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.storage.shards import read_member, write_shard
from geoloc_pipeline.tables import LABEL_IGNORED, TRAINING_SHARDS
from geoloc_pipeline.training.dataset import Batch, Squares, batches
from geoloc_pipeline.training.material import read_data
from geoloc_pipeline.training.order import epoch_order
from geoloc_pipeline.training.ranks import Ranks
from geoloc_pipeline.training.run import read_run

ALONE = Ranks(rank=0, world=1, local=0, device=torch.device("cpu"))


def data_of(country, **overrides: object):
    run = read_run(country.config(**overrides))
    return read_data(run.vocabulary, run.shards, config=run.config)


def test_test_pictures_are_never_read(grown):
    data = data_of(grown)
    assert (len(data.train), len(data.val)) == (4 * 22 * 4, 4 * 5 * 4)


def test_codes_become_classes_and_missing_ones_are_ignored(grown):
    batch = data_of(grown).train[0]  # picture 01101-00: no town, no road, no landmark
    assert batch.classes.tolist() == [[0, 0, LABEL_IGNORED, LABEL_IGNORED, LABEL_IGNORED]]
    assert torch.allclose(batch.places, torch.tensor([[43.06, 141.35]]), atol=0.1)


def test_the_order_of_the_partitions_changes_nothing(grown):
    run = read_run(grown.config())
    one = read_data(run.vocabulary, run.shards, config=run.config)
    other = read_data(run.vocabulary, run.shards[::-1], config=run.config)
    assert one.fingerprint == other.fingerprint
    numbers = [0, 100, 351]
    assert torch.equal(one.train.__getitems__(numbers).pixels, other.train.__getitems__(numbers).pixels)


def test_squares_in_memory_are_those_on_disk(grown, tmp_path):
    data = data_of(grown)
    before = data.train.__getitems__([3, 77, 200])
    data.train.keep_in_memory(ALONE, file=tmp_path / "cache")
    assert data.train.in_memory
    assert torch.equal(before.pixels, data.train.__getitems__([3, 77, 200]).pixels)
    assert list(tmp_path.iterdir()) == []


def test_validation_sees_what_the_embedder_will_see(grown):
    data, row = data_of(grown), read_table(TRAINING_SHARDS, grown.root / "01.parquet").query("split == 'val'").iloc[0]
    view = decode_view(read_member(grown.root / "01", shard=row.shard, offset=row.offset, size_bytes=row.size_bytes), name="")
    seen = Preprocessing(input_px=32, mean=(0.5,) * 3, std=(0.5,) * 3).squares(view)[0]
    assert (data.val[0].pixels[0].permute(1, 2, 0).numpy() == seen).all()
    data.val.interpolation = "bilinear"
    seen = Preprocessing(input_px=32, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear").squares(view)[0]
    assert (data.val[0].pixels[0].permute(1, 2, 0).numpy() == seen).all()


def test_a_photo_gives_as_many_squares_as_cover_it(grown):
    rows = read_table(TRAINING_SHARDS, grown.root / "01.parquet").iloc[:2].assign(folder=0)
    rows["width_px"], rows["height_px"] = [640, 480], [480, 480]
    squares = Squares(rows, data_of(grown).vocabulary, [grown.root / "01"], side_px=32)
    assert len(squares) == 3


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(workers=st.integers(0, 5), start=st.integers(0, 6), size=st.integers(1, 50), seed=st.integers(0, 9))
def test_from_any_step_with_any_number_of_threads_come_the_same_batches(grown, workers: int, start: int, size: int, seed: int):
    squares = data_of(grown).train
    order = epoch_order(squares.pictures, views="all", global_batch=size, seed=seed, epoch=1)[:7]
    straight = [squares.__getitems__(row) for row in order]
    resumed = list(batches(squares, order[start:], workers=workers, pin=False))
    assert len(resumed) == max(0, len(order) - start)
    assert all(same(one, other) for one, other in zip(resumed, straight[start:], strict=True))


def test_torchs_worker_processes_get_the_same_batches(grown):
    squares = data_of(grown).train
    numbers = np.arange(24).reshape(3, 8).tolist()
    loader = DataLoader(squares, batch_sampler=numbers, num_workers=2, collate_fn=lambda batch: batch)
    assert all(same(one, squares.__getitems__(row)) for one, row in zip(loader, numbers, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_wrong_with_a_shard_is_told_as_what_it_is_and_the_batches_before_arrive(country, workers: int):
    squares = data_of(country).train  # its first half lies in the shard of 01
    (country.root / "13" / "000.tar").unlink()
    ahead = batches(squares, np.arange(len(squares)).reshape(-1, 16), workers=workers, pin=False)
    assert sum(len(next(ahead).classes) for _ in range(11)) == len(squares) // 2
    with pytest.raises(MissingInputError, match=r"000\.tar.*materialise"):
        next(ahead)


def test_a_run_that_ends_early_leaves_no_thread(grown):
    squares, before = data_of(grown).train, threading.active_count()
    ahead = batches(squares, np.arange(352).reshape(-1, 8), workers=3, pin=False)
    next(ahead)
    assert threading.active_count() > before
    ahead.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(("workers", "most"), [(0, 1), (1, 4), (4, 10)])
def test_no_more_is_decoded_ahead_than_keeps_the_threads_at_work(grown, workers: int, most: int):
    asked = []

    def numbers():
        for row in np.arange(352).reshape(-1, 8):
            asked.append(row)
            yield row

    ahead = batches(data_of(grown).train, numbers(), workers=workers, pin=False)
    for taken, _ in enumerate(ahead, start=1):
        assert len(asked) - taken < most
    assert taken == 44


def test_a_broken_picture_in_a_shard_is_named_with_its_place(country):
    table = read_table(TRAINING_SHARDS, country.root / "13.parquet")
    member = write_shard(country.root / "13" / "001.tar", [("x.png", b"\0" * 200)])[0]
    where = table.index[table["split"] == "train"][5]
    table.loc[where, ["shard", "offset", "size_bytes"]] = [member.shard, member.offset, member.size_bytes]
    write_table(TRAINING_SHARDS, table, country.root / "13.parquet")
    with pytest.raises(ImageError, match=r"001\.tar at 512.*training_shards"):
        data_of(country).train.keep_in_memory(ALONE, file=country.root / "cache")


def test_views_that_do_not_fit_are_read_as_they_come(grown):
    run = read_run(grown.config())
    assert not read_data(run.vocabulary, run.shards, config=replace(run.config, cache_bytes=0)).train.in_memory
