"""Mapillary as it is: tokens, fields, boxes, the density gate, tiles, and links that expire."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import mapbox_vector_tile
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.mirror import DEMO_TOKEN, LinkLife, Mirror
from geoloc_pipeline.demo.mirror_mapillary import FIELDS
from geoloc_pipeline.demo.mirror_transports import mirror_transport
from geoloc_pipeline.demo.pictures import flaw_of
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.geo.tiles import tile_bounds, tile_of

GRAPH = "https://graph.mapillary.com"
TILES = "https://tiles.mapillary.com/maps/vtp/mly1_public/2"
AUTH = {"Authorization": f"OAuth {DEMO_TOKEN}"}


@pytest.fixture(scope="module")
def mirror(world: Path, thin_land: Land, quick_draw: Any) -> Mirror:
    return Mirror(world, thin_land, draw=quick_draw)


@pytest.fixture(scope="module")
def driven(mirror: Mirror) -> Coverage:
    return mirror.coverage.only("mapillary")


@pytest.fixture(scope="module")
def client(mirror: Mirror) -> httpx.Client:
    return httpx.Client(transport=mirror_transport(mirror), headers=AUTH)


@pytest.fixture(scope="module")
def row(driven: Coverage) -> int:
    """A faultless, computed panorama on the motorway, far from the dense grid."""
    shots = driven.shots
    sizes = np.bincount(shots.sequence)[shots.sequence]
    fine = [
        row for row in np.flatnonzero(shots.is_pano & shots.is_computed & (sizes > 60)) if not flaw_of(int(shots.image_id[row]))
    ]
    return int(fine[len(fine) // 2])


def box(lat: float, lon: float, half_deg: float) -> str:
    return f"{lon - half_deg},{lat - half_deg},{lon + half_deg},{lat + half_deg}"


def around(driven: Coverage, row: int, half_deg: float = 0.001) -> str:
    return box(driven.shots.gps_lat[row], driven.shots.gps_lon[row], half_deg)


@pytest.mark.parametrize("token", ["", "OAuth wrong", "Bearer " + DEMO_TOKEN, DEMO_TOKEN[:-1]])
def test_a_missing_or_wrong_token_is_refused_everywhere(mirror: Mirror, token: str) -> None:
    anonymous = httpx.Client(transport=mirror_transport(mirror), headers={"Authorization": token} if token else {})
    for url in (f"{GRAPH}/images?bbox=1,1,1.01,1.01", f"{GRAPH}/1", f"{TILES}/14/1/1"):
        answer = anonymous.get(url)
        assert answer.status_code == 401
        error = answer.json()["error"]
        assert (error["code"], error["type"]) == (190, "OAuthException")
        assert set(error) == {"message", "type", "code", "fbtrace_id"}
        assert DEMO_TOKEN not in answer.text


def test_the_token_may_stand_in_the_url(mirror: Mirror) -> None:
    anonymous = httpx.Client(transport=mirror_transport(mirror))
    assert anonymous.get(f"{TILES}/14/1/1", params={"access_token": DEMO_TOKEN}).status_code == 200


def test_only_the_id_comes_unless_more_is_asked_for(client: httpx.Client, driven: Coverage, row: int) -> None:
    image_id = str(driven.shots.image_id[row])
    assert client.get(f"{GRAPH}/{image_id}").json() == {"id": image_id}
    found = client.get(f"{GRAPH}/images", params={"bbox": around(driven, row)}).json()["data"]
    assert {tuple(item) for item in found} == {("id",)}
    assert image_id in {item["id"] for item in found}


def test_all_fields_of_an_image(client: httpx.Client, driven: Coverage, row: int) -> None:
    shots = driven.shots
    facts = client.get(f"{GRAPH}/{shots.image_id[row]}", params={"fields": ",".join(sorted(FIELDS))}).json()
    assert set(facts) <= FIELDS
    assert facts["geometry"] == {"type": "Point", "coordinates": [shots.gps_lon[row], shots.gps_lat[row]]}
    assert facts["computed_compass_angle"] == pytest.approx(shots.heading_deg[row], abs=1e-5)
    assert (facts["camera_type"], facts["is_pano"], facts["captured_at"]) == ("spherical", True, shots.captured_ms[row])
    assert facts["width"] == 2 * facts["height"]
    assert facts["creator"]["username"].startswith("made_up_mapper_")
    assert facts["sequence"] in driven.sequence_ids


def test_the_rotation_is_axis_and_angle_from_the_world_to_the_camera(client: httpx.Client, driven: Coverage, row: int) -> None:
    url, shots = f"{GRAPH}/{driven.shots.image_id[row]}", driven.shots
    turn = Rotation.from_rotvec(client.get(url, params={"fields": "computed_rotation"}).json()["computed_rotation"])
    right, down, ahead = turn.as_matrix()  # the camera's axes in the world: east, north, up
    assert np.degrees(np.arctan2(ahead[0], ahead[1])) % 360 == pytest.approx(shots.heading_deg[row], abs=1e-4)
    assert np.degrees(np.arcsin(ahead[2])) == pytest.approx(shots.pitch_deg[row], abs=1e-4)
    assert np.degrees(np.arctan2(right[2], down[2])) % 360 == pytest.approx(180 + shots.roll_deg[row], abs=1e-4)


def test_what_was_never_computed_is_absent(client: httpx.Client, driven: Coverage) -> None:
    raw = int(np.flatnonzero(~driven.shots.is_computed)[0])
    fields = "id,geometry,computed_geometry,computed_compass_angle,compass_angle"
    facts = client.get(f"{GRAPH}/{driven.shots.image_id[raw]}", params={"fields": fields}).json()
    assert set(facts) == {"id", "geometry", "compass_angle"}


@pytest.mark.parametrize(
    ("path", "params", "status", "code"),
    [
        ("/123456", {}, 400, 100),
        ("/no-number", {}, 400, 100),
        ("/images", {}, 400, 100),
        ("/images", {"bbox": "1,2,3"}, 400, 100),
        ("/images", {"bbox": "a,b,c,d"}, 400, 100),
        ("/images", {"bbox": "1,1,1.01,1.01", "limit": "2001"}, 400, 100),
        ("/images", {"bbox": "1,1,1.01,1.01", "fields": "id,colour"}, 400, 100),
        ("/images", {"bbox": "1,1,1.01,1.01", "start_captured_at": "yesterday"}, 400, 100),
        ("/images", {"bbox": "139,35,139.2,35.1"}, 500, 1),
    ],
)
def test_mistakes_get_the_graph_apis_errors(client: httpx.Client, path: str, params: Any, status: int, code: int) -> None:
    answer = client.get(GRAPH + path, params=params)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_search_is_not_sorted_by_distance_and_filters(client: httpx.Client, driven: Coverage, row: int) -> None:
    shots = driven.shots
    params = {"bbox": around(driven, row, 0.004), "fields": "id,geometry,is_pano,captured_at,sequence"}
    found = client.get(f"{GRAPH}/images", params=params).json()["data"]
    west, south, east, north = (float(edge) for edge in params["bbox"].split(","))
    true = driven.in_box(west, south, east, north)
    assert {item["id"] for item in found} == {str(shots.image_id[one]) for one in true}
    lon, lat = np.array([item["geometry"]["coordinates"] for item in found]).T
    away_m = distance_m(lat=lat, lon=lon, to_lat=shots.gps_lat[row], to_lon=shots.gps_lon[row])
    assert away_m[0] > 5 * away_m.min()
    assert len(client.get(f"{GRAPH}/images", params=params | {"limit": "3"}).json()["data"]) == 3
    flat = client.get(f"{GRAPH}/images", params=params | {"is_pano": "false"}).json()["data"]
    assert {item["id"] for item in flat} == {item["id"] for item in found if not item["is_pano"]}
    one = {"sequence_id": found[0]["sequence"]}
    assert {item["sequence"] for item in client.get(f"{GRAPH}/images", params=params | one).json()["data"]} == {
        one["sequence_id"]
    }
    later = client.get(f"{GRAPH}/images", params=params | {"start_captured_at": "2024-01-01T00:00:00Z"}).json()["data"]
    assert {item["id"] for item in later} == {item["id"] for item in found if item["captured_at"] >= 1_704_067_200_000}


def test_a_dense_town_refuses_all_but_tiny_boxes(client: httpx.Client, mirror: Mirror, thin_land: Land) -> None:
    town = next(mark.geometry for mark in thin_land.landmarks if mark.tags == {"amenity": "vending_machine"})
    for params in ({}, {"limit": "1"}, {"is_pano": "true"}):
        answer = client.get(f"{GRAPH}/images", params={"bbox": box(town.y, town.x, 0.001), **params})
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, 1)
        assert "reduce the amount of data" in answer.json()["error"]["message"]
    assert client.get(f"{GRAPH}/images", params={"bbox": box(town.y, town.x, 0.0002)}).status_code == 200


def test_a_sequence_is_listed_in_its_order(client: httpx.Client, driven: Coverage, row: int) -> None:
    shots = driven.shots
    sequence = driven.sequence_ids[shots.sequence[row]]
    ids = [item["id"] for item in client.get(f"{GRAPH}/image_ids", params={"sequence_id": sequence}).json()["data"]]
    rows = [driven.row_of(image_id) for image_id in ids]
    assert row in rows
    assert (np.diff(shots.captured_ms[rows]) > 0).all()
    assert client.get(f"{GRAPH}/image_ids", params={"sequence_id": "nobody"}).json() == {"data": []}


@pytest.mark.parametrize("layer", ["mly1_public", "mly1_computed_public"])
def test_a_tile_says_what_the_coverage_says(client: httpx.Client, driven: Coverage, row: int, layer: str) -> None:
    shots = driven.shots
    x, y = (int(one) for one in tile_of(lat=shots.gps_lat[row], lon=shots.gps_lon[row], zoom=14))
    answer = client.get(f"{TILES.replace('mly1_public', layer)}/14/{x}/{y}")
    tile = mapbox_vector_tile.decode(answer.content, default_options={"y_coord_down": True})
    assert set(tile) == {"sequence", "image"}
    features = tile["image"]["features"]
    assert [item["properties"]["id"] for item in features] == shots.image_id[driven.in_tile(x=x, y=y)].tolist()
    west, south, east, north = tile_bounds(x=x, y=y, zoom=14)
    for item in features[:: max(len(features) // 20, 1)]:
        one = driven.row_of(str(item["properties"]["id"]))
        column, line = np.array(item["geometry"]["coordinates"]) / 4096
        lat, lon = (shots.gps_lat, shots.gps_lon) if layer == "mly1_public" else (shots.lat, shots.lon)
        # within a tile of two kilometres, latitude is linear to a tenth of a metre
        away_m = distance_m(
            lat=north + line * (south - north), lon=west + column * (east - west), to_lat=lat[one], to_lon=lon[one]
        )
        assert away_m < 1.0
        assert item["properties"]["is_pano"] == bool(shots.is_pano[one])
        assert item["properties"]["captured_at"] == shots.captured_ms[one]
        assert item["properties"]["compass_angle"] == pytest.approx(shots.compass_deg[one])
        assert item["properties"]["sequence_id"] == driven.sequence_ids[shots.sequence[one]]


def test_zoomed_out_tiles_have_sequences_alone_and_empty_ones_have_no_body(
    client: httpx.Client, driven: Coverage, row: int
) -> None:
    shots = driven.shots
    x, y = (int(one) for one in tile_of(lat=shots.gps_lat[row], lon=shots.gps_lon[row], zoom=12))
    assert set(mapbox_vector_tile.decode(client.get(f"{TILES}/12/{x}/{y}").content)) == {"sequence"}
    empty = client.get(f"{TILES}/14/5/5")
    assert (empty.status_code, empty.content) == (200, b"")
    for path in ("/15/1/1", "/14/16384/0", "/14/1", "/x/1/1"):
        assert client.get(TILES + path).status_code == 404


def link(client: httpx.Client, driven: Coverage, row: int, field: str = "thumb_1024_url") -> str:
    return str(client.get(f"{GRAPH}/{driven.shots.image_id[row]}", params={"fields": field}).json()[field])


def test_a_link_leads_to_the_picture_and_needs_no_token(
    client: httpx.Client, mirror: Mirror, driven: Coverage, row: int
) -> None:
    anonymous = httpx.Client(transport=mirror_transport(mirror))
    for field, width in (("thumb_256_url", 256), ("thumb_1024_url", 1024), ("thumb_2048_url", 2048)):
        url = link(client, driven, row, field)
        assert DEMO_TOKEN not in url
        assert httpx.URL(url).host.endswith(".fbcdn.net")
        assert Image.open(io.BytesIO(anonymous.get(url).content)).size == (width, width // 2)


def test_flat_pictures_are_4_to_3(client: httpx.Client, driven: Coverage) -> None:
    shots = driven.shots
    flat = next(int(one) for one in np.flatnonzero(~shots.is_pano) if not flaw_of(int(shots.image_id[one])))
    facts = client.get(f"{GRAPH}/{shots.image_id[flat]}", params={"fields": "camera_type,width,height"}).json()
    assert (facts["camera_type"], facts["width"] * 3) == ("perspective", facts["height"] * 4)
    assert Image.open(io.BytesIO(client.get(link(client, driven, flat)).content)).size == (1024, 768)


@pytest.mark.parametrize(("old", "new"), [("&oh=", "&oh=0"), ("oe=", "oe=f"), ("/An", "/AnA"), ("&oe=", "&x=")])
def test_a_link_that_was_touched_is_refused(client: httpx.Client, driven: Coverage, row: int, old: str, new: str) -> None:
    answer = client.get(link(client, driven, row).replace(old, new))
    assert (answer.status_code, answer.text) == (403, "URL signature mismatch")


def test_links_expire_by_the_clock(world: Path, thin_land: Land, quick_draw: Any, driven: Coverage, row: int) -> None:
    now_s = [1_000_000.0]
    mirror = Mirror(world, thin_land, draw=quick_draw, link_life=LinkLife(clock=lambda: now_s[0], seconds=60))
    client = httpx.Client(transport=mirror_transport(mirror), headers=AUTH)
    url = link(client, driven, row)
    now_s[0] += 59
    assert client.get(url).status_code == 200
    now_s[0] += 2
    assert (client.get(url).status_code, client.get(url).text) == (403, "URL signature expired")
    assert client.get(link(client, driven, row)).status_code == 200


def test_links_expire_by_the_number_of_requests(
    world: Path, thin_land: Land, quick_draw: Any, driven: Coverage, row: int
) -> None:
    mirror = Mirror(world, thin_land, draw=quick_draw, link_life=LinkLife(clock=lambda: 0.0, requests=2))
    client = httpx.Client(transport=mirror_transport(mirror), headers=AUTH)
    url = link(client, driven, row)
    assert [client.get(url).status_code for _ in range(3)] == [200, 200, 403]
