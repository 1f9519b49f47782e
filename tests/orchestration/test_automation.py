"""Sensor and schedule on the demo's services: they ask only for what is new, and only for what somebody built before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import dagster as dg
import osmium
import pytest
from dagster._core.definitions.data_version import StaleStatus
from dagster._utils.test.data_versions import get_stale_status_resolver

from geoloc_pipeline.errors import MissingInputError
from geoloc_pipeline.geo.prefectures import REGIONS as ALL_REGIONS
from geoloc_pipeline.orchestration.assets import osm
from geoloc_pipeline.orchestration.automation import osm_dump_updates, weekly_osm_refresh
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.orchestration.world import World, choose_world
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import write_receipt


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    choose_world(Home.at(tmp_path), World(prefecture_codes=("47",), density=0.2))
    return Pipeline(home_dir=str(tmp_path), profile="demo")


def built(pipeline: Pipeline, key: str, partition: str) -> None:
    write_receipt(pipeline.home.receipt(key, partition), inputs={}, files=[], root=pipeline.home.root)


def answer_of_the_sensor(pipeline: Pipeline, cursor: str | None = None) -> dg.SensorResult | dg.SkipReason:
    with dg.build_sensor_context(resources={"pipeline": pipeline}, cursor=cursor) as context:
        return osm_dump_updates(context)


def test_the_sensor_follows_only_regions_that_were_downloaded(pipeline: Pipeline) -> None:
    assert isinstance(answer_of_the_sensor(pipeline), dg.SkipReason)
    built(pipeline, "osm_dump", "kyushu")
    answer = answer_of_the_sensor(pipeline)
    assert isinstance(answer, dg.SensorResult)
    assert [request.partition_key for request in answer.run_requests or []] == ["kyushu"]
    assert isinstance(answer_of_the_sensor(pipeline, answer.cursor), dg.SkipReason)
    old = json.dumps(dict.fromkeys(json.loads(answer.cursor or ""), "1"))
    assert isinstance(answer_of_the_sensor(pipeline, old), dg.SensorResult)


REGIONS = ("kanto", "kyushu")


def publish(path: Path, state: int) -> None:
    header = osmium.io.Header()
    header.set("osmosis_replication_timestamp", f"2026-09-{state + 1:02}T20:21:51Z")
    header.set("osmosis_replication_sequence_number", str(4860 + state))
    with osmium.SimpleWriter(str(path), header=header, overwrite=True) as writer:
        writer.add_node(osmium.osm.mutable.Node(id=state + 1, location=(139.0, 35.0), tags={"name": "x"}))


@pytest.fixture
def followed(tmp_path: Path) -> tuple[Pipeline, dict[str, Path]]:
    """Two regions whose maps are files here, downloaded before."""
    files = {region: tmp_path / f"{region}.osm.pbf" for region in REGIONS}
    told = " ".join(f"{region}={path}" for region, path in files.items())
    pipeline = Pipeline(home_dir=str(tmp_path / "home"), profile="japan", osm_dumps=told)
    for region, path in files.items():
        publish(path, 0)
        built(pipeline, "osm_dump", region)
    return pipeline, files


def tick(pipeline: Pipeline, cursor: str | None) -> tuple[dict[str, str], str | None]:
    """Return what one tick asks for, region by run key, and the cursor after it."""
    answer = answer_of_the_sensor(pipeline, cursor)
    if isinstance(answer, dg.SkipReason):
        return {}, cursor
    return {str(request.run_key): str(request.partition_key) for request in answer.run_requests or []}, answer.cursor


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_each_new_map_is_asked_for_at_the_next_tick_and_no_old_one_is(
    followed: tuple[Pipeline, dict[str, Path]], seed: int
) -> None:
    pipeline, files = followed
    chance, cursor, state = Random(seed), None, dict.fromkeys(REGIONS, 0)
    last: dict[str, int | None] = dict.fromkeys(REGIONS)
    for _ in range(25):
        region, event = chance.choice(REGIONS), chance.choice(("nothing", "new", "gone", "back", "missed"))
        if event == "new":
            state[region] += 1
            publish(files[region], state[region])
        elif event == "gone":
            files[region].unlink(missing_ok=True)
        elif event == "back":
            publish(files[region], state[region])
        elif event == "missed":
            continue
        there = [name for name in REGIONS if files[name].is_file()]
        if not there:
            with pytest.raises(MissingInputError):
                tick(pipeline, cursor)
            continue
        asked, cursor = tick(pipeline, cursor)
        assert sorted(asked.values()) == [name for name in there if state[name] != last[name]]
        last |= {name: state[name] for name in there}


def test_a_map_that_the_home_holds_already_is_not_asked_for(followed: tuple[Pipeline, dict[str, Path]]) -> None:
    pipeline, _ = followed
    asked, _ = tick(pipeline, None)
    assert sorted(asked.values()) == list(REGIONS)
    for key, region in asked.items():
        path = pipeline.home.receipt("osm_dump", region)
        write_receipt(path, inputs={}, files=[], root=pipeline.home.root, metadata={"md5": key.removeprefix(f"{region}-")})
    assert tick(pipeline, None) == ({}, None)


def test_the_schedule_refreshes_what_was_built_before(pipeline: Pipeline) -> None:
    def tick() -> list:
        sunday = datetime(2026, 11, 22, tzinfo=UTC)
        with dg.build_schedule_context(resources={"pipeline": pipeline}, scheduled_execution_time=sunday) as context:
            return list(weekly_osm_refresh(context))

    assert isinstance(tick()[0], dg.SkipReason)
    built(pipeline, "street_view_images", "47_okinawa")
    assert isinstance(tick()[0], dg.SkipReason)  # its region has no dump
    built(pipeline, "osm_dump", "kyushu")
    assert [(request.partition_key, request.run_key) for request in tick()] == [("47_okinawa", "47_okinawa-2026-11-22")]


def test_a_new_map_makes_the_dump_of_its_own_region_stale_and_no_other(tmp_path: Path) -> None:
    files = {region: tmp_path / f"{region}.osm.pbf" for region in ALL_REGIONS}
    for path in files.values():
        publish(path, 0)
    told = " ".join(f"{region}={path}" for region, path in files.items())
    pipeline = Pipeline(home_dir=str(tmp_path / "home"), profile="japan", osm_dumps=told)
    assets = [osm.observe_extracts, osm.osm_dump]
    job = dg.Definitions(assets=assets, resources={"pipeline": pipeline}).resolve_implicit_global_asset_job_def()

    with dg.DagsterInstance.ephemeral() as instance:

        def observe() -> dict[str, str]:
            job.execute_in_process(instance=instance, asset_selection=[osm.EXTRACTS.key])
            records = instance.fetch_observations(osm.EXTRACTS.key, limit=len(ALL_REGIONS)).records
            return {str(record.partition_key): record.asset_observation.tags["dagster/data_version"] for record in records}

        def stale() -> set[str]:
            resolver = get_stale_status_resolver(instance, assets)
            key = dg.AssetKey("osm_dump")
            return {region for region in REGIONS if resolver.get_status(key, region) is StaleStatus.STALE}

        first = observe()
        assert {region: version.rpartition("-")[2] for region, version in first.items()} == dict.fromkeys(ALL_REGIONS, "4860")
        for region in REGIONS:
            job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("osm_dump")], partition_key=region)
        assert stale() == set()
        publish(files["kyushu"], 1)
        second = observe()
        assert {region for region in ALL_REGIONS if first[region] != second[region]} == {"kyushu"}
        assert stale() == {"kyushu"}
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("osm_dump")], partition_key="kyushu")
        assert stale() == set()
