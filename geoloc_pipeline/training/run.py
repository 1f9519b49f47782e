"""One run, as a file describes it: what to learn, from what, and where to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.training.config import TrainingConfig, make_config

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ShardTable:
    """One partition of `training_shards`.

    Attributes:
        table: Its Parquet file.
        folder: Of its tar shards.
    """

    table: Path
    folder: Path


@dataclass(frozen=True)
class TrainingRun:
    """One run: what to learn, from what, and where to.

    Attributes:
        config: The knobs.
        vocabulary: Parquet file of `label_vocabulary`.
        shards: Partitions to learn from.
        output: Folder of `best.pt`, `last.pt`, `metrics.jsonl` and `config.json`.
        data_versions: What the data are, by asset; kept in the checkpoint.
        progress: File in which the run tells how far it is; None: nowhere.
        report_to: Asset key for Dagster Pipes, when a program reports more than one; empty: the only one.
        tensorboard: Folder for TensorBoard; None: nothing is written for it.
    """

    config: TrainingConfig
    vocabulary: Path
    shards: tuple[ShardTable, ...]
    output: Path
    data_versions: Mapping[str, str] = field(default_factory=dict)
    progress: Path | None = None
    report_to: str = ""
    tensorboard: Path | None = None


_KINDS = {
    "preset": "a text",
    "vocabulary": "a path",
    "output": "a path",
    "progress": "a path",
    "tensorboard": "a path",
    "report_to": "a text",
    "overrides": "an object",
    "data_versions": "an object",
    "shards": "a list of pairs of paths",
}
_OPTIONAL = frozenset({"overrides", "data_versions", "progress", "report_to", "tensorboard"})


def _is_of_kind(name: str, value: object) -> bool:
    if value is None:
        return name in _OPTIONAL
    if name in {"overrides", "data_versions"}:
        return isinstance(value, dict)
    if name != "shards":
        return isinstance(value, str)
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(path, str) for path in pair) for pair in value
    )


def read_run(path: Path, *, backbone_weights: str = "") -> TrainingRun:
    """Return the run that a JSON file describes.

    Args:
        path: An object with `preset`, `overrides`, `vocabulary`, `shards` (pairs of table and folder), `output`, and
            optionally `data_versions`, `progress`, `report_to`, `tensorboard`.
        backbone_weights: What $GEOLOC_BACKBONE_WEIGHTS says.

    Returns:
        The run; relative paths are relative to the current folder.

    Raises:
        MissingInputError: There is no such file.
        BadSourceFileError: It is not JSON, or a key is missing, unknown or of another kind.
    """
    if not path.is_file():
        raise MissingInputError(what="the training configuration", path=path, cure="give the path of a JSON file to --config")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadSourceFileError(path=path, reason=f"not JSON ({error})", cure="write it again") from error
    needed, known = (
        {"preset", "vocabulary", "shards", "output"},
        {"overrides", "data_versions", "progress", "report_to", "tensorboard"},
    )
    if not isinstance(told, dict) or (missing := sorted(needed - set(told))) or (strange := sorted(set(told) - needed - known)):
        faults = (
            "not an object"
            if not isinstance(told, dict)
            else f"keys missing: {missing}, unknown: {strange if not missing else []}"
        )
        raise BadSourceFileError(path=path, reason=faults, cure=f"give {sorted(needed)} and, if wanted, {sorted(known)}")
    if wrong := sorted(name for name, value in told.items() if not _is_of_kind(name, value)):
        reason = f"{', '.join(wrong)} of another kind than {', '.join(_KINDS[name] for name in wrong)}"
        raise BadSourceFileError(path=path, reason=reason, cure="write it again")
    return TrainingRun(
        config=make_config(told["preset"], told.get("overrides"), backbone_weights=backbone_weights),
        vocabulary=Path(told["vocabulary"]),
        shards=tuple(ShardTable(table=Path(table), folder=Path(folder)) for table, folder in told["shards"]),
        output=Path(told["output"]),
        data_versions=dict(told.get("data_versions") or {}),
        progress=Path(told["progress"]) if told.get("progress") else None,
        report_to=told.get("report_to") or "",
        tensorboard=Path(told["tensorboard"]) if told.get("tensorboard") else None,
    )
