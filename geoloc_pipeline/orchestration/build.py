"""Assembly of the code location; tests hand in their own resources.

Belongs here: the list of everything that Dagster shall know.
Does not belong here: implementations.
"""

import dagster as dg

from geoloc_pipeline.orchestration import dagster_mends
from geoloc_pipeline.orchestration.assets import evaluation, imagery, labels, osm, retrieval, sampling, training
from geoloc_pipeline.orchestration.automation import osm_automation, osm_dump_updates, weekly_osm_refresh, with_automation
from geoloc_pipeline.orchestration.jobs import JOBS
from geoloc_pipeline.orchestration.resources import Pipeline, pipeline_from_environment
from geoloc_pipeline.orchestration.watching import daily_watch, failed_partitions_job, with_freshness

ASSET_MODULES = (osm, sampling, imagery, labels, training, retrieval, evaluation)


def build_definitions(pipeline: Pipeline | None = None) -> dg.Definitions:
    """Return the code location.

    Args:
        pipeline: Where everything is; from the environment when absent.

    Returns:
        All assets, jobs, sensors, schedules and their resources.
    """
    dagster_mends.mend()
    loaded = [each for each in dg.load_assets_from_modules(list(ASSET_MODULES)) if isinstance(each, dg.AssetsDefinition)]
    assets = dg.map_asset_specs(lambda spec: with_automation(with_freshness(spec)), loaded)
    watch = failed_partitions_job(assets)
    return dg.Definitions(
        assets=assets,
        jobs=[*JOBS, watch],
        sensors=[osm_dump_updates, osm_automation],
        schedules=[weekly_osm_refresh, daily_watch(watch)],
        resources={"pipeline": pipeline or pipeline_from_environment()},
    )
