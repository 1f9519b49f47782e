"""Group `training`: the model."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from geoloc_pipeline.errors import ModelError
from geoloc_pipeline.orchestration.assets.labels import label_vocabulary, training_shards
from geoloc_pipeline.orchestration.io import OWNERS, Made, Step, table_paths
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.atomic import write_text


class TrainingRunConfig(dg.Config):
    """How the model is trained; empty values take the profile's."""

    preset: str = Field(default="", description="paper, best or demo")
    processes: int = Field(default=0, description="training processes, one per GPU")
    overrides: dict[str, Any] = Field(default_factory=dict, description="fields of TrainingConfig that differ from the preset")


@dg.asset(
    deps=[label_vocabulary, training_shards],
    group_name="training",
    kinds={"pytorch", "timm"},
    owners=OWNERS,
    code_version="1",
    pool="gpu",
)
def geolocation_model(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    config: TrainingRunConfig,
    trainer: dg.PipesSubprocessClient,
) -> dg.MaterializeResult[None]:
    """The trained model: a ViT image encoder, five heads, and the GeoCLIP location encoder that taught it distances.

    From: label_vocabulary, training_shards. Trained by `torchrun -m geoloc_pipeline.training`, which reports every
    epoch here and writes metrics.jsonl; a run that was stopped goes on from its last epoch. The checkpoint holds the
    whole configuration, the vocabulary and the data versions. Takes: about a minute in the demo, half a day on one
    H200 for all of Japan. Paper §3.2.
    """
    from geoloc_pipeline.orchestration.previews import draw_curves

    home, settings = pipeline.home, pipeline.settings
    step = Step(context, pipeline, "geolocation_model")
    artefacts = step.upstream("label_vocabulary") | step.upstream_partitions("training_shards")
    preset, processes = config.preset or settings.preset, config.processes or settings.processes
    overrides = {**settings.training_overrides, **config.overrides}
    inputs = artefacts | {"preset": preset, "overrides": overrides, "processes": processes}

    def build() -> Made:
        paths = table_paths(pipeline, "training_shards", artefacts)
        told = {
            "preset": preset,
            "overrides": overrides,
            "vocabulary": str(home.table("label_vocabulary")),
            "shards": [[str(path), str(home.images("training_shards", path.stem))] for path in paths],
            "output": str(home.model()),
            "data_versions": artefacts,
            "progress": str(home.progress("geolocation_model")),
        }
        told_at = home.training_run()
        write_text(told_at, json.dumps(told, indent=1))
        _train(context, trainer, told_at, processes=processes)
        best = home.checkpoint()
        if not best.is_file():
            raise ModelError(
                what=str(best), reason="training ended without a checkpoint", cure="read the run's log and run again"
            )
        history = read_history(home.training_metrics())
        made = Made(files=[best], facts=_facts(history))
        made.preview = draw_curves(history, ("train_loss", "val_loss"))
        return made

    return step.run(inputs, build)


def _train(context: dg.AssetExecutionContext, trainer: dg.PipesSubprocessClient, told_at: Path, *, processes: int) -> None:
    """Start the trainer and wait for it; Terminate in the UI reaches it, and it keeps its last epoch."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    trainer.run(
        context=context,
        command=[sys.executable, *launch, "-m", "geoloc_pipeline.training", "--config", str(told_at)],
        env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
    )


def read_history(metrics: Path) -> list[dict[str, float]]:
    """Return the epochs of a training run, one dictionary each; empty when it has not told any."""
    if not metrics.is_file():
        return []
    return [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines() if line.strip()]


def _facts(history: list[dict[str, float]]) -> dict[str, Any]:
    """Return the numbers of the best epoch, for the UI."""
    if not history:
        return {}
    best = min(history, key=lambda row: row.get("val_loss", float("inf")))
    return {"epochs": len(history), **{name: round(value, 4) for name, value in best.items() if isinstance(value, int | float)}}
