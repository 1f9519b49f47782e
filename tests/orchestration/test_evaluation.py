"""The evaluation of a small home through Dagster: what it writes, what it is made anew for, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import dagster as dg
import numpy as np
import pandas as pd
import pytest
import shapely
import torch

from geoloc_pipeline.demo.set_files import write_csv
from geoloc_pipeline.errors import BadSourceFileError, MissingInputError, SettingError, SplitError
from geoloc_pipeline.model.geolocator import Geolocator, GeolocatorConfig
from geoloc_pipeline.model.saved import FORMAT
from geoloc_pipeline.model.vocabulary import TaskClasses, Vocabulary
from geoloc_pipeline.orchestration.assets.evaluation import evaluation_report
from geoloc_pipeline.orchestration.evaluating.judging import split_rule_of
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.retrieval.embedding.embed import embed_shards
from geoloc_pipeline.retrieval.gallery.gallery import build_gallery
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.storage.receipts import write_receipt
from geoloc_pipeline.storage.shards import write_shard
from geoloc_pipeline.tables import (
    DATASET_SPLITS,
    ESTIMATES,
    IMAGE_EMBEDDINGS,
    LABELLED_IMAGES,
    TASKS,
    TRAINING_SHARDS,
    as_table,
)

KEY = "42_nagasaki"
NAMES = "abcdefghijklmnopqrst"
SIDES = {name: "test" if name in "cfim" else "val" if name in "dgjn" else "train" for name in NAMES}


def put(home: Home, contract, frame: pd.DataFrame, key: str = KEY, **inputs: object) -> pd.DataFrame:
    """Write a table with its receipt; what the frame does not tell is missing."""
    missing = {column.name: None for column in contract.columns if column.name not in frame}
    whole = frame.assign(**missing)
    if contract.geometry:
        whole["geometry"] = shapely.points(whole["lon"], whole["lat"])
    table = as_table(contract, {name: whole[name] for name in contract.column_names})
    write_table(contract, table, home.table(contract.name, key))
    receipt = home.receipt(contract.name, key)
    write_receipt(receipt, inputs=inputs, files=[home.table(contract.name, key)], root=home.root, metadata={"rows": len(table)})
    return table


def put_home(home: Home, *, sides: dict[str, str] = SIDES, rule: str = "grouped") -> None:
    """A home of twenty pictures of noise, a network with fresh weights, and no census."""
    torch.manual_seed(3)
    counts = {"prefecture": 2}
    config = GeolocatorConfig("test_vit", input_px=32, class_counts=counts, location_sigmas=(1.0,), location_width=8)
    classes = TaskClasses(codes=("41", "42"), names=("", ""), n_train=(1, 9), weights=(1.0, 1.0))
    words = Vocabulary(tasks={task: classes if task == "prefecture" else TaskClasses() for task in TASKS}).as_dict()
    home.model().mkdir(parents=True)
    model = {"format": FORMAT, "model": Geolocator(config).state_dict(), "model_config": config.as_dict(), "vocabulary": words}
    torch.save(model, home.checkpoint())
    write_receipt(home.receipt("geolocation_model"), inputs={}, files=[home.checkpoint()], root=home.root)
    dice = np.random.default_rng(0)
    pixels = [cv2.imencode(".png", dice.integers(0, 256, (32, 32, 3), dtype=np.uint8))[1].tobytes() for _ in sides]
    members = write_shard(
        home.images("training_shards", KEY) / "00000.tar", [(f"{n}.png", data) for n, data in enumerate(pixels)]
    )
    frame = pd.DataFrame({"image_id": list(sides), "view": "photo", "split": list(sides.values())})
    frame["lat"], frame["lon"] = 32.75 + dice.normal(0, 0.1, len(sides)), 129.87 + dice.normal(0, 0.1, len(sides))
    for name in ("shard", "offset", "size_bytes"):
        frame[name] = [getattr(member, name) for member in members]
    frame = frame.assign(
        width_px=32, height_px=32, prefecture_code="42", municipality_code="42201", town_distance_m=0.0, source="local"
    )
    frame["capture_group"], frame["split_group"] = frame["image_id"], frame["image_id"]
    shards = put(home, TRAINING_SHARDS, frame)
    put(home, LABELLED_IMAGES, frame)
    put(home, DATASET_SPLITS, frame, split={"rule": rule})
    embeddings = embed_shards(home.checkpoint(), shards, home.images("training_shards", KEY))
    put(home, IMAGE_EMBEDDINGS, embeddings)
    build_gallery(embeddings, location=Pipeline(home_dir=str(home.root), profile="japan").gallery())
    write_receipt(home.receipt("qdrant_collection"), inputs={}, files=[], root=home.root, metadata={"points": len(embeddings)})


def evaluate(home: Home, **config: object) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [evaluation_report],
        resources={"pipeline": Pipeline(home_dir=str(home.root), profile="japan")},
        run_config={"ops": {"evaluation_report": {"config": config}}},
        instance=dg.DagsterInstance.ephemeral(),
    )


def told(home: Home) -> dict:
    return json.loads(home.summary().read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    home = Home.at(tmp_path_factory.mktemp("home"))
    put_home(home)
    evaluate(home)
    return home


def test_every_method_answers_every_test_picture(home: Home):
    estimates = read_table(ESTIMATES, home.table("estimates"))
    assert set(estimates.groupby("readout").size()) == {4}
    assert set(estimates["readout"]) >= {
        "mean_position", "prior", "untrained", "frozen_backbone", "classifier_prefecture", "geoclip", "geoclip_mode",
    }  # fmt: skip


def test_the_summary_keeps_what_programs_read_and_says_more(home: Home):
    summary = told(home)
    assert summary["default_readout"] in {row["name"] for row in summary["results"]}
    assert (summary["split"], summary["counts"]["test_images"]) == ("grouped", 4)
    assert {"tracks", "ceilings", "floors", "macro", "by_source", "by_kind", "duplicates", "bias", "heads", "risk"} <= set(
        summary
    )
    assert summary["by_kind"][0]["kind"] == "unknown"  # there is no census here
    assert [row["task"] for row in summary["heads"]] == ["prefecture"]
    assert sum(row["n"] for row in summary["tracks"]) == 4
    assert not list(home.embedding_scratch().parent.glob("*"))


def test_a_second_evaluation_does_nothing(home: Home):
    before = home.report_page().stat().st_mtime_ns
    assert evaluate(home).success
    assert home.report_page().stat().st_mtime_ns == before


def test_another_homes_split_stands_beside_this_one(home: Home, tmp_path: Path):
    other = {**told(home), "split": "paper"}
    (tmp_path / "other.json").write_text(json.dumps(other), encoding="utf-8")
    evaluate(home, other_summary=str(tmp_path / "other.json"))
    page = home.report_page().read_text(encoding="utf-8")
    assert '<th scope="row">grouped<span class="tag">this run</span></th>' in page
    assert '<th scope="row">paper</th>' in page


@pytest.mark.parametrize(("text", "error"), [(None, MissingInputError), ("{", BadSourceFileError), ("{}", BadSourceFileError)])
def test_a_summary_that_is_none_is_refused_and_the_report_stays(home: Home, tmp_path: Path, text: str | None, error: type):
    path = tmp_path / "other.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    before = home.report_page().read_bytes(), home.receipt("evaluation_report").read_bytes()
    with pytest.raises(error, match="summary"):
        evaluate(home, other_summary=str(path))
    assert (home.report_page().read_bytes(), home.receipt("evaluation_report").read_bytes()) == before


def test_a_test_set_is_a_track_of_its_own(home: Home):
    write_csv(home.photo_set("yfcc4k") / "yfcc4k_places365.csv", "IMG_ID,AUTHOR,LAT,LON", [("1.jpg", "a", 48.9, 2.3)])
    evaluate(home, test_sets=["yfcc4k"])
    assert told(home)["test_sets"] == [{"name": "YFCC4k", "listed": 1, "left_out": {"abroad": 1}, "results": []}]
    assert "No photo of it could be asked about" in home.report_page().read_text(encoding="utf-8")


def test_an_unknown_or_missing_test_set_is_refused_before_any_work(home: Home):
    with pytest.raises(SettingError, match="yfcc4k"):
        evaluate(home, test_sets=["gws15k"])
    with pytest.raises(MissingInputError, match=r"test\.csv"):
        evaluate(home, test_sets=["osv5m_test"])


def test_without_test_pictures_nothing_is_judged_and_nothing_is_lost(tmp_path: Path):
    home = Home.at(tmp_path)
    put_home(home, sides={name: "train" if side == "test" else side for name, side in SIDES.items()})
    home.reports().mkdir()
    home.report_page().write_text("the last report", encoding="utf-8")
    with pytest.raises(SplitError, match="none of the 20 pictures is a test picture"):
        evaluate(home)
    assert home.report_page().read_text(encoding="utf-8") == "the last report"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [((), "unknown"), (("paper", "paper"), "paper"), (("paper", "grouped"), "mixed"), ((None,), "unknown")],
)
def test_the_rule_of_the_split_is_read_from_its_receipts(tmp_path: Path, rules: tuple[str | None, ...], expected: str):
    home = Home.at(tmp_path)
    for number, rule in enumerate(rules):
        inputs = {"split": {"rule": rule}} if rule else {}
        write_receipt(home.receipt("dataset_splits", str(number)), inputs=inputs, files=[], root=home.root)
    assert split_rule_of(home) == expected
