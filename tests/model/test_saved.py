"""Checkpoints as files: whole, damaged, strange."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.0, 1.0, exclude_max=True))
def test_a_checkpoint_cut_anywhere_is_named_with_the_cure(checkpoint, share: float):
    path, _ = checkpoint
    data = path.read_bytes()
    half = path.with_name("half.pt")
    half.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ModelError, match=r"half\.pt.*materialise"):
        load_geolocator(half)


@pytest.mark.parametrize("found", [FORMAT + 1, 0, "new", None])
def test_a_checkpoint_of_another_format_is_refused(checkpoint, found: object):
    path, _ = checkpoint
    torch.save({**torch.load(path, weights_only=True), "format": found}, path)
    with pytest.raises(ModelError, match=rf"best\.pt: has format {found!r}, this version reads {FORMAT}; .*materialise"):
        load_geolocator(path)


@pytest.mark.parametrize("codes", [0, 1, 3])
def test_a_vocabulary_that_does_not_fit_the_heads_names_the_task_and_both_counts(checkpoint, codes: int):
    path, _ = checkpoint
    contents = torch.load(path, weights_only=True)
    classes = {"codes": list("abc")[:codes], "names": [""] * codes, "n_train": [1] * codes, "weights": [1.0] * codes}
    contents["vocabulary"]["prefecture"] = classes
    torch.save(contents, path)
    with pytest.raises(
        ModelError, match=rf"task prefecture: its vocabulary names {codes} classes, its head has 2; .*materialise"
    ):
        load_geolocator(path)


def test_a_vocabulary_for_a_head_that_is_not_there_is_refused(checkpoint):
    path, _ = checkpoint
    contents = torch.load(path, weights_only=True)
    contents["vocabulary"]["town"] = contents["vocabulary"]["prefecture"]
    torch.save(contents, path)
    with pytest.raises(ModelError, match=r"task town: its vocabulary names 2 classes, its head has 0"):
        load_geolocator(path)


@pytest.mark.parametrize("lacking", ["model", "model_config", "vocabulary"])
def test_a_checkpoint_that_lacks_a_part_is_refused(checkpoint, lacking: str):
    path, _ = checkpoint
    contents = torch.load(path, weights_only=True)
    del contents[lacking]
    torch.save(contents, path)
    with pytest.raises(ModelError, match=rf"lacks or garbles '{lacking}'.*materialise"):
        load_geolocator(path)


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
