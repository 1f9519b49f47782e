"""One process that materialises some assets in some partition, in process, and says plainly why when it cannot.

`python -m geoloc_pipeline.orchestration.worker '{"assets": [...], "partition": "13_tokyo"}'` reads GEOLOC_HOME and
GEOLOC_PROFILE. Its last line on stdout is a JSON object: `{"ok": true}`, or `{"error": …, "exit_code": …}` with an
error of our own.

Belongs here: one run. Does not belong here: which runs, in which order (`chain.py`).
"""

import json
import logging
import sys

import dagster as dg

from geoloc_pipeline.errors import GeolocError
from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.resources import pipeline_from_environment
from geoloc_pipeline.storage.atomic import disk_errors, write_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.lifeline import end_with_ancestor

DAGSTER_YAML = """\
# Written by the pipeline: Dagster's own records of this home. Change the top-level dagster.yaml, not this file.
telemetry: {enabled: false}
nux: {enabled: false}
"""


def open_instance(home: Home) -> dg.DagsterInstance:
    """Return Dagster's records of this home; made where there are none yet.

    Args:
        home: Whose records.

    Returns:
        The instance; dispose of it after use.
    """
    folder = home.dagster()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        settings = folder / "dagster.yaml"
        if not settings.is_file():
            write_text(settings, DAGSTER_YAML)
        return dg.DagsterInstance.from_config(str(folder))


def materialise(assets: list[str], partition: str | None) -> None:
    """Materialise `assets` in `partition` in this process, recorded in the home's instance.

    Args:
        assets: Asset keys; `geofabrik_extracts` is observed instead.
        partition: Partition key, or None.

    Raises:
        GeolocError: A step cannot do its work; the message names the cure.
    """
    pipeline = pipeline_from_environment()
    pipeline.settings  # noqa: B018 (a profile that does not exist is told before anything else)
    definitions = build_definitions(pipeline)
    with open_instance(pipeline.home) as instance:
        job = definitions.resolve_implicit_global_asset_job_def()
        job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(key) for key in assets],
            partition_key=partition,
            tags={"geoloc/profile": pipeline.profile},
        )


def main(argument: str) -> int:
    """Run one request and print its outcome as the last line.

    Args:
        argument: `{"assets": [...], "partition": "…" or null}` as JSON.

    Returns:
        Exit status: 0, or the error's own.
    """
    end_with_ancestor()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    request = json.loads(argument)
    try:
        materialise(request["assets"], request["partition"])
    except GeolocError as error:
        sys.stdout.write("\n" + json.dumps({"error": str(error), "exit_code": error.exit_code}, ensure_ascii=False) + "\n")
        return error.exit_code
    sys.stdout.write('\n{"ok": true}\n')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
