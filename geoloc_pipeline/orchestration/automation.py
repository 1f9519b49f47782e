"""Sensor and schedule: notice new dumps, refresh what is there. Off until somebody switches them on.

https://docs.dagster.io/guides/automate
Two ways to follow the map; switch on one of them. The sensor and the schedule are the plain one: the sensor downloads new
dumps (one request for each region's `state.txt` when nothing is new), the schedule refreshes the prefectures that somebody has
built before, street view and all. The declarative one (`osm_automation`) follows data versions step by step and ends at the
sample points: what costs requests to a provider, or a GPU, is started by hand or by the schedule.
"""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from geoloc_pipeline.errors import GeolocError
from geoloc_pipeline.geo.prefectures import BY_KEY, REGIONS
from geoloc_pipeline.orchestration.jobs import refresh_dumps, refresh_prefecture
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.receipts import read_receipt
from geoloc_pipeline.storage.shared import shared_home

if TYPE_CHECKING:
    from geoloc_pipeline.sources.dump_copies import DumpVersion


def _built(pipeline: Pipeline, key: str) -> list[str]:
    """Return the partitions of an asset that exist."""
    if shared := shared_home(pipeline.home):
        shared.refresh()
    return sorted(path.stem for path in pipeline.home.receipt(key).parent.glob("*.json"))


@dg.sensor(
    job=refresh_dumps,
    minimum_interval_seconds=6 * 3600,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Asks Geofabrik every six hours for new dumps of the regions that were downloaded before.",
)
def osm_dump_updates(context: dg.SensorEvaluationContext, pipeline: Pipeline) -> dg.SensorResult | dg.SkipReason:
    """Request the download of each region whose published file is neither in the home nor asked for before.

    The cursor holds the md5 that was asked for last, by region. A region that cannot be asked about now, or of which nothing
    is published, keeps its own: the next tick asks again, and no other region waits for it. Each state of a region has one run
    key, so that a cursor that was lost or set back starts nothing twice.

    Raises:
        GeolocError: No region could be asked about; the tick fails and is seen in the UI.
    """
    from geoloc_pipeline.orchestration.dumps import latest_dumps

    regions = _built(pipeline, "osm_dump")
    if not regions:
        return dg.SkipReason("no dump was downloaded yet: materialise osm_dump for the regions you want to follow")
    versions: dict[str, DumpVersion] = {}
    failed: dict[str, GeolocError] = {}
    for region in regions:
        try:
            versions |= latest_dumps(pipeline, [region])
        except GeolocError as error:
            failed[region] = error
            context.log.warning("%s could not be asked about, the next tick tries again: %s", region, error)
    if len(failed) == len(regions):
        raise failed[regions[0]]
    seen: dict[str, str] = json.loads(context.cursor or "{}")
    known = {region: {seen.get(region), _at_home(pipeline, region)} for region in versions}
    new = {region: version for region, version in versions.items() if version.md5 not in known[region]}
    if not new:
        beside = f"; not asked about: {', '.join(failed)}" if failed else ""
        return dg.SkipReason(f"no new dump among {', '.join(versions)}{beside}")
    requests = [
        dg.RunRequest(
            run_key=f"{region}-{version.md5}", partition_key=region, tags={"osm/dump": f"{region}-{version.sequence}"}
        )
        for region, version in new.items()
    ]
    asked = {region: version.md5 for region, version in versions.items()}
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(seen | asked, sort_keys=True))


def _at_home(pipeline: Pipeline, region: str) -> str | None:
    """Return the md5 of the dump that the home holds; None when its receipt does not tell."""
    receipt = read_receipt(pipeline.home.receipt("osm_dump", region))
    return receipt.metadata.get("md5") if receipt else None


@dg.schedule(
    job=refresh_prefecture,
    cron_schedule="0 3 * * 0",
    execution_timezone="Asia/Tokyo",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Sunday 03:00 in Japan: every prefecture that was built before, from its newest dump. Fetches street view.",
)
def weekly_osm_refresh(context: dg.ScheduleEvaluationContext, pipeline: Pipeline) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request a run for each prefecture whose region has a dump."""
    regions = set(_built(pipeline, "osm_dump")) & set(REGIONS)
    built = [key for key in _built(pipeline, "street_view_images") if BY_KEY[key].region in regions]
    if not built:
        yield dg.SkipReason("no prefecture was built yet: run refresh_prefecture for the first one by hand")
    week = context.scheduled_execution_time.date().isoformat()
    for key in built:
        yield dg.RunRequest(run_key=f"{key}-{week}", partition_key=key)


COST_FREE = ("osm_dump", "osm_roads", "osm_landmarks", "road_points", "landmark_points", "sample_points")
"""What the declarative variant makes anew by itself, from Geofabrik's files and this machine's time alone."""
_CHANGED = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
ON_NEW_DATA = (
    # Remembered until it is asked for, not until the next run ends: that run may have begun before the change. What changes in
    # the very tick after a request has come too late for it.
    _CHANGED.since((dg.AutomationCondition.newly_requested() & ~_CHANGED) | dg.AutomationCondition.initial_evaluation())
    & ~dg.AutomationCondition.missing()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("built before, and something that it is made from has other data now")
"""A run that fails is not asked for again until the data change once more: `daily_watch` names what was left failed."""
DAILY = dg.AutomationCondition.on_cron("0 6 * * *", "Asia/Tokyo")
"""When Geofabrik is asked which dumps are the latest: it publishes once a day."""


def with_automation(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return the spec with its condition for the declarative variant, or as it is."""
    key = spec.key.to_user_string()
    condition = DAILY if key == "geofabrik_extracts" else ON_NEW_DATA if key in COST_FREE else None
    return spec if condition is None else spec.replace_attributes(automation_condition=condition)


osm_automation = dg.AutomationConditionSensorDefinition(
    "osm_automation",
    target=dg.AssetSelection.assets("geofabrik_extracts", *COST_FREE),
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description=(
        "The declarative way to follow the map, instead of osm_dump_updates: asks Geofabrik once a day, then brings what was "
        "built before up to date, step by step, as far as the sample points. Fetches no pictures, trains nothing."
    ),
)
