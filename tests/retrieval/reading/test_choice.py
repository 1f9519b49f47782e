"""Read-outs and settings are chosen by what helps, the same way every time, and never on the pictures they are judged on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.retrieval.reading.choice import Bench, choose_settings, folds_of
from geoloc_pipeline.retrieval.reading.readouts import BATCH_READOUTS, read_out
from geoloc_pipeline.retrieval.reading.settings import DEFAULT_SETTINGS, ReadoutSettings


def test_settings_are_chosen_by_what_helps_and_stay_near_the_defaults_otherwise(simulated, found):
    neighbours, lat, lon = simulated(40, k=30, inliers=0.5)
    chosen = choose_settings(neighbours, true_lat=lat, true_lon=lon)

    def median(turned: ReadoutSettings) -> float:
        lats, lons = read_out(neighbours, "mode", settings=turned)
        return float(np.median(distance_m(lat=lats, lon=lons, to_lat=lat, to_lon=lon)))

    assert median(chosen) <= median(DEFAULT_SETTINGS)
    same_place = found(np.full((4, 5), 35.0), np.full((4, 5), 139.0), np.full((4, 5), 0.5))
    assert choose_settings(same_place, true_lat=np.full(4, 35.0), true_lon=np.full(4, 139.0)) == DEFAULT_SETTINGS


def test_a_read_out_is_chosen_over_an_earlier_one_only_when_it_is_better_beyond_chance(simulated):
    neighbours, lat, lon = simulated(60, k=20, inliers=0.8)
    bench = Bench(neighbours, true_lat=lat, true_lon=lon)
    choice = bench.choose()
    assert choice.readout == "mode"
    assert choice.median_km["mode"] == min(choice.median_km.values())
    assert set(choice.median_km) == set(BATCH_READOUTS)
    middle = read_out(neighbours, "centroid")
    assert Bench(neighbours, true_lat=middle[0], true_lon=middle[1]).choose().readout == "centroid"
    true_lat, true_lon = lat.copy(), lon.copy()
    true_lat[:2], true_lon[:2] = middle[0][:2], middle[1][:2]  # two lucky queries are no reason
    assert Bench(neighbours, true_lat=true_lat, true_lon=true_lon).choose().readout == "mode"


def test_one_group_however_large_is_no_proof(simulated):
    neighbours, lat, lon = simulated(60, k=20, inliers=0.8)
    is_lucky, middle = np.arange(60) < 45, read_out(neighbours, "centroid")
    true_lat, true_lon = np.where(is_lucky, middle[0], lat), np.where(is_lucky, middle[1], lon)
    alone = Bench(neighbours, true_lat=true_lat, true_lon=true_lon)
    together = Bench(neighbours, true_lat=true_lat, true_lon=true_lon, group=np.where(is_lucky, "drive", "others"))
    assert alone.choose().readout == "centroid"
    assert together.choose().readout == "mode"


def test_a_gate_that_knows_the_truth_is_given_weight_and_one_that_lies_is_not(simulated):
    neighbours, lat, lon = simulated(60, k=40, inliers=0.3, seed=2)
    away_km = distance_m(lat=lat[:, None], lon=lon[:, None], to_lat=neighbours.lat, to_lon=neighbours.lon) / 1000
    for gate, is_believed in ((np.where(away_km < 50, 0.0, -7.0), True), (np.where(away_km < 50, -7.0, 0.0), False)):
        choice = Bench(replace(neighbours, gate=gate), true_lat=lat, true_lon=lon).choose()
        assert (choice.settings.gate_weight > 0) == is_believed
    assert Bench(neighbours, true_lat=lat, true_lon=lon).choose().settings.gate_weight == DEFAULT_SETTINGS.gate_weight


def test_parts_count_equally_however_many_queries_they_have(simulated):
    neighbours, lat, lon = simulated(30, k=20)
    part = np.arange(30) < 3
    bench = Bench(neighbours, true_lat=lat, true_lon=lon, part=part)
    error = bench.error_km("nearest", DEFAULT_SETTINGS)
    expected = np.sqrt(np.median(error[part]) * np.median(error[~part]))
    assert bench.cost_km("nearest", DEFAULT_SETTINGS, np.ones(30, dtype=bool)) == pytest.approx(expected, abs=1e-6)


def test_no_queries_choose_the_defaults(found):
    empty = found(np.empty((0, 9)), np.empty((0, 9)), np.empty((0, 9)))
    choice = Bench(empty, true_lat=[], true_lon=[]).choose()
    assert (choice.readout, choice.settings) == ("mode", DEFAULT_SETTINGS)


def test_a_group_is_in_one_fold_and_folds_are_about_equal():
    groups = np.array([f"g{i % 500}" for i in range(1000)])
    fold = folds_of(groups)
    assert all(len(set(fold[groups == group])) == 1 for group in np.unique(groups)[:50])
    assert np.bincount(fold).min() > 130
    assert (folds_of(groups[::-1]) == fold[::-1]).all()
