"""Grows a small valid file of every kind that the pipeline reads, by its own writers: what the mutations start from."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import mapbox_vector_tile
import numpy as np
from PIL import Image

from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.publish import publish_world
from geoloc_pipeline.imagery.photo_sets import collect_photo_set
from geoloc_pipeline.imagery.webp import encode_webp
from geoloc_pipeline.osm.extract import extract_map
from geoloc_pipeline.sources.census import read_towns
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import write_table
from geoloc_pipeline.storage.receipts import write_receipt
from geoloc_pipeline.tables import CENSUS_TOWNS, OSM_LANDMARKS, OSM_ROADS, PHOTO_COLLECTIONS

CODE, REGION, SET = "47", "kyushu", "im2gps3k"

PANORAMAX: dict[str, Any] = {
    "features": [
        {
            "id": "0b9f6d0e-2a2f-4a5e-9a5e-2f6f6b1f0a11",
            "collection": "c-1",
            "geometry": {"type": "Point", "coordinates": [127.7, 26.2]},
            "properties": {
                "datetime": "2024-05-01T03:00:00Z", "view:azimuth": 12.5, "pers:pitch": 1.0, "pers:roll": -2.0,
                "license": "CC-BY-SA-4.0", "geovisio:producer": "someone", "quality:horizontal_accuracy": 3.0,
                "pers:interior_orientation": {"field_of_view": 360},
            },
            "providers": [{"name": "someone", "roles": ["producer"]}],
            "assets": {"sd": {"href": "https://panoramax.example/sd.jpg"}, "hd": {"href": "https://panoramax.example/hd.jpg"}},
        }
    ],
    "links": [],
}  # fmt: skip
KARTAVIEW: dict[str, Any] = {
    "status": {"apiCode": 600, "httpCode": 200, "apiMessage": "ok"},
    "result": {
        "data": [
            {
                "id": "77", "lat": "26.2", "lng": "127.7", "heading": "350.5", "shotDate": "2023-01-02 03:04:05",
                "sequenceId": "12", "sequenceIndex": "3", "projection": "PLANE", "fileurlProc": "https://cdn.example/p.jpg",
            }
        ],
        "hasMoreData": False,
    },
}  # fmt: skip
MAPILLARY: dict[str, Any] = {
    "id": "123456", "creator": {"username": "someone"}, "captured_at": 1_600_000_000_000, "camera_type": "spherical",
    "computed_geometry": {"type": "Point", "coordinates": [127.7, 26.2]}, "computed_compass_angle": 10.0, "sequence": "s",
    "computed_rotation": [1.2, 0.1, 0.3], "thumb_2048_url": "https://mapillary.example/t.jpg", "is_pano": True,
}  # fmt: skip
GOOGLE: dict[str, Any] = {
    "status": "OK", "pano_id": "abc", "date": "2022-05", "copyright": "© Google", "location": {"lat": 26.2, "lng": 127.7},
}  # fmt: skip


def grow_seeds(folder: Path) -> None:
    """Write the seeds below `folder`, one folder a door."""
    land = grow_land(seed=1, prefecture_codes=(CODE,), density=0.05)
    world = folder / "world"
    publish_world(land, world, draw=_drawn)
    dump = next((world / "geofabrik").rglob("*.osm.pbf"))
    census = next((world / "estat").glob("*.zip"))
    for door in ("pbf", "pbf_inner"):
        _put(folder / door / "seed.osm.pbf", dump.read_bytes())
    for door in ("census_zip", "shapefile"):
        _put(folder / door / "seed.zip", census.read_bytes())
    _grow_pictures(folder / "picture")
    for door in ("photo_set_list", "photo_set_archive", "photo_set_sqlite"):
        shutil.copytree(world / "photos", folder / door, dirs_exist_ok=True)
    _grow_answers(folder, world)
    _grow_tables(folder, world, dump, census)
    _grow_model(folder)
    _grow_notes(folder)


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _drawn(camera: Any, is_pano: bool, width_px: int) -> np.ndarray:
    width_px = min(width_px, 128)
    dice = np.random.default_rng(camera.seed if hasattr(camera, "seed") else 0)
    small = dice.integers(0, 255, (8, 16, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width_px, width_px // 2 if is_pano else width_px * 3 // 4)))


def _grow_pictures(folder: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    _put(folder / "seed.webp", encode_webp(pixels, lat=26.2, lon=127.7))
    exif = Image.Exif()
    exif[0x013B] = "author"
    exif.get_ifd(0x8825).update({1: "N", 2: (26.0, 12.0, 0.0), 3: "E", 4: (127.0, 42.0, 0.0)})
    for kind in ("JPEG", "PNG", "TIFF", "GIF", "BMP", "PPM", "JPEG2000"):
        stream = io.BytesIO()
        options = {"exif": exif} if kind in {"JPEG", "PNG", "TIFF"} else {}
        Image.fromarray(pixels).save(stream, format=kind, **options)
        _put(folder / f"seed.{kind.lower()}", stream.getvalue())


def _grow_answers(folder: Path, world: Path) -> None:
    answers = {"panoramax": PANORAMAX, "kartaview": KARTAVIEW, "mapillary": MAPILLARY, "google": GOOGLE}
    for name, answer in answers.items():
        _put(folder / "provider" / f"{name}.json", json.dumps(answer).encode())
    _put(folder / "provider" / "geofabrik.json", (world / "geofabrik" / "index-v1.json").read_bytes())
    features = [
        {
            "geometry": f"POINT({100 * number} {4096 - 90 * number})",
            "properties": {
                "id": 10**9 + number, "captured_at": 1_600_000_000_000 + number, "compass_angle": 3.5 * number,
                "is_pano": number % 2 == 0, "sequence_id": f"s{number}",
            },
        }
        for number in range(30)
    ]  # fmt: skip
    _put(folder / "vector_tile" / "seed.pbf", mapbox_vector_tile.encode([{"name": "image", "features": features}]))
    columns = {
        "image_id": ["a", "b"], "lat": [26.1, 26.2], "lon": [127.1, 127.2], "compass_deg": [1.0, None], "captured_ms": [1, 2],
        "is_pano": [0, 1], "quality": [None, -3.0], "sequence_id": ["s", "t"],
    }  # fmt: skip
    _put(folder / "kept_coverage" / "seed.json", json.dumps(columns).encode())


def _grow_tables(folder: Path, world: Path, dump: Path, census: Path) -> None:
    towns = read_towns(census)
    roads, landmarks = extract_map(dump, towns, prefecture_code=CODE, scratch=folder / "scratch")
    for contract, frame in ((CENSUS_TOWNS, towns), (OSM_ROADS, roads), (OSM_LANDMARKS, landmarks)):
        write_table(contract, frame, folder / "table" / f"{contract.name}.parquet")
    home = Home.at(folder / "grown_home")
    shards = home.images("photo_collections", SET)
    images, _ = collect_photo_set(SET, world / "photos" / SET, shards, workers=1)
    for path in (folder / "table" / "photo_collections.parquet", folder / "archive_index" / "photo_collections.parquet"):
        write_table(PHOTO_COLLECTIONS, images, path)
    for path in shards.glob("*.*"):
        if path.suffix in {".tar", ".parquet"}:
            _put(folder / "journal" / path.name, path.read_bytes())


def _grow_model(folder: Path) -> None:
    import pandas as pd
    import torch

    from geoloc_pipeline.model.export import SOURCE_COLUMNS, export_geolocator
    from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
    from geoloc_pipeline.model.saved import FORMAT
    from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
    from geoloc_pipeline.tables import TASKS

    config = GeolocatorConfig(
        backbone="test_vit", input_px=32, class_counts=dict.fromkeys(TASKS, 2), location_sigmas=(1.0,), location_width=8
    )
    classes = TaskClasses(codes=("01", "13"), names=("a", "b"), n_train=(1, 1), weights=(1.0, 1.0))
    torch.manual_seed(7)
    model = Geolocator(config)
    contents = {
        "format": FORMAT, "model": model.state_dict(), "model_config": config.as_dict(), "epoch": 3,
        "vocabulary": Vocabulary(tasks=dict.fromkeys(TASKS, classes)).as_dict(), "training_config": {"preset": "demo"},
        "data_versions": {"training_shards": "x"}, "git_commit": "0", "validation": {"loss": 1.0},
    }  # fmt: skip
    path = folder / "checkpoint" / "best.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(contents, path)
    shutil.copytree(path.parent, folder / "checkpoint_inner", dirs_exist_ok=True)
    sources = pd.DataFrame([dict.fromkeys(SOURCE_COLUMNS, 1) | {"source": "mapillary", "licence": "CC-BY-SA-4.0"}])
    export_geolocator(path, folder / "export", sources=sources)


def _grow_notes(folder: Path) -> None:
    from geoloc_pipeline.imagery.intake import Intake, Outcome
    from geoloc_pipeline.imagery.journal import Archived
    from geoloc_pipeline.imagery.plan import Plan, write_plan
    from geoloc_pipeline.training.config import PRESETS

    run = {
        "preset": "demo", "overrides": {**PRESETS["demo"].as_dict(), "crop_scale": [0.5, 1.0]}, "vocabulary": "v.parquet",
        "shards": [["a.parquet", "a"], ["b.parquet", "b"]], "output": "out", "data_versions": {"x": "1"}, "tensorboard": None,
    }  # fmt: skip
    run["overrides"].pop("preset")
    _put(folder / "training_run" / "run.json", json.dumps(run).encode())
    (folder / "receipt").mkdir(exist_ok=True)
    _put(folder / "receipt_files" / "tables" / "a.parquet", b"abc")
    write_receipt(
        folder / "receipt" / "receipt.json", inputs={"code_version": 1, "dump": {"md5": "0"}}, metadata={"rows": 3},
        files=[folder / "receipt_files" / "tables" / "a.parquet"], root=folder / "receipt_files",
    )  # fmt: skip
    _put(folder / "note" / "progress.json", b'{"done": 3, "total": 10, "unit": "pictures"}')
    _put(folder / "note" / "budget.json", b'{"day": "2026-11-21", "spent": 50}')
    _put(folder / "note" / "dump.json", b'{"md5": "0123", "size_bytes": 3, "is_original": false}')
    _put(folder / "note" / "alias.json", b'{"live": "photos__5cd39205f4af34a2__44296823"}')
    intake_folder = folder / "intake"
    intake_folder.mkdir(exist_ok=True)
    intake = Intake(intake_folder, recipe="r")
    row = {"image_id": "a", "captured_at": None, "fetched_at": None}
    intake.add("00000-r-x", "k1", Outcome(Archived(row, b"picture"), []))
    intake.add("00000-r-x", "k2", Outcome(None, [("mapillary", "a", "gone", "it is gone")]))
    (folder / "plan").mkdir(exist_ok=True)
    write_plan(folder / "plan" / "seed.plan", Plan())
