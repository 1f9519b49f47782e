"""A home grown by code in seconds: two prefectures, a tiny model, thirty pictures, a gallery; for tests of desk, page and API.

Not a test itself: conftest files and tests load it with `runpy`, so that two rooms of tests share it.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import torch
from PIL import Image

from geoloc_pipeline.evaluation.familiarity import learn_familiarity
from geoloc_pipeline.evaluation.regions import Signs, calibrate_regions
from geoloc_pipeline.geo.crs import WGS84
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.saved import FORMAT
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.retrieval.embedding.embedder import Embedder
from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation, build_gallery
from geoloc_pipeline.retrieval.reading.calibration import Calibration
from geoloc_pipeline.retrieval.reading.settings import ReadoutSettings
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import write_table
from geoloc_pipeline.storage.shards import write_shard
from geoloc_pipeline.tables import CENSUS_TOWNS, PHOTO_COLLECTIONS, TASKS, as_table

PREFECTURES = {"13": ("東京都", 35.6, 139.6), "47": ("沖縄県", 26.2, 127.7)}
SOURCES = ("local", "yfcc100m")
PICTURES = 30


def picture(seed: int, height: int = 180, width: int = 240) -> np.ndarray:
    """Blocks of chance colours: sharp, of many colours, different for each seed."""
    blocks = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST))


def encoded(pixels: np.ndarray, kind: str = "webp", **how: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **how)
    return stream.getvalue()


def save_model(path: Path, *, seed: int = 5) -> None:
    config = GeolocatorConfig(
        backbone="test_vit", input_px=32, class_counts={"prefecture": 2}, location_sigmas=(1.0,), location_width=8
    )
    torch.manual_seed(seed)
    classes = TaskClasses(codes=("13", "47"), names=("東京都", "沖縄県"), n_train=(1, 1), weights=(1.0, 1.0))
    vocabulary = Vocabulary(tasks={task: classes if task == "prefecture" else TaskClasses() for task in TASKS})
    contents = {"format": FORMAT, "model": Geolocator(config).state_dict(), "model_config": config.as_dict()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**contents, "vocabulary": vocabulary.as_dict()}, path)


def build_collection(home: Home, *, only: slice = slice(None)) -> str:
    """Embed the home's pictures with its model and make the collection the live one; return its name."""
    pictures = pd.read_parquet(home.table("photo_collections", "local")).iloc[only]
    embedder = Embedder.load(home.checkpoint())
    read = embedder.read_views([picture(int(name.removeprefix("picture"))) for name in pictures["image_id"]])
    embeddings = pictures[["image_id", "lat", "lon"]].assign(
        view="photo", model_version=embedder.model_version, embedding=list(read.embedding)
    )
    labels = pictures[["image_id", "source", "source_image_id", "capture_group"]].assign(
        prefecture_code=["13" if lat > 30 else "47" for lat in pictures["lat"]],
        municipality_code=None,
        town_code=None,
        split="train",
    )
    return build_gallery(embeddings, location=GalleryLocation(folder=home.qdrant()), pictures=labels)


def _write_census(home: Home) -> None:
    for code, (name, south, west) in PREFECTURES.items():
        rows = [
            {
                "town_code": f"{code}10{column}00{row}000",
                "town": f"{row + 1}丁目",
                "municipality_code": f"{code}10{column}",
                "municipality": f"見本{'東西'[column]}市",
                "prefecture_code": code,
                "prefecture": name,
                "population": 100,
                "geometry": shapely.box(west + column / 5, south + row / 5, west + (column + 1) / 5, south + (row + 1) / 5),
            }
            for column in range(2)
            for row in range(2)
        ]
        frame = gpd.GeoDataFrame(rows, geometry="geometry", crs=WGS84)
        write_table(CENSUS_TOWNS, frame, home.table("census_towns", f"{code}_grown"))


def _write_pictures(home: Home) -> None:
    data = [encoded(picture(seed), lossless=True) for seed in range(PICTURES)]
    members = write_shard(
        home.images("photo_collections", "local") / "000.tar", [(f"{seed}.webp", one) for seed, one in enumerate(data)]
    )
    chance = np.random.default_rng(1)
    corners = [list(PREFECTURES.values())[seed % 2][1:] for seed in range(PICTURES)]
    lat, lon = (np.array([corner[axis] + 0.4 * chance.random() for corner in corners]) for axis in (0, 1))
    frame = pd.DataFrame({
        "image_id": [f"picture{seed}" for seed in range(PICTURES)],
        "source": [SOURCES[seed // 2 % 2] for seed in range(PICTURES)],
        "source_image_id": [f"id{seed}" for seed in range(PICTURES)],
        "origin_id": None, "lat": lat, "lon": lon, "accuracy_m": np.nan, "requested_lat": np.nan, "requested_lon": np.nan,
        "point_id": None, "is_wanted": True, "views": "photo", "width_px": 240, "height_px": 180,
        "captured_at": pd.Timestamp("2024-05-01", tz="UTC"), "fetched_at": pd.Timestamp("2024-06-01", tz="UTC"),
        "licence": "CC-BY-SA-4.0", "attribution": [f"撮影者{seed}" for seed in range(PICTURES)],
        "source_url": [f"https://example.org/{seed}" for seed in range(PICTURES)],
        "capture_group": [f"group{seed}" for seed in range(PICTURES)], "content_sha256": "0", "sha256": "0",
        "shard": [member.shard for member in members], "offset": [member.offset for member in members],
        "size_bytes": [member.size_bytes for member in members],
        "geometry": gpd.GeoSeries(gpd.points_from_xy(lon, lat), crs=WGS84),
    })  # fmt: skip
    write_table(PHOTO_COLLECTIONS, as_table(PHOTO_COLLECTIONS, frame), home.table("photo_collections", "local"))


def grow_home(root: Path) -> Home:
    """Return a home with everything that a desk needs."""
    home = Home.at(root)
    _write_census(home)
    _write_pictures(home)
    save_model(home.checkpoint())
    build_collection(home)
    error_km = np.random.default_rng(2).gamma(2.0, 10.0, 60)
    regions = {"mode": calibrate_regions(error_km, Signs(agreement=np.full(60, 0.5), reach_km=error_km / 2))}
    normal = {"one_view": learn_familiarity(np.linspace(0.2, 0.9, 50)), "whole": learn_familiarity(np.linspace(0.2, 0.9, 50))}
    told = Calibration(settings=ReadoutSettings(bandwidth_km=20.0), regions=regions, familiarity=normal)
    write_text(home.calibration(), json.dumps(told.to_json()))
    return home
