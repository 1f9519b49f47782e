"""The map of the data set is dark where pictures stand dense, wherever that is, and its counts are the data's."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.evaluation.cartography import MapFrame
from geoloc_pipeline.evaluation.distribution import (
    CELL_PX,
    HEIGHT,
    SHADES,
    WIDTH,
    cell_densities,
    density_map,
    prefecture_counts,
    shade_steps,
)
from geoloc_pipeline.geo.sphere import destination

SAPPORO, TOKYO, NAHA = (43.06, 141.35), (35.68, 139.70), (26.21, 127.68)


def _crowd(place, n, spread_deg=0.05, seed=0):
    return np.array(place) + np.random.default_rng(seed).normal(0, spread_deg, (n, 2))


def _shades(places):
    svg, _ = density_map(lat=places[:, 0], lon=places[:, 1], label="a map")
    paths = [path for path in ElementTree.fromstring(svg).iter("path") if path.get("fill") in SHADES]
    return {path.get("fill"): len(re.findall("M", path.get("d"))) for path in paths}


def test_a_dense_city_is_dark_and_a_thin_one_is_light():
    shades = _shades(np.concatenate([_crowd(TOKYO, 20_000), _crowd(NAHA, 300, 0.3), _crowd(SAPPORO, 300, 0.9)]))
    assert SHADES[-1] in shades
    assert sum(shades[colour] for colour in shades if colour != SHADES[-1]) > 100 > shades[SHADES[-1]]


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=50))
def test_steps_are_round_and_the_last_is_that_of_the_densest_cells(density):
    steps = shade_steps(np.array(density))
    assert len(steps) == len(SHADES)
    assert steps[0] == 0.0
    assert {round(high / low, 6) for low, high in pairwise(steps[1:])} == {3.0, round(10 / 3, 6)}
    assert steps[-1] <= np.quantile(density, 0.97) * (1 + 1e-9)
    assert np.quantile(density, 0.97) < 10 / 3 * steps[-1] * (1 + 1e-9)


@given(st.integers(1, 400), st.integers(0, 5))
def test_no_picture_of_the_frame_is_lost_or_counted_twice(n, seed):
    places = np.random.default_rng(seed).uniform([30, 130], [44, 145], (n, 2))
    frame = MapFrame.fitting(lat=places[:, 0], lon=places[:, 1], width_px=WIDTH, height_px=HEIGHT)
    row, column, density = cell_densities(frame, lat=places[:, 0], lon=places[:, 1])
    west_lat, _ = frame.places(x=0.0, y=row * CELL_PX)
    assert len(set(zip(row.tolist(), column.tolist(), strict=True))) == len(row)
    assert ((row >= 0) & (row < HEIGHT / CELL_PX) & (column >= 0) & (column < WIDTH / CELL_PX)).all()
    assert (density > 0).all()
    side_km = np.radians(CELL_PX / frame.px_per_deg) * 6371.0 * np.cos(np.radians(west_lat))
    assert (density * side_km**2 / 100).sum() == pytest.approx(n, rel=0.02)


@pytest.mark.parametrize("place", [SAPPORO, NAHA])
def test_equally_dense_is_equally_dark_in_the_north_and_in_the_south(place):
    """One picture in every square kilometre of 60 km x 60 km is 100 in 100 km²."""
    steps = np.arange(-30, 30)
    lat = np.array([destination(lat=place[0], lon=place[1], bearing_deg=0.0, away_m=1000.0 * step)[0] for step in steps])
    grid = [(at, place[1] + step * np.degrees(1.0 / (6371.0 * np.cos(np.radians(at))))) for at in lat for step in steps]
    lats, lons = np.array(grid).T
    frame = MapFrame.fitting(lat=[26.0, 44.0], lon=[127.0, 146.0], width_px=WIDTH, height_px=HEIGHT)
    _, _, density = cell_densities(frame, lat=lats, lon=lons)
    assert float(np.quantile(density, 0.7)) == pytest.approx(100.0, rel=0.12)


def test_all_of_japan_is_shown_when_pictures_are_all_over_it_and_a_city_alone_is_seen_from_near():
    def bar_km(places):
        svg, _ = density_map(lat=places[:, 0], lon=places[:, 1], label="m")
        return float(re.search(r">([\d.]+) km<", svg).group(1))

    assert bar_km(np.concatenate([_crowd(TOKYO, 50), _crowd(NAHA, 50), _crowd(SAPPORO, 50)])) >= 200
    assert bar_km(_crowd(TOKYO, 50)) <= 10
    far = np.array([[24.3, 153.98]])  # Minamitorishima, 1,800 km out at sea
    assert bar_km(np.concatenate([_crowd(TOKYO, 500), far])) <= 10


def test_one_picture_and_none():
    assert sum(_shades(np.array([TOKYO])).values()) == 1
    assert density_map(lat=[], lon=[], label="m") == ("", [])


def test_labels_are_escaped_and_every_shade_is_explained():
    svg, legend = density_map(lat=[35.0], lon=[139.0], label='"><script>')
    assert '"><script>' not in svg
    assert [colour for _, colour in legend] == list(SHADES)


def test_counts_come_most_first_with_their_names():
    rows = prefecture_counts(pd.Series(["13"] * 6 + ["47"] * 3 + ["01"] * 3 + [None]))
    assert [(row["prefecture"], row["n"], row["of_most_pct"]) for row in rows] == [
        ("東京都", 6, 100.0),
        ("北海道", 3, 50.0),
        ("沖縄県", 3, 50.0),
    ]
    assert prefecture_counts(pd.Series([], dtype=str)) == []
