"""e-Stat's archives as they come: fetched once, an outage told apart from an archive that does not exist."""

from __future__ import annotations

import logging
import zipfile

import geopandas as gpd
import httpx
import pytest
from shapely.geometry import box

from geoloc_pipeline.demo.mirror import Fault
from geoloc_pipeline.errors import BadSourceFileError, SettingError, SourceUnavailableError
from geoloc_pipeline.sources.census import CensusClient
from geoloc_pipeline.sources.census_archive import says_there_is_none


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of an archive with one block."""
    folder = tmp_path_factory.mktemp("grown")
    row = {
        "KEY_CODE": "13101001001",
        "PREF": "13",
        "CITY": "101",
        "PREF_NAME": "東京都",
        "geometry": box(139.7, 35.7, 139.71, 35.71),
    }
    frame = gpd.GeoDataFrame([row], geometry="geometry", crs="EPSG:6668")
    frame.to_file(folder / "r2ka13.shp", encoding="cp932", engine="pyogrio")
    with zipfile.ZipFile(folder / "whole.zip", "w") as archive:
        for part in sorted(folder.glob("r2ka13.*")):
            archive.write(part, part.name)
    return (folder / "whole.zip").read_bytes()


def test_an_archive_is_fetched_once_with_the_datum_named(fake, tmp_path, content):
    service = fake(lambda request: httpx.Response(200, content=content))
    client = CensusClient(service.client())
    path = client.fetch("13", tmp_path / "estat")
    assert client.fetch("13", tmp_path / "estat") == path
    assert path.name == "A002005212020DDSWC13-JGD2011.zip"
    assert len(service.asked) == 1
    assert dict(service.asked[0].url.params) == {
        "dlserveyId": "A002005212020",
        "code": "13",
        "coordSys": "1",
        "format": "shape",
        "downloadType": "5",
        "datum": "2011",
    }


def test_a_page_instead_of_the_archive_names_the_prefecture_and_is_not_kept(fake, tmp_path):
    service = fake(lambda request: httpx.Response(200, html="<!DOCTYPE html><html>maintenance"))
    with pytest.raises(BadSourceFileError, match=r"web page and no zip archive of prefecture 35.*山口県.*code=35"):
        CensusClient(service.client()).fetch("35", tmp_path / "estat")
    assert list((tmp_path / "estat").iterdir()) == []


def test_an_archive_comes_from_the_mirror_and_one_that_it_has_not_is_a_value(sites, tmp_path, caplog, content):
    (sites.folder / "estat" / "A002005212020DDSWC13-JGD2011.zip").write_bytes(content)
    with sites.client() as http:
        client = CensusClient(http)
        assert client.fetch("13", tmp_path / "estat").read_bytes() == content
        with caplog.at_level(logging.WARNING):
            assert client.fetch("35", tmp_path / "estat") is None
    assert "no archive of 35_yamaguchi" in caplog.text
    assert [path.name for path in (tmp_path / "estat").iterdir()] == ["A002005212020DDSWC13-JGD2011.zip"]


def test_an_archive_that_is_not_found_is_a_value_too(fake, tmp_path):
    service = fake(lambda request: httpx.Response(404, html="<html>ページが見つかりません。"))
    assert CensusClient(service.client()).fetch("35", tmp_path / "estat") is None
    assert len(service.asked) == 1
    assert list((tmp_path / "estat").iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "error"), [("html", BadSourceFileError), ("unavailable", SourceUnavailableError), ("cut", SourceUnavailableError)]
)
@pytest.mark.parametrize("code", ["13", "35"])
def test_an_outage_is_no_missing_archive(sites, tmp_path, kind, error, code, content):
    (sites.folder / "estat" / "A002005212020DDSWC13-JGD2011.zip").write_bytes(content)
    with sites.client(Fault(kind, times=99), tries=2) as http, pytest.raises(error):
        CensusClient(http).fetch(code, tmp_path / "estat")


@pytest.mark.parametrize("encoding", ["utf-8", "cp932"])
def test_only_the_page_of_an_empty_search_says_that_there_is_none(tmp_path, encoding):
    path = tmp_path / "page"
    for text, is_none in (
        ("<html>該当するデータはありません。検索条件を確認してください。", True),
        ("<html>該当データが存在しません。", True),
        ("<html>ただいまメンテナンス中のため、ご利用になれません。ご不便をおかけして申し訳ありません。", False),
        ("<html>該当するデータを準備しています。アクセスが集中しています。応答がありません。", False),
        ("", False),
    ):
        path.write_bytes(text.encode(encoding))
        assert says_there_is_none(path) is is_none


@pytest.mark.parametrize("code", ["48", "1", "13101", ""])
def test_a_code_that_is_no_prefecture_asks_nothing(fake, tmp_path, code):
    service = fake(lambda request: httpx.Response(200))
    with pytest.raises(SettingError):
        CensusClient(service.client()).fetch(code, tmp_path)
    assert service.asked == []
