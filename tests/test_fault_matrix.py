"""Every asset disturbed once, every fault among them: a plain run afterwards leaves the bytes of an undisturbed one.

The whole matrix (ten kills of each asset, every other fault) takes half an hour: `python -m benchmarks.fault_matrix`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks stand beside the tests
from benchmarks._fault_home import TARGETS, name_of
from benchmarks._fault_runs import Going
from benchmarks.fault_matrix import FAULTS, Matrix
from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.resources import Pipeline

pytestmark = pytest.mark.chain
DISK_FAULTS = ("full disk", "read-only home")
CASES = [(run, FAULTS[number % len(FAULTS)]) for number, run in enumerate(TARGETS)]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with Matrix(tmp_path_factory.mktemp("faults"), density=0.05, seed=3) as matrix:
        yield matrix


def test_the_matrix_knows_every_asset_of_the_graph() -> None:
    graph = build_definitions(Pipeline(home_dir="/nowhere", profile="demo")).resolve_asset_graph()
    assert sorted(key.to_user_string() for key in graph.get_all_asset_keys()) == sorted(
        key for run in TARGETS for key in run.assets
    )
    assert {fault for _, fault in CASES} == set(FAULTS)


@pytest.mark.parametrize(("run", "fault"), CASES, ids=[f"{name_of(run)}-{fault}" for run, fault in CASES])
def test_after_a_fault_a_plain_run_leaves_the_same_bytes(matrix: Matrix, run, fault: str) -> None:
    if fault in DISK_FAULTS and not matrix.disk.is_real:
        pytest.skip("a disk of its own can be mounted by root only")
    cell = matrix.disturb(run, fault)
    print(cell)
    assert cell.is_well, str(cell)


def test_a_difference_would_be_seen(matrix: Matrix) -> None:
    run = next(target for target in TARGETS if target.assets == ("road_points",))
    cell = matrix.disturb(run, "two at once")
    assert cell.is_well
    path = matrix.home.table("road_points", run.partition or "")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert matrix.differences(run) == ("tables/road_points/47_okinawa.parquet",)
    assert Going(matrix.home, run, matrix.log).wait().kind == "done", "its size is as before: nothing to do"
