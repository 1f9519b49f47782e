"""Embeddings of a prefecture through Dagster: what is written beside them, what is done again, what goes."""

from __future__ import annotations

from pathlib import Path

import cv2
import dagster as dg
import numpy as np
import pandas as pd
import pytest
import torch

from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.saved import FORMAT
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.orchestration.assets.retrieval import image_embeddings
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.storage.receipts import read_receipt, write_receipt
from geoloc_pipeline.storage.shards import write_shard
from geoloc_pipeline.tables import BACKBONE_TOKENS, IMAGE_EMBEDDINGS, TASKS, TRAINING_SHARDS, as_table

KEY = "42_nagasaki"


def put_pictures(home: Home, names: str) -> None:
    """Store a panorama for each letter as training shards."""
    rng = {name: np.random.default_rng(ord(name)) for name in names}
    views = [(name, view) for name in names for view in "ENSW"]
    pixels = [cv2.imencode(".png", rng[name].integers(0, 256, (32, 32, 3), dtype=np.uint8))[1].tobytes() for name, _ in views]
    shards = home.images("training_shards", KEY)
    members = write_shard(shards / "00000.tar", [(f"{n}.png", data) for n, data in enumerate(pixels)])
    frame = pd.DataFrame(views, columns=["image_id", "view"])
    frame = frame.assign(split="train", lat=33.0, lon=129.9, width_px=32, height_px=32)
    for name in ("shard", "offset", "size_bytes"):
        frame[name] = [getattr(member, name) for member in members]
    missing = dict.fromkeys((f"{kind}_code" for kind in ("prefecture", "municipality", "town")), None)
    frame = frame.assign(**missing, road_id=None, landmark_id=None)
    table = home.table("training_shards", KEY)
    write_table(TRAINING_SHARDS, as_table(TRAINING_SHARDS, {name: frame[name] for name in TRAINING_SHARDS.column_names}), table)
    write_receipt(home.receipt("training_shards", KEY), inputs={}, files=[table], root=home.root)


def put_model(home: Home, *, seed: int) -> None:
    torch.manual_seed(seed)
    config = GeolocatorConfig(backbone="test_vit", input_px=32, class_counts={}, location_sigmas=(1.0,), location_width=8)
    contents = {"format": FORMAT, "model": Geolocator(config).state_dict(), "model_config": config.as_dict()}
    home.model().mkdir(parents=True, exist_ok=True)
    vocabulary = Vocabulary(tasks={task: TaskClasses() for task in TASKS}).as_dict()
    torch.save({**contents, "vocabulary": vocabulary}, home.checkpoint())
    write_receipt(home.receipt("geolocation_model"), inputs={"seed": seed}, files=[home.checkpoint()], root=home.root)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path)
    put_pictures(home, "abc")
    put_model(home, seed=1)
    return home


@pytest.fixture
def embed(home: Home):
    """Materialise the embeddings; return how many views were computed and taken over."""

    def run(**config: bool) -> tuple[int, int]:
        dg.materialize(
            [image_embeddings],
            partition_key=KEY,
            resources={"pipeline": Pipeline(home_dir=str(home.root), profile="demo")},
            run_config={"ops": {"image_embeddings": {"config": config}}},
            instance=dg.DagsterInstance.ephemeral(),
        )
        facts = read_receipt(home.receipt("image_embeddings", KEY)).metadata
        return facts["computed"], facts["taken_over"]

    return run


def test_a_changed_partition_costs_its_new_pictures_only(home: Home, embed) -> None:
    assert embed() == (12, 0)
    put_pictures(home, "bcd")
    assert embed() == (4, 8)
    assert set(read_table(IMAGE_EMBEDDINGS, home.table("image_embeddings", KEY))["image_id"]) == set("bcd")
    assert not home.embedding_scratch(KEY).exists()
    put_model(home, seed=2)
    assert embed() == (12, 0)


def test_tokens_are_written_beside_when_asked_for_stay_while_they_fit_and_go_when_they_do_not(home: Home, embed) -> None:
    embed()
    plain, tokens = read_receipt(home.receipt("image_embeddings", KEY)), home.table("backbone_tokens", KEY)
    assert not tokens.exists()
    assert embed(tokens=True) == (12, 0)
    asked = read_receipt(home.receipt("image_embeddings", KEY))
    assert asked.content_hash == plain.content_hash  # the gallery need not be built anew
    assert set(asked.files) - set(plain.files) == {str(tokens.relative_to(home.root))}
    key = ["image_id", "view", "model_version"]
    table, embeddings = read_table(BACKBONE_TOKENS, tokens), read_table(IMAGE_EMBEDDINGS, home.table("image_embeddings", KEY))
    pd.testing.assert_frame_equal(table[key], embeddings[key])
    assert embed() == (0, 12)
    assert tokens.exists()
    put_pictures(home, "bcd")
    embed()
    assert not tokens.exists()
