"""The gallery in a folder: several processes, a kill at any moment, a full disk, a damaged collection."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from geoloc_pipeline.errors import CollectionError
from geoloc_pipeline.retrieval.gallery.edge import EdgeStore
from geoloc_pipeline.retrieval.gallery.gallery import GalleryLocation, build_gallery, forget_pictures, open_gallery

FORK = multiprocessing.get_context("fork")


def in_a_child(work: Callable[[], object]) -> int:
    """Do something in a process of its own; return how it ended."""
    process = FORK.Process(target=work)
    process.start()
    process.join(60)
    return process.exitcode


def dies_at(work: Callable[[], object], folder: Path, touch: int) -> int:
    """Do something in a process that is gone for good at the n-th time it touches the folder from Python."""

    def told() -> None:
        left = touch

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"} and str(folder) in str(arguments[0]):
                left -= 1
                if left == 0:
                    os._exit(9)

        sys.addaudithook(watch)
        work()

    return in_a_child(told)


def test_a_second_process_reads_while_the_first_has_it_open(tmp_path, gallery_world):
    location, table = GalleryLocation(folder=tmp_path), gallery_world.embeddings(10)
    build_gallery(table, location=location)

    def read() -> None:
        with open_gallery(location) as gallery:
            found = gallery.search(gallery_world.means(table)[3:4], top_k=1)
        os._exit(0 if found.image_id[0, 0] == "p0003" else 1)

    with open_gallery(location) as gallery:
        assert gallery.count() == 50
        assert in_a_child(read) == 0


def test_who_has_it_open_keeps_answering_while_another_process_makes_it_forget(tmp_path, gallery_world):
    location, table = GalleryLocation(folder=tmp_path), gallery_world.embeddings(20)
    build_gallery(table, location=location, pictures=gallery_world.pictures(20))
    with open_gallery(location) as gallery:
        assert gallery.count() == 100
        assert in_a_child(lambda: forget_pictures(location, capture_groups=["drive:1"])) == 0
        assert gallery.search(gallery_world.means(table), top_k=1).image_id[:, 0].tolist() == sorted(set(table["image_id"]))
    with open_gallery(location) as gallery:
        assert gallery.count() == 50


def test_what_is_forgotten_is_on_the_disk_no_more(tmp_path, gallery_world):
    location, table = GalleryLocation(folder=tmp_path), gallery_world.embeddings(20)
    build_gallery(table, location=location, pictures=gallery_world.pictures(20))
    vector = table.loc[table["image_id"] == "p0007", "embedding"].iloc[0].tobytes()[400:440]

    def files_with(sign: bytes) -> list[Path]:
        return [path for path in tmp_path.rglob("*") if path.is_file() and sign in path.read_bytes()]

    assert files_with(vector)
    assert files_with(b"at-source-7")
    assert forget_pictures(location, source_image_ids=["at-source-7"]) == 5
    assert files_with(vector) == []
    assert files_with(b"at-source-7") == []
    assert files_with(b"at-source-8")


@pytest.mark.parametrize("what", ["build", "forget"])
def test_killed_at_any_moment_a_whole_gallery_stays_live_and_the_next_attempt_cleans_up(tmp_path, gallery_world, what: str):
    location, told = GalleryLocation(folder=tmp_path), gallery_world.pictures(12)
    old, new = gallery_world.embeddings(12), gallery_world.embeddings(13, seed=1)
    live = build_gallery(old, location=location, pictures=told)
    work = {
        "build": lambda: build_gallery(new, location=location, pictures=told),
        "forget": lambda: forget_pictures(location, capture_groups=["drive:1"]),
    }[what]
    deaths = 0
    for touch in (1, 2, 3, 5, 8, 13, 25, 40, 60, 90):
        ended = dies_at(work, tmp_path, touch)
        deaths += ended == 9
        with open_gallery(location) as gallery:
            assert gallery.count() in {60, 65, 50}
            assert gallery.search(gallery_world.means(old)[:1], top_k=1).image_id.shape == (1, 1)
        if ended == 0:
            break
    assert deaths > 2
    work()
    store = EdgeStore(tmp_path)
    assert store.names() == sorted(name for name in {store.live(), store.previous()} if name)
    assert store.count(store.live()) == (65 if what == "build" else 50)
    assert store.live() != live


def test_a_full_disk_is_said_and_the_old_gallery_answers(tmp_path, gallery_world):
    location = GalleryLocation(folder=tmp_path)
    live = build_gallery(gallery_world.embeddings(3), location=location)

    def build() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            build_gallery(gallery_world.embeddings(300, seed=2), location=location)
        except CollectionError as error:
            os._exit(7 if "free some space" in str(error) else 8)
        os._exit(0)

    assert in_a_child(build) == 7
    with open_gallery(location) as gallery:
        assert (gallery.collection, gallery.count()) == (live, 15)


def test_a_gallery_that_lost_its_points_is_not_trusted_and_is_built_again(tmp_path, gallery_world):
    location = GalleryLocation(folder=tmp_path)
    name = build_gallery(gallery_world.embeddings(5), location=location)
    shutil.rmtree(tmp_path / name / "segments")
    (tmp_path / name / "segments").mkdir()
    with pytest.raises(CollectionError, match="holds 0 points and should hold 25"), open_gallery(location) as gallery:
        gallery.count()
    build_gallery(gallery_world.embeddings(5), location=location)
    with open_gallery(location) as gallery:
        assert gallery.count() == 25


def test_a_note_of_an_older_version_says_to_build_again(tmp_path, gallery_world):
    location = GalleryLocation(folder=tmp_path)
    name = build_gallery(gallery_world.embeddings(2), location=location)
    (tmp_path / f"{name}.json").write_text(json.dumps({"points": 10}))
    with (
        pytest.raises(CollectionError, match=r"older version.*materialise `qdrant_collection`"),
        open_gallery(location) as gallery,
    ):
        gallery.search(gallery_world.means(gallery_world.embeddings(1)))


def test_an_alias_to_a_collection_that_is_gone_is_said(tmp_path):
    (tmp_path / "alias.json").write_text(json.dumps({"live": "photos__x__y"}))
    with pytest.raises(CollectionError, match="photos__x__y"), open_gallery(GalleryLocation(folder=tmp_path)) as gallery:
        gallery.count()


def test_int8_copies_find_the_same_pictures(tmp_path, gallery_world):
    table = gallery_world.embeddings(30)
    queries = gallery_world.means(gallery_world.embeddings(5, seed=8))
    found = []
    for is_quantised in (False, True):
        location = GalleryLocation(folder=tmp_path / str(is_quantised), is_quantised=is_quantised)
        build_gallery(table, location=location)
        with open_gallery(location) as gallery:
            found.append(gallery.search(queries, top_k=10).image_id.tolist())
    assert found[0] == found[1]


def test_a_gallery_is_built_anew_when_int8_copies_are_wanted_from_now_on(tmp_path, gallery_world):
    table = gallery_world.embeddings(30)
    names = [build_gallery(table, location=GalleryLocation(folder=tmp_path, is_quantised=how)) for how in (False, True, True)]
    assert names[0] != names[1] == names[2]
    assert EdgeStore(tmp_path).previous() == names[0]
