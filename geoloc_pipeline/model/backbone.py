"""The image encoder's trunk: any timm model, with weights from the hub, from a file, or none.

Paper: §3.2, `timm/vit_large_patch14_clip_224.laion2b_ft_in12k_in1k`, not frozen.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import huggingface_hub
import timm
import timm.data
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from geoloc_pipeline.errors import MissingInputError, ModelError
from geoloc_pipeline.model.preprocess import Preprocessing

PAPER_BACKBONE = "vit_large_patch14_clip_224.laion2b_ft_in12k_in1k"
WEIGHTS_VARIABLE = "GEOLOC_BACKBONE_WEIGHTS"
_WEIGHTS_CURE = (
    f"set {WEIGHTS_VARIABLE} to the path of a downloaded model.safetensors, to `none` to train from nothing, or to `hub` where "
    "huggingface.co can be reached"
)
_HUB_FILE = "model.safetensors"
_HUB_PATIENCE_S = 10.0
_REASON_LENGTH = 200  # of what torch says: names of tensors go on for pages


def build_backbone(name: str, *, input_px: int, weights: str = "none") -> nn.Module:
    """Return a timm model without its classifier.

    Args:
        name: timm's name, with its pretraining tag where weights are wanted; a leading `timm/` is accepted.
        input_px: Side of the square that it will see; position embeddings are resampled to it.
        weights: `hub` (Hugging Face hub or its cache), `none` (fresh weights), or the path of a safetensors file.

    Returns:
        The model; `[n, 3, input_px, input_px]` to `[n, width]`.

    Raises:
        ModelError: timm knows no such model, or the weights do not fit, or the hub cannot be reached.
        MissingInputError: The file of weights is not there.
    """
    name = name.removeprefix("timm/")
    if not timm.is_model(name.split(".")[0]):
        raise ModelError(what=f"backbone {name!r}", reason="timm has no such model", cure="choose a name of timm.list_models()")
    options: dict[str, Any] = {"num_classes": 0}
    if _has_fixed_input(name):
        options["img_size"] = input_px
    if weights == "none":
        return _create(name, options, source="fresh weights")
    if weights == "hub":
        return _from_hub(name, options)
    path = Path(weights).expanduser()
    if not path.is_file():
        raise MissingInputError(
            what="the backbone's weights",
            path=path,
            cure=f"set {WEIGHTS_VARIABLE} to `hub`, `none`, or the path of model.safetensors of huggingface.co/timm/{name}",
        )
    return _from_file(name, options, path)


def _from_file(name: str, options: dict[str, Any], path: Path) -> nn.Module:
    """Return the model with every tensor from a file; a classifier in the file is left out.

    Raises:
        ModelError: The file is damaged, or is not this model's.
    """
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    classifier = (config.classifier if config is not None else None) or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    try:
        with safe_open(path, framework="pt") as opened:
            found = set(opened.keys())
    except (OSError, SafetensorError) as error:
        raise ModelError(what=f"backbone {name!r} from {path}", reason=_reason(error), cure=_WEIGHTS_CURE) from error
    overlay: dict[str, Any] = {"file": str(path), "hf_hub_id": None, "url": ""}
    has_classifier = any(f"{head}.weight" in found for head in heads)
    if not has_classifier:
        overlay["num_classes"] = 0  # else timm looks for a classifier to leave out, and forgives what is missing
    model = _create(name, {**options, "pretrained": True, "pretrained_cfg_overlay": overlay}, source=str(path))
    if has_classifier and (missing := sorted(set(model.state_dict()) - found)):
        reason = f"the file lacks {len(missing)} of its tensors ({missing[0]} …)"
        raise ModelError(what=f"backbone {name!r} from {path}", reason=reason, cure=_WEIGHTS_CURE)
    return model


def _from_hub(name: str, options: dict[str, Any]) -> nn.Module:
    """Return the model with weights of the hub's cache, else of the hub.

    Raises:
        ModelError: They are not in the cache and the hub cannot be reached, or they do not fit.
    """
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    repository = str(config.hf_hub_id or "") if config is not None else ""
    cached = huggingface_hub.try_to_load_from_cache(repository, _HUB_FILE) if repository else None
    if isinstance(cached, str):  # no need to ask the hub, nor to let all ranks of a node ask it at once
        return _from_file(name, options, Path(cached))
    source = "the Hugging Face hub"
    if repository and not huggingface_hub.constants.HF_HUB_OFFLINE and (fault := _hub_fault()):
        raise ModelError(what=f"backbone {name!r} from {source}", reason=fault, cure=_WEIGHTS_CURE)
    return _create(name, {**options, "pretrained": True}, source=source)


def _hub_fault() -> str:
    """Return why the hub cannot be reached, empty when it can; its own client tries for minutes before it says so."""
    endpoint = huggingface_hub.constants.ENDPOINT
    try:
        with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=_HUB_PATIENCE_S):  # noqa: S310
            return ""
    except urllib.error.HTTPError:
        return ""  # it answers; whether it has the file is for its client to find out
    except (OSError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        # its client may know certificates that we do not
        return "" if isinstance(reason, ssl.SSLError) else f"{endpoint} cannot be reached ({reason}) and its cache lacks them"


def _has_fixed_input(name: str) -> bool:
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(config is not None and config.fixed_input_size)


def _create(name: str, options: dict[str, Any], *, source: str) -> nn.Module:
    try:
        model: nn.Module = timm.create_model(name, **options)
    except (OSError, RuntimeError, KeyError, SafetensorError) as error:
        # huggingface_hub's "not cached and offline" is an OSError; tensors that do not fit are a RuntimeError.
        raise ModelError(what=f"backbone {name!r} from {source}", reason=_reason(error), cure=_WEIGHTS_CURE) from error
    return model


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2])[:_REASON_LENGTH]


def output_width(backbone: nn.Module, *, input_px: int) -> int:
    """Return the length of the backbone's feature vector, by asking it once.

    timm's `num_features` is not the output's width for MobileNet-like models.
    """
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        width = int(backbone(torch.zeros(1, 3, input_px, input_px)).shape[1])
    backbone.train(was_training)
    return width


def preprocessing_of(backbone: nn.Module, *, input_px: int) -> Preprocessing:
    """Return the backbone's own preprocessing (mean, deviation, interpolation), for squares of `input_px`."""
    config = timm.data.resolve_model_data_config(backbone)
    return Preprocessing.from_dict({**config, "input_px": input_px})
