"""What Dagster hears, over the real protocol."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from dagster_pipes import PipesDefaultContextLoader, PipesDefaultMessageWriter, encode_param

from geoloc_pipeline import errors
from geoloc_pipeline.errors import GeolocError, MissingKeyError
from geoloc_pipeline.training.__main__ import main
from geoloc_pipeline.training.ranks import Ranks
from geoloc_pipeline.training.report import read_last_words, reporting
from geoloc_pipeline.training.traces import read_steps


def pipes_environment(tmp_path) -> dict[str, str]:
    (tmp_path / "context.json").write_text(
        json.dumps(
            {
                "asset_keys": ["geolocation_model"],
                "code_version_by_asset_key": {"geolocation_model": "1"},
                "provenance_by_asset_key": {"geolocation_model": None},
                "partition_key": None,
                "partition_key_range": None,
                "partition_time_window": None,
                "run_id": "r",
                "job_name": "j",
                "retry_number": 0,
                "extras": {},
            }
        )
    )
    return {
        "DAGSTER_PIPES_CONTEXT": encode_param({PipesDefaultContextLoader.FILE_PATH_KEY: str(tmp_path / "context.json")}),
        "DAGSTER_PIPES_MESSAGES": encode_param({PipesDefaultMessageWriter.FILE_PATH_KEY: str(tmp_path / "messages.jsonl")}),
    }


def test_dagster_hears_every_epoch_and_one_materialisation_from_two_processes_of_torchrun(grown, tmp_path):
    config = grown.config("told", max_epochs=2)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "geoloc_pipeline.training", "--config", str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **pipes_environment(tmp_path)}
    ended = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("epoch 2: ") == 1
    messages = [json.loads(line) for line in (tmp_path / "messages.jsonl").read_text().splitlines()]
    logged = [message["params"]["message"] for message in messages if message["method"] == "log"]
    assert sum(line.startswith("epoch ") for line in logged) == 2
    materialised = [message["params"] for message in messages if message["method"] == "report_asset_materialization"]
    assert len(materialised) == 1
    metadata = materialised[0]["metadata"]
    assert materialised[0]["data_version"] == metadata["model_version"]["raw_value"]
    assert len(metadata["loss_history"]["raw_value"]["epochs"]) == 2
    assert metadata["best_epoch"]["raw_value"] in {1, 2}
    assert metadata["images_per_s"]["raw_value"] > 0
    assert metadata["losses"]["raw_value"].count("\n") == 3
    epochs = [message["params"]["payload"]["epoch"] for message in messages if message["method"] == "report_custom_message"]
    assert epochs == metadata["loss_history"]["raw_value"]["epochs"]


def test_by_hand_nobody_is_reported_to(grown, monkeypatch, caplog):
    monkeypatch.delenv("DAGSTER_PIPES_CONTEXT", raising=False)
    caplog.set_level(logging.INFO)
    assert main(["--config", str(grown.config("by_hand", max_epochs=1)), "--threads", "1"]) == 0
    assert sum(record.message.startswith("epoch 1: ") for record in caplog.records) == 1


def test_an_error_of_ours_ends_with_its_code_and_its_sentence(grown, caplog):
    assert main(["--config", str(grown.config("bad", optimizer="sgd"))]) == 2
    assert "overrides.optimizer is 'sgd'; give one of radam, adamw" in caplog.text
    assert "Traceback" not in caplog.text


RANKS = [Ranks(rank=rank, world=2, local=rank, device=torch.device("cpu")) for rank in range(2)]
TERMS = {"town": 1.25, "road": 0.5}


def tell_an_epoch(reporter, *, epoch, steps=40, every=10):
    for step in range(every, steps + 1, every):
        reporter.checked(epoch=epoch, step=step, steps=steps, terms=TERMS, rate=1e-4)
    reporter.epoch({"epoch": epoch, "train_loss": 1.75, "lr": 1e-4, "images_per_s": 10.0}, best=True)


def test_the_first_rank_alone_keeps_the_steps_and_without_a_clock(tmp_path):
    for ranks in RANKS:
        with reporting(ranks, progress=None, asset_key="", tensorboard=None) as reporter:
            reporter.opened(output=tmp_path / str(ranks.rank), epoch=0, step=0)
            tell_an_epoch(reporter, epoch=0)
    told = read_steps(tmp_path / "0" / "steps.jsonl")
    assert [record["step"] for record in told] == [10, 20, 30, 40]
    assert told[0] == {"epoch": 0, "step": 10, "loss": 1.75, "terms": TERMS, "lr": 1e-4}
    assert not (tmp_path / "1").exists()


def test_tensorboard_gets_steps_and_epochs_when_asked_and_nothing_else(tmp_path):
    for asked in (None, tmp_path / "curves"):
        with reporting(RANKS[0], progress=None, asset_key="", tensorboard=asked) as reporter:
            reporter.opened(output=tmp_path / "run", epoch=0, step=0)
            tell_an_epoch(reporter, epoch=0)
        assert (tmp_path / "curves").exists() == bool(asked)
    assert {path.name for path in (tmp_path / "curves").iterdir()} == {"steps", "epochs"}


class Terminal(io.StringIO):
    """A terminal's screen: a carriage return goes back to the start of the line, what is written covers what stood there."""

    def isatty(self):
        return True

    def screen(self):
        lines, column = [""], 0
        for letter in self.getvalue():
            if letter == "\r":
                column = 0
            elif letter == "\n":
                lines.append("")
                column = 0
            else:
                lines[-1] = lines[-1][:column].ljust(column) + letter + lines[-1][column + 1 :]
                column += 1
        return [line.rstrip() for line in lines]


def enter_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    root, handler = logging.getLogger(), logging.StreamHandler(terminal)
    monkeypatch.setattr(root, "handlers", [handler])
    return terminal


def test_in_a_terminal_a_bar_moves_and_never_runs_into_a_line_of_the_log(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    terminal = enter_a_terminal(monkeypatch)
    with reporting(RANKS[0], progress=None, asset_key="", tensorboard=None) as reporter:
        reporter.checked(epoch=2, step=10, steps=40, terms=TERMS, rate=1e-4)
        reporter.say("first line of the log")
        reporter.checked(epoch=2, step=20, steps=40, terms=TERMS, rate=1e-4)
        reporter.say("second line")
        bar = next(line for line in reversed(terminal.screen()) if line)
        tell_an_epoch(reporter, epoch=3)
    assert "epoch 3" in bar
    assert "20/40" in bar
    assert "loss=1.7500" in bar
    shown = [line for line in terminal.screen() if line]
    assert shown[:2] == ["first line of the log", "second line"]
    assert shown[2].startswith("epoch 4: train loss 1.7500")
    assert len(shown) == 3  # no bar is left behind


def test_where_nobody_watches_a_terminal_there_is_no_bar(capfd):
    with reporting(RANKS[0], progress=None, asset_key="", tensorboard=None) as reporter:
        tell_an_epoch(reporter, epoch=0)
    assert capfd.readouterr().err == ""


# a trainer needs no key, and that error composes its sentence only when it is shown
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind not in {GeolocError, MissingKeyError}]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_any_rank_is_understood_as_it_was_raised(kind, monkeypatch, caplog):
    monkeypatch.setenv("DAGSTER_PIPES_CONTEXT", "told")
    composed = {"__init__": lambda self, sentence: Exception.__init__(self, sentence)}
    raised = type(kind.__name__, (kind,), composed)("something is wrong (really);\ndo something else")
    with pytest.raises(kind), reporting(RANKS[1], progress=None, asset_key=""):
        raise raised
    found = read_last_words(["epoch 1: train loss 3", *caplog.messages, "Traceback (most recent call last):"])
    assert isinstance(found, kind)
    assert type(found).__name__ == kind.__name__
    assert str(found) == "something is wrong (really); do something else"
    assert found.exit_code == kind.exit_code
