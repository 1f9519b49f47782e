"""Several prefectures of one region share one pass of its dump, and a map that lost too much replaces nothing."""

import json

import dagster as dg
import osmium
import pandas as pd
import pytest
import shapely

from geoloc_pipeline.errors import BadSourceFileError
from geoloc_pipeline.orchestration.build import build_definitions
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.orchestration.running.worker import answer, open_instance
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import write_table
from geoloc_pipeline.storage.receipts import read_receipt, write_receipt
from geoloc_pipeline.tables import CENSUS_TOWNS, as_table

WEST, SOUTH, WAYS = 131.0, 34.0, 10
PREFECTURES = {"34_hiroshima": WEST, "35_yamaguchi": WEST + 0.2}  # western edge of a block 0.1 degrees wide
MAPS = ("osm_roads", "osm_landmarks")


def write_dump(home: Home, day: str, *, lost: int = 0) -> None:
    """Put a dump of both prefectures in place; the first one has `lost` of its roads no more."""
    path = home.dumps("chugoku") / f"chugoku-{day}.osm.pbf"
    path.parent.mkdir(parents=True, exist_ok=True)
    with osmium.SimpleWriter(str(path), overwrite=True) as writer:
        places = [(west + 0.01 * x, SOUTH + 0.05) for west in PREFECTURES.values() for x in range(WAYS + 1)]
        for number, place in enumerate(places, start=1):
            tags = {"historic": "castle"} if number % (WAYS + 1) == 1 else {}
            writer.add_node(osmium.osm.mutable.Node(id=number, version=1, location=place, tags=tags))
        for number in range(1, len(places)):
            tags = {"highway": "primary" if number % 2 else "tertiary", "name": f"見本{number}号通り"}
            if number % (WAYS + 1) and number > lost:
                writer.add_way(osmium.osm.mutable.Way(id=number, version=1, nodes=[number, number + 1], tags=tags))
    write_receipt(home.receipt("osm_dump", "chugoku"), inputs={"day": day}, files=[path], root=home.root)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = Home.at(tmp_path_factory.mktemp("home"))
    write_dump(home, "260901")
    for key, west in PREFECTURES.items():
        row = {
            "town_code": [f"{key[:2]}201001001"], "town": ["見本町"], "municipality_code": [f"{key[:2]}201"],
            "municipality": ["見本市"], "prefecture_code": [key[:2]], "prefecture": ["見本県"], "population": [1],
            "geometry": [shapely.box(west, SOUTH, west + 0.1, SOUTH + 0.1)],
        }  # fmt: skip
        path = home.table("census_towns", key)
        write_table(CENSUS_TOWNS, as_table(CENSUS_TOWNS, row), path)
        write_receipt(home.receipt("census_towns", key), inputs={}, files=[path], root=home.root)
    return home


def run(home: Home, instance: dg.DagsterInstance, assets: tuple[str, ...], *keys: str, **config: bool) -> None:
    job = build_definitions(Pipeline(home_dir=str(home.root), profile="japan")).resolve_implicit_global_asset_job_def()
    several = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(name) for name in assets],
        partition_key=keys[0] if len(keys) == 1 else None,
        tags=several if len(keys) > 1 else {},
        run_config={"ops": {"osm_map": {"config": config}}},
    )


def told(instance: dg.DagsterInstance, asset: str, key: str) -> dg.AssetMaterialization | None:
    wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[key])
    records = instance.fetch_materializations(wanted, limit=1).records
    return records[0].asset_materialization if records else None


def versions(instance: dg.DagsterInstance) -> dict[tuple[str, str], str]:
    return {(asset, key): told(instance, asset, key).tags["dagster/data_version"] for asset in MAPS for key in PREFECTURES}


def states(home: Home) -> dict[tuple[str, str], str]:
    return {(asset, key): read_receipt(home.receipt(asset, key)).content_hash[:16] for asset in MAPS for key in PREFECTURES}


def check_passed(instance: dg.DagsterInstance, check: str) -> tuple[bool, str]:
    key = dg.AssetCheckKey(dg.AssetKey("osm_roads"), check)
    record = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)[0]
    return record.event.asset_check_evaluation.passed, str(record.event.asset_check_evaluation.metadata)


def test_one_pass_a_refused_loss_and_an_accepted_one(home: Home) -> None:
    # one story, because each pass takes seconds
    with dg.DagsterInstance.ephemeral() as instance:
        run(home, instance, MAPS, *PREFECTURES)
        for key in PREFECTURES:
            event = told(instance, "osm_roads", key)
            assert event.metadata["dump_passes"].value == 1
            assert event.metadata["prefectures"].value == 2
            assert event.metadata["dagster/row_count"].value == WAYS
            assert event.tags["dagster/code_version"] == "2"
        made = states(home)
        assert versions(instance) == made  # each prefecture's own content, not one version for the run
        assert len(set(made.values())) == 4
        assert check_passed(instance, "roads_are_not_lost")[0]

        run(home, instance, MAPS, *PREFECTURES)
        assert {told(instance, "osm_roads", key).metadata["dump_passes"].value for key in PREFECTURES} == {0}
        assert versions(instance) == made

        write_dump(home, "260902", lost=5)
        with pytest.raises(BadSourceFileError, match="accept_loss: true") as error:
            run(home, instance, (*MAPS, "road_points"), *PREFECTURES)
        assert "chugoku-260902.osm.pbf" in str(error.value)
        assert "34_hiroshima 9 to 5 km of road (-50%): primary 5 to 2, tertiary 5 to 3" in str(error.value)
        assert "35_yamaguchi" not in str(error.value)
        assert states(home) == made  # nothing of 34 was overwritten, 35 was made again and is the same
        assert len(pd.read_parquet(home.table("osm_roads", "34_hiroshima"))) == WAYS
        assert told(instance, "road_points", "35_yamaguchi") is None
        assert told(instance, "osm_roads", "34_hiroshima").metadata["dump_passes"].value == 0
        assert told(instance, "osm_roads", "35_yamaguchi").metadata["dump_passes"].value == 1
        assert versions(instance) == made
        passed, figures = check_passed(instance, "roads_are_not_lost")
        assert not passed
        assert "9 to 5 km" in figures

        run(home, instance, MAPS, "34_hiroshima", accept_loss=True)
        assert len(pd.read_parquet(home.table("osm_roads", "34_hiroshima"))) == WAYS - 5
        assert versions(instance) == states(home) != made
        assert told(instance, "osm_roads", "34_hiroshima").metadata["dump_passes"].value == 1
    assert not list((home.root / "scratch").rglob("*.parquet"))


def test_many_prefectures_go_in_one_run_where_nothing_but_the_map_is_asked_for(home: Home) -> None:
    definitions = build_definitions(Pipeline(home_dir=str(home.root), profile="japan"))
    assert definitions.resolve_job_def("extract_prefectures").backfill_policy == dg.BackfillPolicy.single_run()
    assert definitions.resolve_job_def("refresh_prefecture").backfill_policy.max_partitions_per_run == 1


def test_a_worker_takes_a_row_of_prefectures(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEOLOC_HOME", str(home.root))
    monkeypatch.setenv("GEOLOC_PROFILE", "japan")
    asked = {"assets": MAPS, "partition": "34_hiroshima", "until": "35_yamaguchi"}
    assert answer(json.dumps(asked)) == {"ok": True}
    with open_instance(home) as instance:
        assert [told(instance, "osm_roads", key).metadata["prefectures"].value for key in PREFECTURES] == [2, 2]
        assert told(instance, "osm_landmarks", "33_okayama") is None
    assert (
        "`osm_dump`, partition kanto" in answer(json.dumps({**asked, "partition": "13_tokyo", "until": "14_kanagawa"}))["error"]
    )
