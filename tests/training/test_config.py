"""Presets, overrides and the file that carries them."""

from __future__ import annotations

import json

import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.training.config import PRESETS, make_config


def test_the_paper_preset_says_what_the_paper_says():
    paper = make_config("paper")
    assert paper.backbone == "vit_large_patch14_clip_224.laion2b_ft_in12k_in1k"
    assert paper.location_sigmas == (1, 4, 16, 64, 256)
    assert (paper.queue_length, paper.learning_rate, paper.max_epochs, paper.patience_epochs) == (8192, 1e-4, 100, 5)
    assert (paper.affine_scale, paper.shear_deg, paper.noise_levels, paper.noise_probability) == ((1.0, 1.1), 15, 10, 0.5)
    assert (paper.optimizer, paper.precision, paper.schedule) == ("radam", "bf16", "constant")


def test_departures_from_the_paper_are_off_in_its_preset():
    paper = make_config("paper")
    assert (paper.logit_adjust_tau, paper.same_place_km, paper.clip_norm, paper.weight_decay) == (0, 0, 0, 0)
    assert paper.fill == "black"


def test_every_preset_survives_being_written_down():
    for name, preset in PRESETS.items():
        plain = json.loads(json.dumps(preset.as_dict()))
        plain.pop("preset")
        assert make_config(name, plain) == make_config(name)


def test_weights_come_from_the_overrides_then_the_preset_then_the_environment_then_the_hub():
    assert make_config("paper").backbone_weights == "hub"
    assert make_config("paper", backbone_weights="/w.safetensors").backbone_weights == "/w.safetensors"
    assert make_config("demo", backbone_weights="hub").backbone_weights == "none"
    assert make_config("demo", {"backbone_weights": "hub"}).backbone_weights == "hub"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"learning_rat": 1e-3}, "learning_rat.*no such knob.*learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate.*'fast'.*number"),
        ({"learning_rate": 0}, "learning_rate.*positive"),
        ({"max_epochs": 2.5}, "max_epochs.*whole number"),
        ({"max_epochs": True}, "max_epochs.*whole number"),
        ({"contrastive": 1}, "contrastive.*true or false"),
        ({"optimizer": "sgd"}, "optimizer.*radam, adamw"),
        ({"crop_scale": [0.5]}, "crop_scale.*two positive numbers"),
        ({"crop_scale": [0.5, 1.5]}, "crop_scale.*more than 1"),
        ({"crop_scale": "all"}, "crop_scale.*list of numbers"),
        ({"noise_probability": 2}, "noise_probability.*0 to 1"),
        ({"preset": "best"}, "preset.*no such knob"),
        ({"augmix": -1}, "augmix.*-1.*0 or more"),
        ({"smoothing_km": -1.0}, "smoothing_km.*0 or more"),
        ({"seed": -3}, "seed.*0 or more"),
        ({"noise_levels": 128}, "noise_levels.*less than 128"),
        ({"shear_deg": 90.0}, "shear_deg.*less than 90"),
        ({"views_together": 0}, "views_together.*1 or more"),
        ({"views_together": 2, "same_place_km": 0.0}, "views_together.*same_place_km"),
        ({"micro_batch": -1}, "micro_batch.*0 or a multiple"),
        ({"micro_batch": 3, "views_together": 2}, "micro_batch.*multiple of 2"),
        ({"micro_batch": 8, "contrastive_symmetric": True}, "micro_batch.*all pictures of a step"),
    ],
)
def test_a_wrong_knob_is_named_with_its_value_and_the_cure(overrides: dict, says: str):
    with pytest.raises(SettingError, match=says):
        make_config("demo", overrides)


def test_what_differs_from_the_paper_is_told_with_both_values():
    assert make_config("paper").departures() == {}
    assert make_config("paper", {"shear_deg": 5}).departures() == {"shear_deg": [15.0, 5.0]}
    best = make_config("best").departures()
    assert best["fill"] == ["black", "reflect"]
    assert "backbone" not in best


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(SettingError, match="paper, best, demo"):
        make_config("fast")
