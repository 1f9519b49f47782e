"""What is chosen on validation, who may see whom, and what the baselines say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.geo.sphere import destination
from geoloc_pipeline.retrieval.readouts import BATCH_READOUTS
from geoloc_pipeline.retrieval.trial import (
    Calibration,
    Material,
    MatrixGallery,
    calibrate,
    run_trial,
    single_views,
    whole_pictures,
)
from geoloc_pipeline.tables import ESTIMATES, IMAGE_EMBEDDINGS, as_table, check_table

CITIES = ((43.06, 141.35), (35.68, 139.77), (34.18, 131.47), (26.21, 127.68))


def world(n: int = 240, *, noise: float = 0.25, seed: int = 0) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return embeddings of `n` pictures in four cities that point towards their city, and the split of each."""
    dice = np.random.default_rng(seed)
    axes = np.linalg.qr(dice.normal(size=(512, 4)))[0].T
    columns: dict[str, list] = {column.name: [] for column in IMAGE_EMBEDDINGS.columns}
    split_of = {}
    for index in range(n):
        city = index % 4
        lat, lon = destination(
            lat=CITIES[city][0],
            lon=CITIES[city][1],
            bearing_deg=float(dice.uniform(0, 360)),
            away_m=float(dice.uniform(0, 8000)),
        )
        views = []
        for view in ("N", "E", "S", "W"):
            vector = axes[city] + noise * dice.normal(size=512) / np.sqrt(512) * 3
            views.append((view, vector / np.linalg.norm(vector)))
        mean = np.mean([vector for _, vector in views], axis=0)
        views.append(("mean", mean / np.linalg.norm(mean)))
        split_of[f"i{index:04d}"] = "test" if index % 20 == 0 else "val" if index % 7 == 1 else "train"
        for view, vector in views:
            for name, value in zip(columns, (f"i{index:04d}", view, "m", lat, lon, vector.astype(np.float32)), strict=True):
                columns[name].append(value)
    return as_table(IMAGE_EMBEDDINGS, columns), split_of


@pytest.fixture(scope="module")
def material() -> Material:
    embeddings, split_of = world()
    blind, _ = world(noise=200.0, seed=1)  # all noise: an encoder that has learned nothing
    is_test = embeddings["image_id"].map(split_of) == "test"
    indexed = embeddings[~is_test]
    untrained = blind.assign(lat=embeddings["lat"], lon=embeddings["lon"])
    return Material(
        gallery=MatrixGallery(indexed), indexed=indexed, test=embeddings[is_test], untrained=untrained, split_of=split_of
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


def test_validation_never_sees_validation(material: Material) -> None:
    """A validation picture stands in the gallery itself; seen, it would promise an error of nothing."""
    seen = []

    class Watched(MatrixGallery):
        def search(self, vectors, *, top_k, exact=True):
            found = super().search(vectors, top_k=top_k)
            seen.append(found)
            return found

    validation = whole_pictures(material.indexed[material.indexed["image_id"].map(material.split_of) == "val"])
    calibration = calibrate(Watched(material.indexed), validation, split_of=material.split_of, top_k=5)
    assert (seen[0].image_id[:, 0] == np.array(validation.image_id)).all()  # it does find itself, and is hidden
    assert calibration.regions["nearest"].radii_km(0.0)[0][0] > 0.05


def test_a_gallery_of_validation_pictures_only_calibrates_nothing(material: Material) -> None:
    is_val = material.indexed["image_id"].map(material.split_of) == "val"
    validation = material.indexed[is_val]
    found = calibrate(MatrixGallery(validation), whole_pictures(validation), split_of=material.split_of, top_k=5)
    assert found == Calibration()


def test_a_calibration_survives_being_written(material: Material) -> None:
    calibration = run_trial(material, top_k=20).calibration
    assert Calibration.from_json(calibration.to_json()) == calibration


def test_a_whole_picture_is_its_mean_and_a_single_view_never_is() -> None:
    embeddings, _ = world(n=12)
    assert whole_pictures(embeddings).image_id == single_views(embeddings).image_id == [f"i{i:04d}" for i in range(12)]
    means = np.stack(embeddings[embeddings["view"] == "mean"].sort_values("image_id")["embedding"])
    assert np.array_equal(whole_pictures(embeddings).vectors, means)
    assert not np.isclose(single_views(embeddings).vectors, means).all(axis=1).any()


def test_the_matrix_gallery_agrees_with_brute_force() -> None:
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
