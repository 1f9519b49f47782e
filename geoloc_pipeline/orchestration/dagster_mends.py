"""What of Dagster 1.13 is replaced, and why: how runs start, and how long one that waits for a pool sleeps.

https://docs.dagster.io/guides/operate/managing-concurrency
https://docs.python.org/3.11/library/multiprocessing.html#contexts-and-start-methods

Belongs here: replaced parts of Dagster; each goes when Dagster's own is right.
Does not belong here: pools (`dagster.yaml`), which asset is in which (`assets`).
"""

import multiprocessing
import sys
import time
from multiprocessing.context import BaseContext

from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext

# What every run of a prefecture imports sooner or later: for Dagster's records, and in its steps. No torch: it is large, and a
# training does not wait for its import.
PRELOADED = (
    "alembic.command",
    "dagster._core.execution.api",
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._grpc.impl",
    "geoloc_pipeline.definitions",
    "geoloc_pipeline.imagery.collect",
    "geoloc_pipeline.labels.nearby",
    "geoloc_pipeline.labels.shards",
    "geoloc_pipeline.labels.splits",
    "geoloc_pipeline.orchestration.records",
    "geoloc_pipeline.orchestration.showing.previews",
    "geoloc_pipeline.osm.extract",
    "geoloc_pipeline.sampling.clusters",
    "geoloc_pipeline.sampling.ground",
    "geoloc_pipeline.sampling.landmarks",
    "geoloc_pipeline.sources.census",
    "geoloc_pipeline.sources.http_async",
    "geoloc_pipeline.sources.street_view_providers",
    "mapillary.interface",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "pyarrow.dataset",
    "pyogrio",
    "sklearn.cluster",
    "upath",
)


def _seconds_to_next_claim(waiting: InstanceConcurrencyContext) -> float:
    """Return how many seconds are left until the first waiting step may ask for its slot again.

    Dagster takes the least of these times and 0, so it asks without a pause, and a run that waits keeps a core busy for as
    long as another one collects.
    """
    now_s = time.time()
    return max(0.0, min((at_s - now_s for at_s in waiting._pending_timeouts.values()), default=0.0))


def _forked_runs() -> BaseContext:
    """Return how a code server starts its runs: each is forked from a process that has imported what it needs.

    Dagster spawns them, so that each imports all anew: four CPU seconds, half of what a light prefecture costs. The process
    that forks has no threads, serves one code server and ends with it; a reload of the code location makes both anew.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def mend() -> None:
    """Let runs sleep while they wait for a pool, and code servers fork their runs."""
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = _seconds_to_next_claim  # type: ignore[assignment,method-assign]
    if (module := sys.modules.get("dagster._grpc.server")) is not None:  # this process is a code server
        context = _forked_runs()
        # on the class, as the server that loads this code may exist already; what an instance sets itself is ignored
        module.DagsterApiServer._mp_ctx = property(lambda _: context, lambda *_: None)
