"""The order of the chain, and what is told when a run fails."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.prefectures import BY_CODE
from geoloc_pipeline.orchestration.running.chain import Run, Stage, WorkerFailedError, chain_of, read_state, run_chain
from geoloc_pipeline.orchestration.running.display import ChainDisplay
from geoloc_pipeline.orchestration.world import World, choose_world, prefectures_in, read_world
from geoloc_pipeline.storage.atomic import write_text
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.progress import Progress
from geoloc_pipeline.storage.receipts import write_receipt


@pytest.mark.parametrize("codes", [["47", "13"], ["14", "47", "13", "15", "08", "12"]])
def test_every_asset_runs_once_for_each_of_its_partitions_after_what_it_needs(codes: list[str]) -> None:
    from geoloc_pipeline.definitions import defs

    upstream = {
        spec.key.to_user_string(): {dep.asset_key.to_user_string() for dep in spec.deps}
        for spec in defs().resolve_all_asset_specs()
    }
    stages = chain_of(codes)
    seen: set[str] = set()
    for stage in stages:
        here = {asset for run in stage.runs for asset in run.assets}
        for run in stage.runs:
            for asset in run.assets:
                assert upstream[asset] <= seen | set(run.assets)
        seen |= here
    assert seen == set(upstream)
    runs = [(asset, part) for stage in stages for run in stage.runs for part in run.partitions for asset in run.assets]
    assert len(runs) == len(set(runs))
    assert {part for asset, part in runs if asset == "osm_roads"} == {BY_CODE[code].key for code in codes}
    assert {part for asset, part in runs if asset == "road_points"} == {BY_CODE[code].key for code in codes}
    assert ("osm_dump", "kanto") in runs
    assert ("osm_dump", "kyushu") in runs


def test_prefectures_in_a_row_that_share_a_dump_are_cut_out_of_it_in_one_run() -> None:
    runs = [run for stage in chain_of(["14", "47", "13", "15", "08", "12"]) for run in stage.runs if "osm_roads" in run.assets]
    assert [run.partitions for run in runs] == [
        ("12_chiba", "13_tokyo", "14_kanagawa"), ("08_ibaraki",), ("15_niigata",), ("47_okinawa",)
    ]  # fmt: skip


def test_state_is_read_from_receipts_and_progress(tmp_path: Path) -> None:
    home, stages = Home.at(tmp_path), [Stage((Run(("a",), "x"), Run(("a",), "y")))]
    write_receipt(home.receipt("a", "x"), inputs={}, files=[], root=tmp_path, metadata={"seconds": 2.5, "rows": 7})
    Progress(home.progress("a", "x")).tell(7, total=7, unit="images")
    Progress(home.progress("a", "y")).tell(3, total=10, unit="images")
    step = read_state(home, stages, running=[stages[0].runs[1]]).steps["a"]
    assert (step.partitions, step.finished, step.done, step.total, step.rows, step.seconds) == (2, 1, 10, 17, 7, 2.5)


def test_the_display_tells_each_step_once_where_nobody_can_redraw(tmp_path: Path) -> None:
    home, stages = Home.at(tmp_path), [Stage((Run(("sample_points",), "x"),))]
    write_receipt(
        home.receipt("sample_points", "x"), inputs={}, files=[], root=tmp_path, metadata={"seconds": 2.5, "rows": 1234}
    )
    out = io.StringIO()
    with ChainDisplay(Console(file=out, width=100)) as display:
        for _ in range(3):
            display.show(read_state(home, stages))
    assert out.getvalue().count("sample_points") == 1
    assert "1,234 rows" in out.getvalue()


def test_the_display_draws_rate_and_time_left_on_a_terminal(tmp_path: Path) -> None:
    home, stages = Home.at(tmp_path), [Stage((Run(("street_view_images",), "x"),))]
    Progress(home.progress("street_view_images", "x")).tell(3, total=10, unit="images")
    out = io.StringIO()
    with ChainDisplay(Console(file=out, width=120, force_terminal=True)) as display:
        display.show(read_state(home, stages, running=stages[0].runs))
    assert "street_view_images" in out.getvalue()
    assert "3 images" in out.getvalue()


def test_a_run_that_fails_tells_its_own_error_and_exit_status(tmp_path: Path) -> None:
    # without a model there is nothing to embed with
    with pytest.raises(WorkerFailedError, match="`training_shards`, partition 13_tokyo") as error:
        run_chain(Home.at(tmp_path), [Stage((Run(("image_embeddings",), "13_tokyo"),))], profile="demo")
    assert error.value.exit_code == 2


def test_a_profile_that_does_not_exist_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkerFailedError, match="GEOLOC_PROFILE is 'mars'"):
        run_chain(
            Home.at(tmp_path),
            [
                Stage(
                    (
                        Run(
                            ("evaluation_report",),
                        ),
                    )
                )
            ],
            profile="mars",
        )


def test_a_home_keeps_its_world(tmp_path: Path) -> None:
    home = Home.at(tmp_path)
    assert read_world(home) == World()
    world = World(seed=3, prefecture_codes=("13",))
    assert choose_world(home, world) == choose_world(home, world) == read_world(home)
    with pytest.raises(SettingError, match="holds another world"):
        choose_world(home, World(seed=4, prefecture_codes=("13",)))


def test_a_folder_without_maps_is_no_world(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SettingError, match="--world"):
            prefectures_in(folder)
    write_text(tmp_path / "tokyo.osm.pbf", "")
    write_text(tmp_path / "A002005212020DDSWC13-JGD2011.zip", "")
    write_text(tmp_path / "A002005212020DDSWC47113.zip", "")
    assert prefectures_in(tmp_path) == ("13", "47")


def test_the_world_is_a_plain_note(tmp_path: Path) -> None:
    choose_world(Home.at(tmp_path), World())
    assert json.loads(Home.at(tmp_path).world_choice().read_text(encoding="utf-8"))["density"] == 1.0
