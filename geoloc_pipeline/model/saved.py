"""The model as a file: what a checkpoint says of itself, and how to read it without the training code."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from geoloc_pipeline.errors import MissingInputError, ModelError
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

FORMAT = 1
_CURE = "remove it and materialise `geolocation_model` again"


@dataclass(frozen=True)
class SavedGeolocator:
    """A model read from a checkpoint.

    Attributes:
        model: On the CPU, in evaluation mode.
        vocabulary: What its heads' classes mean.
        model_version: Content hash of its weights.
        facts: Everything else that the checkpoint says: training_config, data_versions, git_commit, epoch, validation.
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
    try:
        contents = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        reason = f"cannot be read ({(str(error).splitlines() or [type(error).__name__])[0]})"
        raise ModelError(what=f"checkpoint {path}", reason=reason, cure=_CURE) from error
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise ModelError(what=f"checkpoint {path}", reason="is not a checkpoint of this project", cure=_CURE)
    return contents


def load_geolocator(path: Path, *, untrained: bool = False, seed: int = 0) -> SavedGeolocator:
    """Return the model of a checkpoint, ready to look at pictures.

    Args:
        path: `best.pt` or `last.pt`.
        untrained: Keep the architecture and leave the weights fresh: the baseline that shows what training brought. Its
            `model_version` is that of the fresh weights.
        seed: Of the fresh weights.

    Returns:
        The model and what is known of it.

    Raises:
        ModelError: The tensors do not fit the architecture that the checkpoint names.
    """
    contents = read_checkpoint(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Geolocator(GeolocatorConfig.from_dict(contents["model_config"]))
    if not untrained:
        try:
            model.load_state_dict(contents["model"], strict=True)
        except RuntimeError as error:
            raise ModelError(what=f"checkpoint {path}", reason=str(error).splitlines()[-1].strip(), cure=_CURE) from error
    facts = {key: value for key, value in contents.items() if key not in {"model", "optimizer", "queue", "vocabulary"}}
    return SavedGeolocator(
        model=model.eval(),
        vocabulary=Vocabulary.from_dict(contents["vocabulary"]),
        model_version=weights_hash(model.state_dict()),
        facts=facts,
    )
