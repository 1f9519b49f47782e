"""A small model and a few pictures in shards, for the modules that turn pictures into vectors."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.saved import FORMAT
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.storage.shards import write_shard
from geoloc_pipeline.tables import TASKS, TRAINING_SHARDS, as_table

CONFIG = GeolocatorConfig(
    backbone="test_vit", input_px=32, class_counts={"prefecture": 3}, location_sigmas=(1.0,), location_width=8
)


def _save_model(path: Path, *, seed: int) -> Path:
    torch.manual_seed(seed)
    model = Geolocator(CONFIG)
    classes = TaskClasses(codes=("01", "13", "47"), names=("", "", ""), n_train=(1, 1, 1), weights=(1.0, 1.0, 1.0))
    vocabulary = Vocabulary(tasks={task: classes if task == "prefecture" else TaskClasses() for task in TASKS})
    contents = {"format": FORMAT, "model": model.state_dict(), "model_config": CONFIG.as_dict()}
    torch.save({**contents, "vocabulary": vocabulary.as_dict()}, path)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """A model with fresh weights, as training saves it."""
    return _save_model(tmp_path_factory.mktemp("model") / "best.pt", seed=5)


@pytest.fixture(scope="session")
def other_checkpoint(tmp_path_factory) -> Path:
    """The same network with other weights."""
    return _save_model(tmp_path_factory.mktemp("other") / "best.pt", seed=6)


@pytest.fixture(scope="session")
def noise():
    """Draw a picture of noise."""

    def draw(seed: int, height: int = 48, width: int = 48) -> np.ndarray:
        return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)

    return draw


@pytest.fixture(scope="session")
def write_views():
    """Write views (image_id, view, split, pixels) as one shard and return their table."""

    def write(folder: Path, views: list[tuple[str, str, str, np.ndarray]]) -> pd.DataFrame:
        encoded = [cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes() for *_, pixels in views]
        members = write_shard(folder / "000.tar", [(f"{n}.png", data) for n, data in enumerate(encoded)])
        frame = pd.DataFrame([view[:3] for view in views], columns=["image_id", "view", "split"])
        frame["lat"] = [35.0 + ord(image_id[0]) - ord("a") for image_id in frame["image_id"]]
        frame["lon"] = 139.0
        frame["height_px"], frame["width_px"] = zip(*(pixels.shape[:2] for *_, pixels in views), strict=True)
        for name in ("prefecture_code", "municipality_code", "town_code", "road_id", "landmark_id"):
            frame[name] = None
        for name in ("shard", "offset", "size_bytes"):
            frame[name] = [getattr(member, name) for member in members]
        return as_table(TRAINING_SHARDS, {name: frame[name] for name in TRAINING_SHARDS.column_names})

    return write
