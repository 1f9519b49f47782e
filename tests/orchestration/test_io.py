"""A step is skipped while nothing changed, done again when something did, and never leaves a receipt for half a thing."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from geoloc_pipeline.errors import MissingInputError
from geoloc_pipeline.orchestration.io import Made, Step, column_schema, write_tables
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.receipts import read_receipt, write_receipt
from geoloc_pipeline.tables import IMAGE_EMBEDDINGS, REJECTED, SAMPLE_POINTS, STREET_VIEW_IMAGES, empty_table
from geoloc_pipeline.tables.lineage import COLUMN_LINEAGE

Body = Callable[[dg.AssetExecutionContext, Pipeline], dg.MaterializeResult[None]]


def materialise(body: Body, home: Path, code_version: str = "1") -> dict:
    @dg.asset(name="thing", code_version=code_version)
    def thing(context: dg.AssetExecutionContext, pipeline: Pipeline):
        return body(context, pipeline)

    pipeline = Pipeline(home_dir=str(home), profile="demo")
    result = dg.materialize([thing], resources={"pipeline": pipeline}, instance=dg.DagsterInstance.ephemeral())
    return {name: value.value for name, value in result.asset_materializations_for_node("thing")[0].metadata.items()}


class Maker:
    """Writes a file, counts how often, and fails when told to."""

    def __init__(self, text: str = "made", *, fails: bool = False) -> None:
        self.text, self.fails, self.times = text, fails, 0

    def __call__(self, inputs: dict) -> Body:
        def body(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
            path = pipeline.home.table("thing")

            def build() -> Made:
                self.times += 1
                write_text(path, self.text)
                if self.fails:
                    raise RuntimeError("cut")
                return Made(files=[path], facts={"rows": 3})

            return Step(context, pipeline, "thing").run(inputs, build)

        return body


def test_a_step_is_done_once_while_nothing_changes(tmp_path: Path) -> None:
    maker = Maker()
    first = materialise(maker({"a": 1}), tmp_path)
    second = materialise(maker({"a": 1}), tmp_path)
    assert maker.times == 1
    assert first["dagster/row_count"] == second["dagster/row_count"] == 3
    assert second["seconds"] == 0.0


@pytest.mark.parametrize("what", ["inputs", "code", "file"])
def test_a_step_is_done_again_when_something_changed(tmp_path: Path, what: str) -> None:
    maker = Maker()
    materialise(maker({"a": 1}), tmp_path)
    if what == "file":
        (tmp_path / "tables" / "thing" / "all.parquet").unlink()
    materialise(maker({"a": 2 if what == "inputs" else 1}), tmp_path, code_version="2" if what == "code" else "1")
    assert maker.times == 2


def test_a_step_that_fails_leaves_no_receipt_and_is_done_again(tmp_path: Path) -> None:
    materialise(Maker()({"a": 1}), tmp_path)
    with pytest.raises(RuntimeError, match="cut"):
        materialise(Maker("half", fails=True)({"a": 2}), tmp_path)
    assert read_receipt(tmp_path / "receipts" / "thing" / "all.json") is None
    maker = Maker()
    materialise(maker({"a": 1}), tmp_path)
    assert maker.times == 1


def test_an_upstream_that_was_never_made_names_the_cure(tmp_path: Path) -> None:
    def body(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
        return Step(context, pipeline, "thing").run(Step(context, pipeline, "thing").upstream("census_towns", "13_tokyo"), Made)

    with pytest.raises(MissingInputError, match="`census_towns`, partition 13_tokyo"):
        materialise(body, tmp_path)


def test_fan_ins_see_whatever_partitions_exist(tmp_path: Path) -> None:
    seen = {}

    def body(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
        step = Step(context, pipeline, "thing")
        seen.update(step.upstream_partitions("labelled_images"))
        return step.run({}, lambda: Made(files=[]))

    for key in ("47_okinawa", "01_hokkaido"):
        write_receipt(tmp_path / "receipts" / "labelled_images" / f"{key}.json", inputs={}, files=[], root=tmp_path)
    materialise(body, tmp_path)
    assert list(seen) == ["labelled_images/01_hokkaido", "labelled_images/47_okinawa"]


def test_rejected_rows_are_counted_by_reason_beside_the_table(tmp_path: Path) -> None:
    turned_away = empty_table(REJECTED)
    turned_away.loc[0] = ["mapillary", "1", "truncated", "cut short"]
    turned_away.loc[1] = ["mapillary", "2", "truncated", "cut short"]

    def body(context: dg.AssetExecutionContext, pipeline: Pipeline) -> dg.MaterializeResult[None]:
        step = Step(context, pipeline, "street_view_images", "13_tokyo")
        made = write_tables(step, {STREET_VIEW_IMAGES: empty_table(STREET_VIEW_IMAGES), REJECTED: turned_away})
        assert made.facts == {"rows": 0, "rejected": 2, "rejected_reasons": {"truncated": 2}}
        assert [path.is_file() for path in made.files] == [True, True]
        return dg.MaterializeResult()

    materialise(body, tmp_path)


def test_a_contract_is_shown_with_units_and_keys() -> None:
    columns = {column.name: column for column in column_schema(SAMPLE_POINTS).columns}
    assert columns["point_id"].constraints.unique
    assert columns["geometry"].type == "Point"
    assert "metres" in (columns["radius_m"].description or "")
    assert {column.name: column.type for column in column_schema(IMAGE_EMBEDDINGS).columns}["embedding"] == "vector[512]"


def test_dagster_is_told_from_which_columns_a_table_was_made(tmp_path: Path) -> None:
    @dg.asset(name="sample_points", code_version="1")
    def points(context: dg.AssetExecutionContext, pipeline: Pipeline):
        step = Step(context, pipeline, "sample_points")
        return step.run({}, lambda: write_tables(step, {SAMPLE_POINTS: empty_table(SAMPLE_POINTS)}))

    pipeline = Pipeline(home_dir=str(tmp_path), profile="demo")
    done = dg.materialize([points], resources={"pipeline": pipeline}, instance=dg.DagsterInstance.ephemeral())
    lineage = done.asset_materializations_for_node("sample_points")[0].metadata["dagster/column_lineage"].value
    shown = {
        column: {f"{dep.asset_key.to_user_string()}.{dep.column_name}" for dep in deps}
        for column, deps in lineage.deps_by_column.items()
    }
    assert shown == {column: set(sources) for column, sources in COLUMN_LINEAGE["sample_points"].items()}
