"""The gallery on every engine: searched with and without filters, rolled back, made to forget."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.retrieval.gallery.build import build_in_store
from geoloc_pipeline.retrieval.gallery.gallery import Gallery, GalleryLocation, forget_pictures, open_gallery, roll_back
from geoloc_pipeline.retrieval.gallery.neighbours import Where

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


def directions(count: int, *, seed: int = 9) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 512)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def best_of(table: pd.DataFrame, query: np.ndarray, count: int) -> pd.Series:
    """The oracle: each picture's best similarity, best first."""
    scores = pd.Series(np.stack(table["embedding"].to_list()) @ query, index=table["image_id"])
    return scores.groupby(level=0).max().sort_values(ascending=False)[:count]


def _some(queries: int) -> range:
    """The oracle takes milliseconds a query: of many, every so-manieth is compared."""
    return range(0, queries, max(1, queries // 30))


@pytest.mark.parametrize(("queries", "exact"), [(7, True), (7, False), (1_007, True)])
def test_a_search_is_the_cosine_ranking_of_distinct_pictures(store, gallery_world, queries: int, exact: bool):
    table = gallery_world.embeddings(60)
    gallery = Gallery(store, build_in_store(table, store))
    asked = directions(queries)
    found = gallery.search(asked, top_k=10, exact=exact)
    for number in _some(queries):
        query, ids, scores = asked[number], found.image_id[number], found.score[number]
        expected = best_of(table, query, 10)
        assert ids.tolist() == expected.index.tolist()
        assert np.allclose(scores, expected, atol=1e-4)
    assert found.lat.shape == found.lon.shape == found.score.shape == (queries, 10)


@pytest.mark.parametrize(
    ("where", "passes"),
    [
        (Where(prefecture_codes=("11",)), lambda row: row.prefecture_code == "11"),
        (Where(sources=("panoramax",)), lambda row: row.source == "panoramax"),
        (Where(("10", "12"), ("mapillary",)), lambda row: row.prefecture_code in "10 12" and row.source == "mapillary"),
        (Where(), lambda row: True),
    ],
)
@pytest.mark.parametrize("queries", [3, 1_003])
def test_a_filtered_search_still_gives_as_many_pictures_as_pass(store, gallery_world, where: Where, passes, queries: int):
    table, told = gallery_world.embeddings(40), gallery_world.pictures(40)
    gallery = Gallery(store, build_in_store(table, store, pictures=told))
    passing = {row.image_id for row in told.itertuples() if passes(row)}
    asked = directions(queries)
    found = gallery.search(asked, top_k=9, exact=queries > 3, where=where)
    for number in _some(queries):
        expected = best_of(table[table["image_id"].isin(passing)], asked[number], 9).index.tolist()
        assert [name for name in found.image_id[number] if name] == expected


def test_places_and_labels_come_with_the_pictures(store, gallery_world):
    table, told = gallery_world.embeddings(20), gallery_world.pictures(20)
    found = Gallery(store, build_in_store(table, store, pictures=told)).search(gallery_world.means(table), top_k=1)
    assert np.allclose(found.lat[:, 0], 30.0 + np.arange(20) * 0.01)
    assert np.allclose(found.lon, 139.0)
    assert found.source[:, 0].tolist() == told["source"].tolist()
    assert set(found.codes) == {"prefecture", "municipality"}  # no town is known to anybody
    assert found.codes["prefecture"][:, 0].tolist() == told["prefecture_code"].tolist()
    assert found.codes["municipality"][:, 0].tolist() == told["municipality_code"].fillna("").tolist()
    bare = Gallery(store, build_in_store(table, store)).search(gallery_world.means(table), top_k=1)
    assert (bare.codes, bare.source) == ({}, None)


def test_a_small_gallery_gives_what_it_has(store, gallery_world):
    table = gallery_world.embeddings(3)
    gallery = Gallery(store, build_in_store(table, store, pictures=gallery_world.pictures(3)))
    assert gallery.search(gallery_world.means(table), top_k=100).image_id.shape == (3, 3)
    assert gallery.search(np.empty((0, 512), np.float32), top_k=100).image_id.shape[0] == 0
    assert gallery.search(gallery_world.means(table), where=Where(sources=("nobody",))).image_id.shape == (3, 0)
    assert gallery.count() == 15


@pytest.mark.parametrize("query", [np.zeros(512), np.zeros((1, 100)), np.full((1, 512), np.nan)])
def test_an_impossible_question_is_refused(store, gallery_world, query: np.ndarray):
    gallery = Gallery(store, build_in_store(gallery_world.embeddings(3), store))
    with pytest.raises(CollectionError, match=r"\[n, 512\]"):
        gallery.search(query)


def test_pictures_that_look_all_the_same_can_still_be_kept(store, gallery_world):
    table = gallery_world.embeddings(30)
    table["embedding"] = [table["embedding"][0]] * len(table)
    gallery = Gallery(store, build_in_store(table, store))
    found = gallery.search(gallery_world.means(table)[:2], top_k=30, exact=True)
    assert found.image_id[0].tolist() == found.image_id[1].tolist()
    assert sorted(found.image_id[0]) == sorted(set(table["image_id"]))


def test_the_way_back_is_taken_and_taken_again(store, gallery_world):
    location = SimpleNamespace(store=lambda: store)
    with pytest.raises(CollectionError, match="no collection of before"):
        roll_back(location)
    old = build_in_store(gallery_world.embeddings(4), store)
    new = build_in_store(gallery_world.embeddings(5), store)
    assert roll_back(location) == store.live() == old
    assert Gallery(store, old).count() == 20
    assert roll_back(location) == store.live() == new


def test_a_picture_is_forgotten_in_every_collection_and_a_later_build_does_not_bring_it_back(store, gallery_world):
    location = SimpleNamespace(store=lambda: store)
    table, told = gallery_world.embeddings(30), gallery_world.pictures(30)
    build_in_store(table.iloc[:140], store, pictures=told)
    build_in_store(table, store, pictures=told)
    store.create("photos__aaaa__left", about={})
    removed = forget_pictures(location, source_image_ids=["at-source-3"], capture_groups=["drive:1", "unheard of"])
    assert removed == 2 * 11 * 5
    assert store.names() == sorted({store.live(), store.previous()})
    gone = {"p0003", *(f"p{n:04}" for n in range(10, 20))}
    for name, count in ((store.live(), 19), (store.previous(), 17)):
        found = Gallery(store, name).search(gallery_world.means(table)[3:4], top_k=30)
        assert not gone & set(found.image_id[0])
        assert found.image_id.shape == (1, count)
    assert forget_pictures(location, source_image_ids=["at-source-3"]) == 0
    assert forget_pictures(location) == 0
    left = table[~table["image_id"].isin(gone)]
    name = build_in_store(left, store, pictures=told)
    assert Gallery(store, name).count() == 19 * 5
    again = build_in_store(table, store, pictures=told)  # handed over again
    assert Gallery(store, again).count() == 30 * 5


def test_a_forgotten_picture_comes_back_when_the_very_same_gallery_is_asked_for(store, gallery_world):
    location = SimpleNamespace(store=lambda: store)
    table, told = gallery_world.embeddings(12), gallery_world.pictures(12)
    build_in_store(table, store, pictures=told)
    assert forget_pictures(location, capture_groups=["drive:1"]) == 10
    name = build_in_store(table, store, pictures=told)
    assert store.live() == name
    assert Gallery(store, name).count() == 60


def test_a_gallery_that_nobody_built_says_what_to_do(tmp_path):
    with pytest.raises(CollectionError, match=r"not there yet.*materialise `qdrant_collection`"):
        open_gallery(GalleryLocation(folder=tmp_path / "qdrant"))
    with pytest.raises(CollectionError, match="GEOLOC_QDRANT_URL"):
        open_gallery(GalleryLocation())
