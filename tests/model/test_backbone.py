"""timm's trunks: names, weights, widths."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from geoloc_pipeline.errors import MissingInputError, ModelError
from geoloc_pipeline.model.backbone import build_backbone, output_width, preprocessing_of


@pytest.mark.parametrize(("name", "input_px"), [("test_vit", 48), ("test_efficientnet", 32), ("mobilenetv3_small_050", 32)])
def test_the_width_is_that_of_the_output(name: str, input_px: int):
    backbone = build_backbone(name, input_px=input_px)
    width = output_width(backbone, input_px=input_px)
    assert backbone.training
    assert backbone(torch.zeros(2, 3, input_px, input_px)).shape == (2, width)


def test_weights_come_from_a_file(tmp_path):
    source = build_backbone("test_vit", input_px=160)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    loaded = build_backbone("test_vit", input_px=160, weights=str(tmp_path / "model.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(source.state_dict().values(), loaded.state_dict().values(), strict=True))


def test_position_embeddings_are_resampled_to_another_input(tmp_path):
    save_file(build_backbone("test_vit", input_px=160).state_dict(), tmp_path / "model.safetensors")
    smaller = build_backbone("test_vit", input_px=64, weights=str(tmp_path / "model.safetensors"))
    assert torch.isfinite(smaller(torch.zeros(1, 3, 64, 64))).all()


def test_a_missing_file_of_weights_names_the_variable_and_the_cure(tmp_path):
    with pytest.raises(MissingInputError, match=r"GEOLOC_BACKBONE_WEIGHTS.*hub.*none.*huggingface"):
        build_backbone("test_vit", input_px=64, weights=str(tmp_path / "nowhere.safetensors"))


def test_a_file_that_is_no_safetensors_names_the_variable(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"<html>not found</html>")
    with pytest.raises(ModelError, match="GEOLOC_BACKBONE_WEIGHTS"):
        build_backbone("test_vit", input_px=64, weights=str(tmp_path / "model.safetensors"))


def test_weights_of_another_model_are_refused(tmp_path):
    save_file(build_backbone("test_vit2", input_px=64).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="GEOLOC_BACKBONE_WEIGHTS"):
        build_backbone("test_vit", input_px=64, weights=str(tmp_path / "model.safetensors"))


def test_a_model_that_timm_does_not_know_is_named():
    with pytest.raises(ModelError, match="vit_gigantic"):
        build_backbone("vit_gigantic", input_px=64)


def test_mean_and_deviation_are_the_backbones_own():
    preprocessing = preprocessing_of(build_backbone("timm/test_vit", input_px=64), input_px=64)
    assert (preprocessing.input_px, preprocessing.mean, preprocessing.std) == (64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
