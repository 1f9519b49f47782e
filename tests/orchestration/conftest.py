"""A small home that was grown by the pipeline itself, with a gallery of made-up vectors in place of a trained model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.orchestration.running.chain import chain_of
from geoloc_pipeline.orchestration.running.worker import open_instance
from geoloc_pipeline.orchestration.world import World, choose_world
from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation, build_gallery
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table, read_tables, write_table
from geoloc_pipeline.storage.receipts import read_receipt, write_receipt
from geoloc_pipeline.tables import (
    EMBEDDED_VIEWS,
    EMBEDDING_SIZE,
    ESTIMATES,
    IMAGE_EMBEDDINGS,
    TRAINING_SHARDS,
    as_table,
)  # fmt: skip

KEY, MODEL = "47_okinawa", "5cd39205f4af34a2"


@pytest.fixture(scope="session")
def stripes():
    """Draws, in place of the demo's renderer, pictures that cost nothing, and of which no two are equal."""

    def draw(camera, is_pano: bool, width_px: int) -> np.ndarray:
        ramp = (np.arange(width_px // 2 * width_px) % (camera.seed % 97 + 60)).reshape(-1, width_px, 1)
        ramp[:8, :64, 0] = 90 * np.unpackbits(np.frombuffer(camera.seed.to_bytes(8, "big"), np.uint8))
        return np.repeat(ramp, 3, axis=2).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home from the dump to the splits, views, vectors and answers; to be read only (`own_home` may be changed)."""
    home = Home.at(tmp_path_factory.mktemp("grown") / "home")
    choose_world(home, World(prefecture_codes=("47",), density=0.03))
    definitions = build_definitions(Pipeline(home_dir=str(home.root), profile="demo"))
    job = definitions.resolve_implicit_global_asset_job_def()
    with open_instance(home) as instance:
        for stage in chain_of(["47"])[:4]:
            for run in stage.runs:
                keys = [dg.AssetKey(key) for key in run.assets]
                job.execute_in_process(instance=instance, asset_selection=keys, partition_key=run.partition)
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("label_vocabulary")])
    _model(home)
    _vectors(home)
    _answers(home)
    return home


@pytest.fixture
def own_home(grown: Home, tmp_path: Path) -> Home:
    """A copy of the grown home."""
    return Home.at(shutil.copytree(grown.root, tmp_path / "home"))


def hashes(home: Home, *names: str) -> dict[str, str]:
    found = {}
    for name in names:
        receipt = read_receipt(home.receipt(*name.split("/")))
        assert receipt is not None, name
        found[name] = receipt.content_hash
    return found


def _model(home: Home) -> None:
    """What training leaves behind, but for the weights."""
    inputs = hashes(home, "label_vocabulary/all", f"training_shards/{KEY}") | {
        "preset": "demo",
        "processes": 1,
        "overrides": {},
    }
    versions = {name: value for name, value in inputs.items() if "/" in name}
    run = {"git_commit": "abc", "data_versions": versions, "training_config": {"seed": 7}, "model_config": {}}
    told = {"architecture": {"backbone": "test_vit", "class_counts": {}}, "model_version": MODEL}
    write_text(home.checkpoint(), "weights")
    write_text(home.model() / "config.json", json.dumps(run))
    write_text(home.model_export() / "config.json", json.dumps(told))
    write_text(home.model_export() / "README.md", "# The model\n")
    write_text(home.preview("geolocation_model"), "![](data:image/png;base64,AAAA)")
    write_receipt(
        home.receipt("geolocation_model"),
        inputs={**inputs, "code_version": "2"},
        files=[home.checkpoint()],
        bulk=[home.model_export() / "README.md"],
        root=home.root,
        metadata={"best_epoch": 1},
    )


def _vectors(home: Home) -> None:
    shards = read_table(TRAINING_SHARDS, home.table("training_shards", KEY))
    shards = shards[shards["split"] != "test"].reset_index(drop=True)
    vectors = np.random.default_rng(0).normal(size=(len(shards), EMBEDDING_SIZE)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    columns = {name: shards[name] for name in ("image_id", "view", "lat", "lon")}
    table = as_table(IMAGE_EMBEDDINGS, {**columns, "model_version": [MODEL] * len(shards), "embedding": list(vectors)})
    made_from = [f"{number:064x}" for number in range(len(shards))]
    write_table(IMAGE_EMBEDDINGS, table, home.table("image_embeddings", KEY))
    views = as_table(EMBEDDED_VIEWS, {"image_id": shards["image_id"], "view": shards["view"], "made_from": made_from})
    write_table(EMBEDDED_VIEWS, views, home.table("embedded_views", KEY))
    write_receipt(
        home.receipt("image_embeddings", KEY),
        inputs={**hashes(home, f"training_shards/{KEY}", "geolocation_model/all"), "code_version": "1"},
        files=[home.table("image_embeddings", KEY)],
        bulk=[home.table("embedded_views", KEY)],
        root=home.root,
        metadata={"rows": len(table)},
    )
    name = build_gallery(table, location=GalleryLocation(folder=home.qdrant()), pictures=_pictures(home))
    write_receipt(
        home.receipt("qdrant_collection"),
        inputs={**hashes(home, f"image_embeddings/{KEY}"), "gallery": "embedded", "code_version": "1"},
        files=[],
        root=home.root,
        metadata={"collection": name, "points": len(table)},
    )


def _pictures(home: Home) -> pd.DataFrame:
    labelled = pd.read_parquet(home.table("labelled_images", KEY)).drop(columns=["lat", "lon", "geometry"])
    manifests = [pd.read_parquet(path) for key in ("street_view_images", "photo_collections") for path in home.tables(key)]
    ids = pd.concat(manifests)[["image_id", "source_image_id"]].drop_duplicates("image_id")
    return labelled.merge(ids, on="image_id").merge(pd.read_parquet(home.table("dataset_splits", KEY))[["image_id", "split"]])


def _answers(home: Home) -> None:
    shards = read_tables(TRAINING_SHARDS, [home.table("training_shards", KEY)])
    test = shards[shards["split"] == "test"].drop_duplicates("image_id")
    columns = {"query_id": test["image_id"], "readout": ["mode"] * len(test), "lat": test["lat"], "lon": test["lon"]}
    columns |= {"true_lat": test["lat"], "true_lon": test["lon"], "error_km": np.zeros(len(test))}
    empty = pd.Series([np.nan] * len(test))
    write_table(
        ESTIMATES, as_table(ESTIMATES, {**columns, "region_50_km": empty, "region_90_km": empty}), home.table("estimates")
    )
    write_text(home.report_page(), "<p>figures</p>")
    shown = sorted(shards.loc[shards["split"] == "train", "image_id"])[0]
    write_text(home.evidence_page(), f'<li data-image-id="{shown}"><img src="data:image/webp;base64,AAAA"></li>')
    write_receipt(
        home.receipt("evaluation_report"),
        inputs={**hashes(home, "geolocation_model/all", "qdrant_collection/all", f"dataset_splits/{KEY}"), "code_version": "2"},
        files=[home.table("estimates"), home.report_page(), home.evidence_page()],
        root=home.root,
    )
