"""The box around Japan and the coarse outline inside it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.evaluation.coast import COAST
from geoloc_pipeline.geo.country import in_japan, in_japan_box

JAPAN = {
    "Wakkanai, Cape Soya": (45.523, 141.937), "Rebun": (45.43, 140.99), "Rishiri": (45.18, 141.13),
    "Shiretoko": (44.344, 145.331),
    "Nemuro, Cape Nosappu": (43.385, 145.817), "Erimo": (41.925, 143.249), "Okushiri": (42.15, 139.41),
    "Sapporo": (43.06, 141.35),
    "Oma": (41.546, 140.913), "Tobishima": (39.20, 139.55), "Sado": (38.02, 138.20), "Hegurajima": (37.85, 136.92),
    "Todogasaki": (39.546, 142.073), "Kinkasan": (38.29, 141.58), "Choshi": (35.708, 140.869), "Tokyo": (35.68, 139.76),
    "Miyakejima": (34.08, 139.52), "Kozushima": (34.21, 139.13), "Hachijojima": (33.11, 139.79), "Aogashima": (32.46, 139.77),
    "Torishima": (30.48, 140.30), "Nishinoshima": (27.25, 140.88), "Chichijima": (27.09, 142.19), "Hahajima": (26.64, 142.16),
    "Ioto": (24.78, 141.32), "Minamiioto": (24.23, 141.46), "Minamitorishima": (24.283, 153.986),
    "Okinotorishima": (20.425, 136.081),
    "Kitadaito": (25.95, 131.30), "Okidaito": (24.47, 131.18), "Shionomisaki": (33.44, 135.76), "Muroto": (33.24, 134.18),
    "Ashizuri": (32.72, 133.02), "Okinoshima, Kochi": (32.73, 132.55), "Toi": (31.36, 131.34), "Tanegashima": (30.6, 131.05),
    "Yakushima": (30.33, 130.4), "Kusagakijima": (30.84, 129.47), "Koshikijima": (31.63, 129.68),
    "Akusekijima": (29.46, 129.60),
    "Kikaijima": (28.32, 130.03), "Amami": (28.4, 129.5), "Iotorishima": (27.87, 128.23), "Naha": (26.21, 127.68),
    "Kumejima": (26.35, 126.71), "Miyako": (24.72, 125.47), "Ishigaki": (24.61, 124.33), "Hateruma": (24.05, 123.79),
    "Yonaguni": (24.45, 122.934), "Danjo": (31.99, 128.35), "Fukue": (32.62, 128.59), "Iki": (33.86, 129.69),
    "Tsushima, north": (34.70, 129.47), "Tsushima, south-west": (34.08, 129.18), "Okinoshima, Fukuoka": (34.245, 130.104),
    "Mishima, Hagi": (34.78, 131.15), "Oki": (36.34, 133.27), "Kyogamisaki": (35.78, 135.22), "Wajima": (37.40, 136.90),
}  # fmt: skip
ELSEWHERE = {
    "Busan": (35.10, 129.04), "Busan, the nearest quay": (35.045, 129.09), "Geojedo": (34.73, 128.72), "Jeju": (33.50, 126.53),
    "Seogwipo": (33.24, 126.56), "Ulleungdo": (37.49, 130.87), "Seoul": (37.57, 126.98), "Vladivostok": (43.12, 131.89),
    "Nakhodka": (42.81, 132.89), "Cape Crillon": (45.89, 142.08), "Korsakov": (46.63, 142.78), "Taipei": (25.03, 121.56),
    "Hualien": (23.98, 121.61), "Zhoushan": (30.0, 122.2), "Shengsi": (30.73, 122.80), "Shanghai": (31.23, 121.47),
    "Guam": (13.44, 144.79), "Luzon": (20.45, 121.98), "Lund": (55.7, 13.19), "Null Island": (0.0, 0.0),
}  # fmt: skip


def test_the_ends_of_japan_are_in_the_box_and_sweden_is_out() -> None:
    lat, lon = [45.52, 24.45, 20.42, 24.28, 55.7], [141.94, 122.93, 136.08, 153.98, 13.19]
    assert in_japan_box(lat=lat, lon=lon).tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("place", list(JAPAN.values()), ids=list(JAPAN))
def test_japan_is_in_with_the_sea_around_it(place: tuple[float, float]) -> None:
    lon, lat, _ = pyproj.Geod(ellps="WGS84").fwd(*[[place[axis]] * 36 for axis in (1, 0)], np.arange(0, 360, 10), [10_000] * 36)
    assert in_japan(lat=place[0], lon=place[1])
    assert in_japan(lat=lat, lon=lon).all()


@pytest.mark.parametrize("place", list(ELSEWHERE.values()), ids=list(ELSEWHERE))
def test_no_neighbours_mainland_is_in(place: tuple[float, float]) -> None:
    assert not in_japan(lat=place[0], lon=place[1])


def test_the_coasts_and_the_made_up_land_are_in() -> None:
    for island in COAST:
        assert in_japan(lat=[lat for lat, _ in island], lon=[lon for _, lon in island]).all()
    for road in grow_land(density=0.1).roads:
        assert in_japan(lat=road.lonlat[:, 1], lon=road.lonlat[:, 0]).all()


def test_real_photos_in_japan_are_in(shared_data: Path) -> None:
    with (shared_data / "geoclip" / "mp16_points_in_japan.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) > 2000
    assert in_japan(lat=[float(row["LAT"]) for row in rows], lon=[float(row["LON"]) for row in rows]).all()


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), max_size=30))
def test_many_places_are_judged_as_each_alone_and_never_outside_the_box(places: list[tuple[float, float]]) -> None:
    lat, lon = np.array([place[0] for place in places]), np.array([place[1] for place in places])
    found = in_japan(lat=lat, lon=lon)
    assert found.shape == lat.shape
    assert found.tolist() == [bool(in_japan(lat=place[0], lon=place[1])) for place in places]
    assert not (found & ~in_japan_box(lat=lat, lon=lon)).any()


def test_what_is_no_place_lies_nowhere() -> None:
    nowhere = [np.nan, 35.0, np.inf, 139.0]
    assert not in_japan(lat=nowhere, lon=[139.0, np.nan, 139.0, 35.0]).any()
    assert in_japan(lat=np.full((2, 3), 35.68), lon=np.full((2, 3), 139.76)).shape == (2, 3)
