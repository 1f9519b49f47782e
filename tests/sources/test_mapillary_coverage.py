"""Coverage tiles: positions, what is missing, what is broken, and the same columns as the package's own slow reading."""

from __future__ import annotations

import gzip
import math

import mapbox_vector_tile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapbox_vector_tile.Mapbox import vector_tile_pb2

from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.geo.tiles import tile_bounds, tile_of
from geoloc_pipeline.sources.mapillary_coverage import COVERAGE_ZOOM, parse_tile, read_coverage_tile
from geoloc_pipeline.sources.street_view import Coverage

X, Y = (int(part) for part in tile_of(lat=35.681, lon=139.767, zoom=COVERAGE_ZOOM))


def _encoded(features, *, layer="image", extent=4096):
    return mapbox_vector_tile.encode(
        [{"name": layer, "features": features}], default_options={"extents": extent, "y_coord_down": True}
    )


def _tile(places, *, extent=4096, x=X, y=Y, layer="image", **properties):
    """Encode a tile as the service does: rows grow southwards, straight in Mercator."""
    n, features = 2**COVERAGE_ZOOM, []
    for number, (lat, lon) in enumerate(places):
        column = ((lon + 180) / 360 * n - x) * extent
        row = ((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * n - y) * extent
        said = {"id": 1000 + number, "captured_at": 1507560881000, "compass_angle": 200.5, "is_pano": True, "sequence_id": "s"}
        features.append({"geometry": f"POINT({round(column)} {round(row)})", "properties": said | properties})
    return _encoded(features, layer=layer, extent=extent)


@given(across=st.floats(0.01, 0.99), down=st.floats(0.01, 0.99), x=st.integers(13700, 14900), y=st.integers(5700, 7100))
def test_a_tiles_positions_are_right_to_its_grid_anywhere_in_japan(across, down, x, y):
    west, south, east, north = tile_bounds(x=x, y=y, zoom=COVERAGE_ZOOM)
    lat, lon = south + (north - south) * (1 - down), west + (east - west) * across
    found = read_coverage_tile(_tile([(lat, lon)], x=x, y=y), x=x, y=y)
    assert distance_m(lat=lat, lon=lon, to_lat=found.lat[0], to_lon=found.lon[0]) < 0.5  # half a diagonal of a 0.5 m grid
    fine = read_coverage_tile(_tile([(lat, lon)], x=x, y=y, extent=2**18), x=x, y=y)
    assert distance_m(lat=lat, lon=lon, to_lat=fine.lat[0], to_lon=fine.lon[0]) < 0.01


_PROPERTIES = st.fixed_dictionaries(
    {"id": st.integers(1, 2**60)},
    optional={
        "compass_angle": st.floats(-1e6, 1e6) | st.integers(-400, 800),
        "captured_at": st.integers(1, 2**50),
        "is_pano": st.booleans(),
        "sequence_id": st.text(min_size=1, max_size=5),
        "organization_id": st.integers(1, 9),
    },
)


@given(
    pictures=st.lists(
        st.tuples(st.integers(-50, 4146), st.integers(-50, 4146), _PROPERTIES), max_size=12, unique_by=lambda one: one[2]["id"]
    )
)
def test_columns_say_what_the_packages_own_reading_says(pictures):
    features = [{"geometry": f"POINT({x} {y})", "properties": said} for x, y, said in pictures]
    content = _encoded(features)
    plain = mapbox_vector_tile.decode(content, default_options={"y_coord_down": True}).get("image", {"features": []})
    expected = {str(one["properties"]["id"]): one for one in plain["features"]}
    found = read_coverage_tile(content, x=X, y=Y)
    assert found.image_id.tolist() == sorted(expected)
    for row, image_id in enumerate(found.image_id):
        said = expected[image_id]["properties"]
        away_deg = (found.compass_deg[row] - said.get("compass_angle", math.nan) + 180.0) % 360.0 - 180.0
        assert away_deg == pytest.approx(0.0, abs=1e-6) or (math.isnan(away_deg) and "compass_angle" not in said)
        assert found.captured_ms[row] == said.get("captured_at", 0)
        assert found.is_pano[row] == said.get("is_pano", False)
        assert found.sequence_id[row] == said.get("sequence_id", "")
        lon = (X + expected[image_id]["geometry"]["coordinates"][0] / 4096) / 2**14 * 360 - 180
        assert found.lon[row] == pytest.approx(lon, abs=1e-9)


def test_a_tile_tells_all_of_a_picture_and_survives_what_is_missing():
    west, south, east, north = tile_bounds(x=X, y=Y, zoom=COVERAGE_ZOOM)
    places = [((south + north) / 2, (west + east) / 2)]
    found = read_coverage_tile(gzip.compress(_tile(places)), x=X, y=Y)
    assert found.image_id.tolist() == ["1000"]
    assert found.compass_deg.tolist() == [200.5]
    assert found.captured_ms.tolist() == [1507560881000]
    assert found.is_pano.tolist() == [True]
    assert found.is_outdoor.tolist() == [True]
    assert found.sequence_id.tolist() == ["s"]
    assert np.isnan(found.quality).all()
    found = read_coverage_tile(_encoded([{"geometry": "POINT(5 5)", "properties": {"id": 7}}]), x=X, y=Y)
    assert np.isnan(found.compass_deg[0])
    assert not found.is_pano[0]


def test_what_is_no_picture_in_a_tile_is_left_out():
    odd = [
        {"geometry": "POINT(5 5)", "properties": {"captured_at": 1}},
        {"geometry": "POINT(5 5)", "properties": {"id": "no number"}},
        {"geometry": "POINT(5 5)", "properties": {"id": 1.5}},
        {"geometry": "MULTIPOINT(5 5, 6 6)", "properties": {"id": 8}},
        {"geometry": "LINESTRING(5 5, 6 6)", "properties": {"id": 9}},
        {"geometry": "POINT(5 5)", "properties": {"id": "10", "compass_angle": "north", "captured_at": -5, "is_pano": "yes"}},
    ]
    found = read_coverage_tile(_encoded(odd), x=X, y=Y)
    assert found.image_id.tolist() == ["10"]
    assert np.isnan(found.compass_deg[0])
    assert (found.captured_ms[0], found.is_pano[0]) == (0, False)


@pytest.mark.parametrize("content", [b"", _tile([], layer="image"), _tile([(35.68, 139.76)], layer="sequence")])
def test_a_tile_without_pictures_is_empty(content):
    assert len(read_coverage_tile(content, x=X, y=Y)) == 0


@pytest.mark.parametrize("content", [b"<html>", b"\x1f\x8bnot gzip", b"\x00" * 9, _tile([(35.68, 139.76)])[:-9]])
def test_what_is_no_tile_is_told(content):
    for read in (parse_tile, lambda content: read_coverage_tile(content, x=X, y=Y)):
        with pytest.raises(ValueError, match=r"no vector tile|no gzip"):
            read(content)


@pytest.mark.parametrize("tags", [[0], [0, 99], [99, 0]])
def test_a_tile_whose_indices_lead_nowhere_is_told(tags):
    tile = vector_tile_pb2.tile()
    tile.ParseFromString(_tile([(35.68, 139.767)]))
    tile.layers[0].features[0].ClearField("tags")
    tile.layers[0].features[0].tags.extend(tags)
    with pytest.raises(ValueError, match="no vector tile"):
        read_coverage_tile(tile.SerializeToString(), x=X, y=Y)


@given(cut=st.integers(0, 200), flip=st.integers(0, 255))
def test_a_damaged_tile_is_read_or_told_and_never_more(cut, flip):
    content = bytearray(_tile([(35.68, 139.767), (35.681, 139.768)]))
    content[cut % len(content)] ^= flip
    try:
        assert len(read_coverage_tile(bytes(content), x=X, y=Y)) <= 2
    except ValueError as error:
        assert "no vector tile" in str(error) or "no gzip" in str(error)  # noqa: PT017


def test_tiles_are_joined_in_id_order_each_picture_once():
    one, two = (read_coverage_tile(_tile(places), x=X, y=Y) for places in ([(35.68, 139.767)] * 3, [(35.68, 139.767)] * 5))
    assert Coverage.joined([two, one]).image_id.tolist() == ["1000", "1001", "1002", "1003", "1004"]
    assert len(Coverage.joined([])) == 0
