"""Group `training`: the model."""

import base64
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from geoloc_pipeline.errors import ModelError
from geoloc_pipeline.orchestration.assets.labels import label_vocabulary, training_shards
from geoloc_pipeline.orchestration.checks import FINITE
from geoloc_pipeline.orchestration.io import OWNERS, Made, Outcome, Step, table_paths
from geoloc_pipeline.orchestration.limits import training_estimate
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.orchestration.running.trainer import Launch, figures, run_trainer
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import read_receipt

if TYPE_CHECKING:
    import pandas as pd

    from geoloc_pipeline.training.run import TrainingRun


class TrainingRunConfig(dg.Config):
    """How the model is trained, and where; empty values take the profile's and this machine's."""

    preset: str = Field(default="", description="paper, best or demo")
    processes: int = Field(default=0, description="training processes, one per GPU")
    overrides: dict[str, Any] = Field(default_factory=dict, description="fields of TrainingConfig that differ from the preset")
    tensorboard: bool = Field(default=False, description="also write curves for TensorBoard (models/training_run.tensorboard)")
    launch: list[str] = Field(
        default_factory=list,
        description='command that runs the trainer elsewhere, such as ["srun", "--nodes=2", "--ntasks-per-node=1"] or '
        '["ssh", "-tt", "gpu-node"]; the home must be mounted there under the same path',
    )
    torchrun: list[str] = Field(
        default_factory=list,
        description="torchrun's own arguments in place of --standalone --nproc-per-node=N, such as "
        '["--nnodes=2", "--nproc-per-node=8", "--rdzv-backend=c10d", "--rdzv-endpoint=node1:29500"]',
    )
    python: str = Field(default="", description="interpreter where the trainer runs; empty: this one")
    accept_worse: bool = Field(
        default=False, description="let a model go on that is worse than the one of the live gallery by more than 5 points"
    )


NO_WORSE = "is_no_worse_than_the_live_model"
WORSE_BY_PCT = 5.0
"""Points of validation accuracy, mean over the heads, that a new model may lose against the one of the live gallery: on few
pictures three seeds of one training scatter by half of it."""


@dg.asset(
    deps=[label_vocabulary, training_shards],
    group_name="training",
    kinds={"pytorch", "timm"},
    owners=OWNERS,
    code_version="2",
    pool="gpu",
    check_specs=[
        dg.AssetCheckSpec(
            FINITE, asset="geolocation_model", blocking=True, description="Every weight of the checkpoint is a number."
        ),
        dg.AssetCheckSpec(
            NO_WORSE,
            asset="geolocation_model",
            blocking=True,
            description=(
                "On validation, the heads are right as often as those of the model whose vectors the live gallery holds, "
                "within 5 points. A worse one is not embedded and not indexed by the same run; `accept_worse` lets it through."
            ),
        ),
    ],
)
def geolocation_model(context: dg.AssetExecutionContext, pipeline: Pipeline, config: TrainingRunConfig) -> Iterator[Outcome]:
    """The trained model: a ViT image encoder, five heads, and the GeoCLIP location encoder that taught it distances.

    From: label_vocabulary, training_shards. Trained by `torchrun -m geoloc_pipeline.training`, which reports every
    epoch here as an observation; a run that was stopped, or one of whose processes died, goes on from its last checkpoint.
    The checkpoint holds the whole configuration, the vocabulary and the data versions; beside it stands the export that needs
    no training code. Takes: about a minute in the demo, half a day on one H200 for all of Japan. Paper §3.2.
    """
    home, settings = pipeline.home, pipeline.settings
    step = Step(context, pipeline, "geolocation_model")
    artefacts = step.upstream("label_vocabulary") | step.upstream_partitions("training_shards")
    preset, processes = config.preset or settings.preset, config.processes or settings.processes
    overrides = {**settings.training_overrides, **config.overrides}
    inputs = artefacts | {"preset": preset, "overrides": overrides, "processes": processes}

    def build() -> Made:
        from geoloc_pipeline.training.run import read_run

        step.look_around()  # the export names the pictures' makers
        step.keep_at_hand("training_shards")
        shards, told_at = table_paths(pipeline, "training_shards", artefacts), home.training_run()
        told = {
            "preset": preset,
            "overrides": overrides,
            "vocabulary": str(home.table("label_vocabulary")),
            "shards": [[str(path), str(home.images("training_shards", path.stem))] for path in shards],
            "output": str(home.model()),
            "data_versions": artefacts,
            "progress": str(home.progress("geolocation_model")),
            "tensorboard": str(told_at.with_suffix(".tensorboard")) if config.tensorboard else None,
        }
        write_text(told_at, json.dumps(told, indent=1))
        run = read_run(told_at, backbone_weights=os.environ.get("GEOLOC_BACKBONE_WEIGHTS", ""))  # tells mistakes at once
        context.log.info("%s", training_estimate(run, read_history(home.training_metrics())))
        launch = Launch(processes, prefix=tuple(config.launch), torchrun=tuple(config.torchrun), python=config.python)
        run_trainer(context, told_at, launch)
        return _made(home, run)

    yield step.run(inputs, build)
    yield dg.AssetCheckResult(asset_key="geolocation_model", check_name=FINITE, passed=True)
    yield _beside_the_live(pipeline, accept_worse=config.accept_worse)


def figures_now(pipeline: Pipeline) -> dict[str, float]:
    """Return how often each head of the trained model was right on validation, by name of the fact; shares."""
    receipt = read_receipt(pipeline.home.receipt("geolocation_model"))
    facts = receipt.metadata if receipt else {}
    return {name: float(value) for name, value in facts.items() if name.startswith("val_accuracy_")}


def _beside_the_live(pipeline: Pipeline, *, accept_worse: bool) -> dg.AssetCheckResult:
    """Compare the model with the one whose vectors are live, as the gallery's receipt remembers it."""
    gallery = read_receipt(pipeline.home.receipt("qdrant_collection"))
    live, new = (gallery.metadata.get("model", {}) if gallery else {}), figures_now(pipeline)
    shared = sorted(live.keys() & new.keys())
    lost_pct = 100 * sum(live[name] - new[name] for name in shared) / max(len(shared), 1)
    told = {name: {"live": live[name], "new": new[name]} for name in shared}
    return dg.AssetCheckResult(
        asset_key="geolocation_model",
        check_name=NO_WORSE,
        passed=lost_pct <= WORSE_BY_PCT,
        severity=dg.AssetCheckSeverity.WARN if accept_worse else dg.AssetCheckSeverity.ERROR,
        metadata={
            "lost_points": round(lost_pct, 2),
            "refused_above": WORSE_BY_PCT,
            "heads": dg.MetadataValue.json(told),
            "live": str(gallery.metadata.get("collection", "")) if gallery and shared else "nothing to compare with",
        },
    )


def _made(home: Home, run: "TrainingRun") -> Made:
    """Return what a finished run has left: the checkpoint, its export, its figures and its pictures.

    Raises:
        ModelError: It has left no checkpoint.
    """
    from geoloc_pipeline.model.export import export_geolocator

    best = home.checkpoint()
    if not best.is_file():
        raise ModelError(what=str(best), reason="training ended without a checkpoint", cure="read the run's log and run again")
    history = read_history(home.training_metrics())
    sources = training_sources(home, [part.table for part in run.shards])
    exported = export_geolocator(best, home.model_export(), sources=sources, history=history)
    # The export adds nothing to what the checkpoint says: whatever is made from the model hangs on the checkpoint's hash alone.
    return Made(files=[best], bulk=exported, facts=_facts(history), preview=_pictures(history, run))


def _pictures(history: Sequence[Mapping[str, Any]], run: "TrainingRun") -> str:
    """Return the curves and the augmentation (paper figs. 6 and 5) as Markdown."""
    from PIL import Image

    from geoloc_pipeline.orchestration.showing.previews import draw_curves
    from geoloc_pipeline.training.preview import preview_run

    small = io.BytesIO()
    with Image.open(io.BytesIO(preview_run(run, rows=4, columns=6, longest_px=480))) as augmented:
        augmented.convert("RGB").save(small, "JPEG", quality=75)  # as PNG, noise would fill the event log
    told = [
        ("Losses by epoch; a point marks the epoch that was kept.", "png", draw_curves(history) or b""),
        ("What the network sees: each row is a training view, as it is and augmented.", "jpeg", small.getvalue()),
    ]
    return "\n\n".join(f"{words}\n\n![]({_embedded(kind, data)})" for words, kind, data in told if data)


def _embedded(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def training_sources(home: Home, shards: Sequence[Path]) -> "pd.DataFrame":
    """Return where the training pictures come from, for the model's licence and attribution summary.

    Args:
        home: Where the image tables are.
        shards: Tables of the training shards.

    Returns:
        One row per source and licence, sorted: `source`, `licence`, `n_pictures`, `n_authors` (whom to name, each once).
        Pictures that no image table knows any more stand as `unknown`.
    """
    import pandas as pd

    learned = pd.concat([pd.read_parquet(path, columns=["image_id", "split"]) for path in shards], ignore_index=True)
    learned = learned.loc[learned["split"] == "train", ["image_id"]].drop_duplicates()
    columns = ["image_id", "source", "licence", "attribution"]
    paths = [*home.tables("street_view_images"), *home.tables("photo_collections")]
    tables = [pd.read_parquet(path, columns=columns) for path in paths]
    known = pd.concat([pd.DataFrame(columns=columns, dtype="str"), *tables], ignore_index=True).drop_duplicates("image_id")
    found = learned.merge(known, on="image_id", how="left").fillna({"source": "unknown", "licence": "unknown"})
    counted = found.groupby(["source", "licence"], as_index=False).agg(
        n_pictures=("image_id", "size"), n_authors=("attribution", "nunique")
    )
    return counted.sort_values(["source", "licence"], ignore_index=True)


def read_history(metrics: Path) -> list[dict[str, Any]]:
    """Return the epochs of a training run, one dictionary each; empty when it has not told any."""
    if not metrics.is_file():
        return []
    return [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines() if line.strip()]


def _facts(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the numbers of the best epoch, for the UI."""
    if not history:
        return {}
    best = figures(min(history, key=lambda row: row.get("val_loss", -row["epoch"])))
    told = {name: round(value, 4) for name, value in best.items() if name != "epoch"}
    return {"epochs": len(history), "best_epoch": best["epoch"], **told}
