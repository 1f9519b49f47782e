"""The map of a region is Geofabrik's of that name, another of its extracts, or a local file; GEOLOC_OSM_DUMPS says which."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import osmium
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.mirror import Mirror
from geoloc_pipeline.demo.mirror_transports import mirror_transport
from geoloc_pipeline.errors import MissingInputError, SettingError
from geoloc_pipeline.geo.prefectures import REGIONS
from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.dumps import latest_dumps
from geoloc_pipeline.orchestration.resources import Pipeline, pipeline_from_environment
from geoloc_pipeline.sources.http import HttpClient
from geoloc_pipeline.storage.receipts import read_receipt


def pipeline_with(told: str, profile: str = "japan") -> Pipeline:
    return Pipeline(home_dir="/nowhere", profile=profile, osm_dumps=told)


def test_a_region_is_geofabriks_own_unless_something_else_is_told(tmp_path: Path) -> None:
    pipeline = pipeline_with(f"kanto={tmp_path}/tokyo.osm.pbf kyushu=japan shikoku=europe/andorra")
    assert pipeline.dump_source("kanto") == tmp_path / "tokyo.osm.pbf"
    assert pipeline.dump_source("kyushu") == "japan"
    assert pipeline.dump_source("shikoku") == "europe/andorra"
    assert pipeline.dump_source("hokkaido") == "hokkaido"


def test_paths_may_have_blanks_in_quotes_and_start_at_home_or_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    pipeline = pipeline_with("'kanto=~/my maps/tokyo.osm.pbf' kyushu=maps/all.osm.pbf")
    assert pipeline.dump_source("kanto") == tmp_path / "my maps" / "tokyo.osm.pbf"
    assert pipeline.dump_source("kyushu") == tmp_path / "maps" / "all.osm.pbf"


def test_the_demo_brings_its_own_maps() -> None:
    assert pipeline_with("kanto=japan", profile="demo").dump_source("kanto") == "kanto"


def test_the_setting_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOLOC_OSM_DUMPS", "kyushu=japan")
    monkeypatch.setenv("GEOLOC_PROFILE", "japan")
    assert pipeline_from_environment().dump_source("kyushu") == "japan"


UNREADABLE = (
    "tokyo=japan",
    "kanto",
    "kanto=",
    "=japan",
    "kanto=/tokyo.pbf",
    "kanto=japan kanto=asia",
    "'kanto=japan",
    "kanto=J",
)


@pytest.mark.parametrize("told", UNREADABLE)
def test_what_cannot_be_read_is_told_with_the_cure(told: str) -> None:
    with pytest.raises(SettingError, match=r"GEOLOC_OSM_DUMPS is .*write region=source"):
        pipeline_with(told).dump_source("shikoku")


@given(st.dictionaries(st.sampled_from(REGIONS), st.from_regex(r"[a-z0-9-]{1,9}(/[a-z0-9-]{1,9})?", fullmatch=True)))
def test_every_region_gets_what_was_told_of_it(sources: dict[str, str]) -> None:
    pipeline = pipeline_with(" ".join(f"{region}={source}" for region, source in sources.items()))
    assert {region: pipeline.dump_source(region) for region in REGIONS} == {region: region for region in REGIONS} | sources


def write_dump(path: Path, day: int) -> Path:
    header = osmium.io.Header()
    header.set("osmosis_replication_timestamp", f"2026-09-{day:02}T20:21:51Z")
    header.set("osmosis_replication_sequence_number", str(4860 + day))
    path.parent.mkdir(parents=True, exist_ok=True)
    with osmium.SimpleWriter(str(path), header=header, overwrite=True) as writer:
        writer.add_node(osmium.osm.mutable.Node(id=day, location=(139.0, 35.0), tags={"name": "x"}))
    return path


class Mirrored(Pipeline):
    """A pipeline for which Geofabrik is a folder."""

    sites: str

    def http(self) -> HttpClient:
        land = Land(0, (), (), (), datetime(2026, 9, 3, 20, 21, 51, tzinfo=UTC), 0)
        return HttpClient(transport=mirror_transport(Mirror(Path(self.sites), land)), sleep=lambda _: None)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    """Geofabrik knows one extract, `asia/all`; kyushu takes it, kanto a local file."""
    root = tmp_path / "sites" / "geofabrik"
    (tmp_path / "sites" / "estat").mkdir(parents=True)
    dump = write_dump(root / "asia" / "all-260903.osm.pbf", day=3)
    dump.with_name(f"{dump.name}.md5").write_text(f"{hashlib.md5(dump.read_bytes()).hexdigest()}  {dump.name}\n")
    (root / "asia" / "all-updates").mkdir()
    (root / "asia" / "all-updates" / "state.txt").write_text("timestamp=2026-09-03T20\\:21\\:51Z\nsequenceNumber=4863\n")
    base = "https://download.geofabrik.de/asia/all"
    entry = {"properties": {"id": "asia/all", "urls": {"pbf": f"{base}-latest.osm.pbf", "updates": f"{base}-updates"}}}
    (root / "index-v1-nogeom.json").write_text(json.dumps({"features": [entry]}))
    local = write_dump(tmp_path / "my maps" / "tokyo.osm.pbf", day=7)
    told = f"'kanto={local}' kyushu=asia/all"
    return Mirrored(home_dir=str(tmp_path / "home"), profile="japan", osm_dumps=told, sites=str(tmp_path / "sites"))


def test_versions_of_local_and_other_maps_are_seen_alike(pipeline: Pipeline) -> None:
    found = latest_dumps(pipeline, ["kanto", "kyushu"])
    assert {region: version.sequence for region, version in found.items()} == {"kanto": 4867, "kyushu": 4863}


@pytest.mark.parametrize(("region", "name"), [("kanto", "kanto-260907.osm.pbf"), ("kyushu", "all-260903.osm.pbf")])
def test_the_dump_of_a_region_comes_from_where_it_was_told(pipeline: Pipeline, region: str, name: str) -> None:
    job = build_definitions(pipeline).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("osm_dump")], partition_key=region)
    receipt = read_receipt(pipeline.home.receipt("osm_dump", region))
    assert receipt is not None
    assert receipt.metadata["file"] == name
    assert (pipeline.home.dumps(region) / name).is_file()
    assert receipt.metadata["source"] == str(pipeline.dump_source(region))


def test_a_local_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"gone\.osm\.pbf"):
        latest_dumps(pipeline_with(f"kanto={tmp_path}/gone.osm.pbf"), ["kanto"])
