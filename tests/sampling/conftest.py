"""Roads, landmarks and towns as tables, grown by code at true places."""

from __future__ import annotations

import numpy as np
import pytest
import shapely

from geoloc_pipeline.tables import CENSUS_TOWNS, OSM_LANDMARKS, OSM_ROADS, as_table


@pytest.fixture(scope="session")
def towns_of():
    """Towns from polygons by prefecture code: one or a list."""

    def make(**polygons):
        rows = [(code[-2:], shape) for code, shapes in polygons.items() for shape in np.atleast_1d(shapes)]
        return as_table(
            CENSUS_TOWNS,
            {
                "town_code": [f"{code}{number:09d}" for number, (code, _) in enumerate(rows)],
                "town": ["見本町"] * len(rows),
                "municipality_code": [f"{code}201" for code, _ in rows],
                "municipality": ["見本市"] * len(rows),
                "prefecture_code": [code for code, _ in rows],
                "prefecture": ["見本県"] * len(rows),
                "population": [0] * len(rows),
                "geometry": [shape for _, shape in rows],
            },
        )

    return make


@pytest.fixture(scope="session")
def roads_of():
    """Roads from (way number, road_id or None, class, [(lon, lat)])."""

    def make(ways):
        return as_table(
            OSM_ROADS,
            {
                "way_id": [f"way/{number}" for number, *_ in ways],
                "road_id": [road for _, road, *_ in ways],
                "highway": [highway for *_, highway, _ in ways],
                "name": [None] * len(ways),
                "name_latin": [None] * len(ways),
                "ref": [None] * len(ways),
                "length_m": [1.0] * len(ways),  # sampling measures for itself
                "geometry": [shapely.LineString(places) for *_, places in ways],
            },
        )

    return make


@pytest.fixture(scope="session")
def landmarks_of():
    """Landmarks from (id, geometry, area in square metres)."""

    def make(marks):
        return as_table(
            OSM_LANDMARKS,
            {
                "landmark_id": [name for name, *_ in marks],
                "category": ["leisure=park"] * len(marks),
                "name": [None] * len(marks),
                "name_latin": [None] * len(marks),
                "area_m2": [float(area) for *_, area in marks],
                "geometry": [shape for _, shape, _ in marks],
            },
        )

    return make
