"""The download sites: redirects, missing files, and a site that answers nonsense with 200."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

GEOFABRIK = "https://download.geofabrik.de"
ESTAT = "https://www.e-stat.go.jp/gis/statmap-search/data"
RIGHT = {"dlserveyId": "A002005212020", "code": "13", "coordSys": "1", "format": "shape", "downloadType": "5", "datum": "2011"}


@pytest.mark.parametrize("ending", ["", ".md5"])
def test_latest_redirects_to_the_dated_file(client: httpx.Client, ending: str) -> None:
    for method in ("GET", "HEAD"):
        answer = client.request(method, f"{GEOFABRIK}/asia/japan/kanto-latest.osm.pbf{ending}")
        assert answer.status_code == 302
        assert answer.headers["Location"] == f"{GEOFABRIK}/asia/japan/kanto-260903.osm.pbf{ending}"
    assert "Content-Length" not in answer.headers  # of HEAD


def test_the_dated_file_is_whole_and_fits_its_checksum(client: httpx.Client, world: Path) -> None:
    answer = client.get(f"{GEOFABRIK}/asia/japan/kanto-latest.osm.pbf", follow_redirects=True)
    assert answer.content == (world / "geofabrik/asia/japan/kanto-260903.osm.pbf").read_bytes()
    checksum = client.get(f"{GEOFABRIK}/asia/japan/kanto-latest.osm.pbf.md5", follow_redirects=True).text.split()[0]
    assert hashlib.md5(answer.content).hexdigest() == checksum
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Last-Modified"] == "Thu, 03 Sep 2026 20:21:51 GMT"
    assert answer.headers["ETag"].strip('"').split("-")[0] == f"{len(answer.content):x}"


def test_a_download_can_be_resumed(client: httpx.Client) -> None:
    url = f"{GEOFABRIK}/asia/japan/kyushu-260903.osm.pbf"
    whole = client.get(url)
    rest = client.get(url, headers={"Range": "bytes=1000-", "If-Range": whole.headers["ETag"]})
    assert rest.status_code == 206
    assert whole.content[:1000] + rest.content == whole.content
    assert client.get(url, headers={"Range": f"bytes={len(whole.content)}-"}).status_code == 416


def test_the_first_bytes_of_the_latest_dump_come_by_a_range(client: httpx.Client, world: Path) -> None:
    answer = client.get(f"{GEOFABRIK}/asia/japan/kanto-latest.osm.pbf", headers={"Range": "bytes=0-99"}, follow_redirects=True)
    assert answer.status_code == 206
    assert answer.content == (world / "geofabrik/asia/japan/kanto-260903.osm.pbf").read_bytes()[:100]


def test_state_and_index_are_plain_files(client: httpx.Client) -> None:
    assert "sequenceNumber=4867" in client.get(f"{GEOFABRIK}/asia/japan/kanto-updates/state.txt").text
    assert client.get(f"{GEOFABRIK}/index-v1.json").json()["type"] == "FeatureCollection"


@pytest.mark.parametrize(
    "path",
    ["/asia/japan/tohoku-latest.osm.pbf", "/asia/japan-latest.osm.pbf", "/asia/japan", "/../world.json", "/%2e%2e/world.json"],
)
def test_what_is_not_there_is_a_page_with_404(client: httpx.Client, path: str) -> None:
    answer = client.get(GEOFABRIK + path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")


def test_an_archive_comes_under_its_own_name(client: httpx.Client, world: Path) -> None:
    answer = client.get(ESTAT, params=RIGHT)
    name = "A002005212020DDSWC13-JGD2011.zip"
    assert answer.content == (world / "estat" / name).read_bytes()
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert "Accept-Ranges" not in answer.headers
    assert client.get(ESTAT, params=RIGHT, headers={"Range": "bytes=5-"}).content == answer.content


@pytest.mark.parametrize(
    "wrong", [{"code": "02"}, {"code": "13113"}, {"code": "../13"}, {"datum": "2000"}, {"coordSys": "2"}, {"dlserveyId": "A0"}]
)
def test_a_wrong_question_gets_a_page_with_200(client: httpx.Client, wrong: dict[str, str]) -> None:
    answer = client.get(ESTAT, params=RIGHT | wrong)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "該当するデータはありません" in answer.text
