"""A step is tried again when a service was silent, and for nothing else; what a run will cost is told before it begins."""

from pathlib import Path

import dagster as dg
import pytest

from geoloc_pipeline.errors import (
    BudgetSpentError,
    ChecksumMismatchError,
    GeolocError,
    HomeError,
    SourceRefusedError,
    SourceUnavailableError,
)
from geoloc_pipeline.orchestration import limits
from geoloc_pipeline.orchestration.io import Made, Step
from geoloc_pipeline.orchestration.limits import WAITS_S, requests_left, training_estimate
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.orchestration.world import World, choose_world
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import write_table
from geoloc_pipeline.tables import TRAINING_SHARDS, as_table
from geoloc_pipeline.training.config import make_config
from geoloc_pipeline.training.run import ShardTable, TrainingRun

SILENT = SourceUnavailableError(service="X", url="https://x.example/", reason="timed out")
FOR_GOOD = [
    SourceRefusedError(service="X", reason="HTTP 401", cure="set the key"),
    BudgetSpentError(service="X", limit=10),
    ChecksumMismatchError(path="p", expected="a", actual="b"),
    HomeError(home="/h", reason="full", cure="free some space"),
]


def tries(home: Path, error: GeolocError, *, fails: int, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, int]:
    """Return whether a step ended well whose work fails so many times, and how often it was tried."""
    monkeypatch.setattr(limits, "WAITS_S", (0.0,) * len(WAITS_S))
    count = 0

    @dg.asset
    def thing(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
        def build() -> Made:
            nonlocal count
            count += 1
            if count <= fails:
                raise error
            return Made(files=[])

        return Step(context, pipeline, "thing").run({}, build)

    resources = {"pipeline": Pipeline(home_dir=str(home), profile="demo")}
    done = dg.materialize([thing], resources=resources, raise_on_error=False, instance=dg.DagsterInstance.ephemeral())
    return done.success, count


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_service_that_answers_again_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int) -> None:
    assert tries(tmp_path, SILENT, fails=fails, monkeypatch=monkeypatch) == (True, fails + 1)


def test_a_service_that_stays_silent_ends_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tries(tmp_path, SILENT, fails=9, monkeypatch=monkeypatch) == (False, 1 + len(WAITS_S))


@pytest.mark.parametrize("error", FOR_GOOD, ids=lambda error: type(error).__name__)
def test_what_would_go_wrong_again_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: GeolocError
) -> None:
    assert tries(tmp_path, error, fails=1, monkeypatch=monkeypatch) == (False, 1)


def test_what_is_left_of_the_day_is_told_by_provider(tmp_path: Path) -> None:
    choose_world(Home.at(tmp_path), World(prefecture_codes=("47",), density=0.05))
    left = requests_left(Pipeline(home_dir=str(tmp_path), profile="demo"))
    assert left["mapillary"] > 1000
    assert set(left) <= {"mapillary", "panoramax", "kartaview"}


@pytest.mark.parametrize(("views", "an_epoch"), [("all", 6), ("one", 3)])
def test_a_training_is_told_in_pictures_and_where_it_is_known_in_hours(tmp_path: Path, views: str, an_epoch: int) -> None:
    rows = [(f"{number:016x}", view, "train") for number in range(3) for view in ("N", "E")] + [("f" * 16, "photo", "test")]
    columns = {column.name: [None] * len(rows) for column in TRAINING_SHARDS.columns}
    columns |= {"image_id": [row[0] for row in rows], "view": [row[1] for row in rows], "split": [row[2] for row in rows]}
    columns |= {name: [35.0] * len(rows) for name in ("lat", "lon")}
    columns |= {name: [1] * len(rows) for name in ("offset", "size_bytes", "width_px", "height_px")}
    columns |= {"lon": [139.0] * len(rows), "prefecture_code": ["13"] * len(rows), "municipality_code": ["13101"] * len(rows)}
    path = tmp_path / "13_tokyo.parquet"
    columns["shard"] = ["00000.tar"] * len(rows)
    write_table(TRAINING_SHARDS, as_table(TRAINING_SHARDS, columns), path)
    config = make_config("paper", {"views_per_epoch": views, "max_epochs": 1200})
    run = TrainingRun(config, tmp_path / "v", (ShardTable(path, tmp_path),), tmp_path / "out")
    assert training_estimate(run, []).startswith(
        f"{an_epoch} pictures an epoch, at most 1200 epochs: {1200 * an_epoch:,} pictures"
    )
    assert "after the first epoch" in training_estimate(run, [])
    told = training_estimate(run, [{"images_per_s": speed} for speed in (9.0, an_epoch / 3, 0.1)])
    assert told.endswith("1.0 hours at most")
