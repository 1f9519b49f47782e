"""The model as a file: what a checkpoint or an export says of itself, and how to read it without the training code."""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from geoloc_pipeline.errors import MissingInputError, ModelError, NotFiniteError
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.preprocess import Preprocessing
from geoloc_pipeline.model.vocabulary import Vocabulary
from geoloc_pipeline.tables import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

FORMAT = 1
WEIGHTS, CONFIG, VOCABULARY, TRAINING = "model.safetensors", "config.json", "vocabulary.json", "training.json"
_CURE = "remove it and materialise `geolocation_model` again"
_EXPORT_CURE = "fetch the whole folder again, or materialise `geolocation_model` again"
_NO_FACTS = {"model", "optimizer", "queue", "vocabulary", "preprocessing"}


@dataclass(frozen=True)
class SavedGeolocator:
    """A model read from a checkpoint or an export.

    Attributes:
        model: On the CPU, in evaluation mode.
        vocabulary: What its heads' classes mean.
        model_version: Content hash of its weights.
        facts: Everything else that the file says: training_config, data_versions, git_commit, epoch, validation.
    """

    model: Geolocator
    vocabulary: Vocabulary
    model_version: str
    facts: Mapping[str, Any]


def weights_hash(state: Mapping[str, Tensor]) -> str:
    """Return the version of a model: 16 hex digits of the SHA-256 over its tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, on the CPU; nothing in it is ever executed.

    Args:
        path: `best.pt` or `last.pt`.

    Returns:
        Its contents by name.

    Raises:
        MissingInputError: There is no such file.
        ModelError: It is cut short, or no checkpoint of ours.
    """
    if not path.is_file():
        raise MissingInputError(what="the trained model", path=path, cure="materialise `geolocation_model` first")
    what = f"checkpoint {path}"
    try:
        is_whole = zipfile.is_zipfile(path)  # torch would take another file for a bare pickle of long ago
    except zipfile.BadZipFile:
        is_whole = False
    if not is_whole:
        raise ModelError(what=what, reason=f"its {path.stat().st_size} bytes are no whole checkpoint", cure=_CURE)
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        raise ModelError(what=what, reason=f"cannot be read ({_first_line(error)})", cure=_CURE) from error
    if not isinstance(contents, dict) or "format" not in contents:
        raise ModelError(what=what, reason="is not a checkpoint of this project", cure=_CURE)
    _check_format(contents["format"], what=what, cure=_CURE)
    return contents


def load_geolocator(path: Path, *, untrained: bool = False, start_weights: str = "none", seed: int = 0) -> SavedGeolocator:
    """Return the model of a checkpoint or of an export, ready to look at pictures.

    Args:
        path: `best.pt`, `last.pt`, or the folder of an export.
        untrained: Keep the architecture and leave the weights fresh: the baseline that shows what training brought. Its
            `model_version` is that of the fresh weights.
        start_weights: Of an untrained backbone: `none` (fresh), or what training began with (`build_backbone`).
        seed: Of the fresh weights.

    Returns:
        The model and what is known of it.

    Raises:
        MissingInputError: There is no such file.
        ModelError: It is damaged, its tensors do not fit the architecture that it names, or its vocabulary not its heads.
    """
    exported = path.is_dir()
    what, cure = (f"export {path}", _EXPORT_CURE) if exported else (f"checkpoint {path}", _CURE)
    contents = _read_export(path) if exported else read_checkpoint(path)
    try:
        weights: dict[str, Tensor] = dict(contents["model"])
        config = GeolocatorConfig.from_dict(contents["model_config"])
        vocabulary = Vocabulary.from_dict(contents["vocabulary"])
        preprocessing = Preprocessing.from_dict(contents["preprocessing"]) if exported else None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelError(what=what, reason=f"lacks or garbles {_first_line(error)}", cure=cure) from error
    _check_vocabulary(vocabulary, weights, what=what, cure=cure)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model = Geolocator(config, weights=start_weights if untrained else "none")
        except (TypeError, RuntimeError) as error:
            raise ModelError(what=what, reason=f"describes no network ({_first_line(error)})", cure=cure) from error
    if preprocessing is not None:
        model.preprocessing = preprocessing  # what it was trained with, whatever another timm says of its backbone
    if not untrained:
        _load_weights(model, weights, version=contents.get("model_version"), what=what, cure=cure)
    return SavedGeolocator(
        model=model.eval(),
        vocabulary=vocabulary,
        model_version=weights_hash(model.state_dict()),
        facts={key: value for key, value in contents.items() if key not in _NO_FACTS},
    )


def _check_vocabulary(vocabulary: Vocabulary, weights: Mapping[str, Tensor], *, what: str, cure: str) -> None:
    for task in TASKS:
        classes, head = vocabulary.tasks[task], weights.get(f"heads.{task}.bias")
        answers = 0 if head is None else len(head)
        if len(classes.codes) != answers:
            reason = f"its vocabulary names {len(classes.codes)} classes, its head has {answers}"
            raise ModelError(what=f"{what}, task {task}", reason=reason, cure=cure)
        if len({len(classes.codes), len(classes.names), len(classes.n_train), len(classes.weights)}) > 1:
            reason = "its vocabulary has not as many names, counts and weights as codes"
            raise ModelError(what=f"{what}, task {task}", reason=reason, cure=cure)


def _load_weights(model: Geolocator, weights: Mapping[str, Tensor], *, version: str | None, what: str, cure: str) -> None:
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelError(what=what, reason=str(error).splitlines()[-1].strip(), cure=cure) from error
    broken = sorted(name for name, tensor in weights.items() if tensor.is_floating_point() and not tensor.isfinite().all())
    if broken:
        raise NotFiniteError(what=what, names=broken, cure="train again; a lower learning rate may help")
    found = weights_hash(weights)
    if version is not None and found != version:
        raise ModelError(what=what, reason=f"its weights have the hash {found}, not {version} as it says", cure=cure)


def _read_export(folder: Path) -> dict[str, Any]:
    """Return what an export holds, by the names of a checkpoint.

    Raises:
        ModelError: A file is missing or damaged, or not what `config.json` says.
    """
    what = f"export {folder}"
    config = _read_json(folder / CONFIG)
    _check_format(config.get("format"), what=what, cure=_EXPORT_CURE)
    try:
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(what=f"export's {folder / WEIGHTS}", reason=_first_line(error), cure=_EXPORT_CURE) from error
    return {
        **_read_json(folder / TRAINING, hashes=config.get("sha256")),
        "format": config["format"],
        "model": weights,
        "model_config": config.get("architecture"),
        "preprocessing": config.get("preprocessing"),
        "vocabulary": _read_json(folder / VOCABULARY, hashes=config.get("sha256")),
        "model_version": config.get("model_version"),
    }


def _read_json(path: Path, *, hashes: object = None) -> dict[str, Any]:
    """Return a JSON object of an export, checked against the hash that `config.json` tells of it.

    Raises:
        ModelError: It is missing or damaged.
    """
    what = f"export's {path}"
    try:
        data = path.read_bytes()
        told = json.loads(data)
    except OSError as error:
        raise ModelError(what=what, reason=error.strerror or str(error), cure=_EXPORT_CURE) from error
    except ValueError as error:
        raise ModelError(what=what, reason=f"is no JSON ({_first_line(error)})", cure=_EXPORT_CURE) from error
    if not isinstance(told, dict):
        raise ModelError(what=what, reason="is no JSON object", cure=_EXPORT_CURE)
    if path.name != CONFIG:
        found, expected = hashlib.sha256(data).hexdigest(), hashes.get(path.name) if isinstance(hashes, dict) else None
        if found != expected:
            raise ModelError(what=what, reason=f"its hash is {found}, {CONFIG} says {expected}", cure=_EXPORT_CURE)
    return told


def _check_format(found: object, *, what: str, cure: str) -> None:
    if found != FORMAT:
        raise ModelError(what=what, reason=f"has format {found!r}, this version reads {FORMAT}", cure=cure)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
