"""A small model and a few pictures in shards, for the modules that turn pictures into vectors."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from geoloc_pipeline.geo.sphere import destination
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.saved import FORMAT
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.retrieval.gallery.neighbours import Neighbours
from geoloc_pipeline.storage.shards import write_shard
from geoloc_pipeline.tables import IMAGE_EMBEDDINGS, TASKS, TRAINING_SHARDS, as_table

SERVER_URL, SERVER_KEY = os.environ.get("GEOLOC_QDRANT_URL", ""), os.environ.get("GEOLOC_QDRANT_API_KEY", "")

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


def _found(lat: np.ndarray, lon: np.ndarray, score: np.ndarray) -> Neighbours:
    ids = np.array([[f"i{q}-{k}" for k in range(lat.shape[1])] for q in range(lat.shape[0])], dtype=object).reshape(lat.shape)
    return Neighbours(ids, lat, lon, score)


def _simulated(n: int, k: int = 100, inliers: float = 0.8, seed: int = 0) -> tuple[Neighbours, np.ndarray, np.ndarray]:
    """Neighbours of which a share lies around the truth and the rest around other cities."""
    chance = np.random.default_rng(seed)
    cities = np.array([[43.06, 141.35], [38.27, 140.87], [35.68, 139.70], [34.69, 135.50], [33.59, 130.40], [26.21, 127.68]])
    truth = cities[chance.integers(0, 6, n)] + chance.normal(0, 0.1, (n, 2))
    lost = chance.random((n, k)) > inliers
    place = truth[:, None] + chance.normal(0, 0.02, (n, k, 2))
    place[lost] = cities[chance.integers(0, 6, lost.sum())] + chance.normal(0, 0.3, (lost.sum(), 2))
    score = np.sort(chance.uniform(0.5, 0.9, (n, k)), axis=1)[:, ::-1].astype(np.float32)
    return _found(place[..., 0], place[..., 1], score), truth[:, 0], truth[:, 1]


@pytest.fixture(scope="session")
def found():
    """Return neighbours at places `[q, k]`, with ids made up."""
    return _found


@pytest.fixture(scope="session")
def simulated():
    """Draw neighbours, a share of them around the truth, and return them with the latitudes and longitudes of the truth."""
    return _simulated


CITIES = ((43.06, 141.35), (35.68, 139.77), (34.18, 131.47), (26.21, 127.68))


def _world(n: int = 240, *, noise: float = 0.25, seed: int = 0) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return embeddings of `n` pictures in four cities that point towards their city, and the split of each."""
    dice = np.random.default_rng(seed)
    axes = np.linalg.qr(dice.normal(size=(512, 4)))[0].T
    columns: dict[str, list] = {column.name: [] for column in IMAGE_EMBEDDINGS.columns}
    split_of = {}
    for index in range(n):
        city = index % 4
        lat, lon = destination(
            lat=CITIES[city][0],
            lon=CITIES[city][1],
            bearing_deg=float(dice.uniform(0, 360)),
            away_m=float(dice.uniform(0, 8000)),
        )
        views = []
        for view in ("N", "E", "S", "W"):
            vector = axes[city] + noise * dice.normal(size=512) / np.sqrt(512) * 3
            views.append((view, vector / np.linalg.norm(vector)))
        mean = np.mean([vector for _, vector in views], axis=0)
        views.append(("mean", mean / np.linalg.norm(mean)))
        split_of[f"i{index:04d}"] = "test" if index % 20 == 0 else "val" if index % 7 == 1 else "train"
        for view, vector in views:
            for name, value in zip(columns, (f"i{index:04d}", view, "m", lat, lon, vector.astype(np.float32)), strict=True):
                columns[name].append(value)
    return as_table(IMAGE_EMBEDDINGS, columns), split_of


@pytest.fixture(scope="session")
def world():
    """Return embeddings of pictures in four cities that point towards their city, and the split of each picture."""
    return _world


class GalleryWorld:
    """Made-up pictures for the gallery: each has a direction of its own, and views around it."""

    VIEWS = ("N", "E", "S", "W", "mean")

    @staticmethod
    def embeddings(pictures: int, *, version: str = "aaaa", seed: int = 0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        rows = []
        for number in range(pictures):
            middle = rng.normal(size=512)
            for view in GalleryWorld.VIEWS:
                vector = middle + rng.normal(size=512) * (0.0 if view == "mean" else 0.3)
                unit = (vector / np.linalg.norm(vector)).astype(np.float32)
                rows.append((f"p{number:04}", view, version, 30.0 + number * 0.01, 139.0, unit))
        frame = pd.DataFrame(rows, columns=IMAGE_EMBEDDINGS.column_names)
        return as_table(IMAGE_EMBEDDINGS, {name: frame[name] for name in IMAGE_EMBEDDINGS.column_names})

    @staticmethod
    def pictures(count: int) -> pd.DataFrame:
        numbers = range(count)
        return pd.DataFrame(
            {
                "image_id": [f"p{n:04}" for n in numbers],
                "source": ["mapillary" if n % 3 else "panoramax" for n in numbers],
                "source_image_id": [f"at-source-{n}" for n in numbers],
                "capture_group": [f"drive:{n // 10}" for n in numbers],
                "prefecture_code": [f"{n % 5 + 10}" for n in numbers],
                "municipality_code": [None if n % 4 == 0 else f"{n % 5 + 10}101" for n in numbers],
                "town_code": None,
                "split": ["val" if n % 7 == 0 else "train" for n in numbers],
            }
        )

    @staticmethod
    def means(table: pd.DataFrame) -> np.ndarray:
        return np.stack(table[table["view"] == "mean"]["embedding"].to_list())


@pytest.fixture
def gallery_world() -> type[GalleryWorld]:
    return GalleryWorld


@pytest.fixture(params=["edge", "client", "server"])
def store(request, tmp_path):
    """Every engine; the client's own local mode stands in for a server, and a server is asked when there is one."""
    from qdrant_client import QdrantClient

    from geoloc_pipeline.retrieval.gallery.edge import EdgeStore
    from geoloc_pipeline.retrieval.gallery.server import PREVIOUS, ServerStore, connect

    class Held(ServerStore):
        """Stays open when a door that opened it closes it."""

        def close(self) -> None:
            return

    if request.param == "edge":
        yield EdgeStore(tmp_path / "qdrant")
    elif request.param == "client":
        yield Held(QdrantClient(":memory:"), url="http://qdrant.example:6333")
    elif not SERVER_URL:
        pytest.skip("GEOLOC_QDRANT_URL names no Qdrant server")
    else:
        client = connect(SERVER_URL, api_key=SERVER_KEY)
        if any(alias.alias_name in {"photos", PREVIOUS} for alias in client.get_aliases().aliases):
            pytest.skip("the server of GEOLOC_QDRANT_URL holds a gallery: tests need an empty one")
        store = Held(client, url="the server")
        yield store
        for name in store.names():
            store.remove(name)
        client.close()
