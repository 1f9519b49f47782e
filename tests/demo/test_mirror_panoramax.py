"""The mirror's Panoramax, asked as any STAC client would."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from geoloc_pipeline.demo.coverage import Coverage
from geoloc_pipeline.demo.mirror import Mirror
from geoloc_pipeline.demo.mirror_panoramax import uuid_of
from geoloc_pipeline.demo.pictures import flaw_of

SEARCH = "https://api.panoramax.xyz/api/search"
JAPAN = "120,20,155,47"


@pytest.fixture
def part(mirror: Mirror) -> Coverage:
    return mirror.coverage.only("panoramax")


def found(client: httpx.Client, **params: Any) -> list[dict[str, Any]]:
    answer = client.get(SEARCH, params=params)
    assert answer.status_code == 200
    assert set(answer.json()) == {"features", "links"}  # the catalogue says no type and no total
    return list(answer.json()["features"])


def test_a_box_holds_what_lies_in_it_the_nearest_to_its_middle_first(client: httpx.Client, part: Coverage) -> None:
    lat, lon = float(part.shots.gps_lat[9]), float(part.shots.gps_lon[9])
    box = (lon - 0.01, lat - 0.01, lon + 0.01, lat + 0.01)
    features = found(client, bbox=",".join(map(str, box)), limit=10_000)
    assert {one["id"] for one in features} == {uuid_of(f"picture {part.shots.image_id[row]}") for row in part.in_box(*box)}
    away = [np.hypot(one["geometry"]["coordinates"][0] - lon, one["geometry"]["coordinates"][1] - lat) for one in features]
    assert away == sorted(away)
    assert features[0]["id"] == uuid_of(f"picture {part.shots.image_id[9]}")
    assert found(client, bbox=",".join(map(str, box)), limit=3) == features[:3]
    assert found(client, bbox=",".join(map(str, box))) == features[:10]


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 10_001}, {"limit": "x"}, {"bbox": "1,2,3"}, {"bbox": "a,b,c,d"}])
def test_what_cannot_be_searched_is_refused(client: httpx.Client, params: dict[str, Any]) -> None:
    answer = client.get(SEARCH, params=params)
    assert (answer.status_code, answer.json()["status_code"]) == (400, 400)


def test_panoramas_are_told_by_their_field_of_view(client: httpx.Client, part: Coverage) -> None:
    every = found(client, bbox=JAPAN, limit=10_000)
    panos = found(client, bbox=JAPAN, limit=10_000, filter="field_of_view=360")
    assert len(every) == len(part)
    assert len(panos) == int(part.shots.is_pano.sum())
    assert all(one["properties"]["pers:interior_orientation"]["field_of_view"] == 360 for one in panos)


def test_features_are_as_uneven_as_in_life(client: httpx.Client) -> None:
    every = [one["properties"] for one in found(client, bbox=JAPAN, limit=10_000)]
    azimuths = [one["view:azimuth"] for one in every]
    assert max(azimuths) > 360
    assert 0.4 < np.mean(["quality:horizontal_accuracy" in one for one in every]) < 0.95
    assert {one["license"] for one in every} <= {"CC-BY-SA-4.0", "etalab-2.0"}


def test_a_picture_is_found_by_its_id_and_lies_with_its_instance(client: httpx.Client, part: Coverage) -> None:
    row = next(row for row in np.flatnonzero(part.shots.is_pano).tolist() if not flaw_of(int(part.shots.image_id[row])))
    name = uuid_of(f"picture {part.shots.image_id[row]}")
    (one,) = found(client, ids=name)
    assert one["id"] == name
    sizes = {}
    for size, asset in one["assets"].items():
        assert asset["href"].startswith("https://panoramax.openstreetmap.fr/api/pictures/")
        sizes[size] = Image.open(io.BytesIO(client.get(asset["href"]).content)).size
    assert sizes == {"hd": (4096, 2048), "sd": (2048, 1024), "thumb": (512, 256)}
    assert found(client, ids="00000000-0000-4000-8000-000000000000") == []
    assert (
        client.get("https://panoramax.openstreetmap.fr/api/pictures/00000000-0000-4000-8000-000000000000/hd.jpg").status_code
        == 404
    )
    assert client.get(f"https://api.panoramax.xyz/api/pictures/{name}/hd.jpg").status_code == 404
