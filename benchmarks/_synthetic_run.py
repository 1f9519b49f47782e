"""A training run on made-up data with the sizes of Japan's: tables, tar shards of views, and the trainer's own objects.

Class counts, their long tail and the bytes of a view are those of a real run; which picture shows what is chance.
"""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from PIL import Image

from geoloc_pipeline.model.vocabulary import CODE_COLUMNS
from geoloc_pipeline.storage.parquet import write_table
from geoloc_pipeline.storage.shards import write_shard
from geoloc_pipeline.tables import LABEL_VOCABULARY, TASKS, TRAINING_SHARDS, as_table
from geoloc_pipeline.training.run import ShardTable, TrainingRun

CLASSES = {
    "japan": {"prefecture": 47, "municipality": 1_900, "town": 30_000, "road": 20_000, "landmark": 3_000},
    "small": {"prefecture": 8, "municipality": 40, "town": 400, "road": 200, "landmark": 50},
}
LABELLED = {"prefecture": 1.0, "municipality": 1.0, "town": 0.97, "road": 0.6, "landmark": 0.15}  # share of pictures
QUALITY = 90
PHOTOS = Path(__file__).parents[2] / "shared/data/photos"


def write_run(config, folder, *, classes, views, photos=PHOTOS):
    """Write a vocabulary and one partition of shards with `views` pictures of one view each; return the run."""
    rng = np.random.default_rng(7)
    vocabulary = _vocabulary(CLASSES[classes], rng)
    write_table(LABEL_VOCABULARY, as_table(LABEL_VOCABULARY, vocabulary), folder / "vocabulary.parquet")
    pictures = _labels(vocabulary, views, rng)
    names = pictures["image_id"]
    written = write_shard(folder / "shards" / "000.tar", zip(names, _encoded(views, config.view_px, photos), strict=True))
    for column in ("shard", "offset", "size_bytes"):
        pictures[column] = [getattr(member, column) for member in written]
    pictures["width_px"] = pictures["height_px"] = np.full(views, config.view_px)
    columns = {name: pictures[name] for name in TRAINING_SHARDS.column_names}
    write_table(TRAINING_SHARDS, as_table(TRAINING_SHARDS, columns), folder / "shards.parquet")
    shards = (ShardTable(table=folder / "shards.parquet", folder=folder / "shards"),)
    return TrainingRun(config=config, vocabulary=folder / "vocabulary.parquet", shards=shards, output=folder / "run")


def _vocabulary(counts, rng):
    codes, above = {}, [""]
    for task, digits in (("prefecture", 2), ("municipality", 3), ("town", 6)):  # a code begins with the code above
        count = counts[task]
        codes[task] = [f"{above[number % len(above)]}{number // len(above) + 1:0{digits}}" for number in range(count)]
        above = codes[task]
    codes |= {task: [f"{task}:{number}" for number in range(counts[task])] for task in ("road", "landmark")}
    parts = []
    for task in TASKS:
        n_train = np.maximum(1, 10 * rng.lognormal(1.0, 1.0, counts[task])).astype(int)
        weight = (1 / n_train) / (1 / n_train).mean()
        kept = {"task": task, "class_index": range(counts[task]), "code": codes[task], "name": codes[task]}
        parts.append(pd.DataFrame({**kept, "n_train": n_train, "weight": weight}))
    frame = pd.concat(parts, ignore_index=True)
    return {name: frame[name] for name in LABEL_VOCABULARY.column_names}


def _labels(vocabulary, views, rng):
    frame = pd.DataFrame(vocabulary)
    numbers = [f"{number:06}" for number in range(views)]
    places = {"lat": rng.uniform(31, 44, views), "lon": rng.uniform(130, 145, views)}
    pictures = {"image_id": numbers, "view": ["photo"] * views, "split": ["train"] * views, **places}
    for task in TASKS:
        rows = frame[frame["task"] == task]
        drawn = rng.choice(rows["code"].to_numpy(dtype=object), views, p=rows["n_train"] / rows["n_train"].sum())
        pictures[CODE_COLUMNS[task]] = np.where(rng.random(views) < LABELLED[task], drawn, None)
    return pictures


def _encoded(views, side_px, photos):
    """Yield WebP views: squares cut from photographs where there are any, else textures of as many bytes."""
    found = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(Path(photos).rglob("*.jpg"))]

    def encode(number):
        rng = np.random.default_rng([7, number])
        view = _cut(found[number % len(found)], side_px, rng) if found else _texture(side_px, rng)
        stream = io.BytesIO()
        Image.fromarray(view).save(stream, "WEBP", quality=QUALITY, method=2)
        return stream.getvalue()

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(encode, range(views))


def _cut(photo, side_px, rng):
    height, width = photo.shape[:2]
    side = rng.integers(min(height, width, side_px), min(height, width) + 1)
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    return cv2.resize(photo[top : top + side, left : left + side], (side_px, side_px), interpolation=cv2.INTER_AREA)


def _texture(side_px, rng):
    view = np.full((side_px, side_px, 3), 128.0, dtype=np.float32)
    for cells in (4, 8, 16, 32, 64, 128, 256):  # as in photographs, amplitude falls with frequency
        noise = rng.normal(0, 110 / cells**0.5, (cells, cells, 3)).astype(np.float32)
        view += cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    return view.clip(0, 255).astype(np.uint8)


def blank_batch(squares, size, device):
    """Return a batch of `size` pictures that lie on the device already: noise, with the labels of some squares."""
    from geoloc_pipeline.training.dataset import Batch

    numbers = np.arange(size) % len(squares)
    told = squares.blank(numbers)
    pixels = torch.randint(0, 256, told.pixels.shape, dtype=torch.uint8, device=device)
    return Batch(pixels=pixels, classes=told.classes.to(device), places=told.places.to(device))
