"""A picture is asked for whole or one view at a time, and carries what the heads say of it."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.retrieval.embedding.embed import Read
from geoloc_pipeline.retrieval.embedding.heads import keep_tops
from geoloc_pipeline.retrieval.embedding.queries import every_query, every_view, kind_of, single_views, whole_pictures
from geoloc_pipeline.tables import IMAGE_EMBEDDINGS, empty_table


def test_a_whole_picture_is_its_mean_and_a_single_view_never_is(world) -> None:
    embeddings, _ = world(n=12)
    assert whole_pictures(embeddings).image_id == single_views(embeddings).image_id == [f"i{i:04d}" for i in range(12)]
    means = np.stack(embeddings[embeddings["view"] == "mean"].sort_values("image_id")["embedding"])
    assert np.array_equal(whole_pictures(embeddings).vectors, means)
    assert not np.isclose(single_views(embeddings).vectors, means).all(axis=1).any()


def test_every_view_is_asked_by_itself_and_every_query_is_of_one_kind(world) -> None:
    embeddings, _ = world(n=5)
    assert len(every_view(embeddings)) == 20
    both = every_query(embeddings)
    assert both.of_kind("whole").sum() == 5
    assert both.of_kind("one_view").sum() == 20
    assert both.only(both.of_kind("whole")).image_id == whole_pictures(embeddings).image_id


def test_a_photo_is_a_whole_picture_of_one_view(world) -> None:
    embeddings, _ = world(n=3)
    photo = embeddings[embeddings["view"] == "N"].assign(view="photo")
    for queries in (whole_pictures(photo), single_views(photo), every_query(photo)):
        assert len(queries) == 3
        assert queries.of_kind("one_view").all()


def test_what_the_heads_say_stays_with_its_picture(world) -> None:
    embeddings, _ = world(n=6)
    row = np.arange(len(embeddings))
    heads = keep_tops({"town": np.eye(len(row), dtype=np.float32)})  # every row is a class of its own
    shuffled = np.random.default_rng(0).permutation(row)
    read = Read(embeddings.iloc[shuffled], {"town": heads["town"].rows(shuffled)})
    for queries in (whole_pictures(read), single_views(read), every_view(read)):
        mine = embeddings.iloc[queries.heads["town"].index[:, 0]]
        assert mine["image_id"].tolist() == queries.image_id
        assert np.array_equal(np.stack(mine["embedding"].to_list()), queries.vectors)


def test_no_pictures_ask_nothing() -> None:
    for make in (whole_pictures, single_views, every_view, every_query):
        assert make(empty_table(IMAGE_EMBEDDINGS)).vectors.shape == (0, 512)


@pytest.mark.parametrize(("n_squares", "kind"), [(1, "one_view"), (2, "one_view"), (3, "whole"), (8, "whole")])
def test_the_kind_of_a_query_is_told_by_its_squares(n_squares: int, kind: str) -> None:
    assert kind_of(n_squares) == kind
