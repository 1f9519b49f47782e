"""The model as it is handed on: a folder that this room alone can read, with what its user has to know.

`model.safetensors` (weights), `config.json` (architecture, preprocessing, hashes), `vocabulary.json` (what the heads' classes
mean), `training.json` (what made it), `sources.csv` (whose pictures it learned from) and `README.md` (the model card).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from safetensors.torch import save

from geoloc_pipeline.errors import ModelError
from geoloc_pipeline.model.card import model_card
from geoloc_pipeline.model.saved import CONFIG, FORMAT, TRAINING, VOCABULARY, WEIGHTS, load_geolocator
from geoloc_pipeline.storage.atomic import disk_errors, write_bytes
from geoloc_pipeline.tables import EMBEDDING_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from geoloc_pipeline.model.saved import SavedGeolocator

SOURCES, CARD = "sources.csv", "README.md"
SOURCE_COLUMNS = ("source", "licence", "n_pictures", "n_authors")
FILES = (WEIGHTS, CONFIG, VOCABULARY, TRAINING, SOURCES, CARD)
_IN_CONFIG = {"format", "model_config", "model_version"}
_OF_THE_RUN = {"position"}  # where a run goes on; nothing of the model


def export_geolocator(
    checkpoint: Path, folder: Path, *, sources: pd.DataFrame, history: Sequence[Mapping[str, Any]] = ()
) -> list[Path]:
    """Write a checkpoint's model as a folder for others, whole or not at all; the same input gives the same bytes.

    `load_geolocator(folder)` reads it. What an earlier export left in `folder` is replaced; other files are never touched.

    Args:
        checkpoint: `best.pt`, or another export.
        folder: Where to; not there yet, empty, or an earlier export.
        sources: One row per source and licence of the training pictures: `source`, `licence`, `n_pictures`, `n_authors`.
        history: One record of figures per epoch, as in `metrics.jsonl`; for the model card.

    Returns:
        The files, weights first.

    Raises:
        MissingInputError: There is no such checkpoint.
        ModelError: The checkpoint is damaged, `sources` lacks a column, or `folder` holds files of something else.
        HomeError: The disk is full, read-only, or not ours to write.
    """
    if lacking := [name for name in SOURCE_COLUMNS if name not in sources]:
        reason = f"the table of sources has no column {', '.join(lacking)}"
        raise ModelError(what=f"export {folder}", reason=reason, cure=f"give it {', '.join(SOURCE_COLUMNS)}")
    saved = load_geolocator(checkpoint)
    contents = _contents_of(saved, sources[list(SOURCE_COLUMNS)], history)
    with _whole_folder(folder) as scratch:
        for name in FILES:
            write_bytes(scratch / name, contents[name])
    return [folder / name for name in FILES]


def _contents_of(saved: SavedGeolocator, sources: pd.DataFrame, history: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    vocabulary = _as_json(saved.vocabulary.as_dict())
    training = _as_json(
        _without_folders({name: saved.facts[name] for name in saved.facts if name not in _IN_CONFIG | _OF_THE_RUN})
    )
    config = {
        "format": FORMAT,
        "architecture": saved.model.config.as_dict(),
        "preprocessing": asdict(saved.model.preprocessing),
        "embedding_size": EMBEDDING_SIZE,
        "model_version": saved.model_version,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in ((VOCABULARY, vocabulary), (TRAINING, training))},
    }
    # copies: safetensors refuses tensors that share their memory
    weights = {name: tensor.detach().clone().contiguous() for name, tensor in saved.model.state_dict().items()}
    return {
        WEIGHTS: save(weights, metadata={"format": "pt"}),
        CONFIG: _as_json(config),
        VOCABULARY: vocabulary,
        TRAINING: training,
        SOURCES: sources.to_csv(index=False, lineterminator="\n").encode("utf-8"),
        CARD: model_card(saved, sources=sources, history=history).encode("utf-8"),
    }


def _without_folders(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what made a model without the place of its weights on the machine that made it."""
    knobs = dict(facts.get("training_config", {}))
    if "backbone_weights" in knobs:
        knobs["backbone_weights"] = PurePath(knobs["backbone_weights"]).name
    return {**facts, "training_config": knobs}


def _as_json(plain: Mapping[str, Any]) -> bytes:
    return (json.dumps(plain, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode("utf-8")


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder`, which takes its place when the block ends well.

    Raises:
        ModelError: `folder` is a file, or holds something that no export wrote.
    """
    if folder.exists():
        strange = sorted(path.name for path in folder.iterdir() if path.name not in FILES) if folder.is_dir() else [folder.name]
        if strange:
            reason = f"it holds {', '.join(strange[:3])}, which no export wrote"
            raise ModelError(what=f"export {folder}", reason=reason, cure="name a folder that is empty or not there yet")
    scratch, old = folder.with_name(f"{folder.name}.partial"), folder.with_name(f"{folder.name}.old")
    with disk_errors(folder):
        try:
            for leftover in (scratch, old):  # of an export that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            scratch.mkdir(parents=True)
            yield scratch
            if folder.exists():
                folder.replace(old)
            scratch.replace(folder)
        finally:
            if old.exists() and not folder.exists():
                old.replace(folder)
            shutil.rmtree(old, ignore_errors=True)
            shutil.rmtree(scratch, ignore_errors=True)
