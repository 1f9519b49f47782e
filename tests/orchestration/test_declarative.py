"""The declarative variant, tick by tick: what was built before follows its own region's map, as far as the sample points."""

from datetime import datetime
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from geoloc_pipeline.orchestration.automation import COST_FREE
from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.resources import Pipeline

DEFINITIONS = build_definitions(Pipeline(home_dir="/nowhere", profile="demo"))
FOLLOWED = ("geofabrik_extracts", *COST_FREE)
MORNING = datetime(2026, 11, 22, 5, 0, tzinfo=ZoneInfo("Asia/Tokyo"))


class Clockwork:
    """The sensor of the variant, ticked by hand; runs are played by what they would report."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self._cursor = instance, None

    def tick(self, now: datetime = MORNING) -> dict[str, set[str | None]]:
        """Return what the tick asks for: partitions by asset."""
        result = dg.evaluate_automation_conditions(
            defs=DEFINITIONS,
            instance=self.instance,
            asset_selection=dg.AssetSelection.assets(*FOLLOWED),
            cursor=self._cursor,
            evaluation_time=now,
        )
        self._cursor = result.cursor
        graph = DEFINITIONS.resolve_asset_graph()
        keys = [dg.AssetKey(key) for key in FOLLOWED]
        found = {key.to_user_string(): result.get_requested_partitions(key) for key in keys if graph.has(key)}
        return {key: set(partitions) for key, partitions in found.items() if partitions}

    def observed(self, **versions: str) -> None:
        for region, version in versions.items():
            tags = {"dagster/data_version": version}
            event = dg.AssetObservation("geofabrik_extracts", partition=region, tags=tags)
            self.instance.report_runless_asset_event(event)

    def made(self, asset: str, version: str, *partitions: str) -> None:
        for partition in partitions:
            tags = {"dagster/data_version": version}
            self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition, tags=tags))

    def chain(self, version: str, region: str, *prefectures: str) -> None:
        """Play the steps of one region to their end."""
        self.made("osm_dump", version, region)
        self.made("census_towns", "2020", *prefectures)
        for asset in COST_FREE[1:]:
            self.made(asset, version, *prefectures)


@pytest.fixture
def clockwork() -> Clockwork:
    clockwork = Clockwork(dg.DagsterInstance.ephemeral())
    clockwork.observed(kanto="k1", kyushu="y1", tohoku="t1")
    clockwork.chain("k1", "kanto", "13_tokyo", "14_kanagawa")
    clockwork.chain("y1", "kyushu", "47_okinawa")
    clockwork.tick()
    return clockwork


def test_a_new_map_is_followed_step_by_step_by_what_was_built_before_and_by_nothing_else(clockwork: Clockwork) -> None:
    assert clockwork.tick() == {}, "nothing is new"
    clockwork.observed(kanto="k2", kyushu="y1", tohoku="t2")
    assert clockwork.tick() == {"osm_dump": {"kanto"}}, "tohoku was never built"
    assert clockwork.tick() == {}, "asked for once"
    clockwork.made("osm_dump", "k2", "kanto")
    both = {"13_tokyo", "14_kanagawa"}
    assert clockwork.tick() == {"osm_roads": both, "osm_landmarks": both}
    clockwork.made("osm_roads", "k2", "13_tokyo")
    clockwork.made("osm_roads", "k1", "14_kanagawa")  # its roads are as before
    clockwork.made("osm_landmarks", "k1", *both)
    assert clockwork.tick() == {"road_points": {"13_tokyo"}}
    clockwork.made("road_points", "k2", "13_tokyo")
    assert clockwork.tick() == {"sample_points": {"13_tokyo"}}
    clockwork.made("sample_points", "k2", "13_tokyo")
    assert clockwork.tick() == {}, "pictures are collected by hand, or by the schedule"


def test_the_same_map_observed_again_starts_nothing(clockwork: Clockwork) -> None:
    for _ in range(3):
        clockwork.observed(kanto="k1", kyushu="y1", tohoku="t1")
        assert clockwork.tick() == {}


def test_a_map_that_changes_while_the_one_before_is_at_work_is_not_lost(clockwork: Clockwork) -> None:
    clockwork.observed(kanto="k2")
    assert clockwork.tick() == {"osm_dump": {"kanto"}}
    clockwork.observed(kanto="k3")  # while k2 is downloaded
    clockwork.made("osm_dump", "k2", "kanto")
    assert clockwork.tick()["osm_dump"] == {"kanto"}
    clockwork.made("osm_dump", "k3", "kanto")
    assert "osm_dump" not in clockwork.tick()


def test_geofabrik_is_asked_once_a_day(clockwork: Clockwork) -> None:
    days = [datetime(2026, 11, day, hour, 30, tzinfo=ZoneInfo("Asia/Tokyo")) for day in (22, 23) for hour in (5, 7, 9)]
    assert [("geofabrik_extracts" in clockwork.tick(now)) for now in days] == [False, True, False, False, True, False]


def test_nothing_that_costs_has_a_condition_and_the_sensor_is_off() -> None:
    for spec in DEFINITIONS.resolve_all_asset_specs():
        assert (spec.automation_condition is not None) == (spec.key.to_user_string() in FOLLOWED), spec.key
    sensor = DEFINITIONS.get_sensor_def("osm_automation")
    assert sensor.default_status is dg.DefaultSensorStatus.STOPPED
