"""The model's step as an operator meets it: it is watched, stopped, killed and started wrongly."""

import importlib.util
import json
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import torch

from geoloc_pipeline.errors import BadSourceFileError, ModelError, SettingError
from geoloc_pipeline.orchestration.assets.training import geolocation_model, read_history, training_sources
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.orchestration.running.trainer import Launch
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import write_receipt

ROOT = Path(__file__).parents[2]
PREFECTURES = {"01": "01_hokkaido", "13": "13_tokyo"}
KNOBS = {
    "input_px": 32, "view_px": 40, "location_width": 16, "queue_length": 64, "global_batch": 32, "warmup_steps": 4,
    "augmix": 0, "max_epochs": 6, "patience_epochs": 0,
}  # fmt: skip


def load_country() -> Any:
    """Return the module that grows the small country of the trainer's own tests."""
    spec = importlib.util.spec_from_file_location("small_country", ROOT / "tests" / "training" / "conftest.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["small_country"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small_country() -> Any:
    return load_country()


@pytest.fixture
def home(tmp_path: Path, small_country: Any) -> Home:
    """A home in which everything above the model has been made."""
    home, grown = Home.at(tmp_path / "home"), small_country.grow_country(tmp_path / "country").root
    home.table("label_vocabulary").parent.mkdir(parents=True)
    home.table("training_shards").parent.mkdir(parents=True)
    home.images("training_shards").parent.mkdir(parents=True)
    (grown / "vocabulary.parquet").rename(home.table("label_vocabulary"))
    made = {("label_vocabulary", "all"): home.table("label_vocabulary")}
    for code, partition in PREFECTURES.items():
        table = home.table("training_shards", partition)
        (grown / f"{code}.parquet").rename(table)
        (grown / code).rename(home.images("training_shards", partition))
        made["training_shards", partition] = table
    for (key, partition), table in made.items():
        write_receipt(home.receipt(key, partition), inputs={}, files=[table], root=home.root)
    return home


def materialise(home: Home, instance: dg.DagsterInstance, **config: Any) -> dg.ExecuteInProcessResult:
    config["overrides"] = {**KNOBS, **config.get("overrides", {})}
    return dg.materialize(
        [geolocation_model],
        resources={"pipeline": Pipeline(home_dir=str(home.root), profile="demo")},
        run_config={"ops": {"geolocation_model": {"config": {"preset": "demo", **config}}}},
        instance=instance,
    )


def trainers(home: Home) -> dict[int, dict[str, str]]:
    """Return the environment of every process that trains in this home, by process number."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str(home.training_run()) in (folder / "cmdline").read_text():
                pairs = (folder / "environ").read_text().split("\0")
                found[int(folder.name)] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        except OSError:  # it has just ended
            continue
    return found


def wait_for(condition: Any, *, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def steps_told(home: Home) -> int:
    path = home.model() / "steps.jsonl"
    return path.read_text().count("\n") if path.is_file() else 0


def kill_a_rank(home: Home, rank: str, *, after_steps: int) -> None:
    wait_for(lambda: steps_told(home) >= after_steps)
    for pid, environment in trainers(home).items():
        if environment.get("RANK") == rank:
            os.kill(pid, signal.SIGKILL)


def train_undisturbed(home: Home, small_country: Any) -> Path:
    """Train what the step trained, in two processes that nobody disturbs, and return the folder of the run."""
    output, path = home.root / "undisturbed", home.root / "undisturbed.json"
    path.write_text(json.dumps({**json.loads(home.training_run().read_text()), "output": str(output), "progress": None}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=small_country._be_a_rank, args=(path, rank, 2, port)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(120)
    return output


def shown(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (made,) = result.asset_materializations_for_node("geolocation_model")
    return {name: value.value for name, value in made.metadata.items()}


def observations(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    records = instance.fetch_observations(dg.AssetKey("geolocation_model"), limit=100, ascending=True).records
    return [{name: value.value for name, value in record.asset_observation.metadata.items()} for record in records]


def test_a_killed_rank_has_the_step_tried_again_and_nothing_is_lost_even_where_no_environment_arrives(
    home: Home, small_country: Any
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        killer = threading.Thread(target=kill_a_rank, args=(home, "1"), kwargs={"after_steps": 28})  # within epoch 3
        killer.start()
        result = materialise(home, instance, processes=2, launch=["env", "-i", f"PATH={os.environ['PATH']}"])
        killer.join()
        seen = observations(instance)
    assert result.success
    assert trainers(home) == {}

    retries = [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    assert len(retries) == 1
    assert "rank 1 was killed by SIGKILL" in retries[0].step_retry_data.error.cause.message

    history = read_history(home.training_metrics())
    assert [figures["epoch"] for figures in seen] == [1, 2, 3, 4, 5, 6]
    assert [figures["val_loss"] for figures in seen] == [record["val_loss"] for record in history]

    undisturbed = train_undisturbed(home, small_country)
    assert home.checkpoint().read_bytes() == (undisturbed / "best.pt").read_bytes()
    assert (home.model() / "steps.jsonl").read_bytes() == (undisturbed / "steps.jsonl").read_bytes()

    figures = shown(result)
    assert figures["epochs"] == 6
    assert figures["val_loss"] == round(min(record["val_loss"] for record in history), 4)
    assert [kind in figures["preview"] for kind in ("data:image/png;base64,", "data:image/jpeg;base64,")] == [True, True]
    assert len(figures["preview"]) < 100_000

    exported = {path.name: path.read_bytes() for path in home.model_export().iterdir()}
    home.receipt("geolocation_model").unlink()
    shutil.rmtree(home.model_export())
    with dg.DagsterInstance.ephemeral() as instance:  # a trainer that has nothing left to do
        again = shown(materialise(home, instance, processes=2, launch=["true"]))
    assert {path.name: path.read_bytes() for path in home.model_export().iterdir()} == exported
    assert again["preview"] == figures["preview"]


def test_terminate_reaches_every_rank_which_keeps_its_last_step_and_leaves(home: Home) -> None:
    def be_the_run() -> None:
        with dg.DagsterInstance.ephemeral() as instance:
            materialise(home, instance, processes=2, tensorboard=True, overrides={"max_epochs": 10_000})

    run = multiprocessing.get_context("fork").Process(target=be_the_run)
    run.start()
    wait_for(lambda: steps_told(home) >= 3)
    assert {environment.get("RANK") for environment in trainers(home).values()} == {None, "0", "1"}
    assert run.pid
    os.kill(run.pid, signal.SIGINT)  # what Terminate sends to the process of a run
    run.join(60)
    assert run.exitcode
    assert trainers(home) == {}
    last = torch.load(home.model() / "last.pt", weights_only=True)
    assert last["position"]["step"] > 0  # only a request to stop is kept within an epoch here
    assert not last["position"]["finished"]
    assert (home.training_run().with_suffix(".tensorboard") / "steps").is_dir()


def fake_launcher(tmp_path: Path, program: str) -> list[str]:
    """Return a prefix that runs a program in place of the trainer; it gets the trainer's command as its arguments."""
    path = tmp_path / "launcher.py"
    path.write_text(program)
    return [sys.executable, str(path)]


def test_what_a_rank_cannot_go_on_with_arrives_as_it_was_raised_and_is_not_tried_again(home: Home, tmp_path: Path) -> None:
    sentence = "shard.tar: cut short; remove it and materialise the asset again"
    tried = tmp_path / "tried"
    launch = fake_launcher(
        tmp_path,
        f"""
import sys
with open({str(tried)!r}, "a") as stream: stream.write("x")
print("rank 1 cannot go on (BadSourceFileError): {sentence}")
sys.exit(1)
""",
    )
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(BadSourceFileError) as raised:
        materialise(home, instance, launch=launch)
    assert str(raised.value) == sentence
    assert raised.value.exit_code == 2
    assert tried.read_text() == "x"


def test_a_crash_that_comes_back_is_given_up_with_the_last_lines(home: Home, tmp_path: Path) -> None:
    tried = tmp_path / "tried"
    launch = fake_launcher(
        tmp_path,
        f"""
import sys
with open({str(tried)!r}, "a") as stream: stream.write("x")
print("CUDA error: device fell off the bus")
sys.exit(7)
""",
    )
    with (
        dg.DagsterInstance.ephemeral() as instance,
        pytest.raises(ModelError, match=r"code 7; last lines: CUDA error: device fell off the bus; read .* last checkpoint"),
    ):
        materialise(home, instance, launch=launch)
    assert tried.read_text() == "xxx"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"overrides": {"optimiser": "radam"}}, "overrides.optimiser is 'radam'; there is no such knob"),
        ({"preset": "papers"}, "preset is 'papers'; choose one of paper, best, demo"),
        ({"launch": ["no-such-program"]}, "name a program of this machine in `launch`"),
    ],
)
def test_a_mistake_in_the_configuration_is_told_with_its_cure_before_anything_starts(
    home: Home, config: dict[str, Any], sentence: str
) -> None:
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(SettingError, match=re.escape(sentence)):
        materialise(home, instance, **config)
    assert not home.model().exists()


def test_a_shell_at_the_other_end_gets_every_word_whole() -> None:
    launch = Launch(prefix=("ssh", "-tt", "node"), torchrun=("--nnodes=2",), python="/opt/my env/python")
    command = launch.command(Path("/home of data/run.json"), {"A": "b c"})
    assert command[:3] == ["ssh", "-tt", "node"]
    assert shlex.split(" ".join(command[3:])) == [
        "env", "A=b c", "/opt/my env/python", "-m", "torch.distributed.run", "--nnodes=2", "-m", "geoloc_pipeline.training",
        "--config", "/home of data/run.json",
    ]  # fmt: skip


def test_the_sources_of_the_training_pictures_are_counted_once_each(home: Home) -> None:
    shards = home.tables("training_shards")
    learned = pd.concat([pd.read_parquet(path) for path in shards])
    ids = sorted(learned.loc[learned["split"] == "train", "image_id"].unique())
    others = sorted(learned.loc[learned["split"] != "train", "image_id"].unique())
    rows = [(name, "mapillary", "CC-BY-SA-4.0", f"author {number % 3}") for number, name in enumerate(ids[:10])]
    rows += [(name, "mapillary", "CC-BY-SA-4.0", "author of nothing learned") for name in others]
    photos = [(name, "local", "CC0-1.0", "me") for name in ids[10:14]]
    columns = ["image_id", "source", "licence", "attribution"]
    for key, table in (("street_view_images", rows), ("photo_collections", photos)):
        home.table(key).parent.mkdir(parents=True)
        pd.DataFrame(table, columns=columns).to_parquet(home.table(key))
    counted = training_sources(home, shards)
    assert counted.to_dict("records") == [
        {"source": "local", "licence": "CC0-1.0", "n_pictures": 4, "n_authors": 1},
        {"source": "mapillary", "licence": "CC-BY-SA-4.0", "n_pictures": 10, "n_authors": 3},
        {"source": "unknown", "licence": "unknown", "n_pictures": len(ids) - 14, "n_authors": 0},
    ]
