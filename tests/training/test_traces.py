"""Curves finer than an epoch show what an undisturbed run would have shown, however often a run was cut short."""

from __future__ import annotations

import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.training.traces import Scalars, add_step, need_tensorboard, read_steps, take_up_steps

PLACES = [(epoch, step) for epoch in range(3) for step in (2, 4, 5)]


def line(epoch, step):
    return {"epoch": epoch, "step": step, "loss": 1 / (1 + epoch * 5 + step)}


def write(path, places):
    for place in places:
        add_step(path, line(*place))


@pytest.mark.parametrize("position", [(0, 0), (0, 4), (1, 0), (1, 2), (1, 5), (2, 4)])
def test_a_run_that_is_taken_up_again_leaves_the_lines_of_an_undisturbed_one(tmp_path, position):
    write(tmp_path / "undisturbed.jsonl", PLACES)
    path = tmp_path / "steps.jsonl"
    write(path, PLACES[:8])  # the last one is (2, 4)
    path.write_text(path.read_text() + '{"epoch": 2, "st')  # killed in the middle of a line
    take_up_steps(path, epoch=position[0], step=position[1])
    write(path, [place for place in PLACES if place > position])
    assert path.read_bytes() == (tmp_path / "undisturbed.jsonl").read_bytes()


def test_half_a_line_and_strange_lines_are_skipped(tmp_path):
    path = tmp_path / "steps.jsonl"
    assert read_steps(path) == []
    path.write_text('{"epoch": 0, "step": 2, "loss": 1.0}\n[]\n{"step": 3}\nnull\n{"epoch": 0, "step": 4, "lo')
    assert read_steps(path) == [{"epoch": 0, "step": 2, "loss": 1.0}]


def scalars_of(folder, run, tag):
    read = EventAccumulator(str(folder / run))
    read.Reload()
    return [(event.step, event.value) for event in read.Scalars(tag)]


def test_tensorboard_draws_every_step_and_epoch_once_although_the_run_was_killed(tmp_path):
    first = Scalars(tmp_path, epoch=0, step=0)
    for step in (2, 4, 5):
        first.checked(epoch=0, step=step, steps=5, terms={"town": 1.0, "road": 2.0}, rate=0.1)
    first.epoch({"epoch": 0, "train_loss": 3.0, "val_accuracy": {"town": 0.5}})
    first.checked(epoch=1, step=4, steps=5, terms={"town": 9.0, "road": 9.0}, rate=0.1)  # beyond the checkpoint
    first.close()
    second = Scalars(tmp_path, epoch=1, step=2)
    second.checked(epoch=1, step=4, steps=5, terms={"town": 0.5, "road": 0.5}, rate=0.1)
    second.epoch({"epoch": 1, "train_loss": 1.0, "val_accuracy": {"town": 0.75}})
    second.close()
    assert scalars_of(tmp_path, "steps", "loss") == [(2, 3.0), (4, 3.0), (5, 3.0), (9, 1.0)]
    assert scalars_of(tmp_path, "steps", "terms/town")[-1] == (9, 0.5)
    assert scalars_of(tmp_path, "epochs", "val_accuracy/town") == [(1, 0.5), (2, 0.75)]
    assert scalars_of(tmp_path, "epochs", "train_loss") == [(1, 3.0), (2, 1.0)]


def test_without_the_package_the_cure_is_told_before_anything_starts(tmp_path, monkeypatch):
    need_tensorboard(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    need_tensorboard(None)
    with pytest.raises(SettingError, match=r"pip install 'geoloc-pipeline\[tensorboard\]'"):
        need_tensorboard(tmp_path)
