"""Baselines, against what each must say of a small world."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.sphere import distance_m, spherical_mean, unit_vectors
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.retrieval.embedding.heads import keep_tops
from geoloc_pipeline.retrieval.embedding.queries import Queries
from geoloc_pipeline.retrieval.trials.baselines import (
    baseline_tables,
    classifier_table,
    frozen_table,
    location_table,
    place_encoder,
    prior_table,
)
from geoloc_pipeline.tables import ESTIMATES, TASKS, check_table

CODES = ("01", "13")


def queries(places: list[tuple[float, float]], *, heads: list[list[float]] | None = None) -> Queries:
    lat, lon = np.array(places, dtype=float).reshape(-1, 2).T
    vectors = np.zeros((len(lat), 512), dtype=np.float32)
    vectors[:, :3] = unit_vectors(lat=lat, lon=lon)  # a model that knows where everything is
    told = keep_tops({"prefecture": np.array(heads, dtype=np.float32)}) if heads else {}
    return Queries([f"q{i}" for i in range(len(lat))], vectors, lat, lon, heads=told)


def encode(places: np.ndarray) -> np.ndarray:
    vectors = np.zeros((len(places), 512), dtype=np.float32)
    vectors[:, :3] = unit_vectors(lat=places[:, 0], lon=places[:, 1])
    return vectors


def pictures() -> pd.DataFrame:
    rows = [("a", "train", 43.0, 141.3, "01"), ("b", "train", 35.6, 139.6, "13"), ("c", "train", 35.8, 139.8, "13")]
    rows += [("d", "val", 26.3, 127.8, "47"), ("q0", "test", 43.1, 141.3, "01"), ("q1", "test", 35.7, 139.7, "13")]
    frame = pd.DataFrame(rows, columns=["image_id", "split", "lat", "lon", "prefecture_code"])
    return frame.assign(municipality_code=None, town_code=None)


def vocabulary() -> Vocabulary:
    classes = TaskClasses(codes=CODES, names=("", ""), n_train=(1, 2), weights=(1.0, 1.0))
    return Vocabulary(tasks={task: classes if task == "prefecture" else TaskClasses() for task in TASKS})


def test_the_densest_place_is_where_most_training_pictures_are_near():
    table = prior_table(
        queries([(43.0, 141.0), (35.0, 139.0)]),
        train_lat=np.array([43.0, 35.6, 35.65, 35.7, 26.0, 26.0]),
        train_lon=np.array([141.0, 139.7, 139.7, 139.7, 127.0, 127.0]),
    )
    check_table(ESTIMATES, table)
    assert set(zip(table["lat"], table["lon"], strict=True)) == {(35.6, 139.7)}
    with pytest.raises(SettingError, match="at least one training picture"):
        prior_table(queries([(35.0, 139.0)]), train_lat=np.array([]), train_lon=np.array([]))


def test_a_classifier_alone_answers_with_the_middle_of_its_likeliest_class():
    tested = queries([(43.1, 141.3), (35.7, 139.7)], heads=[[0.9, 0.1], [0.2, 0.8]])
    train = pictures()[lambda frame: frame["split"] == "train"]
    table = classifier_table(tested, train, level="prefecture", vocabulary=vocabulary())
    tokyo = spherical_mean(lat=[35.6, 35.8], lon=[139.6, 139.8])
    assert table[["lat", "lon"]].to_numpy() == pytest.approx(np.array([(43.0, 141.3), tokyo]))
    assert set(table["readout"]) == {"classifier_prefecture"}
    assert table["error_km"][1] == pytest.approx(distance_m(lat=tokyo[0], lon=tokyo[1], to_lat=35.7, to_lon=139.7) / 1000)


def test_a_perfect_location_encoder_answers_with_the_nearest_coordinate_of_the_gallery():
    chance = np.random.default_rng(0)
    gallery = chance.uniform((34, 138), (36, 140), (500, 2))
    asked = chance.uniform((34, 138), (36, 140), (40, 2))
    table = location_table(
        queries([tuple(place) for place in asked]), gallery_lat=gallery[:, 0], gallery_lon=gallery[:, 1], encode=encode, top_k=5
    )
    best = table[table["readout"] == "geoclip"]
    away = distance_m(lat=asked[:, :1], lon=asked[:, 1:], to_lat=gallery[:, 0], to_lon=gallery[:, 1]).min(axis=1) / 1000
    assert best["error_km"].to_numpy() == pytest.approx(away, rel=0.1)  # cosines in float32 tell 10 km from 11
    assert (table["readout"] == "geoclip_mode").sum() == 40


def test_places_that_many_pictures_share_are_asked_once():
    seen: list[int] = []

    def counting(places: np.ndarray) -> np.ndarray:
        seen.append(len(places))
        return encode(places)

    lat, lon = np.full(1000, 35.0), np.full(1000, 139.0)
    table = location_table(queries([(35.1, 139.0)]), gallery_lat=lat, gallery_lon=lon, encode=counting, top_k=100)
    assert seen == [1]
    assert set(table["lat"]) == {35.0}


def test_a_backbone_as_it_came_is_searched_like_ours():
    chance = np.random.default_rng(1)
    place = {"a": (43.0, 141.0), "b": (35.0, 139.0), "q": (35.1, 139.0)}
    token = {name: chance.normal(size=8).astype(np.float16) for name in "ab"}
    token["q"] = token["b"]
    rows = [(name, "photo", "v", *place[name], token[name]) for name in place]
    both = pd.DataFrame(rows, columns=["image_id", "view", "model_version", "lat", "lon", "token"])
    tokens, places = both.drop(columns=["lat", "lon"]).iloc[::-1], both.drop(columns="token")
    table = frozen_table(tokens, places=places, split_of={"a": "train", "b": "val", "q": "test"}, readout="nearest", top_k=2)
    assert table[["query_id", "readout", "lat"]].to_numpy().tolist() == [["q", "frozen_backbone", 35.0]]


def test_all_of_them_answer_every_test_picture():
    tested = queries([(43.1, 141.3), (35.7, 139.7)], heads=[[0.9, 0.1], [0.2, 0.8]])
    table = baseline_tables(tested, pictures(), vocabulary=vocabulary(), encode=encode, top_k=3)
    check_table(ESTIMATES, table)
    assert table.groupby("readout").size().to_dict() == {
        "prior": 2, "classifier_prefecture": 2, "geoclip": 2, "geoclip_mode": 2,
    }  # fmt: skip
    without = baseline_tables(queries([(35.0, 139.0)]), pictures(), vocabulary=vocabulary(), encode=encode, top_k=3)
    assert set(without["readout"]) == {"prior", "geoclip", "geoclip_mode"}
    assert baseline_tables(queries([]), pictures(), vocabulary=vocabulary(), encode=encode, top_k=3).empty


def test_the_checkpoints_own_location_encoder_gives_unit_vectors(checkpoint):
    vectors = place_encoder(checkpoint)(np.array([[35.0, 139.0], [43.0, 141.0], [35.0, 139.0]]))
    assert vectors.shape == (3, 512)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (vectors[0] == vectors[2]).all()
