"""A small country of coloured views in real shards, from which a network can learn in seconds.

Two prefectures of two municipalities each. A municipality has a hue of its own and a prefecture a bright or a dark sky;
everything else is chance.
"""

from __future__ import annotations

import colorsys
import json
import multiprocessing
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from geoloc_pipeline.storage.parquet import write_table
from geoloc_pipeline.storage.shards import write_shard
from geoloc_pipeline.tables import LABEL_VOCABULARY, TRAINING_SHARDS, as_table
from geoloc_pipeline.training.__main__ import main
from geoloc_pipeline.training.checkpoint import Position
from geoloc_pipeline.training.loop import train
from geoloc_pipeline.training.ranks import Ranks
from geoloc_pipeline.training.report import Reporter
from geoloc_pipeline.training.run import read_run

MUNICIPALITIES = {"01101": (43.06, 141.35), "01202": (41.77, 140.73), "13101": (35.69, 139.75), "13104": (35.69, 139.70)}
SIDE_PX = 48
PICTURES = 30  # of each municipality
SPLITS = ["train"] * 22 + ["val"] * 5 + ["test"] * 3


def draw_view(municipality: str, rng: np.random.Generator) -> np.ndarray:
    number = list(MUNICIPALITIES).index(municipality)
    hue = colorsys.hsv_to_rgb(number / 4 + rng.normal(0, 0.01), 0.7, 0.8)
    view = np.empty((SIDE_PX, SIDE_PX, 3), dtype=np.float64)
    view[: SIDE_PX // 2] = 220 if municipality.startswith("01") else 60
    view[SIDE_PX // 2 :] = np.array(hue) * 255
    view += rng.normal(0, 8, view.shape) + rng.normal(0, 10)
    return view.clip(0, 255).astype(np.uint8)


def mixed_view(rng: np.random.Generator) -> np.ndarray:
    """Return a view whose pixels come from views of every municipality: nothing of any one place is left in it."""
    pool = np.concatenate([draw_view(code, rng).reshape(-1, 3) for code in MUNICIPALITIES])
    return rng.permutation(pool)[: SIDE_PX * SIDE_PX].reshape(SIDE_PX, SIDE_PX, 3)


def encode(view: np.ndarray) -> bytes:
    return cv2.imencode(".png", view[:, :, ::-1])[1].tobytes()


@dataclass
class Country:
    """Where the small country lies on disk."""

    root: Path

    def config(self, name: str = "run", **overrides: object) -> Path:
        """Write and return the configuration of a run called `name`."""
        knobs = {
            "input_px": 32, "view_px": 40, "location_width": 16, "queue_length": 64, "global_batch": 32, "max_epochs": 4,
            "warmup_steps": 4, "learning_rate": 4e-3, "augmix": 1, **overrides,
        }  # fmt: skip
        told = {
            "preset": "demo",
            "overrides": knobs,
            "vocabulary": str(self.root / "vocabulary.parquet"),
            "shards": [[str(self.root / f"{code}.parquet"), str(self.root / code)] for code in ("13", "01")],
            "output": str(self.root / name),
            "data_versions": {"training_shards": "v1"},
            "progress": str(self.root / f"{name}.progress.json"),
        }
        path = self.root / f"{name}.json"
        path.write_text(json.dumps(told))
        return path


def grow_country(root: Path, *, shuffled: bool = False) -> Country:
    rng = np.random.default_rng(3)
    for prefecture in ("01", "13"):
        rows, members = [], []
        for code, (lat, lon) in MUNICIPALITIES.items():
            if not code.startswith(prefecture):
                continue
            for number in range(PICTURES):
                place = {"lat": lat + rng.normal(0, 0.01), "lon": lon + rng.normal(0, 0.01)}
                for view in "NESW":
                    pixels = draw_view(code, rng)
                    pixels = mixed_view(rng) if shuffled and SPLITS[number] != "train" else pixels
                    members.append((f"{code}-{number:02}-{view}.png", encode(pixels)))
                    rows.append(
                        {
                            "image_id": f"{code}-{number:02}",
                            "view": view,
                            "split": SPLITS[number],
                            **place,
                            "prefecture_code": prefecture,
                            "municipality_code": code,
                            "town_code": None,
                            "road_id": "JP:4" if number % 2 else None,
                            "landmark_id": None,
                            "width_px": SIDE_PX,
                            "height_px": SIDE_PX,
                        }
                    )
        (root / prefecture).mkdir(parents=True)
        frame = pd.DataFrame(rows)
        written = write_shard(root / prefecture / "000.tar", members)
        for name in ("shard", "offset", "size_bytes"):
            frame[name] = [getattr(member, name) for member in written]
        columns = {name: frame[name] for name in TRAINING_SHARDS.column_names}
        write_table(TRAINING_SHARDS, as_table(TRAINING_SHARDS, columns), root / f"{prefecture}.parquet")
    classes = [
        ("prefecture", "01", 44),
        ("prefecture", "13", 44),
        *(("municipality", c, 22) for c in MUNICIPALITIES),
        ("road", "JP:4", 44),
    ]
    seen: dict[str, int] = {}
    rows = []
    for task, code, count in classes:
        index = seen.get(task, 0)
        seen[task] = index + 1
        rows.append({"task": task, "class_index": index, "code": code, "name": code, "n_train": count, "weight": 1.0})
    frame = pd.DataFrame(rows)
    columns = {name: frame[name] for name in LABEL_VOCABULARY.column_names}
    write_table(LABEL_VOCABULARY, as_table(LABEL_VOCABULARY, columns), root / "vocabulary.parquet")
    return Country(root)


@pytest.fixture(scope="session")
def grown(tmp_path_factory) -> Country:
    """The country; runs may be written into it, its tables and shards must stay as they are."""
    return grow_country(tmp_path_factory.mktemp("country"))


@pytest.fixture
def country(tmp_path) -> Country:
    """A country of one's own, to be spoilt."""
    return grow_country(tmp_path)


@pytest.fixture
def shuffled_country(tmp_path) -> Country:
    """The same country, but the pixels of the validation and test views are shuffled among the pictures."""
    return grow_country(tmp_path, shuffled=True)


@pytest.fixture
def learn():
    """Train in this process and return how far it came."""

    def run(config: Path) -> Position:
        alone = Ranks(rank=0, world=1, local=0, device=torch.device("cpu"))
        return train(read_run(config), alone, Reporter(speaks=True))

    return run


def _be_a_rank(config: Path, rank: int, world: int, port: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    os._exit(main(["--config", str(config), "--threads", "1"]))


@pytest.fixture
def begin():
    """Start a run as processes of its own (forked: nothing has to be imported again) and return them."""

    def start(config: Path, *, processes: int = 1) -> list[multiprocessing.process.BaseProcess]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("fork")
        ranks = [context.Process(target=_be_a_rank, args=(config, rank, processes, port)) for rank in range(processes)]
        for rank in ranks:
            rank.start()
        return ranks

    return start
