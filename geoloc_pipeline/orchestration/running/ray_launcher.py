"""How Dagster hands runs to a Ray cluster: each run is one Ray job, placed where there is room for what it needs.

https://docs.dagster.io/deployment/execution/run-launchers
The work is dagster-ray's. Here stands what else a cluster that must not lose a run asks for: runs that no job has tagged know
their needs as well; while the head does not answer, runs wait in Dagster's queue; a run is given up when the cluster says that
its worker is gone, never because nobody could be asked, and also while it has not begun, which Dagster does not look at.

Belongs here: `run_launcher` of `deploy/ray/dagster.yaml`.
Does not belong here: what a run needs (`orchestration.needs`), addresses and secrets (the environment of each node).
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRun, DagsterRunStatus, RunRecord
from dagster._daemon.monitoring import run_monitoring
from dagster_ray.core.run_launcher import RayRunLauncher
from requests.exceptions import RequestException

from geoloc_pipeline.orchestration.needs import RAY_TAG, ray_tags

UNKNOWN_JOB = "status code 404"
"""What Ray's client says of a job that the cluster does not know: its head was replaced and has forgotten."""

HEAD_AT_FAULT = "status code 5"
ALREADY_THERE = "already exists"
HANDED_IN_AFTER_S = 60.0
"""A run that left the queue so long ago has been handed to Ray, or never will be."""


class ClusterRunLauncher(RayRunLauncher):  # type: ignore[misc]
    """Hands each run to Ray as a job of its own."""

    def _launch_ray_job(self, submission_id: str, entrypoint: str, run: DagsterRun) -> None:
        """Hand in a job; a run of assets without a job's tags is told what its assets need.

        Raises:
            DagsterUserCodeUnreachableError: The head does not answer; the daemon puts the run back into its queue.
        """
        if RAY_TAG not in run.tags and run.asset_selection:
            needs = ray_tags(key.to_user_string() for key in run.asset_selection)
            run = run.with_tags({**run.tags, **needs})
        with _waiting_for_the_head():
            super()._launch_ray_job(submission_id, entrypoint, run)

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return how a run's worker is. One that the cluster has forgotten is gone; one that nobody can ask after is not."""
        told: CheckRunHealthResult = super().check_run_worker_health(run)
        if told.status != WorkerStatus.UNKNOWN:
            return told
        if UNKNOWN_JOB in (told.msg or ""):
            return CheckRunHealthResult(WorkerStatus.FAILED, "the cluster does not know the run's job: its head was replaced")
        return CheckRunHealthResult(WorkerStatus.RUNNING, told.msg)


@contextmanager
def _waiting_for_the_head() -> Iterator[None]:
    """Tell the daemon that a run is to wait when the head cannot take it.

    A job that the head has already got is no fault: the answer to the first try was lost.

    Raises:
        DagsterUserCodeUnreachableError: It cannot.
        RuntimeError: It was asked, and it refused.
    """
    try:
        yield
    except RuntimeError as error:
        if ALREADY_THERE in str(error):
            return
        if HEAD_AT_FAULT not in str(error):
            raise
        raise DagsterUserCodeUnreachableError(f"Ray's head takes no jobs: {error}") from error
    except (ConnectionError, RequestException) as error:
        raise DagsterUserCodeUnreachableError(f"Ray's head does not answer: {error}") from error


_time_out_only = run_monitoring.monitor_starting_run


def _monitor_starting_run(instance: dg.DagsterInstance, run_record: RunRecord, logger: logging.Logger) -> None:
    """Give up a run whose job ended before the run began: its node was lost, or has no `dagster`.

    Dagster looks at workers of runs that have begun only; the others wait for `start_timeout_seconds`. That has to be long, as
    runs may wait for a node with room, and such a run would hold its place for all of it.
    """
    run, launcher = run_record.dagster_run, instance.run_launcher
    if run.status == DagsterRunStatus.STARTING and isinstance(launcher, ClusterRunLauncher):
        launched_s = instance.get_run_stats(run.run_id).launch_time or time.time()
        if time.time() - launched_s > HANDED_IN_AFTER_S:
            told = launcher.check_run_worker_health(run)
            now = instance.get_run_by_id(run.run_id)
            if told.status == WorkerStatus.FAILED and now is not None and now.status == DagsterRunStatus.STARTING:
                instance.report_run_failed(run, f"The run's job ended before the run began. {told.msg}")
                return
    _time_out_only(instance, run_record, logger)


run_monitoring.monitor_starting_run = _monitor_starting_run
