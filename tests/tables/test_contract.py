"""A contract lets through what keeps it and names every fault of what does not."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely.geometry import LineString, Point

from geoloc_pipeline.errors import TableContractError, WrongCrsError
from geoloc_pipeline.geo.crs import WGS84
from geoloc_pipeline.tables import (
    BACKBONE_TOKENS,
    CONTRACTS,
    DATASET_SPLITS,
    IMAGE_EMBEDDINGS,
    SAMPLE_POINTS,
    TableContract,
    as_table,
    check_table,
    empty_table,
)


def sample_points(n: int = 3) -> gpd.GeoDataFrame:
    lat, lon = 35.0 + np.arange(n) / 100, 139.0 + np.arange(n) / 100
    return as_table(
        SAMPLE_POINTS,
        {
            "point_id": [f"p{i}" for i in range(n)],
            "lat": lat,
            "lon": lon,
            "prefecture_code": ["13"] * n,
            "n_members": [1] * n,
            "radius_m": [0.0] * n,
            "geometry": [Point(x, y) for x, y in zip(lon, lat, strict=True)],
        },
    )


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)
def test_an_empty_table_keeps_every_contract(contract: TableContract) -> None:
    check_table(contract, empty_table(contract))


def test_a_good_table_passes() -> None:
    check_table(SAMPLE_POINTS, sample_points())


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda t: t.drop(columns="lat"), "`lat` is missing"),
        (lambda t: t.assign(extra=1), "`extra` is not declared"),
        (lambda t: t.assign(lat=[35.0, None, 35.1]), "`lat` has 1 missing"),
        (lambda t: t.assign(lat=[35.0, 95.0, 35.1]), "outside [-90, 90], such as"),
        (lambda t: t.assign(radius_m=[0.0, np.inf, 1.0]), "`radius_m` has 1 values outside"),
        (lambda t: t.assign(prefecture_code=[13, 13, 13]), "`prefecture_code` is int64, expected string"),
        (lambda t: t.assign(n_members=[1.0, 1.0, 1.0]), "`n_members` is float64, expected int64"),
        (lambda t: t.assign(point_id=["a", "a", "b"]), "2 rows share a key (point_id), such as ('a',)"),
        (lambda t: t.set_geometry([LineString([(0, 0), (1, 1)])] * 3, crs=WGS84), "geometry is ['LineString']"),
        (lambda t: t.set_geometry([Point(), Point(1, 1), Point(1, 1)], crs=WGS84), "1 geometries are empty"),
    ],
)
def test_each_fault_is_named(spoil, told: str) -> None:
    with pytest.raises(TableContractError) as error:
        check_table(SAMPLE_POINTS, spoil(sample_points()))
    assert told in str(error.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(TableContractError) as error:
        check_table(SAMPLE_POINTS, sample_points().drop(columns="radius_m").assign(lat=200.0))
    assert len(error.value.faults) == 2


def test_another_crs_is_refused_with_the_cure() -> None:
    with pytest.raises(WrongCrsError, match="to_wgs84"):
        check_table(SAMPLE_POINTS, sample_points().to_crs("EPSG:6677"))
    with pytest.raises(WrongCrsError):
        check_table(SAMPLE_POINTS, sample_points().set_crs("OGC:CRS84", allow_override=True))


def test_only_declared_sides_of_a_split_are_allowed() -> None:
    table = pd.DataFrame({"image_id": ["a"], "split": ["dev"], "split_group": ["g"], "municipality_code": ["13101"]})
    with pytest.raises(TableContractError, match="dev"):
        check_table(DATASET_SPLITS, table)


def test_a_vector_of_another_length_is_refused() -> None:
    row = {"image_id": ["a"], "view": ["N"], "model_version": ["m"], "lat": [1.0], "lon": [1.0]}
    check_table(IMAGE_EMBEDDINGS, as_table(IMAGE_EMBEDDINGS, {**row, "embedding": [np.zeros(512, dtype=np.float32)]}))
    with pytest.raises(TableContractError, match="511"):
        check_table(IMAGE_EMBEDDINGS, as_table(IMAGE_EMBEDDINGS, {**row, "embedding": [np.zeros(511, dtype=np.float32)]}))


def test_vectors_of_any_length_are_at_least_of_one() -> None:
    rows = {"image_id": ["a", "b"], "view": ["N"] * 2, "model_version": ["m"] * 2}
    for lengths in ((6, 6), (1024, 1024)):
        token = [np.zeros(length, dtype=np.float16) for length in lengths]
        check_table(BACKBONE_TOKENS, as_table(BACKBONE_TOKENS, {**rows, "token": token}))
    token = [np.zeros(length, dtype=np.float16) for length in (6, 7)]
    with pytest.raises(TableContractError, match=r"lengths? \[6, 7\], expected one length"):
        check_table(BACKBONE_TOKENS, as_table(BACKBONE_TOKENS, {**rows, "token": token}))
