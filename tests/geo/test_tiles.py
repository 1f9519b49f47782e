"""A place lies in its own tile."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.geo.tiles import tile_bounds, tile_of


@given(st.floats(-85, 85), st.floats(-180, 179.999), st.integers(0, 18))
def test_a_place_lies_within_the_bounds_of_its_tile(lat: float, lon: float, zoom: int) -> None:
    x, y = tile_of(lat=lat, lon=lon, zoom=zoom)
    west, south, east, north = tile_bounds(x=int(x), y=int(y), zoom=zoom)
    assert west - 1e-9 <= lon <= east + 1e-9
    assert south - 1e-9 <= lat <= north + 1e-9


def test_tokyo_station_is_in_the_tile_that_maps_show() -> None:
    x, y = tile_of(lat=35.681236, lon=139.767125, zoom=14)
    assert (int(x), int(y)) == (14552, 6451)


def test_poles_fall_into_the_first_and_last_row() -> None:
    _, y = tile_of(lat=[90.0, -90.0], lon=[0.0, 0.0], zoom=3)
    assert y.tolist() == [0, 7]
