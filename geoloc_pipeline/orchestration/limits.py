"""What a step may cost: trying again what may pass, what is left of a day's budget, and an estimate before anything dear.

https://docs.dagster.io/guides/operate/managing-concurrency
Pools (in `dagster.yaml`: one slot each) keep steps of one service, or of the GPU, from working at the same time; they stand
beside the assets. Requests a second and a day are counted where they are made (`sources.pace`).

Belongs here: what an operator is told of costs before and after, which errors are worth another try.
Does not belong here: the limits of a service (its module in `sources`), retrying one request (`sources.http_policy`).
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from geoloc_pipeline.errors import SourceUnavailableError
from geoloc_pipeline.orchestration.resources import Pipeline

if TYPE_CHECKING:
    import pandas as pd

    from geoloc_pipeline.imagery.collect import CollectSettings
    from geoloc_pipeline.training.run import TrainingRun

WAITS_S = (60.0, 600.0)
"""Before the second and the third try of a step whose service did not answer."""


@contextmanager
def trying_again(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Try a step again, after a while, when a service did not answer; whatever else goes wrong would go wrong again.

    A refused key, a spent budget, a damaged file, a full disk: the cure is somebody's to apply, and is told at once. Each
    request has been tried several times before a service counts as silent.

    Args:
        context: Of the step.

    Raises:
        RetryRequested: A service did not answer, and there are tries left.
        SourceUnavailableError: There are none.
    """
    try:
        yield
    except SourceUnavailableError as error:
        if context.retry_number >= len(WAITS_S):
            raise
        wait_s = WAITS_S[context.retry_number]
        context.log.warning("%s. Trying again in %.0f s", error, wait_s)
        raise dg.RetryRequested(max_retries=len(WAITS_S), seconds_to_wait=wait_s) from error


def requests_left(pipeline: Pipeline) -> dict[str, int]:
    """Return how many more requests today allows, by provider; one without a daily budget is left out."""

    async def ask() -> dict[str, int | None]:
        async with pipeline.street_view() as providers:
            return {provider.source: provider.left_today() for provider in providers}

    return {source: left for source, left in asyncio.run(ask()).items() if left is not None}


def collection_estimate(
    pipeline: Pipeline, points: "pd.DataFrame", folder: Path, *, settings: "CollectSettings", kept: dict[str, Path]
) -> str:
    """Return what a collection would ask of each provider, in sentences; nothing is asked.

    Args:
        pipeline: Knows the providers.
        points: `tables.SAMPLE_POINTS`.
        folder: Of the shards and the journal.
        settings: How to collect.
        kept: Folders of the coverage that is kept, by source.
    """
    from geoloc_pipeline.imagery.dry_run import would_ask

    async def ask() -> "pd.DataFrame":
        async with pipeline.street_view() as providers:
            return would_ask(points, providers, folder, settings=settings, coverage_folders=kept)

    lines = [f"{len(points):,} points"]
    for row in asyncio.run(ask()).itertuples():
        most = "" if row.is_exact else "about "
        left = "" if row.left_today is None else f"; {row.left_today:,} requests are left today"
        lines.append(
            f"{row.source}: {row.points:,} points to settle, {row.areas:,} areas of coverage to ask for, "
            f"{most}{row.pictures:,} pictures, {most}{row.requests:,} requests{left}"
        )
    return "\n".join(lines)


def training_estimate(run: "TrainingRun", history: Sequence[dict[str, Any]]) -> str:
    """Return how much a training is, in a sentence, and how long it takes at the speed of the last one here.

    Args:
        run: What is to be trained.
        history: Epochs of the run before, as in `metrics.jsonl`; empty: nobody knows how fast this machine is.
    """
    import pandas as pd

    splits = pd.concat([pd.read_parquet(part.table, columns=["image_id", "split"]) for part in run.shards])
    training = splits.loc[splits["split"] == "train", "image_id"]
    pictures = len(training) if run.config.views_per_epoch == "all" else training.nunique()
    most = pictures * run.config.max_epochs
    told = f"{pictures:,} pictures an epoch, at most {run.config.max_epochs} epochs: {most:,} pictures"
    speeds = [float(epoch["images_per_s"]) for epoch in history if epoch.get("images_per_s", 0) > 0]
    if not speeds:
        return f"{told}; how long that takes is told after the first epoch"
    speed = sorted(speeds)[len(speeds) // 2]
    return f"{told}; at the {speed:,.0f} pictures a second of the run before, {most / speed / 3600:,.1f} hours at most"
