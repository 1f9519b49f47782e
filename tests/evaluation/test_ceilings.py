"""Ceilings and floors, by brute force over every pair."""

from __future__ import annotations

import numpy as np
import pytest

from geoloc_pipeline.evaluation.ceilings import KEPT_FROM, ceiling_table, class_centres, floor_table
from geoloc_pipeline.geo.sphere import distance_m, spherical_mean


def km(a: tuple[float, float], b: tuple[float, float]) -> float:
    return float(distance_m(lat=a[0], lon=a[1], to_lat=b[0], to_lon=b[1])) / 1000


def test_each_step_is_counted_as_a_person_would_count_it():
    chance = np.random.default_rng(7)
    gallery = chance.uniform((34.5, 138.5), (35.5, 139.5), (400, 2))
    truth = chance.uniform((34.4, 138.4), (35.6, 139.6), (60, 2))
    found = gallery[chance.integers(0, 400, (60, 12))]
    found[3, 5:] = np.nan
    gate = np.log(chance.uniform(0.001, 1, (60, 12)))
    errors = chance.uniform(0, 40, 60)
    table = ceiling_table(
        true_lat=truth[:, 0], true_lon=truth[:, 1], gallery_lat=gallery[:, 0], gallery_lon=gallery[:, 1],
        found_lat=found[..., 0], found_lon=found[..., 1], gate=gate, error_km=errors,
    )  # fmt: skip
    for row in table.itertuples():
        held = [any(km(place, other) <= row.within_km for other in gallery) for place in truth]
        near = [[bool(np.isfinite(other[0])) and km(place, other) <= row.within_km for other in rows]
                for place, rows in zip(truth, found, strict=True)]  # fmt: skip
        kept = [any(is_near and weight >= np.log(KEPT_FROM) for is_near, weight in zip(rows, weights, strict=True))
                for rows, weights in zip(near, gate, strict=True)]  # fmt: skip
        assert row.gallery_pct == pytest.approx(100 * np.mean(held))
        assert row.search_pct == pytest.approx(100 * np.mean([any(rows) for rows in near]))
        assert row.gate_pct == pytest.approx(100 * np.mean(kept))
        assert row.answer_pct == pytest.approx(100 * np.mean(errors <= row.within_km))
        assert row.gallery_pct >= row.search_pct >= row.gate_pct
    assert 0 < table["gate_pct"].iloc[-1] < table["search_pct"].iloc[-1]


def test_without_a_gate_or_a_gallery_the_table_says_so():
    table = ceiling_table(
        true_lat=[35.0], true_lon=[139.0], gallery_lat=[], gallery_lon=[],
        found_lat=np.full((1, 2), np.nan), found_lon=np.full((1, 2), np.nan), error_km=[3.0],
    )  # fmt: skip
    assert table["gallery_pct"].tolist() == table["search_pct"].tolist() == [0.0, 0.0, 0.0]
    assert table["gate_pct"].isna().all()
    assert table["answer_pct"].tolist() == [0.0, 100.0, 100.0]


def test_the_floor_is_the_distance_to_the_middle_of_the_right_class():
    centres = class_centres(["01", "01", None, "13"], lat=[43.0, 43.2, 20.0, 35.7], lon=[141.0, 141.2, 120.0, 139.7])
    assert list(centres) == ["01", "13"]
    assert centres["01"] == spherical_mean(lat=[43.0, 43.2], lon=[141.0, 141.2])
    assert centres["13"] == pytest.approx((35.7, 139.7))
    table = floor_table(
        [("prefecture", ["01", "13", "47", None], centres), ("town", [None] * 4, {})],
        true_lat=[43.0, 35.8, 26.0, 30.0],
        true_lon=[141.0, 139.7, 127.0, 130.0],
    )
    away = [km((43.0, 141.0), centres["01"]), km((35.8, 139.7), centres["13"])]
    assert table["level"].tolist() == ["prefecture"]
    assert (table["n"][0], table["median_km"][0]) == (2, pytest.approx(np.median(away)))
    assert table["within_25_km_pct"][0] == 100.0
