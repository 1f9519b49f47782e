"""What every engine promises, asked of each through the same door."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geoloc_pipeline.retrieval.gallery.store import VIEW_BITS, point_number

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]

NAME = "photos__aaaa__00000001"


def unit(count: int, *, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 512)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def payload(number: int) -> dict[str, object]:
    labels = {"source": f"s{number % 3}", "prefecture_code": f"{number % 2}", "source_image_id": f"at-{number}"}
    place = {"lat": 35.0 + number, "lon": 139.0, "location": {"lat": 35.0 + number, "lon": 139.0}}
    return {"image_id": f"p{number}", "view": "mean", "capture_group": f"g{number // 5}", **place, **labels}


def fill(store, name: str = NAME, *, count: int = 20) -> np.ndarray:
    vectors = unit(count)
    store.create(name, about={"points_of_a_picture": 1, "labels": ["source"]})
    for start in range(0, count, 8):
        part = range(start, min(start + 8, count))
        store.add(name, numbers=[n + 1 for n in part], vectors=vectors[part], payloads=[payload(n) for n in part])
    store.finish(name)
    return vectors


def test_what_was_put_in_comes_out(store):
    vectors = fill(store)
    assert store.count(NAME) == 20
    assert store.about(NAME) == {"points_of_a_picture": 1, "labels": ["source"]}
    told = store.payloads(NAME, [4, 19])
    assert set(told) == {4, 19}
    assert told[4] == {
        "image_id": "p3",
        "lat": 38.0,
        "lon": 139.0,
        "source": "s0",
        "prefecture_code": "1",
        **({"municipality_code": None, "town_code": None} if "town_code" in told[4] else {}),
    }
    scanned = list(store.scan(NAME, every={}))
    assert np.concatenate([numbers for numbers, _ in scanned]).tolist() == list(range(1, 21))
    assert np.allclose(np.concatenate([some for _, some in scanned]), vectors, atol=1e-6)


@pytest.mark.parametrize("every", [{}, {"source": ("s1",)}, {"source": ("s1", "s2"), "prefecture_code": ("0",)}])
@pytest.mark.parametrize("exact", [True, False])
def test_a_search_is_the_cosine_ranking_of_what_passes_every_filter(store, every, exact: bool):
    vectors, queries = fill(store), unit(4, seed=3)
    passing = [n for n in range(20) if all(payload(n)[key] in values for key, values in every.items())]
    found = store.search(NAME, queries, limit=5, exact=exact, breadth=64, every=every)
    for query, hits in zip(queries, found, strict=True):
        similarity = vectors[passing] @ query
        best = np.argsort(-similarity)[:5]
        assert hits.numbers.tolist() == [passing[place] + 1 for place in best]
        assert np.allclose(hits.scores, similarity[best], atol=1e-5)
    numbers = [number for some, _ in store.scan(NAME, every=every) for number in some.tolist()]
    assert numbers == [n + 1 for n in passing]


def test_the_alias_moves_at_once_and_remembers_where_it_was(store):
    assert (store.live(), store.previous(), store.names()) == ("", "", [])
    other = NAME.replace("1", "2")
    fill(store, NAME)
    fill(store, other)
    assert store.names() == [NAME, other]
    store.point_live_at(NAME)
    assert (store.live(), store.previous()) == (NAME, "")
    store.point_live_at(other)
    store.point_live_at(other)
    assert (store.live(), store.previous()) == (other, NAME)
    store.point_live_at(NAME)
    assert (store.live(), store.previous()) == (NAME, other)


def test_what_an_attempt_has_left_is_begun_anew(store):
    store.create(NAME, about={"points_of_a_picture": 1, "labels": []})
    store.add(NAME, numbers=[99], vectors=unit(1), payloads=[payload(0)])
    fill(store, count=3)
    assert store.count(NAME) == 3
    store.remove(NAME)
    store.remove(NAME)
    assert store.names() == []
    with pytest.raises(ValueError, match=NAME):  # ours is one; local mode has its own
        store.count(NAME)


@pytest.mark.parametrize("which", ["live", "previous"])
def test_forgotten_points_are_gone_and_the_rest_stays(store, which: str):
    vectors = fill(store)
    fill(store, "photos__aaaa__other", count=2)
    store.point_live_at(NAME)
    if which == "previous":
        store.point_live_at("photos__aaaa__other")
    removed = store.forget(NAME, either={"source_image_id": ("at-7", "unheard of"), "capture_group": ("g0",)})
    assert removed == 6
    name = getattr(store, which)()
    assert store.count(name) == 14
    kept = [n for n in range(20) if n >= 5 and n != 7]
    assert [number for some, _ in store.scan(name, every={}) for number in some.tolist()] == [n + 1 for n in kept]
    found = store.search(name, vectors[7:8], limit=20, exact=False, breadth=64, every={})[0]
    assert sorted(found.numbers.tolist()) == [n + 1 for n in kept]
    assert store.about(name) == {"points_of_a_picture": 1, "labels": ["source"]}
    assert store.forget(name, either={"capture_group": ("g0",)}) == 0
    assert getattr(store, which)() == name
    json.dumps(store.about(name))


def test_everything_can_be_forgotten(store):
    fill(store, count=4)
    store.point_live_at(NAME)
    assert store.forget(NAME, either={"capture_group": ("g0",)}) == 4
    assert store.count(store.live()) == 0
    assert len(store.search(store.live(), unit(1), limit=5, exact=False, breadth=64, every={})[0].numbers) == 0


def test_a_number_tells_picture_and_view():
    pictures = {f"p{n}": {point_number(f"p{n}", view) for view in ("N", "E", "S", "W", "photo", "mean")} for n in range(500)}
    assert all(len(numbers) == 6 and len({n >> VIEW_BITS for n in numbers}) == 1 for numbers in pictures.values())
    assert len(set.union(*pictures.values())) == 3000
    assert max(max(numbers) for numbers in pictures.values()) < 2**63
