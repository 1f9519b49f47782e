"""A process that materialises assets on request, in process, and says plainly why when it cannot.

`python -m geoloc_pipeline.orchestration.running.worker` reads GEOLOC_HOME and GEOLOC_PROFILE, takes requests from stdin, one
JSON object a line (`{"assets": [...], "partition": "13_tokyo", "until": null}`), and answers each with one line on stdout:
`{"ok": true}`, or `{"error": …, "exit_code": …}` with an error of our own. Anything else that goes wrong ends the process, its
trace on stderr.
One process serves many runs, because importing the libraries takes longer than most of them.

Belongs here: one run. Does not belong here: which runs, in which order (`chain.py`).
"""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from sqlalchemy.exc import OperationalError

from geoloc_pipeline.errors import GeolocError, HomeError
from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.records import opened_alone
from geoloc_pipeline.orchestration.resources import pipeline_from_environment
from geoloc_pipeline.storage.atomic import disk_errors, try_to_write, write_text
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
        with opened_alone(folder):
            return dg.DagsterInstance.from_config(str(folder))


@contextmanager
def _records_on_disk(home: Home) -> Iterator[None]:
    """Say of Dagster's own records, too, that the disk is full or not ours to write.

    SQLite tells some of it plainly; "disk I/O error" and "unable to open" may mean many things, so the disk is tried.

    Raises:
        HomeError: It is.
        OperationalError: Anything else that the records' database says.
    """
    with disk_errors(home.root):
        try:
            yield
        except OperationalError as error:
            reason = str(error.orig)
            if "full" not in reason and "readonly" not in reason:
                try_to_write(home.dagster())
                raise
            cure = "free some space or set GEOLOC_HOME to a folder on another disk, then run the same step again"
            raise HomeError(home=home.root, reason=reason, cure=cure) from error


def materialise(assets: list[str], partition: str | None, until: str | None = None) -> None:
    """Materialise `assets` in `partition` (or a row of them) in this process, recorded in the home's instance.

    Args:
        assets: Asset keys; `geofabrik_extracts` is observed instead.
        partition: Partition key, or None.
        until: Last partition of a row in the order of the keys; None: `partition` alone.

    Raises:
        GeolocError: A step cannot do its work; the message names the cure.
    """
    pipeline = pipeline_from_environment()
    pipeline.settings  # noqa: B018 (a profile that does not exist is told before anything else)
    definitions = build_definitions(pipeline)
    with _records_on_disk(pipeline.home), open_instance(pipeline.home) as instance:
        row = {"dagster/asset_partition_range_start": partition, "dagster/asset_partition_range_end": until}
        job = definitions.resolve_implicit_global_asset_job_def()
        job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(key) for key in assets],
            partition_key=partition if until is None else None,
            tags={"geoloc/profile": pipeline.profile} | ({key: str(value) for key, value in row.items()} if until else {}),
        )


def answer(line: str) -> dict[str, Any]:
    """Return the outcome of one request.

    Args:
        line: `{"assets": [...], "partition": "…" or null, "until": "…" or null}` as JSON.

    Returns:
        `{"ok": true}`, or `{"error": …, "exit_code": …}`.
    """
    request = json.loads(line)
    try:
        materialise(request["assets"], request["partition"], request.get("until"))
    except GeolocError as error:
        return {"error": str(error), "exit_code": error.exit_code}
    return {"ok": True}


def main() -> int:
    """Answer requests until stdin ends.

    Returns:
        Exit status.
    """
    end_with_ancestor()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever libraries print goes to the log, never between the answers
    for line in sys.stdin:
        answers.write(json.dumps(answer(line), ensure_ascii=False) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
