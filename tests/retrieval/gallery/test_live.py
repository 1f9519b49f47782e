"""The live gallery stays open, moves over when another collection becomes live, and keeps answering when that one is broken."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation, build_gallery
from geoloc_pipeline.retrieval.gallery.live import LiveGallery
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.tables import EMBEDDING_SIZE


def vectors(n: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(n, EMBEDDING_SIZE)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def build(folder: Path, *, seed: int, model: str = "m1") -> str:
    embeddings = pd.DataFrame({"image_id": [f"p{seed}_{i}" for i in range(8)], "view": "photo", "model_version": model})
    embeddings = embeddings.assign(lat=35.0, lon=139.0, embedding=list(vectors(8, seed)))
    return build_gallery(embeddings, location=GalleryLocation(folder=folder))


def live(folder: Path, **how: float) -> LiveGallery:
    return LiveGallery(GalleryLocation(folder=folder), model_version="m1", check_every_s=how.get("check_every_s", 0.0))


def best(gallery: LiveGallery, seed: int) -> str:
    return str(gallery.search(vectors(8, seed)[:1], top_k=1).image_id[0, 0])


def test_it_moves_over_without_a_failed_search(tmp_path: Path):
    name = build(tmp_path, seed=1)
    gallery = live(tmp_path)
    assert gallery.told() == (name, 8)
    faults, found, stop = [], set(), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                found.add(str(gallery.search(vectors(8, 1)[:1], top_k=1).image_id[0, 0]).split("_")[0])
            except CollectionError as error:
                faults.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for seed in (2, 3, 4):  # the collection of seed 1 is removed meanwhile
        build(tmp_path, seed=seed)
    gallery.search(vectors(1), top_k=1)
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert "p1" in found
    assert best(gallery, 4) == "p4_0"
    gallery.close()


def test_between_two_looks_it_stays_with_what_it_has(tmp_path: Path):
    build(tmp_path, seed=1)
    gallery = live(tmp_path, check_every_s=3600.0)
    assert best(gallery, 1) == "p1_0"
    build(tmp_path, seed=2)
    assert best(gallery, 1) == "p1_0"
    gallery.close()
    assert best(gallery, 2) == "p2_0", "closed and opened again, it looks again"


def test_a_broken_newcomer_leaves_the_old_one_answering(tmp_path: Path):
    build(tmp_path, seed=1)
    gallery = live(tmp_path)
    assert best(gallery, 1) == "p1_0"
    broken = build(tmp_path, seed=2)
    shutil.rmtree(tmp_path / broken)
    assert best(gallery, 1) == "p1_0"


def test_another_models_collection_is_refused_with_the_cure(tmp_path: Path):
    build(tmp_path, seed=1)
    gallery = live(tmp_path)
    assert best(gallery, 1) == "p1_0"
    build(tmp_path, seed=2, model="m2")
    with pytest.raises(CollectionError, match=r"m2.*m1.*restart"):
        best(gallery, 1)
    build(tmp_path, seed=3)
    assert best(gallery, 3) == "p3_0"


def test_no_collection_is_told_and_looked_for_again(tmp_path: Path):
    gallery = live(tmp_path)
    with pytest.raises(CollectionError, match="not there yet"):
        best(gallery, 1)
    build(tmp_path, seed=1)
    assert best(gallery, 1) == "p1_0"


def test_an_alias_to_nowhere_is_told(tmp_path: Path):
    write_text(tmp_path / "alias.json", '{"live": "photos__m1__00000000"}')
    with pytest.raises(CollectionError, match="photos__m1__00000000"):
        best(live(tmp_path), 1)
