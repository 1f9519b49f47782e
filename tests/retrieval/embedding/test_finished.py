"""What has been embedded is found by what it was made from, and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.retrieval.embedding.embedder import Vectors
from geoloc_pipeline.retrieval.embedding.finished import Finished, Former, Scratch, join, remove_scratch
from geoloc_pipeline.storage.parquet import write_table
from geoloc_pipeline.tables import BACKBONE_TOKENS, EMBEDDED_VIEWS, IMAGE_EMBEDDINGS, as_table


def vectors(count: int, *, width: int = 0, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(count, 512)).astype(np.float32)
    return Vectors(embedding=embedding, token=rng.normal(size=(count, width)).astype(np.float16))


@pytest.fixture
def former(tmp_path):
    """Tables of two views and their mean, by the model `m`."""
    some, views = vectors(3, width=6), ["E", "N", "mean"]
    former = Former(*(tmp_path / f"{name}.parquet" for name in ("embeddings", "tokens", "views")))
    shared = {"image_id": ["a"] * 3, "view": views, "model_version": ["m"] * 3}
    places = {"lat": [35.0] * 3, "lon": [139.0] * 3}
    write_table(
        IMAGE_EMBEDDINGS, as_table(IMAGE_EMBEDDINGS, {**shared, **places, "embedding": list(some.embedding)}), former.embeddings
    )
    write_table(BACKBONE_TOKENS, as_table(BACKBONE_TOKENS, {**shared, "token": list(some.token)}), former.tokens)
    told = {"image_id": ["a", "a"], "view": views[:2], "made_from": ["east", "north"]}
    write_table(EMBEDDED_VIEWS, as_table(EMBEDDED_VIEWS, told), former.views)
    return former, some


@pytest.mark.parametrize("tokens", [False, True])
def test_former_tables_give_their_views_and_not_the_means(former, tokens):
    paths, some = former
    found = paths.read(model_version="m", tokens=tokens)
    assert found.made_from == ("east", "north")
    assert np.array_equal(found.vectors.embedding, some.embedding[:2])
    assert np.array_equal(found.vectors.token, some.token[:2] if tokens else some.token[:2, :0])


def test_former_tables_of_another_model_or_without_what_is_needed_give_nothing(former):
    paths, _ = former
    assert paths.read(model_version="another", tokens=False) is None
    paths.tokens.unlink()
    assert paths.read(model_version="m", tokens=True) is None
    assert paths.read(model_version="m", tokens=False) is not None
    paths.views.write_bytes(b"cut")
    assert paths.read(model_version="m", tokens=False) is None
    paths.views.unlink()
    assert paths.read(model_version="m", tokens=False) is None


def test_rows_are_found_by_name_the_first_of_several():
    finished = Finished(made_from=("x", "y", "x"), vectors=vectors(3))
    assert finished.find(["y", "nowhere", "x"]).tolist() == [1, -1, 0]
    assert finished.find([]).tolist() == []


def test_what_is_kept_comes_back_for_the_same_model(tmp_path):
    scratch, first, second = Scratch(tmp_path / "s", model_version="m"), vectors(2, seed=1), vectors(3, seed=2)
    assert scratch.read(token_width=0) is None
    scratch.keep(["a", "b"], first)
    scratch.keep(["c", "d", "e"], second)
    found = Scratch(tmp_path / "s", model_version="m").read(token_width=0)
    assert sorted(found.made_from) == list("abcde")
    rows = found.vectors.rows(found.find(list("abcde")))
    assert np.array_equal(rows.embedding, join([first, second]).embedding)
    assert Scratch(tmp_path / "s", model_version="n").read(token_width=0) is None
    remove_scratch(tmp_path / "s")
    assert scratch.read(token_width=0) is None


def test_what_was_kept_without_tokens_does_not_answer_for_tokens_but_the_other_way_round(tmp_path):
    scratch = Scratch(tmp_path, model_version="m")
    scratch.keep(["a"], vectors(1))
    assert scratch.read(token_width=6) is None
    scratch.keep(["b"], vectors(1, width=6))
    assert scratch.read(token_width=6).made_from == ("b",)
    without = scratch.read(token_width=0)
    assert sorted(without.made_from) == ["a", "b"]
    assert without.vectors.token.shape == (2, 0)


def test_a_chunk_that_cannot_be_read_is_thrown_away(tmp_path):
    scratch = Scratch(tmp_path, model_version="m")
    scratch.keep(["a"], vectors(1))
    (chunk,) = tmp_path.iterdir()
    chunk.write_bytes(chunk.read_bytes()[:200])
    assert scratch.read(token_width=0) is None
    assert list(tmp_path.iterdir()) == []
