"""What must not go on is told as a failed check beside the error; what has drifted warns; both say the numbers."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import geopandas as gpd
import pytest
import shapely

from geoloc_pipeline.errors import (
    GeolocError,
    LeakedPictureError,
    MissingInputError,
    NotFiniteError,
    TableContractError,
    WrongCrsError,
)
from geoloc_pipeline.orchestration.assets.training import NO_WORSE, WORSE_BY_PCT, _beside_the_live
from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.checks import CONTRACT, FINITE, NO_TEST_PICTURE, contract_check, drift_check, drifted
from geoloc_pipeline.orchestration.io import Made, Outcome, Step, sheet, write_tables
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.receipts import write_receipt
from geoloc_pipeline.tables import CONTRACTS, SAMPLE_POINTS, as_table

TOKYO = (35.68, 139.77)


def points(*places: tuple[float, float], ids: list[str] | None = None) -> gpd.GeoDataFrame:
    n = len(places)
    columns = {
        "point_id": ids or [f"p{number}" for number in range(n)],
        "lat": [lat for lat, _ in places],
        "lon": [lon for _, lon in places],
        "prefecture_code": ["13"] * n,
        "n_members": [1] * n,
        "radius_m": [0.0] * n,
        "geometry": [shapely.Point(lon, lat) for lat, lon in places],
    }
    return as_table(SAMPLE_POINTS, columns)


def materialise(home: Path, frame: gpd.GeoDataFrame, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    @dg.asset(name="sample_points", **sheet(SAMPLE_POINTS, group="sampling", kinds=set()))
    def table(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[Outcome]:
        step = Step(context, pipeline, "sample_points")

        def build() -> Made:
            return write_tables(step, {SAMPLE_POINTS: frame})

        yield step.run({"rows": len(frame), "where": str(frame.total_bounds), "crs": str(frame.crs)}, build)

    @dg.asset(deps=[table])
    def after() -> None:
        return

    resources = {"pipeline": Pipeline(home_dir=str(home), profile="demo")}
    return dg.materialize([table, after], resources=resources, raise_on_error=False, instance=instance)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as records:
        yield records


def checks_in(instance: dg.DagsterInstance, asset: str, *names: str) -> dict[str, dg.AssetCheckEvaluation]:
    """Return what Dagster's records tell of each check that was told."""
    found = {}
    for name in names:
        key = dg.AssetCheckKey(dg.AssetKey(asset), name)
        record = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        event = record[0].event.dagster_event if record and record[0].event else None
        if event is not None and event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            found[name] = event.asset_check_evaluation_data
    return found


@pytest.mark.parametrize(
    ("frame", "fault"),
    [
        (points(TOKYO, TOKYO, ids=["a", "a"]), "2 rows share a key"),
        (points(TOKYO, (37.57, 121.0)), "1 geometries reach beyond the country"),
        (points(TOKYO).to_crs(6677), "expected EPSG:4326"),
    ],
    ids=["a doubled key", "a place in the Yellow Sea", "another reference system"],
)
def test_a_table_that_breaks_its_contract_is_a_failed_check_and_nothing_stands_on_it(
    tmp_path: Path, instance: dg.DagsterInstance, frame: gpd.GeoDataFrame, fault: str
) -> None:
    result = materialise(tmp_path, frame, instance)
    check = checks_in(instance, "sample_points", CONTRACT)[CONTRACT]
    assert not result.success
    assert not check.passed
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert fault in str(check.metadata["what"].value)
    assert not Home.at(tmp_path).table("sample_points").exists()
    assert result.asset_materializations_for_node("after") == []


def test_a_table_that_keeps_its_contract_says_so_each_time(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    for _ in range(2):
        [check] = materialise(tmp_path, points(TOKYO, (26.2, 127.7)), instance).get_asset_check_evaluations()
        assert check.passed
        assert {name: value.value for name, value in check.metadata.items()} == {
            "partition": "all", "rows": 2, "key": "point_id", "crs": "EPSG:4326", "outside_the_country": 0,
        }  # fmt: skip


def test_every_table_of_the_graph_has_its_check_and_every_check_says_what_it_is() -> None:
    definitions = build_definitions(Pipeline(home_dir="/x", profile="demo"))
    graph = definitions.resolve_asset_graph()
    keys = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}
    tables = {key.to_user_string() for key in graph.get_all_asset_keys()} & set(CONTRACTS)
    assert {(table, CONTRACT) for table in tables} == {key for key in keys if key[1] == CONTRACT}
    assert {("geolocation_model", FINITE), ("geolocation_model", NO_WORSE), ("qdrant_collection", NO_TEST_PICTURE)} <= keys
    blocking = {CONTRACT, FINITE, NO_WORSE, NO_TEST_PICTURE, "roads_are_not_lost", "no_group_on_two_sides"}
    blocking |= {"landmarks_are_not_lost", "every_embedding_is_indexed"}
    for key in graph.asset_check_keys:
        check = graph.get(key)
        assert check.description
        assert check.blocking == (key.name in blocking), key


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (NotFiniteError(what="checkpoint x", names=["a", "b", "c", "d"], cure="train again"), FINITE),
        (LeakedPictureError(collection="photos", images=["one", "two"]), NO_TEST_PICTURE),
        (WrongCrsError(table="t", found="EPSG:6677", expected="EPSG:4326"), CONTRACT),
        (MissingInputError(what="x", path="y", cure="z"), None),
    ],
)
def test_an_error_is_told_as_the_check_that_it_belongs_to(
    tmp_path: Path, instance: dg.DagsterInstance, error: GeolocError, name: str | None
) -> None:
    names = (CONTRACT, FINITE, NO_TEST_PICTURE)

    @dg.asset(check_specs=[dg.AssetCheckSpec(each, asset="thing", blocking=True) for each in names])
    def thing(context: dg.AssetExecutionContext, pipeline: Pipeline) -> Iterator[Outcome]:
        def build() -> Made:
            raise error

        yield Step(context, pipeline, "thing").run({}, build)

    resources = {"pipeline": Pipeline(home_dir=str(tmp_path), profile="demo")}
    assert not dg.materialize([thing], resources=resources, raise_on_error=False, instance=instance).success
    told = checks_in(instance, "thing", *names)
    assert {key: check.passed for key, check in told.items()} == ({} if name is None else {name: False})
    assert all(str(error) == check.metadata["what"].value for check in told.values())


@pytest.mark.parametrize(
    ("before", "after", "passes"), [(None, 3.0, True), (80.0, 80.0, True), (80.0, 75.0, True), (80.0, 74.9, False)]
)
def test_a_number_that_falls_farther_than_it_may_warns_and_blocks_nothing(
    before: float | None, after: float, passes: bool
) -> None:
    result = drifted("t", "n", before=before, after=after, most_lost=5.0, unit="%", partition="all")
    assert result.passed is passes
    assert result.severity is dg.AssetCheckSeverity.WARN
    assert not drift_check("t", "n", "d").blocking
    assert ("before" in result.metadata) == (before is not None)


@pytest.mark.parametrize("lost", [0.0, 0.9, 1.1])
@pytest.mark.parametrize("accepted", [False, True])
def test_a_worse_model_than_the_live_one_goes_no_farther_unless_accepted(tmp_path: Path, lost: float, accepted: bool) -> None:
    pipeline = Pipeline(home_dir=str(tmp_path), profile="demo")
    home = pipeline.home
    assert _beside_the_live(pipeline, accept_worse=False).passed, "nothing is live"
    live = {"val_accuracy_prefecture": 0.9, "val_accuracy_town": 0.5}
    new = {name: share - lost * WORSE_BY_PCT / 100 for name, share in live.items()}
    for key, facts in (("qdrant_collection", {"model": live}), ("geolocation_model", {**new, "val_loss": 1.0})):
        write_receipt(home.receipt(key), inputs={}, files=[], root=home.root, metadata=facts)
    check = _beside_the_live(pipeline, accept_worse=accepted)
    assert check.passed is (lost < 1)
    assert check.severity is (dg.AssetCheckSeverity.WARN if accepted else dg.AssetCheckSeverity.ERROR)
    assert json.loads(json.dumps(check.metadata["heads"].value)).keys() == live.keys()


def test_the_contract_check_names_the_key() -> None:
    assert "no two rows of one image_id + view" in (contract_check("training_shards").description or "")
    assert issubclass(WrongCrsError, TableContractError)
