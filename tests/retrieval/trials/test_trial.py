"""A trial answers every test picture, honestly, and its baselines stand beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.retrieval.embedding.embed import Read
from geoloc_pipeline.retrieval.embedding.queries import whole_pictures
from geoloc_pipeline.retrieval.gallery.neighbours import AREAS
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS
from geoloc_pipeline.retrieval.trials.trial import Material, MatrixGallery, run_trial
from geoloc_pipeline.tables import ESTIMATES, check_table


@pytest.fixture(scope="module")
def material(world) -> Material:
    embeddings, split_of = world()
    blind, _ = world(noise=200.0, seed=1)  # all noise: an encoder that has learned nothing
    splits = embeddings["image_id"].map(split_of)
    indexed = embeddings[splits != "test"]
    untrained = blind.assign(lat=embeddings["lat"], lon=embeddings["lon"])
    return Material(
        gallery=MatrixGallery(indexed),
        indexed=indexed,
        asked=Read(embeddings[splits != "train"].reset_index(drop=True), {}),
        untrained=untrained,
        split_of=split_of,
    )


def test_a_trial_answers_every_test_picture_with_every_read_out_and_both_baselines(material: Material) -> None:
    result = run_trial(material, top_k=20)
    check_table(ESTIMATES, result.estimates)
    counts = result.estimates["readout"].value_counts()
    assert set(counts.index) == {*BATCH_READOUTS, "mean_position", "untrained"}
    assert set(counts) == {12}
    medians = result.estimates.groupby("readout")["error_km"].median()
    assert medians[result.calibration.readout] < 10
    assert medians["untrained"] > 10 * medians[result.calibration.readout]
    assert medians["mean_position"] > 300
    assert len(result.one_view) == 12
    assert result.found.image_id.shape == (12, 20)


def test_what_was_known_beforehand_stands_beside_every_answer_and_agrees_with_the_estimates(material: Material) -> None:
    result = run_trial(material, top_k=20)
    told = result.confidence
    assert told["kind"].value_counts().to_dict() == {"whole": 12, "one_view": 12}
    assert np.isfinite(told.select_dtypes("number").to_numpy()).all()
    mine = result.estimates[result.estimates["readout"] == result.calibration.readout].set_index("query_id")
    whole = told[told["kind"] == "whole"].set_index("query_id")
    for column in ("error_km", "region_50_km", "region_90_km"):
        assert whole[column].to_numpy() == pytest.approx(mine[column].reindex(whole.index).to_numpy())


def test_without_test_or_validation_pictures_a_trial_has_little_to_tell(material: Material) -> None:
    for kept in ("val", "test"):
        rows = material.asked.embeddings["image_id"].map(material.split_of) == kept
        untrained = material.untrained[material.untrained["image_id"].map(material.split_of).isin(("train", kept))]
        some = replace(material, asked=Read(material.asked.embeddings[rows].reset_index(drop=True), {}), untrained=untrained)
        result = run_trial(some, top_k=5)
        assert len(result.tested) == (12 if kept == "test" else 0)
        assert bool(result.calibration.regions) == (kept == "val")


def test_the_matrix_gallery_agrees_with_brute_force(world) -> None:
    embeddings, _ = world(n=40)
    gallery, queries = MatrixGallery(embeddings), whole_pictures(embeddings)
    found = gallery.search(queries.vectors, top_k=10)
    for row in range(len(queries.image_id)):
        best: dict[str, float] = {}
        for image, vector in zip(embeddings["image_id"], embeddings["embedding"], strict=True):
            best[image] = max(best.get(image, -2.0), float(queries.vectors[row] @ vector))
        wanted = sorted(best, key=lambda image: (-best[image], image))[:10]
        assert found.image_id[row].tolist() == wanted
        assert np.allclose(found.score[row], [best[image] for image in wanted], atol=1e-6)


def test_the_matrix_gallery_tells_where_its_pictures_stand_if_it_was_told(world) -> None:
    embeddings, _ = world(n=8)
    ids = sorted(set(embeddings["image_id"]))
    pictures = pd.DataFrame({"image_id": ids[:-1]} | {f"{level}_code": [i[-1] for i in ids[:-1]] for level in AREAS})
    found = MatrixGallery(embeddings, pictures).search(whole_pictures(embeddings).vectors, top_k=8)
    for image, code in zip(found.image_id.ravel(), found.codes["town"].ravel(), strict=True):
        assert code == image[-1] if image != ids[-1] else pd.isna(code)
    assert MatrixGallery(embeddings).search(whole_pictures(embeddings).vectors, top_k=2).codes == {}


def test_a_matrix_gallery_finds_the_same_a_query_at_a_time(world, monkeypatch):
    embeddings, _ = world()
    queries = whole_pictures(embeddings)
    at_once = MatrixGallery(embeddings).search(queries.vectors, top_k=4)
    monkeypatch.setattr("geoloc_pipeline.retrieval.trials.trial._SCORES_AT_ONCE", 1)
    one_by_one = MatrixGallery(embeddings).search(queries.vectors, top_k=4)
    assert (at_once.image_id == one_by_one.image_id).all()
    assert at_once.score == pytest.approx(one_by_one.score, abs=1e-5)
