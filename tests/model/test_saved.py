"""Checkpoints as files: whole, damaged, strange."""

from __future__ import annotations

import pytest
import torch

from geoloc_pipeline.errors import MissingInputError, ModelError
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.saved import FORMAT, load_geolocator, read_checkpoint, weights_hash
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary

CONFIG = GeolocatorConfig(
    backbone="test_vit", input_px=32, class_counts={"prefecture": 2}, location_sigmas=(1.0,), location_width=8
)
VOCABULARY = Vocabulary(
    tasks={
        task: TaskClasses(codes=("01", "13"), names=("a", "b"), n_train=(1, 1), weights=(1.0, 1.0))
        if task == "prefecture"
        else TaskClasses()
        for task in ("prefecture", "municipality", "town", "road", "landmark")
    }
)


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(7)
    model = Geolocator(CONFIG)
    contents = {
        "format": FORMAT,
        "model": model.state_dict(),
        "model_config": CONFIG.as_dict(),
        "vocabulary": VOCABULARY.as_dict(),
        "epoch": 3,
    }
    torch.save(contents, tmp_path / "best.pt")
    return tmp_path / "best.pt", model


def test_a_model_is_read_back_with_what_is_known_of_it(checkpoint):
    path, model = checkpoint
    saved = load_geolocator(path)
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(saved.model.embed(pixels), model.eval().embed(pixels))
    assert saved.model_version == weights_hash(model.state_dict())
    assert saved.vocabulary == VOCABULARY
    assert saved.facts["epoch"] == 3
    assert not saved.model.training


def test_an_untrained_model_has_the_same_shape_other_weights_and_is_always_the_same(checkpoint):
    path, model = checkpoint
    torch.manual_seed(1)
    one = load_geolocator(path, untrained=True)
    torch.manual_seed(2)
    expected = torch.rand(1)
    torch.manual_seed(2)
    other = load_geolocator(path, untrained=True)
    assert one.model_version == other.model_version != weights_hash(model.state_dict())
    assert torch.equal(torch.rand(1), expected)  # nobody else's chance was touched


def test_the_version_depends_on_every_number_and_on_nothing_else(checkpoint):
    _, model = checkpoint
    state = model.state_dict()
    backwards = dict(reversed(list(state.items())))
    assert weights_hash(backwards) == weights_hash(state)
    changed = {name: tensor.clone() for name, tensor in state.items()}
    changed["projection.bias"][5] += 1e-6
    assert weights_hash(changed) != weights_hash(state)
    assert len(weights_hash(state)) == 16


def test_a_missing_checkpoint_says_what_to_materialise(tmp_path):
    with pytest.raises(MissingInputError, match="materialise `geolocation_model`"):
        read_checkpoint(tmp_path / "best.pt")


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named(checkpoint, keep: float):
    path, _ = checkpoint
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(ModelError, match=r"best\.pt.*materialise"):
        read_checkpoint(path)


def test_a_file_of_something_else_is_no_checkpoint(tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "best.pt")
    with pytest.raises(ModelError, match="not a checkpoint of this project"):
        read_checkpoint(tmp_path / "best.pt")


def test_tensors_that_do_not_fit_the_architecture_are_refused(checkpoint):
    path, _ = checkpoint
    contents = torch.load(path, weights_only=True)
    contents["model_config"]["class_counts"]["prefecture"] = 3
    torch.save(contents, path)
    with pytest.raises(ModelError, match=r"best\.pt.*size mismatch"):
        load_geolocator(path)
