"""A model handed on: the same model, whole or not at all, readable without what trained it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from geoloc_pipeline.errors import MissingInputError, ModelError
from geoloc_pipeline.model.export import FILES, export_geolocator
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.saved import FORMAT, load_geolocator, weights_hash
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary

CONFIG = GeolocatorConfig(
    backbone="test_vit",
    input_px=32,
    class_counts={"prefecture": 2, "town": 1},
    location_sigmas=(1.0, 16.0),
    location_width=8,
)
SOURCES = pd.DataFrame(
    {
        "source": ["mapillary", "panoramax"],
        "licence": ["CC-BY-SA-4.0", "etalab-2.0"],
        "n_pictures": [812, 90],
        "n_authors": [31, 4],
    }
)
HISTORY = [{"epoch": 0, "train_loss": 3.25, "val_loss": 2.5}, {"epoch": 1, "train_loss": 2.0, "val_loss": 2.25}]
TOLD = {
    "training_config": {"preset": "demo", "backbone_weights": "none", "input_px": 32},
    "departures": {"fill": ["black", "reflect"]},
    "data_versions": {"training_shards": "v1"},
    "git_commit": "0123abcd",
    "epoch": 1,
    "validation": {"val_loss": 0.1 + 0.2, "val_accuracy": {"prefecture": 1 / 3}},
}


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    torch.manual_seed(7)
    model = Geolocator(CONFIG)
    classes = {
        "prefecture": TaskClasses(codes=("01", "13"), names=("北海道", "東京都"), n_train=(3, 5), weights=(0.1, 1 / 3)),
        "town": TaskClasses(codes=("131040010",), names=("",), n_train=(2,), weights=(1.0,)),
    }
    vocabulary = Vocabulary(
        {task: classes.get(task, TaskClasses()) for task in ("prefecture", "municipality", "town", "road", "landmark")}
    )
    contents = {
        **TOLD,
        "format": FORMAT,
        "model": model.state_dict(),
        "model_config": CONFIG.as_dict(),
        "model_version": weights_hash(model.state_dict()),
        "vocabulary": vocabulary.as_dict(),
    }
    torch.save(contents, tmp_path / "best.pt")
    return tmp_path / "best.pt"


@pytest.fixture
def exported(checkpoint, tmp_path) -> Path:
    export_geolocator(checkpoint, tmp_path / "export", sources=SOURCES, history=HISTORY)
    return tmp_path / "export"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_export_is_the_same_model_bit_by_bit(checkpoint, exported):
    first, second = load_geolocator(checkpoint), load_geolocator(exported)
    pixels, places = torch.randn(3, 3, 32, 32), torch.tensor([[35.0, 139.0], [43.1, 141.3]])
    with torch.inference_mode():
        one, other = first.model(pixels), second.model(pixels)
        assert torch.equal(one.embedding, other.embedding)
        assert all(torch.equal(one.logits[task], other.logits[task]) for task in ("prefecture", "town"))
        assert torch.equal(first.model.embed_places(places), second.model.embed_places(places))
    assert first.model.config == second.model.config
    assert first.model.preprocessing == second.model.preprocessing
    assert (first.vocabulary, first.model_version, first.facts) == (second.vocabulary, second.model_version, second.facts)
    assert not second.model.training


def test_an_export_of_an_export_has_the_same_bytes(checkpoint, exported, tmp_path):
    paths = export_geolocator(exported, tmp_path / "again", sources=SOURCES, history=HISTORY)
    assert [path.name for path in paths] == list(FILES)
    assert all(path.is_file() for path in paths)
    assert contents(tmp_path / "again") == contents(exported)
    export_geolocator(checkpoint, exported, sources=SOURCES, history=HISTORY)
    assert contents(tmp_path / "again") == contents(exported)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "best.pt", "export"]


def test_the_files_say_what_made_the_model(exported):
    config, training = (json.loads((exported / name).read_text()) for name in ("config.json", "training.json"))
    assert config["preprocessing"] == {"input_px": 32, "mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}
    assert config["embedding_size"] == 512
    assert training == TOLD
    assert pd.read_csv(exported / "sources.csv").equals(SOURCES)
    assert json.loads((exported / "vocabulary.json").read_text())["prefecture"]["names"] == ["北海道", "東京都"]


def test_an_export_loads_where_only_the_model_room_exists(exported, checkpoint):
    program = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        walled = ("training", "orchestration", "retrieval", "web", "imagery", "labels", "evaluation", "sources", "demo")
        if name.split(".")[0].startswith("dagster") or name in {f"geoloc_pipeline.{room}" for room in walled}:
            raise ImportError(f"{name} is walled off")
sys.meta_path.insert(0, Wall())
from pathlib import Path
from geoloc_pipeline.model.saved import load_geolocator
print(load_geolocator(Path(sys.argv[1])).model_version)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(exported)],
        capture_output=True,
        text=True,
        check=False,
        cwd=exported,
        env=environment,
    )
    assert done.stdout.strip() == load_geolocator(checkpoint).model_version, done.stderr


def test_the_exports_own_preprocessing_counts(exported):
    config = json.loads((exported / "config.json").read_text())
    config["preprocessing"] |= {"mean": [0.1, 0.2, 0.3], "interpolation": "bilinear"}
    (exported / "config.json").write_text(json.dumps(config))
    preprocessing = load_geolocator(exported).model.preprocessing
    assert (preprocessing.mean, preprocessing.interpolation) == ((0.1, 0.2, 0.3), "bilinear")


def test_an_untrained_model_of_an_export_is_that_of_its_checkpoint(exported, checkpoint):
    fresh = load_geolocator(exported, untrained=True)
    assert fresh.model_version == load_geolocator(checkpoint, untrained=True).model_version
    assert fresh.model_version != load_geolocator(exported).model_version


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "vocabulary.json", "training.json"])
@pytest.mark.parametrize("keep", [None, 0.0, 0.3, 0.9999])
def test_a_missing_or_damaged_file_is_named(exported, name: str, keep: float | None):
    whole = (exported / name).read_bytes()
    if keep is None:
        (exported / name).unlink()
    else:
        (exported / name).write_bytes(whole[: int(keep * (len(whole) - 1))])
    with pytest.raises(ModelError, match=rf"{name}.*(fetch the whole folder|materialise)".replace(".", r"\.", 1)):
        load_geolocator(exported)


def test_a_word_changed_in_the_vocabulary_is_noticed(exported):
    path = exported / "vocabulary.json"
    path.write_text(path.read_text().replace("東京都", "京都府"))
    with pytest.raises(ModelError, match=r"vocabulary\.json: its hash"):
        load_geolocator(exported)


def test_a_missing_tensor_is_named(exported):
    weights = load_file(exported / "model.safetensors")
    del weights["projection.bias"]
    save_file(weights, exported / "model.safetensors")
    with pytest.raises(ModelError, match=r"projection\.bias.*fetch the whole folder"):
        load_geolocator(exported)


def test_a_changed_number_is_noticed(exported):
    weights = load_file(exported / "model.safetensors")
    weights["projection.bias"][3] += 1e-3
    save_file(weights, exported / "model.safetensors")
    with pytest.raises(ModelError, match=r"hash .*fetch the whole folder"):
        load_geolocator(exported)


@pytest.mark.parametrize("garbled", [{"format": 99}, {"architecture": None}, {"preprocessing": {"input_px": 3}}, {"sha256": 3}])
def test_a_config_of_something_else_is_refused(exported, garbled: dict):
    config = json.loads((exported / "config.json").read_text())
    (exported / "config.json").write_text(json.dumps({**config, **garbled}))
    with pytest.raises(ModelError, match=r"export.*(format 99, this version reads 1|lacks or garbles|says None).*fetch"):
        load_geolocator(exported)


def test_a_folder_of_something_else_is_neither_read_nor_written(checkpoint, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    with pytest.raises(ModelError, match=r"config\.json"):
        load_geolocator(tmp_path / "home")
    with pytest.raises(ModelError, match=r"letter\.txt.*name a folder that is empty"):
        export_geolocator(checkpoint, tmp_path / "home", sources=SOURCES)
    assert contents(tmp_path / "home") == {"letter.txt": b"dear"}


def test_a_checkpoint_that_cannot_be_exported_leaves_the_earlier_export(exported, checkpoint, tmp_path):
    before = contents(exported)
    with pytest.raises(MissingInputError):
        export_geolocator(tmp_path / "nowhere.pt", exported, sources=SOURCES)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(ModelError):
        export_geolocator(checkpoint, exported, sources=SOURCES)
    with pytest.raises(ModelError, match="no column licence"):
        export_geolocator(checkpoint, exported, sources=SOURCES.drop(columns="licence"))
    assert contents(exported) == before


def test_what_a_killed_export_left_is_cleared_away(exported, checkpoint, tmp_path):
    shutil.copytree(exported, tmp_path / "export.partial")
    (tmp_path / "export.partial" / "README.md").write_text("half")
    export_geolocator(checkpoint, exported, sources=SOURCES, history=HISTORY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "export"]
    assert (exported / "README.md").read_text() != "half"


def test_the_folders_of_whoever_trained_it_are_not_handed_on(checkpoint, tmp_path):
    contents = torch.load(checkpoint, weights_only=True)
    contents["training_config"] = {"backbone_weights": "/home/somebody/secret/model.safetensors"}
    torch.save(contents, tmp_path / "best.pt")
    for path in export_geolocator(tmp_path / "best.pt", tmp_path / "export", sources=SOURCES):
        assert b"somebody" not in path.read_bytes()
    assert "model.safetensors" in (tmp_path / "export" / "training.json").read_text()
