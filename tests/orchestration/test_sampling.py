"""A refresh tells what it changed about the points; nothing changed where nothing was done."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import shapely

from geoloc_pipeline.orchestration.assets.sampling import APART, CHANGES, COVERED, sample_points
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.storage.receipts import write_receipt
from geoloc_pipeline.tables import CENSUS_TOWNS, LANDMARK_POINTS, ROAD_POINTS, SAMPLE_POINTS, as_table, empty_table

KEY = "13_tokyo"
LAT, LON = 35.6, 139.7
STEP_DEG = 0.02  # 2.2 km: every point is a cluster of its own


def put(home: Home, contract, frame, key: str = KEY) -> None:
    path = home.table(contract.name, key)
    write_table(contract, frame, path)
    write_receipt(home.receipt(contract.name, key), inputs={}, files=[path], root=home.root)


def points(numbers: list[int], *, shifted_deg: dict[int, float]):
    lat = [LAT + STEP_DEG * number + shifted_deg.get(number, 0.0) for number in numbers]
    ids = [f"p{number}-{shifted_deg.get(number, 0.0)}" for number in numbers]
    n = len(ids)
    return as_table(
        ROAD_POINTS,
        {
            "point_id": ids, "lat": lat, "lon": [LON] * n, "feature_id": ids, "spacing_m": [0.0] * n,
            "geometry": shapely.points([LON] * n, lat),
        },
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.at(tmp_path)
    town = {
        "town_code": ["13101001001"], "town": ["見本町"], "municipality_code": ["13101"], "municipality": ["見本区"],
        "prefecture_code": ["13"], "prefecture": ["東京都"], "population": [1], "geometry": [shapely.box(139, 35, 141, 37)],
    }  # fmt: skip
    put(home, CENSUS_TOWNS, as_table(CENSUS_TOWNS, town))
    put(home, LANDMARK_POINTS, empty_table(LANDMARK_POINTS))
    return home


def refresh(
    home: Home, numbers: list[int], *, neighbours: bool = False, **shifted: float
) -> dict[str, dg.AssetCheckEvaluation]:
    put(home, ROAD_POINTS, points(numbers, shifted_deg={int(name[1:]): value for name, value in shifted.items()}))
    result = dg.materialize(
        [sample_points],
        partition_key=KEY,
        run_config={"ops": {"sample_points": {"config": {"neighbours": neighbours}}}},
        resources={"pipeline": Pipeline(home_dir=str(home.root), profile="demo")},
        instance=dg.DagsterInstance.ephemeral(),
    )
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def counts(check: dg.AssetCheckEvaluation) -> tuple[object, ...]:
    return tuple(check.metadata[name].value for name in ("added", "moved", "removed", "kept"))


def test_the_check_tells_what_a_refresh_added_moved_and_removed(home: Home) -> None:
    everyone = list(range(40))
    first = refresh(home, everyone)
    assert counts(first[CHANGES]) == (40, 0, 0, 0)
    assert first[CHANGES].metadata["first_time"].value is True
    assert first[CHANGES].passed
    second = refresh(home, [number for number in everyone if number != 7] + [99], p3=0.001)
    assert counts(second[CHANGES]) == (1, 1, 1, 38)
    assert second[CHANGES].metadata["moved_farthest_m"].value == pytest.approx(111, abs=1)
    assert second[CHANGES].metadata["changed_pct"].value == pytest.approx(100 * 3 / 41, abs=0.01)
    assert second[CHANGES].passed
    again = refresh(home, [number for number in everyone if number != 7] + [99], p3=0.001)
    assert counts(again[CHANGES]) == (0, 0, 0, 40)


def test_a_refresh_that_changes_much_is_a_warning_and_goes_on(home: Home) -> None:
    refresh(home, list(range(20)))
    check = refresh(home, list(range(10)))[CHANGES]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert counts(check) == (0, 0, 10, 10)
    assert len(read_table(SAMPLE_POINTS, home.table("sample_points", KEY))) == 10


def test_a_former_table_that_cannot_be_read_counts_as_none(home: Home) -> None:
    refresh(home, [1, 2])
    home.table("sample_points", KEY).write_bytes(b"of another age")
    assert counts(refresh(home, [1, 2, 3])[CHANGES]) == (3, 0, 0, 0)


def test_every_point_is_near_its_sample_point_and_those_keep_apart(home: Home) -> None:
    checks = refresh(home, list(range(5)))
    assert checks[COVERED].passed
    assert checks[COVERED].metadata["farthest_m"].value <= checks[COVERED].metadata["stated_m"].value
    assert checks[APART].passed
    assert checks[APART].metadata["closest_m"].value == pytest.approx(111_000 * STEP_DEG, rel=0.01)


@pytest.mark.parametrize("numbers", [[], [1]])
def test_a_prefecture_of_no_point_or_one_breaks_nothing(home: Home, numbers: list[int]) -> None:
    assert all(check.passed for check in refresh(home, numbers).values())


def test_other_prefectures_play_no_part_unless_neighbours_are_asked_for(home: Home) -> None:
    def table() -> list[tuple[str, int]]:
        frame = read_table(SAMPLE_POINTS, home.table("sample_points", KEY))
        return sorted(zip(frame["point_id"], frame["n_members"], strict=True))

    refresh(home, [0, 1, 2])
    alone = table()
    beside = points([1, 40], shifted_deg={1: 0.0003})  # 33 m from a point of ours, and far away
    for key in ("14_kanagawa", "01_hokkaido"):
        put(home, ROAD_POINTS, beside.assign(point_id=[f"{key}-{n}" for n in range(2)]), key)
        put(home, LANDMARK_POINTS, empty_table(LANDMARK_POINTS), key)
    refresh(home, [0, 1, 2])
    assert table() == alone
    refresh(home, [0, 1, 2], neighbours=True)
    assert sorted(count for _, count in table()) in ([1, 1], [1, 1, 2])  # the pair across the border is kept by one side
    assert set(table()) != set(alone)
    refresh(home, [0, 1, 2])
    assert table() == alone
