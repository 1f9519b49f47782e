"""The embedding job: from shards to tables, killed, run again, with changed pictures, with and without training."""

from __future__ import annotations

import multiprocessing
import os
import signal

import numpy as np
import pandas as pd
import pytest
import torch

from geoloc_pipeline.errors import MissingInputError, ModelError
from geoloc_pipeline.model.saved import weights_hash
from geoloc_pipeline.retrieval.embedding.embed import embed_partition, embed_shards, join_reads, read_shards
from geoloc_pipeline.retrieval.embedding.embedder import Embedder
from geoloc_pipeline.retrieval.embedding.finished import Former, remove_scratch
from geoloc_pipeline.storage.parquet import write_table
from geoloc_pipeline.storage.progress import Progress
from geoloc_pipeline.tables import BACKBONE_TOKENS, EMBEDDED_VIEWS, IMAGE_EMBEDDINGS, check_table


@pytest.fixture(scope="module")
def shards(tmp_path_factory, write_views, noise):
    """Three panoramas (one with a gap) and a photo, one of them a test picture."""
    folder = tmp_path_factory.mktemp("shards")
    wanted = [("a", "NESW", "train"), ("b", "NS", "val"), ("c", "NESW", "test"), ("d", ["photo"], "train")]
    views = [(image_id, view, split) for image_id, views, split in wanted for view in views]
    pixels = [noise(n, 48, 64 if view == "photo" else 48) for n, (_, view, _) in enumerate(views)]
    return write_views(folder, [(*view, each) for view, each in zip(views, pixels, strict=True)]), folder, pixels


@pytest.fixture(scope="module")
def town(tmp_path_factory, write_views, noise):
    """300 pictures of four views: several batches of the job, several chunks."""
    folder = tmp_path_factory.mktemp("town")
    return write_views(
        folder, [(f"a{n:03}", v, "train", noise(n * 4 + k)) for n in range(300) for k, v in enumerate("ENSW")]
    ), folder


def written(embedded, folder) -> Former:
    """Write what a job has made, as its asset does."""
    former = Former(*(folder / f"{name}.parquet" for name in ("embeddings", "tokens", "views")))
    write_table(IMAGE_EMBEDDINGS, embedded.embeddings, former.embeddings)
    if embedded.tokens is not None:
        write_table(BACKBONE_TOKENS, embedded.tokens, former.tokens)
    write_table(EMBEDDED_VIEWS, embedded.views, former.views)
    return former


def matrix(table: pd.DataFrame, column: str = "embedding") -> np.ndarray:
    return np.stack(table[column].to_list())


def test_the_table_holds_every_view_and_the_mean_but_never_a_test_picture(checkpoint, shards):
    rows, folder, _ = shards
    table = embed_shards(checkpoint, rows, folder)
    check_table(IMAGE_EMBEDDINGS, table)
    found = set(zip(table["image_id"], table["view"], strict=True))
    assert found == {("a", v) for v in ("N", "E", "S", "W", "mean")} | {("b", v) for v in ("N", "S", "mean")} | {("d", "photo")}
    assert dict(zip(table["image_id"], table["lat"], strict=True)) == {"a": 35.0, "b": 36.0, "d": 38.0}


def test_shards_give_what_their_pixels_give(checkpoint, shards):
    rows, folder, pixels = shards
    table = embed_shards(checkpoint, rows, folder, splits=("train", "val", "test"))
    embedder = Embedder.load(checkpoint)
    for place, row in enumerate(rows.itertuples()):
        found = table[(table["image_id"] == row.image_id) & (table["view"] == row.view)]["embedding"].iloc[0]
        assert np.allclose(found, embedder.embed_views([pixels[place]])[0], atol=1e-5)
    views = matrix(table[(table["image_id"] == "c") & (table["view"] != "mean")]).mean(axis=0)
    mean = table[(table["image_id"] == "c") & (table["view"] == "mean")]["embedding"].iloc[0]
    assert np.allclose(mean, views / np.linalg.norm(views), atol=1e-5)


def test_the_version_is_the_hash_of_the_weights(checkpoint, shards):
    rows, folder, _ = shards
    table = embed_shards(checkpoint, rows, folder)
    assert set(table["model_version"]) == {weights_hash(torch.load(checkpoint, weights_only=True)["model"])}


def test_an_untrained_model_says_something_else_and_has_another_version(checkpoint, shards):
    rows, folder, _ = shards
    trained, untrained = (embed_shards(checkpoint, rows, folder, untrained=fresh) for fresh in (False, True))
    again = embed_shards(checkpoint, rows, folder, untrained=True)
    assert set(trained["model_version"]).isdisjoint(untrained["model_version"])
    assert not np.allclose(matrix(trained), matrix(untrained), atol=0.1)
    assert (matrix(untrained) == matrix(again)).all()


def test_a_partition_without_pictures_gives_empty_tables(checkpoint, shards, tmp_path):
    rows, folder, _ = shards
    check_table(IMAGE_EMBEDDINGS, table := embed_shards(checkpoint, rows.iloc[:0], folder))
    assert len(table) == 0
    embedded = embed_partition(checkpoint, rows.iloc[:0], folder, scratch=tmp_path, tokens=True)
    written(embedded, tmp_path)
    assert [len(each) for each in embedded[:3]] == [0, 0, 0]


def test_progress_counts_views(checkpoint, shards):
    rows, folder, _ = shards
    progress = Progress()
    embed_shards(checkpoint, rows, folder, progress=progress)
    assert (progress.done, progress.total, progress.unit) == (7, 7, "views")


def test_a_missing_checkpoint_or_shard_and_weights_for_another_input_are_named(checkpoint, shards, tmp_path):
    rows, folder, _ = shards
    with pytest.raises(MissingInputError, match=r"best\.pt.*materialise"):
        embed_shards(tmp_path / "best.pt", rows, folder)
    with pytest.raises(MissingInputError, match=r"000\.tar"):
        embed_shards(checkpoint, rows, tmp_path)
    contents = torch.load(checkpoint, weights_only=True)
    contents["model_config"]["input_px"] = 64
    torch.save(contents, tmp_path / "best.pt")
    with pytest.raises(ModelError, match=r"pos_embed.*materialise `geolocation_model`"):
        embed_partition(tmp_path / "best.pt", rows, folder, scratch=tmp_path / "s")


def test_the_network_before_training_reads_every_split_and_goes_on_where_it_was_killed(checkpoint, shards, tmp_path):
    rows, folder, _ = shards
    asked = {"splits": ("train", "val", "test"), "untrained": True, "tokens": True, "scratch": tmp_path, "chunk_views": 1}
    first = embed_partition(checkpoint, rows, folder, **asked)
    again = embed_partition(checkpoint, rows, folder, **asked)
    assert set(first.embeddings["image_id"]) == set(rows["image_id"])
    assert (again.computed, again.taken_over) == (0, len(rows))
    pd.testing.assert_frame_equal(first.tokens, again.tokens)
    pd.testing.assert_frame_equal(
        first.embeddings, embed_shards(checkpoint, rows, folder, splits=("train", "val", "test"), untrained=True)
    )


def test_tokens_come_for_every_view_and_mean_and_the_embeddings_stay_the_same(checkpoint, shards, tmp_path):
    rows, folder, _ = shards
    plain = embed_partition(checkpoint, rows, folder, scratch=tmp_path)
    both = embed_partition(checkpoint, rows, folder, scratch=tmp_path, tokens=True)
    assert plain.tokens is None
    pd.testing.assert_frame_equal(plain.embeddings, both.embeddings)
    check_table(BACKBONE_TOKENS, both.tokens)
    key = ["image_id", "view", "model_version"]
    pd.testing.assert_frame_equal(both.tokens[key], both.embeddings[key])
    assert np.allclose(np.linalg.norm(matrix(both.tokens, "token").astype(np.float32), axis=1), 1, atol=1e-3)
    views = matrix(both.tokens[(both.tokens["image_id"] == "a") & (both.tokens["view"] != "mean")], "token").astype(np.float32)
    mean = both.tokens[(both.tokens["image_id"] == "a") & (both.tokens["view"] == "mean")]["token"].iloc[0]
    assert np.allclose(mean, views.mean(axis=0) / np.linalg.norm(views.mean(axis=0)), atol=1e-3)


def test_nothing_is_computed_twice_by_the_same_model_and_code(checkpoint, other_checkpoint, shards, tmp_path):
    rows, folder, _ = shards
    first = embed_partition(checkpoint, rows, folder, scratch=tmp_path)
    former = written(first, tmp_path)

    def again(model=checkpoint, **settings):
        return embed_partition(model, rows, folder, scratch=tmp_path, former=former, **settings)

    second = again()
    assert (first.computed, first.taken_over, first.unchanged) == (7, 0, False)
    assert (second.computed, second.taken_over, second.unchanged) == (0, 7, True)
    for before, after in ((first.embeddings, second.embeddings), (first.views, second.views)):
        pd.testing.assert_frame_equal(before, after)
    assert (again(other_checkpoint).computed, again(code_version="2").computed, again(tokens=True).computed) == (7, 7, 7)


def test_tokens_are_taken_over_too(checkpoint, shards, tmp_path):
    rows, folder, _ = shards
    first = embed_partition(checkpoint, rows, folder, scratch=tmp_path, tokens=True)
    second = embed_partition(checkpoint, rows, folder, scratch=tmp_path, tokens=True, former=written(first, tmp_path))
    assert second.computed == 0
    pd.testing.assert_frame_equal(first.tokens, second.tokens)


def test_changed_and_new_pictures_are_computed_and_vanished_ones_go(checkpoint, town, tmp_path, write_views, noise):
    rows, folder = town
    former = written(embed_partition(checkpoint, rows, folder, scratch=tmp_path / "s"), tmp_path)
    pixels = {f"a{n:03}": [noise(n * 4 + k) for k in range(4)] for n in range(300)}
    pixels["a007"][2] = noise(9_000)  # another picture under the same id, in the same number of pixels
    del pixels["a100"], pixels["a299"]
    pixels["a300"] = [noise(9_001 + k) for k in range(4)]
    views = [
        (name, "ENSW"[k], "train", each) for name, four in sorted(pixels.items(), reverse=True) for k, each in enumerate(four)
    ]
    (tmp_path / "now").mkdir()
    now = write_views(tmp_path / "now", views)
    settled = embed_partition(checkpoint, now, tmp_path / "now", scratch=tmp_path / "s", former=former)
    full = embed_partition(checkpoint, now, tmp_path / "now", scratch=tmp_path / "s")
    assert (settled.computed, settled.taken_over, settled.unchanged) == (5, 1191, False)
    key = ["image_id", "view"]
    pd.testing.assert_frame_equal(settled.embeddings[key], full.embeddings[key])
    pd.testing.assert_frame_equal(settled.views, full.views)
    assert np.abs(matrix(settled.embeddings) - matrix(full.embeddings)).max() < 1e-6


class _Fatal(Progress):
    """Kills its own process as soon as so many views are done."""

    def advance(self, count: int = 1) -> None:
        super().advance(count)
        if self.done >= 700:
            os.kill(os.getpid(), signal.SIGKILL)


def _die_in_the_middle(checkpoint, rows, folder, scratch, tokens) -> None:
    torch.set_num_threads(1)
    embed_partition(checkpoint, rows, folder, scratch=scratch, chunk_views=256, progress=_Fatal(), tokens=tokens)


@pytest.mark.parametrize("tokens", [False, True])
def test_a_killed_job_goes_on_where_it_was_to_the_same_bytes(checkpoint, town, tmp_path, tokens):
    rows, folder = town
    arguments = (checkpoint, rows, folder, tmp_path / "s", tokens)
    job = multiprocessing.get_context("fork").Process(target=_die_in_the_middle, args=arguments)
    job.start()
    job.join(timeout=60)
    assert job.exitcode == -signal.SIGKILL
    assert sum(len(np.load(chunk)["made_from"]) for chunk in (tmp_path / "s").glob("*.npz")) == 768  # three batches
    progress = Progress()
    resumed = embed_partition(checkpoint, rows, folder, scratch=tmp_path / "s", tokens=tokens, progress=progress)
    assert (resumed.computed, resumed.taken_over, progress.done) == (432, 768, 1200)
    whole = embed_partition(checkpoint, rows, folder, scratch=tmp_path / "t", tokens=tokens)
    for folder, embedded in ((tmp_path / "1", resumed), (tmp_path / "2", whole)):
        written(embedded, folder)
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "2" / file.name).read_bytes()
    remove_scratch(tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_pictures_are_read_with_what_the_heads_say_of_every_view_and_mean(checkpoint, shards):
    rows, folder, pixels = shards
    read = read_shards(checkpoint, rows, folder, splits=("train", "test"))
    table = embed_shards(checkpoint, rows, folder, splits=("train", "test"))
    assert read.embeddings.drop(columns="embedding").equals(table.drop(columns="embedding"))
    assert np.allclose(matrix(read.embeddings), matrix(table), atol=1e-6)
    alone = Embedder.load(checkpoint).read_views(pixels).heads["prefecture"]
    of_view = {key: alone[n] for n, key in enumerate(zip(rows["image_id"], rows["view"], strict=True))}
    said = read.heads["prefecture"].of(np.tile(np.arange(3), (len(table), 1)))
    for row, (image, view) in enumerate(zip(table["image_id"], table["view"], strict=True)):
        wanted = of_view.get((image, view))
        if wanted is None:
            wanted = np.mean([chance for (of, _), chance in of_view.items() if of == image], axis=0)
        assert said[row] == pytest.approx(wanted, abs=1e-5)


def test_reads_of_partitions_are_joined_and_empty_ones_are_passed_over(checkpoint, shards):
    rows, folder, _ = shards
    nothing = read_shards(checkpoint, rows, folder, splits=())
    one, two = (read_shards(checkpoint, rows, folder, splits=(split,)) for split in ("train", "test"))
    both = join_reads([one, nothing, two])
    assert len(both.embeddings) == len(one.embeddings) + len(two.embeddings) == len(both.heads["prefecture"])
    assert len(join_reads([nothing]).embeddings) == 0
