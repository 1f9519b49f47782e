"""Sensor and schedule: notice new dumps, refresh what is there. Off until somebody switches them on.

https://docs.dagster.io/guides/automate
Nothing here starts a step that calls a paid or rate-limited service: the sensor downloads dumps (one request for each region's
`state.txt` when nothing is new); the schedule asks for prefectures that somebody has built before.
"""

import json
from collections.abc import Iterator

import dagster as dg

from geoloc_pipeline.geo.prefectures import BY_KEY, REGIONS
from geoloc_pipeline.orchestration.jobs import refresh_dumps, refresh_prefecture
from geoloc_pipeline.orchestration.resources import Pipeline


def _built(pipeline: Pipeline, key: str) -> list[str]:
    """Return the partitions of an asset that exist."""
    return sorted(path.stem for path in pipeline.home.receipt(key).parent.glob("*.json"))


@dg.sensor(
    job=refresh_dumps,
    minimum_interval_seconds=6 * 3600,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Asks Geofabrik every six hours for new dumps of the regions that were downloaded before.",
)
def osm_dump_updates(context: dg.SensorEvaluationContext, pipeline: Pipeline) -> dg.SensorResult | dg.SkipReason:
    """Request the download of each region whose published file is another one than last time."""
    from geoloc_pipeline.orchestration.dumps import latest_dumps

    regions = _built(pipeline, "osm_dump")
    if not regions:
        return dg.SkipReason("no dump was downloaded yet: materialise osm_dump for the regions you want to follow")
    seen = json.loads(context.cursor or "{}")
    versions = latest_dumps(pipeline, regions)
    latest = {region: version.md5 for region, version in versions.items()}
    requests = [
        dg.RunRequest(
            run_key=f"{region}-{md5}", partition_key=region, tags={"osm/dump": f"{region}-{versions[region].sequence}"}
        )
        for region, md5 in latest.items()
        if seen.get(region) != md5
    ]
    if not requests:
        return dg.SkipReason(f"no new dump among {', '.join(regions)}")
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(latest, sort_keys=True))


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
