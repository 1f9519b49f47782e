"""Pictures, towns and labels as tables, grown by code."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely

from geoloc_pipeline.tables import LABELLED_IMAGES, PHOTO_COLLECTIONS, as_table

LAT, LON = 35.6, 139.7
DEG_M = 111_195.0
GEOD = pyproj.Geod(ellps="WGS84")


@pytest.fixture(scope="session")
def true_distance_m():
    """The geodesic distance from a place to a shape, by closing in on the nearest spot of each of its sides; 0 inside."""

    def closest_m(lon, lat, start, end):
        low, high, best = 0.0, 1.0, np.inf
        for _ in range(8):
            shares = np.linspace(low, high, 33)
            along = start + (end - start) * shares[:, None]
            away = GEOD.inv(np.full(33, lon), np.full(33, lat), along[:, 0], along[:, 1])[2]
            nearest = int(np.argmin(away))
            best = min(best, away[nearest])
            low, high = shares[max(nearest - 1, 0)], shares[min(nearest + 1, 32)]
        return best

    def measure(lon, lat, shape):
        if shapely.get_dimensions(shape) == 2 and shape.intersects(shapely.Point(lon, lat)):
            return 0.0
        best = np.inf
        for part in shapely.get_parts(shape):
            for line in shapely.get_rings(part) if part.geom_type == "Polygon" else [part]:
                corners = np.array(line.coords)
                sides = pairwise(corners) if len(corners) > 1 else [(corners[0], corners[0])]
                best = min([best, *(closest_m(lon, lat, start, end) for start, end in sides)])
        return best

    return measure


@pytest.fixture(scope="session")
def images_of():
    """A manifest from ids, latitudes and longitudes; anything else by keyword."""

    def make(ids, lat, lon, **columns):
        n = len(ids)
        moment = pd.Timestamp("2026-01-02", tz="UTC")
        defaults = {
            "image_id": ids, "source": ["local"] * n, "source_image_id": ids, "lat": lat, "lon": lon,
            "origin_id": [None] * n, "accuracy_m": [np.nan] * n, "requested_lat": [np.nan] * n, "requested_lon": [np.nan] * n,
            "point_id": [None] * n, "is_wanted": [True] * n,
            "views": ["photo"] * n, "width_px": [1] * n, "height_px": [1] * n, "captured_at": [moment] * n,
            "fetched_at": [moment] * n, "licence": ["CC0-1.0"] * n,
            "attribution": ["someone"] * n, "content_sha256": [""] * n, "source_url": [""] * n,
            "capture_group": ["g"] * n, "sha256": [""] * n,
            "shard": ["0.tar"] * n, "offset": [0] * n, "size_bytes": [1] * n, "geometry": shapely.points(lon, lat),
        }  # fmt: skip
        return as_table(PHOTO_COLLECTIONS, {**defaults, **columns})

    return make


@pytest.fixture(scope="session")
def labelled_of():
    """Labels from metres east and north of one place; labels and capture groups by keyword, one value or many."""

    def make(metres, **columns):
        metres = np.asarray(metres, dtype=np.float64).reshape(-1, 2)
        n = len(metres)
        lat = LAT + metres[:, 1] / DEG_M
        lon = LON + metres[:, 0] / DEG_M / np.cos(np.radians(LAT))
        defaults = {
            "image_id": [f"i{number:05d}" for number in range(n)], "lat": lat, "lon": lon, "prefecture_code": "13",
            "municipality_code": "13101", "town_code": None, "town_distance_m": 0.0, "road_id": None, "road_distance_m": np.nan,
            "landmark_id": None, "landmark_distance_m": np.nan, "source": "local",
            "capture_group": [f"g{number}" for number in range(n)],
        }  # fmt: skip
        filled = {
            name: [value] * n if value is None or isinstance(value, str | float) else value
            for name, value in {**defaults, **columns}.items()
        }
        return as_table(LABELLED_IMAGES, {**filled, "geometry": shapely.points(lon, lat)})

    return make
