"""A run from beginning to end: it learns, it stops, it goes on, it says what is wrong."""

from __future__ import annotations

import json
import time

import cv2
import numpy as np
import pytest
import torch

from geoloc_pipeline.errors import ModelError, SettingError, TrainingDivergedError
from geoloc_pipeline.model.saved import load_geolocator
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.storage.progress import Progress, read_progress
from geoloc_pipeline.storage.shards import write_shard
from geoloc_pipeline.tables import TRAINING_SHARDS
from geoloc_pipeline.training.loop import train
from geoloc_pipeline.training.material import read_data
from geoloc_pipeline.training.order import epoch_order
from geoloc_pipeline.training.ranks import Ranks
from geoloc_pipeline.training.report import Reporter
from geoloc_pipeline.training.run import read_run


def tensors(path):
    return torch.load(path, weights_only=True)["model"]


def same_tensors(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def straight(grown):
    """One run of four epochs that nobody disturbed."""
    run = read_run(grown.config("straight"))
    alone = Ranks(rank=0, world=1, local=0, device=torch.device("cpu"))
    position = train(run, alone, Reporter(speaks=True, progress=Progress(path=run.progress)))
    return position, grown.root / "straight"


def test_the_loss_falls_and_unseen_pictures_are_placed_far_better_than_by_chance(straight):
    position, _ = straight
    first, best = position.history[0], position.history[position.best_epoch]
    assert position.finished
    assert best["train_loss"] < 0.7 * first["train_loss"]
    assert best["val_loss"] < first["val_loss"]
    assert best["val_accuracy"]["prefecture"] > 0.9
    assert best["val_accuracy"]["municipality"] > 0.6  # chance: 0.25


def test_shuffling_the_pixels_among_the_pictures_brings_it_back_to_chance(shuffled_country, learn):
    history = learn(shuffled_country.config()).history
    assert history[-1]["train_loss"] < 0.7 * history[0]["train_loss"]  # it did learn
    assert history[-1]["val_accuracy"]["municipality"] < 0.4  # chance: 0.25, of 80 views
    assert history[-1]["val_accuracy"]["prefecture"] < 0.7  # chance: 0.5


def test_every_term_of_every_epoch_is_written_down(straight):
    position, output = straight
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert lines == position.history
    assert [line["epoch"] for line in lines] == [0, 1, 2, 3]
    for line in lines:
        assert set(line["train_terms"]) == {"prefecture", "municipality", "road", "contrastive"}
        assert line["train_loss"] == pytest.approx(sum(line["train_terms"].values()))
        assert line["val_loss"] == pytest.approx(sum(line["val_terms"].values()))
        assert line["images_per_s"] > 0
    assert lines[-1]["lr"] < lines[0]["lr"]


def test_the_checkpoint_says_what_it_was_made_of(straight):
    _, output = straight
    saved = load_geolocator(output / "best.pt")
    assert saved.facts["training_config"]["input_px"] == 32
    assert saved.facts["data_versions"] == {"training_shards": "v1"}
    assert saved.facts["model_version"] == saved.model_version
    assert saved.vocabulary.tasks["municipality"].codes == ("01101", "01202", "13101", "13104")
    assert json.loads((output / "config.json").read_text())["fingerprint"] == saved.facts["fingerprint"]


def test_a_finished_run_does_nothing(straight, grown, learn):
    position, output = straight
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.iterdir()}
    assert learn(grown.config("straight")) == position
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.iterdir()} == before


def test_the_same_run_elsewhere_gives_the_same_bytes(straight, grown, learn):
    learn(grown.config("again"))
    assert (grown.root / "again" / "best.pt").read_bytes() == (straight[1] / "best.pt").read_bytes()


def test_progress_is_told_to_whoever_watches(straight, grown):
    assert read_progress(grown.root / "straight.progress.json") == (1408, 1408, "pictures")


def test_whenever_it_is_killed_it_ends_with_the_same_tensors(straight, grown, begin, learn):
    config = grown.config("killed", checkpoint_steps=3)
    kills = 0
    for pause_s in (0.0, 0.4, 1.3):  # after the first checkpoint, and somewhere in what follows
        (process,) = begin(config)
        until_s = time.monotonic() + 60
        while not (grown.root / "killed" / "last.pt").exists() and process.is_alive() and time.monotonic() < until_s:
            time.sleep(0.01)
        time.sleep(pause_s)
        kills += process.is_alive()
        process.kill()
        process.join()
    assert learn(config).finished
    assert kills >= 1
    assert same_tensors(tensors(grown.root / "killed" / "best.pt"), tensors(straight[1] / "best.pt"))
    assert not list((grown.root / "killed").glob("*.cache*"))


def test_asked_to_stop_it_writes_down_where_it_is_and_goes_on_from_there(straight, grown, begin, learn):
    config = grown.config("stopped")
    (process,) = begin(config)
    until_s = time.monotonic() + 60
    while not (grown.root / "stopped" / "best.pt").exists() and process.is_alive() and time.monotonic() < until_s:
        time.sleep(0.01)
    process.terminate()
    process.join(60)
    assert process.exitcode == 143
    position = torch.load(grown.root / "stopped" / "last.pt", weights_only=True)["position"]
    assert not position["finished"]
    assert learn(config).finished
    assert same_tensors(tensors(grown.root / "stopped" / "best.pt"), tensors(straight[1] / "best.pt"))


def test_another_run_in_the_same_folder_starts_anew_and_keeps_the_old_one_aside(grown, learn):
    learn(grown.config("moved", max_epochs=1))
    old = (grown.root / "moved" / "best.pt").read_bytes()
    position = learn(grown.config("moved", max_epochs=1, learning_rate=1e-3))
    assert len(position.history) == 1
    assert (grown.root / "moved" / "previous" / "best.pt").read_bytes() == old
    assert (grown.root / "moved" / "best.pt").read_bytes() != old


def test_it_stops_when_validation_does_not_get_better(grown, learn):
    position = learn(grown.config("patient", learning_rate=1e-30, patience_epochs=2, max_epochs=30, schedule="constant"))
    assert position.finished
    assert len(position.history) - 1 - position.best_epoch == 2


def test_without_validation_pictures_the_last_epoch_is_the_model(country, learn):
    for code in ("01", "13"):
        table = read_table(TRAINING_SHARDS, country.root / f"{code}.parquet")
        write_table(TRAINING_SHARDS, table[table["split"] != "val"], country.root / f"{code}.parquet")
    position = learn(country.config(max_epochs=2))
    assert (position.best_epoch, len(position.history)) == (1, 2)
    assert "val_loss" not in position.history[0]


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_pictures_it_came_with(grown, learn):
    config = grown.config("diverged", learning_rate=1e30, clip_norm=0.0, check_steps=50)  # it is looked at much later
    with pytest.raises(TrainingDivergedError, match=r"step.*not there yet.*learning rate") as error:
        learn(config)
    assert not (grown.root / "diverged" / "best.pt").exists()
    told = json.loads((grown.root / "diverged" / "diverged.json").read_text())
    assert told["step"] < 10  # the first step after the weights had burst, not the one at which it was noticed
    run = read_run(config)
    squares = read_data(run.vocabulary, run.shards, config=run.config).train
    order = epoch_order(squares.pictures, views="all", global_batch=32, seed=0, epoch=told["epoch"])
    assert told["images"] == squares.image_ids(order[told["step"]])
    assert told["images"][0] in str(error.value)
    assert f"({len(told['images'])} in all" in str(error.value)


def test_portions_learn_what_the_whole_batch_learns(grown, learn):
    whole, *portions = (
        learn(grown.config(f"portions{size}", max_epochs=1, micro_batch=size)).history[0]["train_terms"]
        for size in (0, 16, 8, 1)
    )
    for terms in portions:
        assert terms == pytest.approx(whole, rel=1e-4)


def test_a_date_is_a_seed_like_any_other(grown, learn):
    assert learn(grown.config("dated", max_epochs=1, seed=20261122)).finished


def test_portions_of_unequal_size_are_refused_before_any_work(grown, learn):
    with pytest.raises(SettingError, match=r"micro_batch.*12.*divisor of 32"):
        learn(grown.config("uneven", micro_batch=12))


def test_the_options_beyond_the_paper_learn_as_well(grown, learn):
    turned = {
        "contrastive_symmetric": True, "same_place_km": 0.1, "hierarchy_weight": 0.5, "smoothing_km": 5.0, "views_together": 2,
    }  # fmt: skip
    position = learn(grown.config("beyond", **turned))
    first, last = position.history[0], position.history[-1]
    assert last["train_loss"] < 0.8 * first["train_loss"]
    assert "prefecture_of_municipality" in last["train_terms"]
    assert last["val_accuracy"]["municipality"] > 0.6


def test_a_damaged_checkpoint_is_named_with_the_cure(grown, learn):
    learn(grown.config("damaged", max_epochs=1))
    path = grown.root / "damaged" / "last.pt"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"last\.pt.*remove"):
        learn(grown.config("damaged", max_epochs=1))


def test_every_switch_of_the_paper_can_be_turned(grown, learn):
    turned = {
        "contrastive": False, "class_weighting": "none", "logit_adjust_tau": 1.0, "views_per_epoch": "one", "augmix": 3,
        "augmix_depth": 3, "augmix_blend": False, "fill": "black", "shear_both": True, "optimizer": "adamw", "global_batch": 16,
        "schedule": "constant", "clip_norm": 0.0, "max_epochs": 1, "cache_bytes": 0, "workers": 1,
    }  # fmt: skip
    position = learn(grown.config("turned", **turned))
    assert np.isfinite(position.history[0]["train_loss"])
    assert "contrastive" not in position.history[0]["train_terms"]


def test_a_photo_set_beside_street_view_is_learned_as_well(country, learn):
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    member = write_shard(country.root / "13" / "photos.tar", [("p.png", cv2.imencode(".png", photo)[1].tobytes())])[0]
    table = read_table(TRAINING_SHARDS, country.root / "13.parquet")
    table.loc[0, ["image_id", "view", "shard", "offset", "size_bytes", "width_px", "height_px"]] = [
        "photo-1", "photo", member.shard, member.offset, member.size_bytes, 80, 60,
    ]  # fmt: skip
    write_table(TRAINING_SHARDS, table, country.root / "13.parquet")
    assert learn(country.config(max_epochs=1)).finished
