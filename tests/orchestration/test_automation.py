"""Sensor and schedule on the demo's services: they ask only for what is new, and only for what somebody built before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

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


def test_the_sensor_follows_only_regions_that_were_downloaded(pipeline: Pipeline) -> None:
    answer = osm_dump_updates(dg.build_sensor_context(resources={"pipeline": pipeline}))
    assert isinstance(answer, dg.SkipReason)
    built(pipeline, "osm_dump", "kyushu")
    answer = osm_dump_updates(dg.build_sensor_context(resources={"pipeline": pipeline}))
    assert isinstance(answer, dg.SensorResult)
    assert [request.partition_key for request in answer.run_requests or []] == ["kyushu"]
    again = osm_dump_updates(dg.build_sensor_context(resources={"pipeline": pipeline}, cursor=answer.cursor))
    assert isinstance(again, dg.SkipReason)
    old = json.dumps(dict.fromkeys(json.loads(answer.cursor or ""), "1"))
    assert isinstance(osm_dump_updates(dg.build_sensor_context(resources={"pipeline": pipeline}, cursor=old)), dg.SensorResult)


def test_the_schedule_refreshes_what_was_built_before(pipeline: Pipeline) -> None:
    def tick() -> list:
        context = dg.build_schedule_context(
            resources={"pipeline": pipeline}, scheduled_execution_time=datetime(2026, 11, 22, tzinfo=UTC)
        )
        return list(weekly_osm_refresh(context))

    assert isinstance(tick()[0], dg.SkipReason)
    built(pipeline, "street_view_images", "47_okinawa")
    assert isinstance(tick()[0], dg.SkipReason)  # its region has no dump
    built(pipeline, "osm_dump", "kyushu")
    assert [(request.partition_key, request.run_key) for request in tick()] == [("47_okinawa", "47_okinawa-2026-11-22")]
