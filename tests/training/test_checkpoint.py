"""What decides whether a run goes on, starts anew, or cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from geoloc_pipeline.training.checkpoint import BEST, LAST, PREVIOUS, find_last, git_commit, run_fingerprint
from geoloc_pipeline.training.material import read_data
from geoloc_pipeline.training.run import read_run


@pytest.fixture
def run_and_data(grown):
    run = read_run(grown.config())
    return run, read_data(run.vocabulary, run.shards, config=run.config)


@pytest.mark.parametrize("knob", [{"learning_rate": 1e-5}, {"seed": 4}, {"fill": "black"}, {"max_epochs": 9}])
def test_a_turned_knob_is_another_run(run_and_data, knob: dict):
    run, data = run_and_data
    assert run_fingerprint(replace(run, config=replace(run.config, **knob)), data) != run_fingerprint(run, data)


@pytest.mark.parametrize("knob", [{"workers": 3}, {"cache_bytes": 0}, {"checkpoint_steps": 7}, {"check_steps": 5}])
def test_what_changes_no_number_is_the_same_run(run_and_data, knob: dict):
    run, data = run_and_data
    assert run_fingerprint(replace(run, config=replace(run.config, **knob)), data) == run_fingerprint(run, data)


def test_a_home_that_was_moved_holds_the_same_run(run_and_data, tmp_path):
    run, data = run_and_data
    assert run_fingerprint(replace(run, output=tmp_path, progress=None), data) == run_fingerprint(run, data)


def test_other_data_or_another_file_of_weights_is_another_run(run_and_data, tmp_path):
    run, data = run_and_data
    assert run_fingerprint(replace(run, data_versions={"training_shards": "v2"}), data) != run_fingerprint(run, data)
    assert run_fingerprint(run, data._replace(fingerprint="other")) != run_fingerprint(run, data)
    prints = []
    for content in (b"one", b"two", b"one"):
        (tmp_path / "w.safetensors").write_bytes(content)
        config = replace(run.config, backbone_weights=str(tmp_path / "w.safetensors"))
        prints.append(run_fingerprint(replace(run, config=config), data))
    assert prints[0] == prints[2] != prints[1]


def lost(best):
    best.unlink()


def cut(best):
    best.write_bytes(best.read_bytes()[:-100])


def flipped(best):
    contents = bytearray(best.read_bytes())
    contents[len(contents) // 2] ^= 1
    best.write_bytes(contents)


def test_nothing_there_is_a_new_run(tmp_path):
    assert find_last(tmp_path / "nowhere", fingerprint="x", first=True) is None


def test_a_move_that_was_interrupted_is_finished(grown, learn):
    learn(grown.config("half_moved", max_epochs=1))
    output = grown.root / "half_moved"
    (output / PREVIOUS).mkdir()
    (output / BEST).replace(output / PREVIOUS / BEST)  # killed here
    assert find_last(output, fingerprint="another", first=True) is None
    assert {path.name for path in (output / PREVIOUS).iterdir()} >= {BEST, LAST}
    assert not (output / LAST).exists()


@pytest.mark.parametrize("spoil", [lost, cut, flipped])
def test_a_run_whose_best_model_is_lost_or_damaged_is_trained_anew(grown, learn, spoil):
    learn(grown.config("spoilt", max_epochs=1))
    output = grown.root / "spoilt"
    told, fingerprint = (output / BEST).read_bytes(), torch.load(output / LAST, weights_only=True)["fingerprint"]
    assert find_last(output, fingerprint=fingerprint, first=True) is not None
    spoil(output / BEST)
    assert find_last(output, fingerprint=fingerprint, first=True) is None
    assert (output / PREVIOUS / LAST).is_file()
    learn(grown.config("spoilt", max_epochs=1))
    assert (output / BEST).read_bytes() == told


def test_only_the_first_rank_touches_files(grown, learn):
    learn(grown.config("untouched", max_epochs=1))
    assert find_last(grown.root / "untouched", fingerprint="another", first=False) is None
    assert (grown.root / "untouched" / LAST).exists()


def test_the_commit_is_a_hash_or_nothing():
    assert git_commit() == "" or len(git_commit().removesuffix("-dirty")) == 40
