"""The door at which Dagster knocks: one lazy `defs`. Importing it loads neither torch nor geopandas."""

import dagster as dg

from geoloc_pipeline.orchestration.build import build_definitions


@dg.definitions
def defs() -> dg.Definitions:
    """Return the code location; GEOLOC_HOME and GEOLOC_PROFILE choose what it works on."""
    return build_definitions()
