"""The model card: written from the run, true to it, and its snippet runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from geoloc_pipeline.model.card import duty_of, model_card
from geoloc_pipeline.model.export import export_geolocator
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.saved import FORMAT, SavedGeolocator, load_geolocator, weights_hash
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.tables import TASKS

SOURCES = pd.DataFrame(
    {
        "source": ["panoramax", "mapillary"],
        "licence": ["etalab-2.0", "CC-BY-SA-4.0"],
        "n_pictures": [90, 1812],
        "n_authors": [4, 31],
    }
)
HISTORY = [{"epoch": 0, "train_loss": 3.25, "val_loss": 2.5}, {"epoch": 1, "train_loss": 2.0, "val_loss": 2.25}]
FACTS = {
    "training_config": {"preset": "demo", "backbone_weights": "/home/somebody/weights/model.safetensors"},
    "departures": {"fill": ["black", "reflect"]},
    "data_versions": {"training_shards": "v17"},
    "git_commit": "0123abcd",
    "epoch": 1,
    "validation": {"val_loss": 2.25, "val_terms": {"prefecture": 0.5}, "val_accuracy": {"prefecture": 0.875}},
}


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    torch.manual_seed(7)
    config = GeolocatorConfig(
        backbone="test_vit", input_px=32, class_counts={"prefecture": 2}, location_sigmas=(1.0,), location_width=8
    )
    classes = TaskClasses(codes=("01", "13"), names=("北海道", "東京都"), n_train=(3, 5), weights=(1.0, 1.0))
    vocabulary = Vocabulary({task: classes if task == "prefecture" else TaskClasses() for task in TASKS})
    state = Geolocator(config).state_dict()
    contents = {
        **FACTS,
        "format": FORMAT,
        "model": state,
        "model_config": config.as_dict(),
        "model_version": weights_hash(state),
        "vocabulary": vocabulary.as_dict(),
    }
    torch.save(contents, tmp_path / "best.pt")
    return tmp_path / "best.pt"


@pytest.fixture
def saved(checkpoint) -> SavedGeolocator:
    return load_geolocator(checkpoint)


def with_facts(saved: SavedGeolocator, **facts: object) -> SavedGeolocator:
    return SavedGeolocator(saved.model, saved.vocabulary, saved.model_version, {**saved.facts, **facts})


def test_the_snippet_of_an_exports_card_runs_as_it_stands(checkpoint, tmp_path):
    export_geolocator(checkpoint, tmp_path / "export", sources=SOURCES, history=HISTORY)
    card = (tmp_path / "export" / "README.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    photo = np.random.default_rng(5).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "export" / "photo.jpg"), photo)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", snippet],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path / "export",
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", "PYTHONUTF8": "1"},
    )
    assert re.fullmatch(r"prefecture: (01 北海道|13 東京都) \(\d+%\)\n", done.stdout), done.stderr


def test_the_card_tells_the_runs_own_figures(saved):
    card = model_card(saved, sources=SOURCES, history=HISTORY)
    for told in (
        saved.model_version,
        "prefecture (2)",
        "`0123abcd`. Epoch that was kept: 2.",
        '| `fill` | `"black"` | `"reflect"` |',
        '| `training_shards` | `"v17"` |',
        "Training pictures: 1,902.",
        "| mapillary | CC-BY-SA-4.0 | 1,812 | 31 | name author and licence and link to both; changed copies under",
        "| prefecture | 0.5000 | 87.5% |",
        "| 2 | 2.0000 | 2.2500 |",
        "indoors",
        "night",
        "(§6)",
    ):
        assert told in card
    assert f"{sum(parameter.numel() for parameter in saved.model.parameters()):,}" in card


def test_nobodys_folders_are_told(saved):
    card = model_card(saved, sources=SOURCES)
    assert "somebody" not in card
    assert "from the file `model.safetensors`" in card


@pytest.mark.parametrize(("weights", "named"), [("none", False), ("hub", True), ("/w/model.safetensors", True)])
def test_the_base_model_is_named_where_its_weights_were_used(saved, weights: str, named: bool):
    card = model_card(with_facts(saved, training_config={"backbone_weights": weights}), sources=SOURCES)
    front = card.split("---\n")[1]
    assert ('base_model: "timm/test_vit"' in front) is named
    assert "library_name: geoloc_pipeline" in front


def test_what_the_run_does_not_tell_is_called_unknown(saved):
    bare = SavedGeolocator(saved.model, saved.vocabulary, saved.model_version, {})
    card = model_card(bare, sources=SOURCES.iloc[:0])
    assert "Commit of the code: `not known`. Epoch that was kept: not told." in card
    assert "Which switches differ from the paper's is not told." in card
    assert "Training pictures: not told." in card
    assert "Not told: there was nothing to validate with." in card
    assert "Every switch stands where the paper has it" in model_card(with_facts(saved, departures={}), sources=SOURCES)


def test_a_card_does_not_depend_on_the_order_of_the_sources(saved):
    assert model_card(saved, sources=SOURCES) == model_card(saved, sources=SOURCES.iloc[::-1])


def test_every_table_has_as_many_cells_as_its_head_whatever_names_hold(saved):
    strange = SOURCES.assign(source=["a|b", "c\nd"])
    card = model_card(with_facts(saved, data_versions={"x": "a|b\nc"}), sources=strange, history=HISTORY)
    tables = re.findall(r"(?:^\|.*\n?)+", card, flags=re.MULTILINE)
    assert len(tables) >= 6
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}) == 1, table


@pytest.mark.parametrize(
    ("licence", "duty"),
    [
        ("CC0-1.0", "none"),
        ("CC-BY-4.0", "name author and licence and link to both"),
        ("CC-BY-NC-4.0", "name author and licence and link to both; no commercial use"),
        ("CC-BY-SA-4.0 AND CC0-1.0", "name author and licence and link to both; changed copies under the same licence; none"),
        ("NOASSERTION", "not known: ask the source before anything is handed on"),
        ("", "not known: ask the source before anything is handed on"),
    ],
)
def test_a_licence_asks_what_it_asks(licence: str, duty: str):
    assert duty_of(licence) == duty
