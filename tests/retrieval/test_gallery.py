"""The gallery on both engines: built beside the old one, checked, swapped in, searched."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from qdrant_client import QdrantClient

from geoloc_pipeline.errors import CollectionError, SourceUnavailableError
from geoloc_pipeline.retrieval.gallery import (
    Gallery,
    GalleryLocation,
    build_gallery,
    build_in_store,
    open_gallery,
)
from geoloc_pipeline.retrieval.gallery_edge import EdgeStore
from geoloc_pipeline.retrieval.gallery_server import ServerStore
from geoloc_pipeline.storage.progress import Progress
from geoloc_pipeline.tables import IMAGE_EMBEDDINGS, as_table

VIEWS = ("N", "E", "S", "W", "mean")


def embeddings(pictures: int, *, version: str = "aaaa", seed: int = 0) -> pd.DataFrame:
    """Pictures of which each has a direction of its own and views around it."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(pictures):
        middle = rng.normal(size=512)
        for view in VIEWS:
            vector = middle + rng.normal(size=512) * (0.0 if view == "mean" else 0.3)
            place = {"lat": 30.0 + number * 0.01, "lon": 139.0}
            rows.append(
                {"image_id": f"p{number:04}", "view": view, "model_version": version, **place, "embedding": unit(vector)}
            )
    frame = pd.DataFrame(rows)
    return as_table(IMAGE_EMBEDDINGS, {name: frame[name] for name in IMAGE_EMBEDDINGS.column_names})


def unit(vector: np.ndarray) -> np.ndarray:
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def means(table: pd.DataFrame) -> np.ndarray:
    return np.stack(table[table["view"] == "mean"]["embedding"].to_list())


pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
    pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection"),
]


@pytest.fixture(params=["edge", "server"])
def store(request, tmp_path):
    """Both engines; the server's part is played by the client's own local mode."""
    if request.param == "edge":
        yield EdgeStore(tmp_path / "qdrant")
    else:
        yield ServerStore(QdrantClient(":memory:"), url="http://qdrant.example:6333")


@pytest.mark.parametrize("exact", [True, False])
def test_a_search_is_the_cosine_ranking_of_distinct_pictures(store, exact: bool):
    table = embeddings(60)
    gallery = Gallery(store, build_in_store(table, store))
    queries = np.stack([unit(vector) for vector in np.random.default_rng(9).normal(size=(7, 512))])
    found = gallery.search(queries, top_k=10, exact=exact)
    scores = pd.DataFrame((queries @ np.stack(table["embedding"].to_list()).T).T, index=table["image_id"])
    best = scores.groupby(level=0).max()
    for query in range(len(queries)):
        expected = best[query].sort_values(ascending=False)[:10]
        assert found.image_id[query].tolist() == expected.index.tolist()
        assert np.allclose(found.score[query], expected, atol=1e-4)
        assert len(set(found.image_id[query])) == 10
    assert found.lat.shape == found.lon.shape == found.score.shape == (7, 10)


def test_places_come_with_the_pictures(store):
    table = embeddings(20)
    gallery = Gallery(store, build_in_store(table, store))
    found = gallery.search(means(table), top_k=1)
    assert np.allclose(found.lat[:, 0], 30.0 + np.arange(20) * 0.01)
    assert np.allclose(found.lon, 139.0)
    assert (found.score > 0.999).all()


def test_a_small_gallery_gives_what_it_has(store):
    table = embeddings(3)
    gallery = Gallery(store, build_in_store(table, store))
    assert gallery.search(means(table), top_k=100).image_id.shape == (3, 3)
    assert gallery.search(np.empty((0, 512), np.float32), top_k=100).image_id.shape[0] == 0
    assert gallery.count() == 15


def test_building_again_does_nothing_and_a_change_builds_beside_the_old_one(store):
    first = build_in_store(embeddings(5), store)
    assert first.startswith("photos__aaaa__")
    assert build_in_store(embeddings(5), store) == first
    second = build_in_store(embeddings(6), store)
    third = build_in_store(embeddings(6, version="bbbb"), store)
    assert len({first, second, third}) == 3
    assert store.live() == third
    assert store.names() == sorted([second, third])  # one way back


def test_whoever_has_the_old_collection_open_keeps_it(store):
    table = embeddings(5)
    gallery = Gallery(store, build_in_store(table, store))
    build_in_store(embeddings(8, version="bbbb", seed=4), store)
    assert gallery.count() == 25
    assert gallery.search(means(table), top_k=1).image_id[:, 0].tolist() == [f"p{n:04}" for n in range(5)]


@pytest.mark.parametrize(("points", "count"), [("all", 25), ("views", 20), ("mean", 5)])
def test_what_becomes_a_point_is_a_setting(store, points: str, count: int):
    assert Gallery(store, build_in_store(embeddings(5), store, points=points)).count() == count


def test_vectors_of_two_models_are_never_mixed(store):
    build_in_store(embeddings(4), store)
    mixed = pd.concat([embeddings(4), embeddings(4, version="bbbb").iloc[:5].assign(image_id="x")])
    with pytest.raises(CollectionError, match=r"mix the models aaaa, bbbb.*image_embeddings"):
        build_in_store(mixed, store)
    assert store.live().startswith("photos__aaaa")


def test_an_empty_gallery_is_refused(store):
    with pytest.raises(CollectionError, match="no embedding"):
        build_in_store(embeddings(2).iloc[:0], store)


@pytest.mark.parametrize("factor", [2.0, 0.0, np.nan])
def test_a_broken_vector_is_named(store, factor: float):
    table = embeddings(3)
    table["embedding"] = [row * np.float32(factor) if place == 7 else row for place, row in enumerate(table["embedding"])]
    with pytest.raises(CollectionError, match=r"1 vectors are not of unit length, such as that of p0001"):
        build_in_store(table, store)


@pytest.mark.parametrize("query", [np.zeros(512), np.zeros((1, 100)), np.full((1, 512), np.nan)])
def test_an_impossible_question_is_refused(store, query: np.ndarray):
    gallery = Gallery(store, build_in_store(embeddings(3), store))
    with pytest.raises(CollectionError, match=r"\[n, 512\]"):
        gallery.search(query)


def test_pictures_that_look_all_the_same_can_still_be_kept(store):
    table = embeddings(30)
    table["embedding"] = [table["embedding"][0]] * len(table)
    gallery = Gallery(store, build_in_store(table, store))
    found = gallery.search(means(table)[:2], top_k=30, exact=True)
    assert found.image_id[0].tolist() == found.image_id[1].tolist() == sorted(found.image_id[0])


def test_a_gallery_that_nobody_built_says_what_to_do(tmp_path):
    with pytest.raises(CollectionError, match=r"not there yet.*materialise `qdrant_collection`"):
        open_gallery(GalleryLocation(folder=tmp_path / "qdrant"))


def test_progress_counts_points(tmp_path):
    progress = Progress()
    build_gallery(embeddings(5), location=GalleryLocation(folder=tmp_path), progress=progress)
    assert (progress.done, progress.total, progress.unit) == (25, 25, "points")


def test_a_second_process_reads_while_the_first_has_it_open(tmp_path):
    location, table = GalleryLocation(folder=tmp_path), embeddings(10)
    build_gallery(table, location=location)

    def read(answers) -> None:
        with open_gallery(location) as gallery:
            answers.put(gallery.search(means(table)[3:4], top_k=1).image_id[0, 0])

    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with open_gallery(location) as gallery:
        assert gallery.count() == 50
        reader = context.Process(target=read, args=(answers,))
        reader.start()
        assert answers.get(timeout=30) == "p0003"
        reader.join()


def test_killed_while_building_the_live_gallery_stays_and_the_next_attempt_cleans_up(tmp_path):
    location = GalleryLocation(folder=tmp_path)
    live = build_gallery(embeddings(5), location=location)

    class Dies(Progress):
        def tell(self, done, *, total=None, unit=None) -> None:
            os._exit(9)

    def build() -> None:
        build_gallery(embeddings(300, version="bbbb"), location=location, progress=Dies())

    process = multiprocessing.get_context("fork").Process(target=build)
    process.start()
    process.join(60)
    assert process.exitcode == 9
    with open_gallery(location) as gallery:
        assert (gallery.collection, gallery.count()) == (live, 25)
    new = build_gallery(embeddings(6, version="bbbb"), location=location)
    assert EdgeStore(tmp_path).names() == sorted([live, new])


def test_a_gallery_that_lost_its_points_is_not_trusted_and_is_built_again(tmp_path):
    location = GalleryLocation(folder=tmp_path)
    name = build_gallery(embeddings(5), location=location)
    shutil.rmtree(tmp_path / name / "segments")
    (tmp_path / name / "segments").mkdir()
    with pytest.raises(CollectionError, match="holds 0 points and should hold 25"), open_gallery(location) as gallery:
        gallery.count()
    assert build_gallery(embeddings(5), location=location) == name
    with open_gallery(location) as gallery:
        assert gallery.count() == 25


def test_an_alias_to_a_collection_that_is_gone_is_said(tmp_path):
    (tmp_path / "alias.json").write_text(json.dumps({"live": "photos__x__y"}))
    with pytest.raises(CollectionError, match="photos__x__y"), open_gallery(GalleryLocation(folder=tmp_path)) as gallery:
        gallery.count()


def test_a_server_that_does_not_answer_is_named_without_its_credentials():
    location = GalleryLocation(url="http://user:secret@127.0.0.1:9", api_key="hush")
    assert location.label == "http://127.0.0.1:9"
    assert "hush" not in repr(location)
    with pytest.raises(SourceUnavailableError, match=r"Qdrant.*127\.0\.0\.1:9") as caught:
        open_gallery(location)
    assert "secret" not in str(caught.value)
