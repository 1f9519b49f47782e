"""Mapillary's client: positions, missing keys, the density gate, expired links, and tokens that nobody sees."""

from __future__ import annotations

import gzip
import logging
import traceback
from datetime import UTC, datetime

import httpx
import mapbox_vector_tile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import (
    GeolocError,
    ImageError,
    MissingKeyError,
    SettingError,
    SourceRefusedError,
    SourceUnavailableError,
)
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.geo.tiles import tile_bounds, tile_of
from geoloc_pipeline.sources import mapillary
from geoloc_pipeline.sources.mapillary import MapillaryClient
from geoloc_pipeline.sources.mapillary_coverage import COVERAGE_ZOOM, Coverage, read_coverage_tile
from geoloc_pipeline.sources.mapillary_images import THUMBNAILS_PX, page_url, read_image

TOKEN = "MLY|123|quite-secret-token"
X, Y = (int(part) for part in tile_of(lat=35.681, lon=139.767, zoom=COVERAGE_ZOOM))


def _tile(places, *, extent=4096, x=X, y=Y, layer="image", **properties):
    """Encode a tile as the service does: rows grow southwards, straight in Mercator."""
    n, features = 2**COVERAGE_ZOOM, []
    for number, (lat, lon) in enumerate(places):
        column = ((lon + 180) / 360 * n - x) * extent
        row = ((1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2 * n - y) * extent
        said = {"id": 1000 + number, "captured_at": 1507560881000, "compass_angle": 200.5, "is_pano": True, "sequence_id": "s"}
        features.append({"geometry": f"POINT({round(column)} {round(row)})", "properties": said | properties})
    return mapbox_vector_tile.encode(
        [{"name": layer, "features": features}], default_options={"extents": extent, "y_coord_down": True}
    )


@given(across=st.floats(0.01, 0.99), down=st.floats(0.01, 0.99), x=st.integers(13700, 14900), y=st.integers(5700, 7100))
def test_a_tiles_positions_are_right_to_its_grid_anywhere_in_japan(across, down, x, y):
    west, south, east, north = tile_bounds(x=x, y=y, zoom=COVERAGE_ZOOM)
    lat, lon = south + (north - south) * (1 - down), west + (east - west) * across
    found = read_coverage_tile(_tile([(lat, lon)], x=x, y=y), x=x, y=y)
    assert distance_m(lat=lat, lon=lon, to_lat=found.lat[0], to_lon=found.lon[0]) < 0.5  # half a diagonal of a 0.5 m grid
    fine = read_coverage_tile(_tile([(lat, lon)], x=x, y=y, extent=2**18), x=x, y=y)
    assert distance_m(lat=lat, lon=lon, to_lat=fine.lat[0], to_lon=fine.lon[0]) < 0.01


def test_a_tile_tells_all_of_a_picture_and_survives_what_is_missing():
    west, south, east, north = tile_bounds(x=X, y=Y, zoom=COVERAGE_ZOOM)
    places = [((south + north) / 2, (west + east) / 2)]
    found = read_coverage_tile(gzip.compress(_tile(places)), x=X, y=Y)
    assert found.image_id.tolist() == [1000]
    assert found.compass_deg.tolist() == [200.5]
    assert found.captured_ms.tolist() == [1507560881000]
    assert found.is_pano.tolist() == [True]
    assert found.sequence_id.tolist() == ["s"]
    bare = mapbox_vector_tile.encode([{"name": "image", "features": [{"geometry": "POINT(5 5)", "properties": {"id": 7}}]}])
    found = read_coverage_tile(bare, x=X, y=Y)
    assert np.isnan(found.compass_deg[0])
    assert not found.is_pano[0]


@pytest.mark.parametrize("content", [b"", _tile([], layer="image"), _tile([(35.68, 139.76)], layer="sequence")])
def test_a_tile_without_pictures_is_empty(content):
    assert len(read_coverage_tile(content, x=X, y=Y)) == 0


@pytest.mark.parametrize("content", [b"<html>", b"\x1f\x8bnot gzip", b"\x00" * 9, _tile([(35.68, 139.76)])[:-9]])
def test_what_is_no_tile_is_told(content):
    with pytest.raises(ValueError, match=r"no vector tile|no gzip"):
        read_coverage_tile(content, x=X, y=Y)


def test_tiles_are_joined_in_id_order_each_picture_once():
    one, two = (read_coverage_tile(_tile(places), x=X, y=Y) for places in ([(35.68, 139.767)] * 3, [(35.68, 139.767)] * 5))
    assert Coverage.joined([two, one]).image_id.tolist() == [1000, 1001, 1002, 1003, 1004]
    assert len(Coverage.joined([])) == 0


class _Service:
    """A small Mapillary."""

    def __init__(self):
        self.entities = {"77": _entity("77")}
        self.expired, self.gate_deg, self.status, self.error = 0, None, None, None
        self.boxes = []

    def __call__(self, request):
        if self.status:
            return httpx.Response(self.status, json={"error": self.error} if self.error else None)
        if request.url.host == "cdn.example.org":
            if self.expired:
                self.expired -= 1
                return httpx.Response(403, text="URL signature expired")
            return httpx.Response(200, content=b"bytes", headers={"Date": "Tue, 03 Nov 2026 10:11:12 GMT"})
        if request.url.params.get("access_token", request.headers.get("authorization", "").removeprefix("OAuth ")) != TOKEN:
            return httpx.Response(400, json={"error": {"message": "Invalid OAuth access token", "code": 190}})
        if request.url.host == "tiles.mapillary.com":
            return httpx.Response(200, content=_tile([(35.681, 139.767)]))
        if request.url.path == "/images":
            return self._search([float(side) for side in request.url.params["bbox"].split(",")])
        entity = self.entities.get(request.url.path.strip("/"))
        if entity is None:
            return httpx.Response(
                400, json={"error": {"message": "Unsupported get request. Object does not exist", "code": 100}}
            )
        return httpx.Response(200, json={key: entity[key] for key in request.url.params["fields"].split(",") if key in entity})

    def _search(self, bbox):
        self.boxes.append(bbox)
        west, south, east, north = bbox
        if self.gate_deg and east - west > self.gate_deg:
            said = {"message": "Please reduce the amount of data you're asking for, then retry your request", "code": 1}
            return httpx.Response(500, json={"error": said})
        inside = [
            entity
            for entity in self.entities.values()
            if west <= entity["geometry"]["coordinates"][0] <= east and south <= entity["geometry"]["coordinates"][1] <= north
        ]
        return httpx.Response(200, json={"data": inside})


def _entity(image_id, *, lat=35.681, lon=139.767, **further):
    return {
        "id": image_id,
        "geometry": {"type": "Point", "coordinates": [lon, lat]},
        "compass_angle": 10.0,
        "captured_at": 1507560881000,
        "sequence": "seq",
        "camera_type": "spherical",
        "thumb_1024_url": f"https://cdn.example.org/1024/{image_id}.jpg?oh=S1GNED&oe=1",
        "thumb_2048_url": f"https://cdn.example.org/2048/{image_id}.jpg?oh=S1GNED&oe=1",
        **further,
    }


@pytest.fixture
def world():
    return _Service()


@pytest.fixture
def service(fake, world):
    return fake(world)


def test_a_missing_token_says_its_name_and_how_to_get_one(fake):
    for token in ("", "  "):
        with pytest.raises(MissingKeyError, match=r"MAPILLARY_ACCESS_TOKEN is not set; register.*mapillary\.com/dashboard"):
            MapillaryClient(fake(None).client(), token)


def test_addresses_are_the_documented_ones_and_the_packages_own(service):
    client = MapillaryClient(service.client(), TOKEN)
    client.image("77")
    client.coverage_tile(x=X, y=Y)
    image, tile = service.asked
    assert str(image.url).split("?")[0] == "https://graph.mapillary.com/77"
    assert image.headers["authorization"] == f"OAuth {TOKEN}"
    assert "access_token" not in str(image.url)
    assert str(tile.url).split("?")[0] == f"https://tiles.mapillary.com/maps/vtp/mly1_public/2/14/{X}/{Y}"
    entities, _ = mapillary._api()
    assert set(image.url.params["fields"].split(",")) <= set(entities.get_image_fields())


def test_the_package_prints_and_logs_nothing(service, capfd):
    MapillaryClient(service.client(), TOKEN).image("77")
    names = [name for name in logging.root.manager.loggerDict if name.startswith("mapillary.")]
    assert names
    assert not any(logging.getLogger(name).handlers for name in names)
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


def test_the_computed_place_and_compass_go_before_the_cameras():
    place = {"type": "Point", "coordinates": [139.5, 35.5]}
    image = read_image(
        _entity("1", computed_geometry=place, computed_compass_angle=-0.5, creator={"username": "mapper", "id": "9"})
    )
    assert (image.lat, image.lon) == (35.5, 139.5)
    assert image.compass_deg == 359.5
    assert image.captured_at == datetime(2017, 10, 9, 14, 54, 41, tzinfo=UTC)
    assert image.attribution == "mapper via Mapillary, CC BY-SA 4.0"
    assert image.page_url == page_url("1") == "https://www.mapillary.com/app/?pKey=1"


@pytest.mark.parametrize("key", [key for key in _entity("1") if key != "id"])
@pytest.mark.parametrize("value", ["absent", None, "strange", {}, [], float("nan"), 1e30])
def test_any_key_but_the_id_may_be_absent_or_strange(key, value):
    entity = _entity("1")
    if value == "absent":
        del entity[key]
    else:
        entity[key] = value
    image = read_image(entity)
    assert image.image_id == "1"
    if key == "geometry":
        assert image.lat is None
        assert image.lon is None
    if key == "compass_angle" and value != 1e30:
        assert image.compass_deg is None


def test_only_an_id_is_enough():
    image = read_image({"id": 5})
    assert image.image_id == "5"
    assert image.download_url(width_px=1024) is None
    assert image.attribution == "unknown user via Mapillary, CC BY-SA 4.0"


def test_the_smallest_picture_that_is_wide_enough_is_taken():
    image = read_image(_entity("1", thumb_original_url="original", thumb_256_url="256"))
    widths = {width: image.download_url(width_px=width) for width in (100, 256, 257, 1024, 2000, 5000)}
    assert [("1024" in url, "2048" in url, url) for url in widths.values()] == [
        (False, False, "256"),
        (False, False, "256"),
        (True, False, widths[257]),
        (True, False, widths[1024]),
        (False, True, widths[2000]),
        (False, False, "original"),
    ]
    assert set(THUMBNAILS_PX) >= {"thumb_1024_url", "thumb_2048_url"}
    assert "2048" in read_image(_entity("1")).download_url(width_px=9000)  # the largest there is


def test_a_picture_that_is_not_known_is_none(service):
    client = MapillaryClient(service.client(), TOKEN)
    assert client.image("404") is None
    assert client.download_picture("404") is None


def test_a_link_that_expired_is_asked_for_again_once(service, world):
    world.expired = 1
    picture = MapillaryClient(service.client(), TOKEN).download_picture("77")
    assert picture.content == b"bytes"
    assert picture.fetched_at == datetime(2026, 11, 3, 10, 11, 12, tzinfo=UTC)
    assert [request.url.host for request in service.asked] == ["graph.mapillary.com", "cdn.example.org"] * 2
    assert "authorization" not in service.asked[-1].headers
    world.expired = 2
    with pytest.raises(ImageError) as caught:
        MapillaryClient(service.client(), TOKEN).download_picture("77")
    assert caught.value.reason == "gone"


def test_a_picture_without_link_is_told(service, world):
    world.entities["78"] = {"id": "78"}
    with pytest.raises(ImageError) as caught:
        MapillaryClient(service.client(), TOKEN).download_picture("78")
    assert caught.value.reason == "no_picture"


def test_a_dense_box_is_answered_by_smaller_ones_and_never_asked_twice(service, world):
    places = {str(number): (35.6 + number * 0.0007, 139.7 + number * 0.0009) for number in range(100)}
    world.entities = {image_id: _entity(image_id, lat=lat, lon=lon) for image_id, (lat, lon) in places.items()}
    world.gate_deg = 0.01
    found = MapillaryClient(service.client(), TOKEN).images_in_box(west=139.69, south=35.59, east=139.85, north=35.68)
    assert [image.image_id for image in found] == sorted(places)
    assert len({tuple(box) for box in world.boxes}) == len(world.boxes)
    assert all((box[2] - box[0]) * (box[3] - box[1]) < 0.01 for box in world.boxes)
    assert service.waits_s == []  # the gate is an answer, no fault to wait out


def test_a_gate_that_never_opens_ends(service, world, caplog):
    world.gate_deg = 1e-9
    assert MapillaryClient(service.client(), TOKEN).images_in_box(west=139.7, south=35.6, east=139.7003, north=35.6003) == []
    assert "shut" in caplog.text


@pytest.mark.parametrize("box", [(2, 1, 1, 2), (1, 2, 2, 1), (1, 1, 200, 2), (float("nan"), 1, 2, 2)])
def test_a_box_that_is_none_asks_nothing(service, box):
    with pytest.raises(SettingError):
        MapillaryClient(service.client(), TOKEN).images_in_box(
            **dict(zip(("west", "south", "east", "north"), box, strict=True))
        )
    assert service.asked == []


@pytest.mark.parametrize(
    ("status", "error", "expected", "n_asked"),
    [
        (400, {"code": 190, "message": "bad token"}, SourceRefusedError, 1),
        (401, None, SourceRefusedError, 1),
        (403, {"code": 10, "message": "no permission"}, SourceRefusedError, 1),
        (400, {"code": 100, "message": "Tried accessing nonexisting field (x)"}, SourceRefusedError, 1),
        (400, {"code": 4, "message": "Application request limit reached"}, SourceUnavailableError, 3),
        (500, {"code": 2, "message": "temporarily unavailable"}, SourceUnavailableError, 3),
        (500, {"code": 1, "message": "An unknown error occurred"}, SourceUnavailableError, 3),
        (502, None, SourceUnavailableError, 3),
    ],
)
def test_the_code_in_the_body_says_more_than_the_status(service, world, status, error, expected, n_asked):
    world.status, world.error = status, error
    with pytest.raises(expected) as caught:
        MapillaryClient(service.client(tries=3), TOKEN).image("77")
    assert len(service.asked) == n_asked
    if expected is SourceRefusedError:
        assert "MAPILLARY_ACCESS_TOKEN" in str(caught.value)


def test_a_tile_address_that_is_wrong_is_not_an_empty_tile(fake):
    with pytest.raises(SourceRefusedError):
        MapillaryClient(fake(lambda request: httpx.Response(404, html="<html>no such tile")).client(), TOKEN).coverage_tile(
            x=X, y=Y
        )
    assert len(MapillaryClient(fake(lambda request: httpx.Response(404)).client(), TOKEN).coverage_tile(x=X, y=Y)[1]) == 0
    with pytest.raises(SourceUnavailableError, match="no vector tile"):
        MapillaryClient(fake(lambda request: httpx.Response(200, html="<html>")).client(), TOKEN).coverage_tile(x=X, y=Y)


@pytest.mark.parametrize("call", ["image", "coverage_tile", "download_picture", "images_in_box"])
@pytest.mark.parametrize("token", [TOKEN, "MLY|9|another-secret-one"])
def test_no_call_shows_the_token_in_errors_or_logs(fake, caplog, call, token):
    caplog.set_level(logging.DEBUG)

    def answer(request):
        if request.url.host == "graph.mapillary.com" and call == "download_picture":
            return httpx.Response(200, json=_entity("77"))
        return httpx.Response(500, text=f"no: {request.url} {request.headers} {token}")

    client = MapillaryClient(fake(answer).client(tries=2), token)
    arguments = {
        "image": {"image_id": "77"},
        "coverage_tile": {"x": X, "y": Y},
        "download_picture": {"image_id": "77"},
        "images_in_box": {"west": 139.7, "south": 35.6, "east": 139.71, "north": 35.61},
    }[call]
    with pytest.raises(GeolocError) as caught:
        getattr(client, call)(**arguments)
    said = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "secret" not in said
    assert "S1GNED" not in said
    assert "HTTP 500" in said
