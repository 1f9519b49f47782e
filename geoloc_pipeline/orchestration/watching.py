"""Watching what is there: partitions that were left failed, and assets that have grown old.

https://docs.dagster.io/guides/observe/asset-freshness-policies
Belongs here: what tells an operator that something needs a hand.
Does not belong here: starting steps (`automation`), checks of what a step has made (`assets`).
"""

from collections.abc import Iterable
from datetime import timedelta

import dagster as dg

WEEKLY = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=8), fail_window=timedelta(days=15))
"""Of what the weekly refresh makes anew: one missed week warns, two are an error."""
MONTHLY = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=35), fail_window=timedelta(days=95))
"""Of what costs a GPU, and of what stands on it."""
FRESHNESS = {
    "osm_dump": WEEKLY,
    "osm_roads": WEEKLY,
    "osm_landmarks": WEEKLY,
    "sample_points": WEEKLY,
    "qdrant_collection": MONTHLY,
    "evaluation_report": MONTHLY,
}


def failed_partitions_job(assets: Iterable[object]) -> dg.JobDefinition:
    """Return the job that fails while the last attempt at some partition of an asset failed and nobody has repaired it.

    After its retries a partition is silent: later runs go round it, and fan-ins take what is there.

    Args:
        assets: All that there are; only those with partitions are looked at.

    Returns:
        The job `no_partition_is_left_failed`.
    """
    partitioned = {
        key: each.partitions_def
        for each in assets
        if isinstance(each, dg.AssetsDefinition) and each.partitions_def is not None
        for key in each.keys
    }

    @dg.op
    def look_for_failed_partitions(context: dg.OpExecutionContext) -> None:
        left: dict[str, list[str]] = {}
        for key, partitions in sorted(partitioned.items()):
            told = context.instance.get_status_by_partition(key, partitions.get_partition_keys(), partitions) or {}
            failed = sorted(name for name, status in told.items() if status is not None and status.value == "FAILED")
            if failed:
                left[key.to_user_string()] = failed
        if left:
            names = "; ".join(f"{key}: {', '.join(failed)}" for key, failed in left.items())
            raise dg.Failure(
                f"partitions are left failed: {names}. In the asset's Partitions tab, `Materialize failed` runs them alone",
                metadata={key: dg.MetadataValue.json(failed) for key, failed in left.items()},
                allow_retries=False,
            )
        context.log.info("no partition is left failed")

    @dg.job(
        executor_def=dg.in_process_executor,
        description="Fails while the last attempt at a partition of any asset failed and nobody has repaired it.",
    )
    def no_partition_is_left_failed() -> None:
        look_for_failed_partitions()

    return no_partition_is_left_failed


def daily_watch(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return the schedule that looks once a day; off until somebody switches it on."""
    return dg.ScheduleDefinition(
        name="daily_watch",
        job=job,
        cron_schedule="0 8 * * *",
        execution_timezone="Asia/Tokyo",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="08:00 in Japan: fails, and is seen, when a partition was left failed. Costs nothing.",
    )


def with_freshness(spec: dg.AssetSpec) -> dg.AssetSpec:
    """Return the spec with its policy of `FRESHNESS`, or as it is."""
    policy = FRESHNESS.get(spec.key.to_user_string())
    return spec if policy is None else spec.replace_attributes(freshness_policy=policy)
