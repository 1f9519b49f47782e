"""The schematic coast is made of proper islands where Japan is."""

from __future__ import annotations

import pytest
import shapely

from geoloc_pipeline.evaluation.coast import COAST
from geoloc_pipeline.geo.country import in_japan_box

LAND = shapely.union_all([shapely.Polygon([(lon, lat) for lat, lon in island]) for island in COAST])


def test_every_island_is_a_simple_ring_inside_the_box():
    for island in COAST:
        assert shapely.Polygon([(lon, lat) for lat, lon in island]).is_valid
        assert in_japan_box(lat=[p[0] for p in island], lon=[p[1] for p in island]).all()


@pytest.mark.parametrize(
    ("lat", "lon"),
    [(35.69, 139.70), (43.06, 141.35), (34.18, 131.47), (33.59, 130.70), (33.84, 133.5), (26.5, 127.95), (36.65, 138.2)],
)
def test_inland_places_are_on_land(lat: float, lon: float):
    assert LAND.contains(shapely.Point(lon, lat))


@pytest.mark.parametrize(("lat", "lon"), [(38.0, 136.0), (35.3, 139.73), (30.0, 135.0), (34.4, 134.6), (41.5, 140.6)])
def test_the_sea_is_not(lat: float, lon: float):
    assert not LAND.contains(shapely.Point(lon, lat))
