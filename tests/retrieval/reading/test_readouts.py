"""Read-outs against slow oracles, and the properties that any reading of a place must have."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.errors import CollectionError, ModelError, SettingError
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS, READOUTS, read_out
from geoloc_pipeline.retrieval.reading.settings import DEFAULT_SETTINGS, ReadoutSettings


def error_km(places: tuple[np.ndarray, np.ndarray], lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    return distance_m(lat=places[0], lon=places[1], to_lat=lat, to_lon=lon) / 1000


def slow_mode(lat: np.ndarray, lon: np.ndarray, score: np.ndarray, turned: ReadoutSettings) -> tuple[float, float]:
    """The density mode in plain Python: chords of a ball, one pair at a time."""

    def km_between(a: tuple[float, float], b: tuple[float, float]) -> float:
        p, q = ([math.radians(degrees) for degrees in place] for place in (a, b))
        half = math.sin((p[0] - q[0]) / 2) ** 2 + math.cos(p[0]) * math.cos(q[0]) * math.sin((p[1] - q[1]) / 2) ** 2
        return 2 * 6371.0088 * math.sqrt(half)

    def chord_km(a: int, b: int) -> float:
        return km_between((lat[a], lon[a]), (lat[b], lon[b]))

    weight = [math.exp((s - max(score)) / turned.temperature) for s in score]
    everyone = range(len(lat))
    density = [
        sum(weight[j] * math.exp(-((chord_km(i, j) / turned.bandwidth_km) ** 2) / 2) for j in everyone) for i in everyone
    ]
    peak = max(everyone, key=lambda i: density[i])
    near = [i for i in everyone if chord_km(peak, i) <= turned.bandwidth_km]
    for _ in range(6):
        centre = (sum(lat[i] for i in near) / len(near), sum(lon[i] for i in near) / len(near))
        away = [km_between((lat[i], lon[i]), centre) for i in everyone]
        middle = sorted(away[i] for i in near)[(len(near) - 1) // 2]
        near = [i for i in everyone if away[i] <= max(4 * middle, turned.bandwidth_km)]
    return sum(lat[i] for i in near) / len(near), sum(lon[i] for i in near) / len(near)


@pytest.mark.parametrize("turned", [DEFAULT_SETTINGS, ReadoutSettings(temperature=math.inf, bandwidth_km=2.0)])
def test_the_mode_is_what_a_slow_search_finds(simulated, turned: ReadoutSettings):
    neighbours, _, _ = simulated(12, k=40, inliers=0.5)
    fast = read_out(neighbours, "mode", settings=turned)
    slow = [slow_mode(*row, turned) for row in zip(neighbours.lat, neighbours.lon, neighbours.score.astype(float), strict=True)]
    assert error_km(fast, *np.array(slow).T).max() < 0.02  # a flat mean of degrees over a few km


def test_the_centroid_of_a_small_area_is_the_mean_of_its_degrees(simulated):
    neighbours, _, _ = simulated(20, inliers=1.0)
    assert error_km(read_out(neighbours, "centroid"), neighbours.lat.mean(axis=1), neighbours.lon.mean(axis=1)).max() < 0.01


def test_weights_are_a_softmax_of_the_similarity(found):
    lat, lon, score = np.array([[35.0, 35.1]]), np.array([[139.0, 139.0]]), np.array([[0.9, 0.8]])
    share = 1 / (1 + math.exp(0.1 / 0.05))
    assert read_out(found(lat, lon, score), "weighted", settings=ReadoutSettings(temperature=0.05))[0][0] == pytest.approx(
        35.0 + 0.1 * share, abs=1e-5
    )


def test_without_temperature_to_speak_of_weighted_becomes_centroid_or_nearest(simulated):
    neighbours, _, _ = simulated(10)
    for temperature, other in ((math.inf, "centroid"), (1e-10, "nearest")):
        one, two = (
            read_out(neighbours, "weighted", settings=ReadoutSettings(temperature=temperature)),
            read_out(neighbours, other),
        )
        assert error_km(one, *two).max() < 1e-3


@pytest.mark.parametrize("turned", [DEFAULT_SETTINGS, ReadoutSettings(temperature=math.inf, bandwidth_km=25.0)])
@pytest.mark.parametrize("inliers", [1.0, 0.95, 0.9, 0.8, 0.7, 0.6])
def test_the_mode_is_at_least_as_good_as_the_centroid_at_every_threshold(simulated, inliers: float, turned: ReadoutSettings):
    neighbours, lat, lon = simulated(300, inliers=inliers, seed=3)
    mode, centroid = (error_km(read_out(neighbours, name, settings=turned), lat, lon) for name in ("mode", "centroid"))
    for limit_km in (1, 5, 25, 100, 200, 750):
        assert np.mean(mode <= limit_km) >= np.mean(centroid <= limit_km)
    assert np.median(mode) < 1.0


@pytest.mark.parametrize("name", BATCH_READOUTS)
@settings(max_examples=25, deadline=None)
@given(turn=st.floats(-180, 180), seed=st.integers(0, 50))
def test_turning_the_earth_turns_the_answer(simulated, name: str, turn: float, seed: int):
    neighbours, _, _ = simulated(3, k=20, inliers=0.6, seed=seed)
    lat, lon = read_out(neighbours, name)
    turned_lon = (neighbours.lon + turn + 180) % 360 - 180
    turned = read_out(replace(neighbours, lon=turned_lon), name)
    assert error_km(turned, lat, lon + turn).max() < 1e-6


@pytest.mark.parametrize("name", BATCH_READOUTS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_the_neighbours_does_not_matter(simulated, found, name: str, seed: int):
    neighbours, _, _ = simulated(4, k=30, inliers=0.6, seed=seed)
    order = np.random.default_rng(seed).permutation(30)
    shuffled = found(neighbours.lat[:, order], neighbours.lon[:, order], neighbours.score[:, order])
    assert error_km(read_out(neighbours, name), *read_out(shuffled, name)).max() < 1e-6


@pytest.mark.parametrize("name", BATCH_READOUTS)
def test_neighbours_seen_twice_change_nothing(simulated, found, name: str):
    neighbours, _, _ = simulated(5, k=20, inliers=0.6)
    twice = found(*(np.repeat(getattr(neighbours, column), 2, axis=1) for column in ("lat", "lon", "score")))
    assert error_km(read_out(neighbours, name), *read_out(twice, name)).max() < 1e-6


@pytest.mark.parametrize("name", BATCH_READOUTS)
@pytest.mark.parametrize("k", [1, 7])
def test_neighbours_at_one_place_are_the_answer(name: str, k: int):
    lat, lon = READOUTS[name](np.full(k, 35.5), np.full(k, -179.9), np.linspace(0.9, 0.1, k))
    assert (lat, lon) == pytest.approx((35.5, -179.9), abs=1e-9)


@pytest.mark.parametrize("name", BATCH_READOUTS)
def test_many_queries_are_read_like_each_alone(simulated, name: str):
    neighbours, _, _ = simulated(70, k=9, inliers=0.5)  # more than one chunk
    lat, lon = read_out(neighbours, name)
    for q in (0, 33, 69):
        one = READOUTS[name](neighbours.lat[q], neighbours.lon[q], neighbours.score[q])
        assert one == pytest.approx((lat[q], lon[q]), abs=1e-9)


@pytest.mark.parametrize("name", BATCH_READOUTS)
def test_absent_neighbours_are_not_there(simulated, found, name: str):
    neighbours, _, _ = simulated(6, k=10, inliers=0.6)
    padded = found(*(
        np.concatenate([getattr(neighbours, column), np.full((6, 4), fill)], axis=1)
        for column, fill in (("lat", np.nan), ("lon", np.nan), ("score", 0.99))
    ))  # fmt: skip
    assert error_km(read_out(padded, name), *read_out(neighbours, name)).max() < 1e-6


@pytest.mark.parametrize("name", BATCH_READOUTS)
def test_neighbours_all_around_the_earth_still_give_a_place(name: str):
    lat, lon = READOUTS[name](np.zeros(4), np.array([0.0, 90.0, 180.0, -90.0]), np.full(4, 0.5))
    assert math.isfinite(lat)
    assert math.isfinite(lon)


def test_an_outlier_far_away_moves_the_centroid_and_not_the_mode():
    lat, lon, score = np.full(10, 35.68), np.full(10, 139.70), np.full(10, 0.8)
    lat[9], lon[9] = 26.2, 127.7
    for name, limits in (("centroid", (100, 300)), ("mode", (-1, 0.001))):
        away = float(error_km(READOUTS[name](lat, lon, score), 35.68, 139.70))
        assert limits[0] < away < limits[1]


@pytest.mark.parametrize("name", BATCH_READOUTS)
def test_bad_neighbours_are_refused_with_the_cure(name: str):
    with pytest.raises(CollectionError, match="fill the gallery"):
        READOUTS[name](np.empty(0), np.empty(0), np.empty(0))
    with pytest.raises(CollectionError, match="no neighbour"):
        READOUTS[name](np.array([np.nan]), np.array([139.0]), np.array([0.5]))
    with pytest.raises(ModelError, match="not finite"):
        READOUTS[name](np.array([35.0, 36.0]), np.array([139.0, 139.0]), np.array([0.5, np.nan]))
    with pytest.raises(ModelError, match="shapes"):
        READOUTS[name](np.array([35.0, 36.0]), np.array([139.0]), np.array([0.5]))


def test_settings_and_names_that_cannot_work_are_refused(simulated):
    neighbours, _, _ = simulated(1, k=3)
    with pytest.raises(SettingError, match="mode, gated, weighted, nearest, centroid"):
        read_out(neighbours, "median")
    for wrong in ({"temperature": 0.0}, {"bandwidth_km": -1.0}, {"bandwidth_km": math.nan}, {"gate_weight": -1.0}):
        with pytest.raises(SettingError, match="above"):
            ReadoutSettings(**wrong)


def test_no_queries_have_no_answers(found):
    empty = found(np.empty((0, 100)), np.empty((0, 100)), np.empty((0, 100)))
    assert [len(part) for part in read_out(empty, "mode")] == [0, 0]


def test_four_hundred_queries_take_less_than_a_second_of_processor_time(simulated):
    neighbours, _, _ = simulated(400)
    start = time.process_time()
    read_out(neighbours, "mode")
    assert time.process_time() - start < 1.0
