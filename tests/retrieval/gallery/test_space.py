"""Whitened spaces and hubs, against brute force, in both engines."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.retrieval.gallery.build import build_in_store
from geoloc_pipeline.retrieval.gallery.gallery import Gallery
from geoloc_pipeline.retrieval.gallery.space import Compare, Space, hubness
from geoloc_pipeline.tables import EMBEDDING_SIZE

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact", "ignore:Payload indexes have no effect")


def stretched(count: int, *, seed: int = 0) -> np.ndarray:
    """Unit vectors around one middle, some directions of which vary ten times as much as others."""
    chance = np.random.default_rng(seed)
    spread = np.geomspace(1.0, 0.1, EMBEDDING_SIZE)
    rows = chance.normal(size=(count, EMBEDDING_SIZE)) * spread + 3.0 * spread[::-1]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def test_wholly_whitened_vectors_vary_alike_in_all_directions_and_half_of_it_does_half():
    rows = stretched(4000)
    batches = [rows[:1500], rows[1500:]]
    ratio = []
    for power in (0.0, 0.25, 0.5):
        space = Space.fit(batches, power=power)
        moved = rows if space.mean is None else (rows - space.mean) @ space.turn
        variance = np.linalg.eigvalsh(np.cov(moved.T))
        ratio.append(variance[-1] / variance[0])
    assert ratio[2] == pytest.approx(1.0, abs=0.02)
    assert ratio[1] == pytest.approx(ratio[0] ** 0.5, rel=0.05)


def test_the_same_space_comes_back_from_what_was_kept():
    rows = stretched(900, seed=1)
    space = Space.fit([rows], power=0.3)
    assert np.array_equal(Space.from_dict(space.as_dict()).turned(rows), space.turned(rows))
    assert Space.from_dict(Space().as_dict()).turned(rows) is rows


def test_fewer_vectors_than_directions_and_the_mean_itself_stay_finite():
    rows = stretched(5, seed=2)
    space = Space.fit([rows], power=0.5)
    asked = np.concatenate([rows, space.mean[None]])
    turned = space.turned(asked)
    assert np.isfinite(turned).all()
    assert np.allclose(np.linalg.norm(turned[:5], axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("power", [-0.1, 0.51, float("nan")])
def test_a_power_that_makes_no_sense_is_refused(power):
    with pytest.raises(SettingError, match="whitening"):
        Compare(whitening=power)


@pytest.mark.parametrize("compare", [Compare(whitening=0.4), Compare(less_hubs=True), Compare(whitening=0.2, less_hubs=True)])
def test_a_search_is_the_ranking_of_brute_force_in_that_space(store, gallery_world, compare: Compare):
    table = gallery_world.embeddings(40)
    table = table[table["view"] == "mean"].reset_index(drop=True)
    raw = stretched(len(table), seed=3)
    table["embedding"] = list(raw)
    gallery = Gallery(store, build_in_store(table, store, compare=compare))
    space = Space.fit([raw], power=compare.whitening)
    mine = space.turned(raw)
    asked = stretched(4, seed=4)
    found = gallery.search(asked, top_k=10, exact=True)
    for row, query in enumerate(asked):
        scores = mine @ space.turned(query[None])[0]
        if compare.less_hubs:
            alone = np.sort(mine @ mine.T, axis=1)[:, :-1]  # the last is itself
            among = np.sort(scores)[-20:].min() <= scores  # twice as many as asked for are looked at
            scores = np.where(among, scores - 0.5 * alone[:, -50:].mean(axis=1), -np.inf)
        best = np.argsort(-scores)[:10]
        assert found.image_id[row].tolist() == table["image_id"].to_numpy()[best].tolist()
        assert np.allclose(found.score[row], scores[best], atol=2e-3)


def test_a_picture_that_is_like_everything_falls_behind(store, gallery_world):
    table = gallery_world.embeddings(40)
    table = table[table["view"] == "mean"].reset_index(drop=True)
    chance = np.random.default_rng(5)
    rows = unit(chance.normal(size=(len(table), EMBEDDING_SIZE)) + 0.6)
    rows[0] = unit(rows.mean(axis=0))  # the hub
    table["embedding"] = list(rows.astype(np.float32))
    asked = unit(rows[1:7] + 1.2 * rows[0]).astype(np.float32)  # each is a little more like the hub than like its own picture
    hub = table["image_id"][0]
    plain = Gallery(store, build_in_store(table, store)).search(asked, top_k=5)
    less = Gallery(store, build_in_store(table, store, compare=Compare(less_hubs=True))).search(asked, top_k=5)
    assert (plain.image_id[:, 0] == hub).all()
    assert less.image_id[:, 0].tolist() == table["image_id"][1:7].tolist()


def test_galleries_that_compare_otherwise_are_other_galleries(store, gallery_world):
    table = gallery_world.embeddings(6)
    names = {build_in_store(table, store, compare=how) for how in (None, Compare(), Compare(0.3), Compare(0.3, less_hubs=True))}
    assert len(names) == 3


def test_hubness_leaves_a_vector_itself_out_and_bears_a_sample_of_one():
    rows = stretched(4, seed=6)
    likeness = rows @ rows.T
    expected = (likeness.sum(axis=1) - 1.0) / 3.0
    assert np.allclose(hubness(rows, rows), expected, atol=1e-5)
    assert hubness(rows, rows[:1]).tolist() == [0.0] * 4
