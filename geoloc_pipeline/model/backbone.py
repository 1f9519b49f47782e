"""The image encoder's trunk: any timm model, with weights from the hub, from a file, or none.

Paper: §3.2, `timm/vit_large_patch14_clip_224.laion2b_ft_in12k_in1k`, not frozen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import timm.data
import torch
from safetensors import SafetensorError
from torch import nn

from geoloc_pipeline.errors import MissingInputError, ModelError
from geoloc_pipeline.model.preprocess import Preprocessing

PAPER_BACKBONE = "vit_large_patch14_clip_224.laion2b_ft_in12k_in1k"
WEIGHTS_VARIABLE = "GEOLOC_BACKBONE_WEIGHTS"


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
        return _create(name, {**options, "pretrained": True}, source="the Hugging Face hub")
    path = Path(weights).expanduser()
    if not path.is_file():
        raise MissingInputError(
            what="the backbone's weights",
            path=path,
            cure=f"set {WEIGHTS_VARIABLE} to `hub`, `none`, or the path of model.safetensors of huggingface.co/timm/{name}",
        )
    overlay = {"file": str(path), "num_classes": 0, "hf_hub_id": None, "url": ""}
    return _create(name, {**options, "pretrained": True, "pretrained_cfg_overlay": overlay}, source=str(path))


def _has_fixed_input(name: str) -> bool:
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return bool(config is not None and config.fixed_input_size)


def _create(name: str, options: dict[str, Any], *, source: str) -> nn.Module:
    cure = (
        f"set {WEIGHTS_VARIABLE} to the path of a downloaded model.safetensors, to `none` to train from nothing, or to `hub` "
        "where huggingface.co can be reached"
    )
    try:
        model: nn.Module = timm.create_model(name, **options)
    except (OSError, RuntimeError, KeyError, SafetensorError) as error:
        # huggingface_hub's "not cached and offline" is an OSError; tensors that do not fit are a RuntimeError.
        reason = str(error).strip().splitlines()
        raise ModelError(
            what=f"backbone {name!r} from {source}", reason=reason[0] if reason else type(error).__name__, cure=cure
        ) from error
    return model


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
    """Return the preprocessing that the backbone was trained with, for squares of `input_px`."""
    config = timm.data.resolve_model_data_config(backbone)
    mean, std = (tuple(float(value) for value in config[key]) for key in ("mean", "std"))
    return Preprocessing(input_px=input_px, mean=(mean[0], mean[1], mean[2]), std=(std[0], std[1], std[2]))
