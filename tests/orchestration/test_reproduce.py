"""From a record the same tables are made once more, byte for byte, and whatever differs is told with its reason."""

from __future__ import annotations

import copy
import json

import pytest

from geoloc_pipeline.cli import main
from geoloc_pipeline.errors import BadSourceFileError, SettingError
from geoloc_pipeline.orchestration.artefacts import all_artefacts
from geoloc_pipeline.orchestration.keeping.reproduce import (
    compare,
    describe,
    is_same,
    read_record,
    record_of,
    reproduce,
    stages_of,
    versions_beside,
    write_record,
)
from geoloc_pipeline.storage.layout import Home

KEY = "47_okinawa"
ALL = {
    "census_towns",
    "osm_roads",
    "road_points",
    "sample_points",
    "street_view_images",
    "training_shards",
    "geolocation_model",
}


@pytest.fixture(scope="module")
def record(grown):
    return record_of(grown)


def test_a_record_holds_every_artefact_and_nothing_of_the_machine(grown, record):
    told = json.dumps(record)
    assert str(grown.root) not in told
    assert {artefact.name for artefact in all_artefacts(grown)} - set(record["artefacts"]) == {
        "evaluation_report/all", "geofabrik_extracts/all",
    }  # fmt: skip
    assert record["world"]["prefecture_codes"] == ("47",)
    assert record["dumps"]["kyushu"]["md5"]
    assert {"torch", "duckdb", "dagster"} <= set(record["packages"])
    assert record["training"]["seed"] == 7
    assert record["figures"]["evaluation_report"] == {"median_km of mode": 0.0}
    assert '"seconds"' not in told


def test_the_record_is_the_same_each_time_and_travels_as_a_file(own_home, record):
    path = write_record(own_home)
    first = path.read_bytes()
    assert write_record(own_home).read_bytes() == first
    assert read_record(path) == read_record(own_home.root) == json.loads(json.dumps(record))


def test_a_home_is_equal_to_its_own_record(grown, record):
    rows = compare(record, grown, ALL)
    assert {row.state for row in rows} == {"equal"}
    assert is_same(rows)
    assert "sample_points" in describe(rows)


def test_what_differs_is_told_with_the_reason(grown, record):
    other = copy.deepcopy(record)
    other["artefacts"][f"sample_points/{KEY}"]["content"] = "0" * 64
    other["artefacts"][f"road_points/{KEY}"]["content"] = "0" * 64
    other["artefacts"][f"road_points/{KEY}"]["inputs"]["code_version"] = "1"
    other["artefacts"][f"street_view_images/{KEY}"]["content"] = "0" * 64
    other["artefacts"][f"street_view_images/{KEY}"]["inputs"][f"sample_points/{KEY}"] = "0" * 64
    other["artefacts"]["census_towns/13_tokyo"] = {"content": "0", "inputs": {}}
    other["figures"]["geolocation_model"]["best_epoch"] = 2
    rows = {row.name: row for row in compare(other, grown, ALL)}
    assert rows[f"road_points/{KEY}"].why == "code_version is '2', was '1'"
    assert rows[f"sample_points/{KEY}"].why == "the same went in, and other bytes came out"
    assert rows[f"street_view_images/{KEY}"].why == f"because of sample_points/{KEY}"
    assert rows["census_towns/13_tokyo"].state == "missing"
    assert rows["geolocation_model figures"].state == "differs"
    assert not is_same(list(rows.values()))


def test_models_of_other_bytes_are_judged_by_their_figures(grown, record):
    other = copy.deepcopy(record)
    other["artefacts"]["geolocation_model/all"]["content"] = "0" * 64
    rows = compare(other, grown, ALL)
    assert [row.state for row in rows if row.name == "geolocation_model/all"] == ["alike"]
    assert is_same(rows)


def test_other_versions_are_refused_unless_they_are_accepted(record, tmp_path):
    other = copy.deepcopy(record)
    other["packages"]["duckdb"] = "0.1"
    (told,) = versions_beside(other)
    assert told.startswith("duckdb ")
    with pytest.raises(SettingError, match=r"duckdb .* instead of 0\.1.*--anyway"):
        reproduce(other, Home.at(tmp_path / "new"))
    assert versions_beside(record) == []


def test_the_chain_ends_where_it_is_asked_to(record):
    assets = [asset for stage in stages_of(record, "dataset_splits") for run in stage.runs for asset in run.assets]
    assert assets[-1] == "dataset_splits"
    assert "training_shards" not in assets
    assert "evaluation_report" in {asset for stage in stages_of(record, "") for run in stage.runs for asset in run.assets}
    with pytest.raises(SettingError, match="choose one of"):
        stages_of(record, "nothing")


def test_what_is_no_record_is_refused(tmp_path, grown):
    for name, text in (("a.json", "{"), ("b.json", '{"format": 99}'), ("c.json", "[]")):
        (tmp_path / name).write_text(text)
        with pytest.raises(BadSourceFileError):
            read_record(tmp_path / name)
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SettingError):
            read_record(path)
    assert main(["reproduce", str(grown.root)]) == 2


@pytest.mark.chain
def test_a_second_home_has_the_same_tables_byte_for_byte(grown, record, tmp_path):
    home = Home.at(tmp_path / "again")
    rows = reproduce(json.loads(json.dumps(record)), home, until="training_shards")
    assert {row.name: row.why for row in rows if row.state != "equal"} == {}
    assert {row.name for row in rows} >= {f"dataset_splits/{KEY}", f"training_shards/{KEY}", "osm_dump/kyushu"}
    for key in ("sample_points", "street_view_images", "dataset_splits"):
        assert home.table(key, KEY).read_bytes() == grown.table(key, KEY).read_bytes()
