"""Assembly of the code location; tests hand in their own resources.

Belongs here: the list of everything that Dagster shall know.
Does not belong here: implementations.
"""

import dagster as dg

from geoloc_pipeline.orchestration.assets import evaluation, imagery, labels, osm, retrieval, sampling, training
from geoloc_pipeline.orchestration.automation import osm_dump_updates, weekly_osm_refresh
from geoloc_pipeline.orchestration.jobs import JOBS
from geoloc_pipeline.orchestration.resources import Pipeline, pipeline_from_environment

ASSET_MODULES = (osm, sampling, imagery, labels, training, retrieval, evaluation)


def build_definitions(pipeline: Pipeline | None = None) -> dg.Definitions:
    """Return the code location.

    Args:
        pipeline: Where everything is; from the environment when absent.

    Returns:
        All assets, jobs, the sensor, the schedule and their resources.
    """
    return dg.Definitions(
        assets=dg.load_assets_from_modules(list(ASSET_MODULES)),
        jobs=list(JOBS),
        sensors=[osm_dump_updates],
        schedules=[weekly_osm_refresh],
        resources={"pipeline": pipeline or pipeline_from_environment()},
    )
