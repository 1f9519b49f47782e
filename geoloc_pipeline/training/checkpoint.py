"""Checkpoints: everything that a run needs to go on as if it had never stopped, and everything that made the model.

`last.pt` is where a run goes on; `best.pt` is the model with the lowest validation loss, with what made it and nothing of the
clock, so that the same run gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import subprocess
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from geoloc_pipeline.errors import MissingInputError, ModelError
from geoloc_pipeline.model.saved import FORMAT, read_checkpoint, weights_hash
from geoloc_pipeline.storage.atomic import atomic_path, write_text
from geoloc_pipeline.storage.receipts import file_hash, fingerprint_of
from geoloc_pipeline.training.config import CHANGE_NOTHING

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from geoloc_pipeline.model.geolocator import Geolocator
    from geoloc_pipeline.model.queue import PlaceQueue
    from geoloc_pipeline.training.material import Data
    from geoloc_pipeline.training.run import TrainingRun

_LOG = logging.getLogger(__name__)
BEST, LAST, METRICS, CONFIG, PREVIOUS = "best.pt", "last.pt", "metrics.jsonl", "config.json", "previous"
STEPS, DIVERGED = "steps.jsonl", "diverged.json"


@dataclass
class Position:
    """How far a run is.

    Attributes:
        epoch: The epoch that is under way, from 0.
        step: Its next step, from 0.
        sums: Sums of each term over the steps of this epoch so far, over all ranks.
        history: One record of figures for each whole epoch.
        best_epoch: Epoch of `best.pt`; -1: none yet.
        best_loss: Its validation loss.
        best_version: Its content hash.
        waited: Whole epochs since the best one.
        finished: Whether there is nothing left to do.
    """

    epoch: int = 0
    step: int = 0
    sums: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = -1
    best_loss: float = float("inf")
    best_version: str = ""
    waited: int = 0
    finished: bool = False


def run_fingerprint(run: TrainingRun, data: Data) -> str:
    """Return a hash of everything that decides which model comes out: knobs, data, backbone weights; not places on disk."""
    config = run.config.as_dict()
    weights = Path(run.config.backbone_weights).expanduser()
    if run.config.backbone_weights not in {"hub", "none"} and weights.is_file():
        config["backbone_weights"] = file_hash(weights)
    for name in CHANGE_NOTHING:
        config.pop(name)
    return fingerprint_of({"config": config, "data": data.fingerprint, "data_versions": dict(run.data_versions)})


@lru_cache(maxsize=1)
def git_commit() -> str:
    """Return the commit of this source tree, with `-dirty` when it has changes; empty when it is no git checkout."""
    here = Path(__file__).resolve().parent
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--match="], cwd=here, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return said.stdout.decode().strip()


def facts_of(run: TrainingRun, data: Data, model: Geolocator, *, fingerprint: str) -> dict[str, Any]:
    """Return what every checkpoint of a run says of its origin."""
    return {
        "format": FORMAT,
        "model_config": model.config.as_dict(),
        "training_config": run.config.as_dict(),
        "departures": run.config.departures(),
        "vocabulary": data.vocabulary.as_dict(),
        "data_versions": dict(run.data_versions),
        "data_fingerprint": data.fingerprint,
        "git_commit": git_commit(),
        "fingerprint": fingerprint,
    }


def write_best(output: Path, facts: dict[str, Any], model: Geolocator, *, epoch: int, validation: dict[str, Any]) -> str:
    """Write `best.pt`, whole or not at all.

    Args:
        output: Folder of the run.
        facts: From `facts_of`.
        model: The model.
        epoch: From 0.
        validation: Its figures on the validation split.

    Returns:
        Its content hash.
    """
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    version = weights_hash(state)
    _write(output / BEST, {**facts, "model": state, "model_version": version, "epoch": epoch, "validation": validation})
    return version


def write_last(
    output: Path,
    facts: dict[str, Any],
    model: Geolocator,
    *,
    optimizer: Optimizer,
    queue: PlaceQueue,
    position: Position,
) -> None:
    """Write `last.pt`, and the metrics and config beside it for people, each whole or not at all."""
    contents = {
        **facts,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "queue": queue.state_dict(),
        "position": dataclasses.asdict(position),
    }
    _write(output / LAST, contents)
    lines = [json.dumps(record, ensure_ascii=False) for record in position.history]
    write_text(output / METRICS, "".join(f"{line}\n" for line in lines))
    told = {key: facts[key] for key in ("training_config", "model_config", "data_versions", "git_commit", "fingerprint")}
    write_text(output / CONFIG, json.dumps(told, ensure_ascii=False, indent=1, sort_keys=True))


def write_diverged(output: Path, *, epoch: int, step: int, images: list[str]) -> None:
    """Write down which pictures the step saw after which the loss was not finite any more."""
    told = {"epoch": epoch, "step": step, "images": images}
    write_text(output / DIVERGED, json.dumps(told, ensure_ascii=False, indent=1))


def _write(path: Path, contents: dict[str, Any]) -> None:
    with atomic_path(path) as partial, partial.open("wb") as stream:
        torch.save(contents, stream)  # to a stream: given a path, its name would become part of the bytes


def _is_whole(best: Path) -> bool:
    """Return whether a checkpoint's weights are those that it says; after a kill it may be newer than `last.pt`."""
    try:
        contents = read_checkpoint(best)
        return bool(weights_hash(contents["model"]) == contents["model_version"])
    except (ModelError, MissingInputError, KeyError):
        return False


def find_last(output: Path, *, fingerprint: str, first: bool) -> dict[str, Any] | None:
    """Return the contents of `last.pt` when this very run wrote it and its `best.pt` stands; move all others aside.

    Args:
        output: Folder of the run.
        fingerprint: Of this run.
        first: Whether this rank may touch files.

    Returns:
        What to go on from; None: start anew. The files of another run, or of one whose best model was lost or damaged and
        can only be trained once more, are in `previous/` then, in place of what was there.

    Raises:
        ModelError: `last.pt` is damaged.
    """
    path = output / LAST
    contents = read_checkpoint(path) if path.is_file() else None
    if contents is not None and contents.get("fingerprint") == fingerprint:
        if contents["position"]["best_epoch"] < 0 or _is_whole(output / BEST):
            return contents
        if first:
            _LOG.warning("%s is lost or damaged, and %s does not hold it: training begins anew", output / BEST, LAST)
    if first:
        # last.pt goes last: a run that is killed in here finds it again and does the rest.
        for name in (BEST, METRICS, STEPS, CONFIG, LAST):
            if (output / name).is_file():
                (output / PREVIOUS).mkdir(exist_ok=True)
                (output / name).replace(output / PREVIOUS / name)
    return None
