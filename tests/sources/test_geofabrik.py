"""Geofabrik's dumps: the right version, verified, fetched once, two kept."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import httpx
import osmium
import pytest

from geoloc_pipeline.errors import (
    BadSourceFileError,
    ChecksumMismatchError,
    MissingInputError,
    SettingError,
    SourceUnavailableError,
)
from geoloc_pipeline.sources.geofabrik import GeofabrikClient, read_dump_version

_SITE = "https://download.geofabrik.de"


def _pbf(folder, *, day, sequence):
    path = folder / f"made-{day}.osm.pbf"
    if not path.exists():
        header = osmium.io.Header()
        header.set("osmosis_replication_timestamp", f"2026-09-{day:02}T20:21:51Z")
        header.set("osmosis_replication_sequence_number", str(sequence))
        with osmium.SimpleWriter(str(path), header=header) as writer:
            writer.add_node(osmium.osm.mutable.Node(id=day, location=(139.0, 35.0), tags={"name": "x"}))
    return path.read_bytes()


class _Site:
    """Geofabrik with one region, on any day."""

    def __init__(self, folder):
        folder.mkdir()
        self.folder, self.day, self.has_lean_index, self.has_dated_md5, self.redirects = folder, 3, True, True, True
        self.body, self.md5, self.state = None, None, None

    def __call__(self, request):
        body = self.body if self.body is not None else _pbf(self.folder, day=self.day, sequence=4860 + self.day)
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
def site(tmp_path):
    return _Site(tmp_path / "site")


@pytest.fixture
def service(fake, site):
    return fake(site)


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _bodies_sent(service):
    return [request for request in service.asked if request.url.path.endswith(".osm.pbf") and "latest" not in request.url.path]


def test_the_version_is_read_from_state_and_md5(service, site):
    version = GeofabrikClient(service.client()).latest("kanto")
    assert version.sequence == 4863
    assert version.timestamp == datetime(2026, 9, 3, 20, 21, 51, tzinfo=UTC)
    assert version.md5 == hashlib.md5(_pbf(site.folder, day=3, sequence=4863)).hexdigest()


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
    (tmp_path / "kanto/kanto-260903.osm.pbf").write_bytes(_pbf(site.folder, day=3, sequence=4863))
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
    whole = _pbf(site.folder, day=3, sequence=4863)
    for site.body, said in ((b"<!DOCTYPE html><html>be right back", "web page"), (whole[:-3], "was cut")):
        with pytest.raises(
            BadSourceFileError, match=f"kanto-260903.osm.pbf: it {said if said == 'was cut' else 'is a ' + said}"
        ):
            GeofabrikClient(service.client()).fetch("kanto", tmp_path / "kanto")
        assert _names(tmp_path / "kanto") == []


def test_an_unknown_region_is_named_with_the_ones_there_are(service, tmp_path):
    with pytest.raises(SettingError, match=r"'kantoo'.*such as kanto"):
        GeofabrikClient(service.client()).fetch("kantoo", tmp_path)


@pytest.mark.parametrize("state", ["", "<html>", "sequenceNumber=x\ntimestamp=2026-09-03T20\\:21\\:51Z", "sequenceNumber=1"])
def test_a_state_that_is_none_is_not_believed(service, site, state):
    site.state = state
    with pytest.raises(SourceUnavailableError, match="no state file"):
        GeofabrikClient(service.client()).latest("kanto")


def test_a_page_instead_of_index_or_md5_is_told(fake, service, site):
    with pytest.raises(SourceUnavailableError, match="no index of regions"):
        GeofabrikClient(fake(lambda request: httpx.Response(200, html="<html>")).client()).latest("kanto")
    site.md5 = "<html>"
    with pytest.raises(SourceUnavailableError, match="no md5"):
        GeofabrikClient(service.client()).latest("kanto")


def test_any_other_dump_has_a_version_too(tmp_path, shared_data):
    path = shared_data / "tokyo" / "tokyo.osm.pbf"
    version = read_dump_version(path, region="tokyo")
    assert version.sequence == 4891
    assert version.md5 == hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(MissingInputError):
        read_dump_version(tmp_path / "none.osm.pbf", region="x")


def test_a_spoilt_note_beside_a_dump_is_ignored(service, tmp_path):
    path = GeofabrikClient(service.client()).fetch("kanto", tmp_path / "kanto")
    right = read_dump_version(path, region="kanto")
    note = path.with_name(f"{path.name}.json")
    for text in ("{", "[]", json.dumps({"md5": "x"}), json.dumps({"md5": "x", "size_bytes": 1})):
        note.write_text(text)
        assert read_dump_version(path, region="kanto") == right
