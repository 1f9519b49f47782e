"""Planes in metres against the ellipsoid's own distances."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Point

from geoloc_pipeline.geo.crs import WGS84, from_plane, metric_crs, to_metres, to_plane, to_wgs84
from geoloc_pipeline.geo.sphere import destination, distance_m

LATS = st.floats(24.0, 45.5)
LONS = st.floats(123.0, 146.0)


@given(LATS, LONS, st.floats(0, 360), st.floats(1, 200_000))
def test_lengths_from_the_middle_of_a_plane_are_true(lat: float, lon: float, bearing_deg: float, away_m: float) -> None:
    crs = metric_crs(lat=lat, lon=lon)
    to_lat, to_lon = destination(lat=lat, lon=lon, bearing_deg=bearing_deg, away_m=away_m)
    x, y = to_plane(lat=np.array([lat, to_lat]), lon=np.array([lon, to_lon]), crs=crs)
    assert np.isclose(np.hypot(x[1] - x[0], y[1] - y[0]), away_m, rtol=5e-4, atol=0.01)


@given(LATS, LONS)
def test_a_place_comes_back_from_the_plane(lat: float, lon: float) -> None:
    crs = metric_crs(lat=36.0, lon=138.0)
    x, y = to_plane(lat=np.array([lat]), lon=np.array([lon]), crs=crs)
    back_lat, back_lon = from_plane(x=x, y=y, crs=crs)
    assert distance_m(lat=lat, lon=lon, to_lat=back_lat[0], to_lon=back_lon[0]) < 0.001


def test_neighbouring_places_share_a_plane() -> None:
    assert metric_crs(lat=35.681, lon=139.767) == metric_crs(lat=35.7, lon=139.8)


def test_an_empty_frame_has_an_empty_plane() -> None:
    assert len(to_metres(gpd.GeoDataFrame(geometry=[], crs=WGS84))) == 0


def test_crs84_becomes_exactly_wgs84() -> None:
    frame = gpd.GeoDataFrame(geometry=[Point(139.7, 35.6)], crs="OGC:CRS84")
    assert str(to_wgs84(frame).crs) == WGS84
    assert to_wgs84(frame).geometry.iloc[0].x == 139.7
