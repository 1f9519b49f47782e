"""Labels, splits and classes of a prefecture through Dagster, with a neighbour whose partitions were never made."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import shapely

from geoloc_pipeline.demo.land import Town
from geoloc_pipeline.demo.publish_census import archive_name, write_archive
from geoloc_pipeline.orchestration.assets.labels import dataset_splits, label_vocabulary, labelled_images
from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.layout import Home
from geoloc_pipeline.storage.parquet import read_table, write_table
from geoloc_pipeline.storage.receipts import read_receipt, write_receipt
from geoloc_pipeline.tables import (
    CENSUS_TOWNS,
    DATASET_SPLITS,
    LABEL_VOCABULARY,
    LABELLED_IMAGES,
    OSM_LANDMARKS,
    OSM_ROADS,
    STREET_VIEW_IMAGES,
    as_table,
    empty_table,
)

KEY, NEIGHBOUR = "42_nagasaki", "41"  # Nagasaki's only land border is with Saga
LAT, LON = 33.0, 129.9
STEP_DEG = 0.015  # more than a kilometre: no two pictures are at one place
BLOCK_DEG = 0.15


def put(home: Home, contract, frame, key: str = KEY) -> None:
    path = home.table(contract.name, key)
    write_table(contract, frame, path)
    write_receipt(home.receipt(contract.name, key), inputs={}, files=[path], root=home.root)


def pictures(places: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """A manifest from degrees north and east of the corner that ours, theirs and the sea share."""
    n, moment = len(places), pd.Timestamp("2026-01-02", tz="UTC")
    lat, lon = (np.array([place[axis] for place in places.values()]) + (LAT, LON)[axis] for axis in (0, 1))
    texts = dict.fromkeys(("licence", "attribution", "source_url", "sha256"), ["x"] * n)
    return as_table(
        STREET_VIEW_IMAGES,
        {
            **texts, "image_id": list(places), "source": ["mapillary"] * n, "source_image_id": list(places), "lat": lat,
            "lon": lon, "origin_id": [None] * n, "accuracy_m": [np.nan] * n, "content_sha256": list(places),
            "requested_lat": lat, "requested_lon": lon, "point_id": list(places), "is_wanted": [True] * n,
            "views": ["photo"] * n, "width_px": [1] * n, "height_px": [1] * n, "captured_at": [moment] * n,
            "fetched_at": [moment] * n, "capture_group": list(places), "shard": ["0.tar"] * n, "offset": [0] * n,
            "size_bytes": [1] * n, "geometry": shapely.points(lon, lat),
        },
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Ours north of `LAT`, theirs south of it and known from its archive alone; sea all around."""
    home = Home.at(tmp_path)
    ours = {
        "town_code": ["42202001001"], "town": ["浜町"], "municipality_code": ["42202"], "municipality": ["佐世保市"],
        "prefecture_code": ["42"], "prefecture": ["長崎県"], "population": [1],
        "geometry": [shapely.box(LON, LAT, LON + BLOCK_DEG, LAT + BLOCK_DEG)],
    }  # fmt: skip
    put(home, CENSUS_TOWNS, as_table(CENSUS_TOWNS, ours))
    put(home, OSM_ROADS, empty_table(OSM_ROADS))
    put(home, OSM_LANDMARKS, empty_table(OSM_LANDMARKS))
    home.census().mkdir(parents=True)
    theirs = Town(
        key_code="41401001001", prefecture_code="41", municipality_code="41401", prefecture="佐賀県", municipality="有田町",
        town="北浜", polygon=shapely.box(LON, LAT - BLOCK_DEG, LON + BLOCK_DEG, LAT),
    )  # fmt: skip
    write_archive(home.census() / archive_name(NEIGHBOUR), NEIGHBOUR, [theirs])
    return home


def materialise(home: Home, *assets: dg.AssetsDefinition, key: str | None = KEY) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        list(assets),
        partition_key=key,
        resources={"pipeline": Pipeline(home_dir=str(home.root), profile="japan")},
        instance=dg.DagsterInstance.ephemeral(),
    )


def test_a_picture_across_the_border_is_left_to_the_neighbour_whose_archive_alone_is_there(home: Home) -> None:
    inside = {f"in{n:02d}": (0.01 + STEP_DEG * (n % 6), 0.01 + STEP_DEG * (n // 6)) for n in range(24)}
    places = {"border": (-0.0003, 0.07), "shore": (BLOCK_DEG + 0.0003, 0.07), "sea": (BLOCK_DEG + 0.001, 0.07), **inside}
    put(home, STREET_VIEW_IMAGES, pictures(places))
    materialise(home, labelled_images, dataset_splits)
    labelled = read_table(LABELLED_IMAGES, home.table("labelled_images", KEY)).set_index("image_id")
    assert set(labelled.index) == {"shore", *inside}
    assert labelled["town_distance_m"]["shore"] == pytest.approx(0.0003 * 110_900, rel=0.001)
    assert (labelled["town_distance_m"].drop("shore") == 0).all()
    facts = read_receipt(home.receipt("labelled_images", KEY)).metadata
    assert (facts["rows"], facts["off_shore"], facts["with_town_code"], facts["with_road_id"]) == (25, 1, 25, 0)
    splits = read_table(DATASET_SPLITS, home.table("dataset_splits", KEY))
    assert splits["split"].value_counts().to_dict() == {"train": 20, "val": 4, "test": 1}
    facts = read_receipt(home.receipt("dataset_splits", KEY)).metadata
    assert (facts["municipalities_without_val"], facts["municipalities_without_test"]) == (0, 0)


def test_labels_need_no_archive_where_no_picture_lies_just_outside(home: Home) -> None:
    (home.census() / archive_name(NEIGHBOUR)).unlink()
    put(home, STREET_VIEW_IMAGES, pictures({"in": (0.005, 0.005), "sea": (BLOCK_DEG + 0.01, 0.005)}))
    materialise(home, labelled_images)  # the network is shut: asking e-Stat would fail
    assert read_table(LABELLED_IMAGES, home.table("labelled_images", KEY))["image_id"].to_list() == ["in"]


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_the_vocabulary_tells_of_pictures_in_two_prefectures_and_of_leaks_across_them(home: Home) -> None:
    places = {f"in{n:02d}": (0.01 + STEP_DEG * (n % 9), 0.01 + STEP_DEG * (n // 9)) for n in range(40)}
    put(home, STREET_VIEW_IMAGES, pictures(places))
    materialise(home, labelled_images, dataset_splits)
    alone = checks_of(materialise(home, label_vocabulary, key=None))
    assert {name: check.passed for name, check in alone.items()} == dict.fromkeys(
        ("keeps_its_contract", "no_picture_in_two_prefectures", "classes_are_not_lost"), True
    )
    facts = read_receipt(home.receipt("label_vocabulary")).metadata
    assert facts["leaks"]["test_images"] == 2
    assert facts["leaks"]["nearest_train_m"] > 1000
    for contract in (LABELLED_IMAGES, DATASET_SPLITS):  # as if Saga had labelled them as well
        put(home, contract, read_table(contract, home.table(contract.name, KEY)), "41_saga")
    for contract in (CENSUS_TOWNS, OSM_ROADS, OSM_LANDMARKS):
        put(home, contract, read_table(contract, home.table(contract.name, KEY)), "41_saga")
    both = checks_of(materialise(home, label_vocabulary, key=None))["no_picture_in_two_prefectures"]
    assert (both.passed, both.severity, both.metadata["pictures"].value) == (False, dg.AssetCheckSeverity.WARN, 40)
    vocabulary = read_table(LABEL_VOCABULARY, home.table("label_vocabulary"))
    assert vocabulary.set_index("task")["n_train"]["municipality"] == 32, "counted once"
