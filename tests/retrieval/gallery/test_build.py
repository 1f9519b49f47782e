"""How a collection comes to be: what is refused, what is built again, and what an interruption leaves."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.retrieval.gallery.build import build_in_store
from geoloc_pipeline.retrieval.gallery.gallery import Gallery, GalleryLocation, build_gallery, forget_pictures
from geoloc_pipeline.storage.progress import Progress

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]


def test_building_again_does_nothing_and_a_change_builds_beside_the_old_one(store, gallery_world):
    first = build_in_store(gallery_world.embeddings(5), store)
    assert first.startswith("photos__aaaa__")
    shuffled = gallery_world.embeddings(5).sample(frac=1, random_state=3)
    assert build_in_store(shuffled, store) == first
    second = build_in_store(gallery_world.embeddings(6), store)
    third = build_in_store(gallery_world.embeddings(6, version="bbbb"), store)
    assert len({first, second, third}) == 3
    assert (store.live(), store.previous()) == (third, second)
    assert store.names() == sorted([second, third])  # one way back
    assert build_in_store(gallery_world.embeddings(6), store) == second  # it is there still


@pytest.mark.parametrize("label", ["source", "source_image_id", "capture_group", "prefecture_code", "town_code"])
def test_a_changed_label_is_a_changed_gallery(store, gallery_world, label: str):
    table, told = gallery_world.embeddings(5), gallery_world.pictures(5).astype(object)
    first = build_in_store(table, store, pictures=told)
    told.loc[2, label] = "another"
    second = build_in_store(table, store, pictures=told)
    assert second != first
    told["split"] = "train"  # says who may be held, and is not kept
    assert build_in_store(table, store, pictures=told) == second


def test_tables_handed_over_one_by_one_are_the_same_gallery(store, gallery_world):
    table = gallery_world.embeddings(9)
    whole = build_in_store(table, store)
    parts = [table.iloc[20:], table.iloc[:20]]
    assert build_in_store(lambda: iter(parts), store) == whole
    mixed = [parts[0], gallery_world.embeddings(2, version="bbbb")]
    with pytest.raises(CollectionError, match="mix the models aaaa, bbbb"):
        build_in_store(lambda: iter(mixed), store)


@pytest.mark.parametrize(("points", "count", "most"), [("all", 25, 5), ("views", 20, 4), ("mean", 5, 1)])
def test_what_becomes_a_point_is_a_setting(store, gallery_world, points: str, count: int, most: int):
    name = build_in_store(gallery_world.embeddings(5), store, points=points)
    assert store.count(name) == count
    assert store.about(name)["points_of_a_picture"] == most


def test_whoever_has_an_old_collection_open_keeps_it(store, gallery_world):
    table = gallery_world.embeddings(5)
    gallery = Gallery(store, build_in_store(table, store))
    build_in_store(gallery_world.embeddings(8, version="bbbb", seed=4), store)
    assert gallery.count() == 25
    assert gallery.search(gallery_world.means(table), top_k=1).image_id[:, 0].tolist() == [f"p{n:04}" for n in range(5)]


def test_vectors_of_two_models_are_never_mixed(store, gallery_world):
    live = build_in_store(gallery_world.embeddings(4), store)
    mixed = pd.concat([gallery_world.embeddings(4), gallery_world.embeddings(4, version="bbbb").iloc[:5].assign(image_id="x")])
    with pytest.raises(CollectionError, match=r"mix the models aaaa, bbbb.*image_embeddings"):
        build_in_store(mixed, store)
    assert (store.live(), store.names()) == (live, [live])


def test_test_pictures_are_refused_and_counted(store, gallery_world):
    live = build_in_store(gallery_world.embeddings(4), store)
    told = gallery_world.pictures(6)
    told.loc[[1, 4], "split"] = "test"
    with pytest.raises(CollectionError, match=r"2 pictures of the test split, the first of them p0001"):
        build_in_store(gallery_world.embeddings(6), store, pictures=told)
    assert (store.live(), store.names()) == (live, [live])
    only_three = gallery_world.embeddings(6)[lambda table: ~table["image_id"].isin(["p0001", "p0004"])]
    assert store.count(build_in_store(only_three, store, pictures=told)) == 20


def test_a_picture_told_twice_is_refused(store, gallery_world):
    with pytest.raises(CollectionError, match="twice about 1 pictures, such as p0000"):
        build_in_store(
            gallery_world.embeddings(3), store, pictures=pd.concat([gallery_world.pictures(3), gallery_world.pictures(1)])
        )


def test_an_empty_gallery_is_refused(store, gallery_world):
    with pytest.raises(CollectionError, match="no embedding"):
        build_in_store(gallery_world.embeddings(2).iloc[:0], store)
    assert store.names() == []


@pytest.mark.parametrize("factor", [2.0, 0.0, np.nan])
def test_a_broken_vector_is_named(store, gallery_world, factor: float):
    table = gallery_world.embeddings(3)
    table["embedding"] = [row * np.float32(factor) if place == 7 else row for place, row in enumerate(table["embedding"])]
    with pytest.raises(CollectionError, match=r"1 vectors are not of unit length, such as that of p0001"):
        build_in_store(table, store)


def test_progress_counts_points(tmp_path, gallery_world):
    progress = Progress()
    build_gallery(gallery_world.embeddings(5), location=GalleryLocation(folder=tmp_path), progress=progress)
    assert (progress.done, progress.total, progress.unit) == (25, 25, "points")


class Killed(BaseException):
    """Nobody catches it, as nobody catches a kill."""


class Dying:
    """A store whose n-th call never happens: the process has died between two calls."""

    def __init__(self, store, *, at: int) -> None:
        self.store, self.left = store, at

    def __getattr__(self, name: str):
        if not callable(getattr(self.store, name)):
            return getattr(self.store, name)

        def call(*told, **named):
            self.left -= 1
            if self.left <= 0:
                raise Killed
            return getattr(self.store, name)(*told, **named)

        return call


def test_interrupted_at_any_call_the_old_gallery_answers_and_the_next_attempt_finishes(store, gallery_world):
    live = build_in_store(gallery_world.embeddings(3), store)
    sizes = {live: 15}
    for at in range(1, 100):
        pictures = 4 + at % 2
        table = gallery_world.embeddings(pictures, seed=at)
        dying = Dying(store, at=at)
        with contextlib.suppress(Killed):
            build_in_store(table, dying)
        now = store.live()
        if now != live:
            sizes[now] = 5 * pictures  # it died after the swap
        gallery = Gallery(store, now)
        assert gallery.count() == sizes[now]
        assert gallery.search(gallery_world.means(gallery_world.embeddings(1)), top_k=3).image_id.shape == (1, 3)
        if dying.left > 0:
            assert at > 8  # there was something to die in
            return
        if at % 3 and now == live:
            continue  # the next attempt dies as well, a call later
        before, live = live, build_in_store(table, store)
        sizes[live] = 5 * pictures
        assert (store.live(), store.previous()) == (live, before)
        assert store.names() == sorted([live, before])
    pytest.fail("it never came to its end")


def test_interrupted_while_forgetting_a_rerun_finishes(store, gallery_world):
    told = gallery_world.pictures(12)
    for at in range(1, 100):
        build_in_store(gallery_world.embeddings(12, seed=at), store, pictures=told)
        dying = Dying(store, at=at)
        with contextlib.suppress(Killed):
            forget_pictures(SimpleNamespace(store=lambda dying=dying: dying), capture_groups=["drive:1"])
        assert store.count(store.live()) in {50, 60}
        forget_pictures(SimpleNamespace(store=lambda: store), capture_groups=["drive:1"])
        assert {store.count(name) for name in store.names()} == {50}
        if dying.left > 0:
            return
    pytest.fail("it never came to its end")
