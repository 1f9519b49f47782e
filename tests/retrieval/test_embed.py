"""Pictures to vectors: from arrays, from shards, with and without training."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from geoloc_pipeline.errors import ImageError, MissingInputError
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.saved import FORMAT, weights_hash
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.retrieval.embed import Embedder, embed_shards
from geoloc_pipeline.storage.progress import Progress
from geoloc_pipeline.storage.shards import write_shard
from geoloc_pipeline.tables import IMAGE_EMBEDDINGS, TASKS, TRAINING_SHARDS, as_table, check_table

CONFIG = GeolocatorConfig(
    backbone="test_vit", input_px=32, class_counts={"prefecture": 3}, location_sigmas=(1.0,), location_width=8
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(5)
    model = Geolocator(CONFIG)
    classes = TaskClasses(codes=("01", "13", "47"), names=("", "", ""), n_train=(1, 1, 1), weights=(1.0, 1.0, 1.0))
    vocabulary = Vocabulary(tasks={task: classes if task == "prefecture" else TaskClasses() for task in TASKS})
    path = tmp_path_factory.mktemp("model") / "best.pt"
    contents = {"format": FORMAT, "model": model.state_dict(), "model_config": CONFIG.as_dict()}
    torch.save({**contents, "vocabulary": vocabulary.as_dict()}, path)
    return path


def noise(seed: int, height: int = 48, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three panoramas (one with a gap) and a photo, one of them a test picture."""
    folder = tmp_path_factory.mktemp("shards")
    wanted = [("a", "NESW", "train"), ("b", "NS", "val"), ("c", "NESW", "test"), ("d", ["photo"], "train")]
    rows = []
    for number, (image_id, views, split) in enumerate(wanted):
        for view in views:
            pixels = noise(number * 10 + len(rows), 48, 64 if view == "photo" else 48)
            rows.append(
                {"image_id": image_id, "view": view, "split": split, "lat": 35.0 + number, "lon": 139.0, "pixels": pixels}
            )
    encoded = [cv2.imencode(".png", row["pixels"][:, :, ::-1])[1].tobytes() for row in rows]
    members = write_shard(folder / "000.tar", [(f"{n}.png", data) for n, data in enumerate(encoded)])
    frame = pd.DataFrame(rows)
    frame["width_px"] = [row["pixels"].shape[1] for row in rows]
    frame["height_px"] = 48
    for name in ("prefecture_code", "municipality_code", "town_code", "road_id", "landmark_id"):
        frame[name] = None
    for name in ("shard", "offset", "size_bytes"):
        frame[name] = [getattr(member, name) for member in members]
    return as_table(TRAINING_SHARDS, {name: frame[name] for name in TRAINING_SHARDS.column_names}), folder, frame["pixels"]


def test_vectors_have_unit_length_whatever_the_shape_of_the_picture(checkpoint):
    vectors = Embedder.load(checkpoint).embed_views([noise(1), noise(2, 60, 80), noise(3, 300, 20), noise(4, 32, 128)])
    assert vectors.shape == (4, 512)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_no_picture_gives_no_vector(checkpoint):
    embedder = Embedder.load(checkpoint)
    assert embedder.embed_views([]).shape == (0, 512)
    assert embedder.classify_views([])["prefecture"].shape == (0, 3)


def test_a_panorama_is_the_direction_of_the_mean_of_its_views(checkpoint):
    embedder, views = Embedder.load(checkpoint), [noise(number) for number in range(4)]
    mean = embedder.embed_views(views).mean(axis=0)
    assert np.allclose(embedder.embed_views([np.hstack(views)])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_vector_does_not_depend_on_its_companions(checkpoint):
    saved = Embedder.load(checkpoint)
    views = [noise(number) for number in range(7)]
    together = saved.embed_views(views)
    assert np.allclose(together, np.concatenate([saved.embed_views([view]) for view in views]), atol=1e-5)


def test_probabilities_are_those_of_the_heads(checkpoint):
    found = Embedder.load(checkpoint).classify_views([noise(1), noise(2, 48, 64)])
    assert set(found) == {"prefecture"}
    assert np.allclose(found["prefecture"].sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "strange", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3), np.float32)]
)
def test_what_is_not_rgb_is_refused(checkpoint, strange):
    with pytest.raises(ImageError, match=r"RGB uint8"):
        Embedder.load(checkpoint).embed_views([strange])


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
    views = np.stack(table[(table["image_id"] == "c") & (table["view"] != "mean")]["embedding"].to_list()).mean(axis=0)
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
    assert not np.allclose(np.stack(trained["embedding"].to_list()), np.stack(untrained["embedding"].to_list()), atol=0.1)
    assert (np.stack(untrained["embedding"].to_list()) == np.stack(again["embedding"].to_list())).all()


def test_a_partition_without_pictures_gives_an_empty_table(checkpoint, shards):
    rows, folder, _ = shards
    table = embed_shards(checkpoint, rows.iloc[:0], folder)
    check_table(IMAGE_EMBEDDINGS, table)
    assert len(table) == 0


def test_progress_counts_views(checkpoint, shards):
    rows, folder, _ = shards
    progress = Progress()
    embed_shards(checkpoint, rows, folder, progress=progress)
    assert (progress.done, progress.total, progress.unit) == (7, 7, "views")


def test_a_missing_checkpoint_or_shard_is_named(checkpoint, shards, tmp_path):
    rows, folder, _ = shards
    with pytest.raises(MissingInputError, match=r"best\.pt.*materialise"):
        embed_shards(tmp_path / "best.pt", rows, folder)
    with pytest.raises(MissingInputError, match=r"000\.tar"):
        embed_shards(checkpoint, rows, tmp_path)
