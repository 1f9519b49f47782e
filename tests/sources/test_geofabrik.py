"""Geofabrik's dumps: the right version, verified, fetched once, kept by a rule; never silently an older map."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from datetime import UTC, datetime

import httpx
import pytest

from geoloc_pipeline.demo.mirror import Fault
from geoloc_pipeline.errors import (
    BadSourceFileError,
    ChecksumMismatchError,
    HomeError,
    SettingError,
    SourceUnavailableError,
)
from geoloc_pipeline.sources.geofabrik import GeofabrikClient, Retention, read_dump_version

_SITE = "https://download.geofabrik.de"
_START = "bytes=0-65535"


class _Site:
    """Geofabrik with one region, on any day."""

    def __init__(self, folder, grow_dump):
        self.pbf = lambda day: grow_dump(folder / f"made-{day}.osm.pbf", day=day, sequence=4860 + day).read_bytes()
        self.day, self.has_lean_index, self.has_dated_md5, self.redirects = 3, True, True, True
        self.body, self.md5, self.state = None, None, None

    def __call__(self, request):
        body = self.body if self.body is not None else self.pbf(self.day)
        md5 = self.md5 or hashlib.md5(body).hexdigest()
        dated, path = f"kanto-2609{self.day:02}.osm.pbf", request.url.path
        if path == "/index-v1-nogeom.json" and not self.has_lean_index:
            return httpx.Response(404, html="<html>")
        if path in {"/index-v1.json", "/index-v1-nogeom.json"}:
            urls = {"pbf": f"{_SITE}/asia/japan/kanto-latest.osm.pbf", "updates": f"{_SITE}/asia/japan/kanto-updates"}
            features = [{"properties": {"id": "kanto", "name": "Kanto", "urls": urls}}, {"properties": {"id": "x", "urls": {}}}]
            return httpx.Response(200, json={"type": "FeatureCollection", "features": features})
        if path == "/asia/japan/kanto-updates/state.txt":
            moment = f"timestamp=2026-09-{self.day:02}T20\\:21\\:51Z"
            text = f"# original OSM minutely 7271351\n{moment}\nsequenceNumber={4860 + self.day}\n"
            return httpx.Response(200, text=self.state if self.state is not None else text)
        if path == f"/asia/japan/{dated}.md5" and self.has_dated_md5:
            return httpx.Response(200, text=f"{md5}  {dated}\n")
        if path == "/asia/japan/kanto-latest.osm.pbf.md5":
            return httpx.Response(200, text=f"{md5}  kanto-latest.osm.pbf\n")
        if path == "/asia/japan/kanto-latest.osm.pbf" and self.redirects:
            return httpx.Response(302, headers={"Location": f"/asia/japan/{dated}"})
        if path in {f"/asia/japan/{dated}", "/asia/japan/kanto-latest.osm.pbf"}:
            return httpx.Response(200, content=body, headers={"ETag": f'"{md5}"'})
        return httpx.Response(404, html="<html>nothing")


@pytest.fixture
def site(tmp_path, grow_dump):
    return _Site(tmp_path / "site", grow_dump)


@pytest.fixture
def service(fake, site):
    return fake(site)


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _bodies_sent(service):
    dumps = [request for request in service.asked if request.url.path.endswith(".osm.pbf") and "latest" not in request.url.path]
    return [request for request in dumps if request.headers.get("range") != _START]


def test_the_version_is_read_from_state_and_md5(service, site):
    version = GeofabrikClient(service.client()).latest("kanto")
    assert version.sequence == 4863
    assert version.timestamp == datetime(2026, 9, 3, 20, 21, 51, tzinfo=UTC)
    assert version.md5 == hashlib.md5(site.pbf(3)).hexdigest()


@pytest.mark.parametrize(("has_lean_index", "has_dated_md5"), [(True, True), (False, True), (True, False)])
def test_a_dump_arrives_under_its_dated_name_and_only_once(service, site, tmp_path, has_lean_index, has_dated_md5):
    site.has_lean_index, site.has_dated_md5 = has_lean_index, has_dated_md5
    client = GeofabrikClient(service.client())
    path = client.fetch("kanto", tmp_path / "kanto")
    assert path.name == "kanto-260903.osm.pbf"
    assert read_dump_version(path, region="kanto") == client.latest("kanto")
    assert GeofabrikClient(service.client()).fetch("kanto", tmp_path / "kanto") == path
    assert len(_bodies_sent(service)) == 1


def test_a_mirror_without_redirects_still_gives_dated_copies(service, site, tmp_path):
    site.redirects = False
    assert GeofabrikClient(service.client()).fetch("kanto", tmp_path / "kanto").name == "kanto-260903.osm.pbf"


def test_a_copy_put_there_by_hand_is_taken_when_its_md5_is_right(service, site, tmp_path):
    (tmp_path / "kanto").mkdir()
    (tmp_path / "kanto/kanto-260903.osm.pbf").write_bytes(site.pbf(3))
    GeofabrikClient(service.client()).fetch("kanto", tmp_path / "kanto")
    assert _bodies_sent(service) == []


def test_a_copy_that_was_spoilt_is_fetched_again(service, tmp_path):
    client = GeofabrikClient(service.client())
    path = client.fetch("kanto", tmp_path / "kanto")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    client.fetch("kanto", tmp_path / "kanto")
    assert path.read_bytes() == whole


def test_the_newest_two_copies_are_kept_and_other_files_left_alone(service, site, tmp_path):
    client, folder = GeofabrikClient(service.client()), tmp_path / "kanto"
    folder.mkdir()
    (folder / "kanto-south-260101.osm.pbf").write_bytes(b"another region")
    (folder / "notes.txt").write_text("mine")
    for site.day in (3, 4, 5, 6):
        client.fetch("kanto", folder)
    assert _names(folder) == [
        "kanto-260905.osm.pbf",
        "kanto-260905.osm.pbf.json",
        "kanto-260906.osm.pbf",
        "kanto-260906.osm.pbf.json",
        "kanto-south-260101.osm.pbf",
        "notes.txt",
    ]


def test_a_wrong_md5_names_the_file_and_leaves_nothing(service, site, tmp_path):
    site.md5 = "0" * 32
    with pytest.raises(ChecksumMismatchError, match=r"kanto-260903\.osm\.pbf"):
        GeofabrikClient(service.client()).fetch("kanto", tmp_path / "kanto")
    assert _names(tmp_path / "kanto") == []


def test_a_page_or_a_cut_file_with_a_right_md5_is_still_no_dump(service, site, tmp_path):
    whole = site.pbf(3)
    for site.body, error, said in (
        (b"<!DOCTYPE html><html>be right back", SourceUnavailableError, "it sent no dump"),
        (whole[:-3], BadSourceFileError, "kanto-260903.osm.pbf: it was cut"),
    ):
        (tmp_path / "kanto").mkdir(exist_ok=True)
        with pytest.raises(error, match=said):
            GeofabrikClient(service.client()).fetch("kanto", tmp_path / "kanto")
        assert _names(tmp_path / "kanto") == []


def test_an_unknown_region_is_named_with_the_ones_there_are(service, tmp_path):
    with pytest.raises(SettingError, match=r"'kantoo'.*such as kanto"):
        GeofabrikClient(service.client()).fetch("kantoo", tmp_path)


def test_a_page_instead_of_index_or_md5_is_told(fake, service, site):
    with pytest.raises(SourceUnavailableError, match="no index of regions"):
        GeofabrikClient(fake(lambda request: httpx.Response(200, html="<html>")).client()).latest("kanto")
    site.md5 = "<html>"
    with pytest.raises(SourceUnavailableError, match="no md5"):
        GeofabrikClient(service.client()).latest("kanto")


def test_a_server_without_ranges_is_left_once_the_header_is_there(fake, site):
    site.state, sent_bytes = "", []

    class Endless(httpx.SyncByteStream):
        def __iter__(self):
            yield site.pbf(3)
            while True:
                sent_bytes.append(4096)
                yield b"\0" * 4096

    def answer(request):
        is_dump = request.url.path == "/asia/japan/kanto-260903.osm.pbf"
        return httpx.Response(200, stream=Endless()) if is_dump else site(request)

    assert GeofabrikClient(fake(answer).client()).latest("kanto").sequence == 4863
    assert sum(sent_bytes) <= 65536


# --- over a real socket: the demo's mirror ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    ["", "<html>", "nonsense", "sequenceNumber=x\ntimestamp=2026-09-03T20\\:21\\:51Z", "sequenceNumber=1", "timestamp=x"],
)
def test_without_a_state_file_one_range_of_the_dump_tells_its_version(sites, state):
    path = sites.publish("kanto", state=state, nodes=20_000)
    assert path.stat().st_size > 65536
    with sites.client() as http:
        version = GeofabrikClient(http).latest("kanto")
    assert (version.sequence, version.timestamp) == (4863, datetime(2026, 9, 3, 20, 21, 51, tzinfo=UTC))
    assert version.md5 == hashlib.md5(path.read_bytes()).hexdigest()
    asked = [(path, asked) for path, asked in sites.asked if path.endswith(".osm.pbf")]
    assert asked == [("/asia/japan/kanto-latest.osm.pbf", _START), ("/asia/japan/kanto-260903.osm.pbf", _START)]  # 302, 206


def test_with_a_state_file_nothing_of_the_dump_is_asked_for(sites):
    sites.publish("kanto")
    with sites.client() as http:
        assert GeofabrikClient(http).latest("kanto").sequence == 4863
    assert [path for path, _ in sites.asked] == [
        "/index-v1-nogeom.json",
        "/asia/japan/kanto-latest.osm.pbf.md5",
        "/asia/japan/kanto-260903.osm.pbf.md5",
        "/asia/japan/kanto-updates/state.txt",
    ]


def test_an_extract_with_neither_state_nor_header_has_the_day_in_its_name(sites, tmp_path):
    sites.publish("kanto", state="", has_header=False)
    with sites.client() as http:
        version = GeofabrikClient(http).latest("kanto")
        assert (version.sequence, version.timestamp) == (0, datetime(2026, 9, 3, tzinfo=UTC))
        assert read_dump_version(GeofabrikClient(http).fetch("kanto", tmp_path / "kanto"), region="kanto") == version


@pytest.mark.parametrize(("where", "kind"), [("state.txt", "unavailable"), ("260903.osm.pbf", "html")])
def test_an_outage_is_no_missing_state(sites, where, kind):
    sites.publish("kanto", state="" if kind == "html" else None)
    with sites.client(Fault(kind, ending=where, times=99), tries=2) as http, pytest.raises(SourceUnavailableError):
        GeofabrikClient(http).latest("kanto")


@pytest.mark.parametrize("kind", ["unavailable", "cut", "too_many_requests"])
def test_a_header_request_that_fails_once_is_asked_again(sites, kind):
    sites.publish("kanto", state="", nodes=20_000)
    with sites.client(Fault(kind, ending="kanto-260903.osm.pbf")) as http:
        assert GeofabrikClient(http).latest("kanto").sequence == 4863
    assert sites.asked.count(("/asia/japan/kanto-260903.osm.pbf", _START)) == 2


def test_a_region_that_is_named_and_not_published_has_no_version(sites):
    sites.withdraw(sites.publish("kanto"))
    with sites.client() as http:
        assert GeofabrikClient(http).latest("kanto") is None


@pytest.mark.parametrize(
    ("region", "under", "name"),
    [("monaco", "europe/", "monaco"), ("japan", "asia/", "japan"), ("us/vermont", "north-america/us/", "vermont")],
)
def test_every_region_of_the_index_works(sites, tmp_path, region, under, name):
    sites.publish(region, under=under)
    with sites.client() as http:
        client = GeofabrikClient(http)
        path = client.fetch(region, tmp_path / "dumps")
        assert path.name == f"{name}-260903.osm.pbf"
        assert client.latest(region) == read_dump_version(path, region=region)


def test_a_download_that_an_earlier_run_left_unfinished_goes_on_where_it_stopped(sites, tmp_path):
    whole = sites.publish("kanto", nodes=20_000).read_bytes()
    folder = tmp_path / "kanto"
    folder.mkdir()
    with sites.client() as http:
        etag = http.get(f"{_SITE}/asia/japan/kanto-260903.osm.pbf", service="A").headers["etag"]
        (folder / "kanto-260903.osm.pbf.part").write_bytes(whole[:50_000])
        (folder / "kanto-260903.osm.pbf.part.json").write_text(json.dumps({"validator": etag}))
        path = GeofabrikClient(http).fetch("kanto", folder)
    assert path.read_bytes() == whole
    assert sites.asked[-2:] == [
        ("/asia/japan/kanto-updates/state.txt", None),
        ("/asia/japan/kanto-260903.osm.pbf", "bytes=50000-"),
    ]
    assert _names(folder) == ["kanto-260903.osm.pbf", "kanto-260903.osm.pbf.json"]


def test_a_mirror_whose_state_runs_ahead_is_told_and_the_files_own_version_counts(sites, tmp_path, caplog):
    state = "timestamp=2026-09-04T20\\:21\\:51Z\nsequenceNumber=4864\n"
    sites.publish("kanto", state=state)
    with caplog.at_level(logging.WARNING), sites.client() as http:
        path = GeofabrikClient(http).fetch("kanto", tmp_path / "kanto")
    assert "not in step: its state.txt tells sequence 4864 of 2026-09-04" in caplog.text
    assert "kanto-260903.osm.pbf holds sequence 4863" in caplog.text
    assert read_dump_version(path, region="kanto").sequence == 4863


def test_a_mirror_in_step_is_not_complained_of(sites, tmp_path, caplog):
    sites.publish("kanto")
    with caplog.at_level(logging.WARNING), sites.client() as http:
        GeofabrikClient(http).fetch("kanto", tmp_path / "kanto")
    assert caplog.text == ""


@pytest.mark.parametrize("is_in_hand_too", [False, True])
def test_a_published_dump_older_than_the_one_in_hand_is_refused_and_nothing_changes(sites, tmp_path, is_in_hand_too):
    folder = tmp_path / "kanto"
    with sites.client() as http:
        older = sites.publish("kanto", day=2, sequence=4862)
        if is_in_hand_too:
            GeofabrikClient(http).fetch("kanto", folder)
        newer = sites.publish("kanto", day=5, sequence=4865)
        GeofabrikClient(http).fetch("kanto", folder)
        sites.withdraw(newer)
        assert older.is_file()
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        with pytest.raises(BadSourceFileError) as caught:
            GeofabrikClient(http).fetch("kanto", folder)
        said = str(caught.value)
        assert "sequence 4862 of 2026-09-02 20:21 UTC, older than" in said
        assert "kanto-260905.osm.pbf: sequence 4865 of 2026-09-05 20:21 UTC" in said
        assert f"to go back to the older map, remove {folder / 'kanto-260905.osm.pbf'}" in said
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        (folder / "kanto-260905.osm.pbf").unlink()  # the cure
        assert GeofabrikClient(http).fetch("kanto", folder).name == "kanto-260902.osm.pbf"


def test_a_stale_state_does_not_refuse_a_newer_dump(sites, tmp_path):
    with sites.client() as http:
        sites.publish("kanto", day=3, sequence=4863)
        GeofabrikClient(http).fetch("kanto", tmp_path / "kanto")
        stale = "timestamp=2026-09-01T20\\:21\\:51Z\nsequenceNumber=4861\n"
        sites.publish("kanto", day=4, sequence=4864, state=stale)
        assert GeofabrikClient(http).fetch("kanto", tmp_path / "kanto").name == "kanto-260904.osm.pbf"


def test_retention_is_the_callers_choice(sites, tmp_path):
    folder = tmp_path / "kanto"
    with sites.client() as http:
        for day in (2, 3, 5, 6, 8):
            sites.publish("kanto", day=day, sequence=4860 + day)
            GeofabrikClient(http).fetch("kanto", folder, kept=Retention(newest=2, firsts_of_month=1))
    assert [name for name in _names(folder) if name.endswith("pbf")] == [f"kanto-26090{day}.osm.pbf" for day in (2, 6, 8)]


def test_a_full_disk_is_noticed_before_a_byte_comes_and_the_former_copy_stays(sites, tmp_path, monkeypatch):
    folder = tmp_path / "kanto"
    with sites.client() as http:
        sites.publish("kanto", day=3)
        GeofabrikClient(http).fetch("kanto", folder, kept=Retention(newest=1))
        size_bytes = sites.publish("kanto", day=4, sequence=4864, nodes=20_000).stat().st_size
        before = _names(folder)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
        with pytest.raises(HomeError, match=rf"{size_bytes + 64 * 2**20:,} bytes are needed.*only 1,000,000 are free"):
            GeofabrikClient(http).fetch("kanto", folder, kept=Retention(newest=1))
        assert _names(folder) == before
        monkeypatch.undo()
        assert GeofabrikClient(http).fetch("kanto", folder, kept=Retention(newest=1)).name == "kanto-260904.osm.pbf"
    assert _names(folder) == ["kanto-260904.osm.pbf", "kanto-260904.osm.pbf.json"]
