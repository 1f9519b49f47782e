"""Tables come back as they went, in key order, with the same bytes."""

from __future__ import annotations

from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow.parquet as pq
import pytest
from shapely.geometry import Point

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError, TableContractError
from geoloc_pipeline.storage.parquet import read_table, read_tables, write_table
from geoloc_pipeline.tables import (
    BACKBONE_TOKENS,
    IMAGE_EMBEDDINGS,
    REJECTED,
    SAMPLE_POINTS,
    TableContract,
    as_table,
    empty_table,
)


def points(names: list[str]) -> gpd.GeoDataFrame:
    n = len(names)
    return as_table(
        SAMPLE_POINTS,
        {
            "point_id": names,
            "lat": [35.0] * n,
            "lon": [139.0] * n,
            "prefecture_code": ["01"] * n,
            "n_members": [2] * n,
            "radius_m": [1.5] * n,
            "geometry": [Point(139.0, 35.0)] * n,
        },
    )


def test_a_table_comes_back_in_key_order_with_its_zeros_and_crs(tmp_path: Path) -> None:
    write_table(SAMPLE_POINTS, points(["b", "a"]), tmp_path / "t.parquet")
    back = read_table(SAMPLE_POINTS, tmp_path / "t.parquet")
    assert back["point_id"].tolist() == ["a", "b"]
    assert back["prefecture_code"].tolist() == ["01", "01"]
    assert str(back.crs) == "EPSG:4326"


def test_the_same_rows_in_another_order_are_the_same_bytes(tmp_path: Path) -> None:
    write_table(SAMPLE_POINTS, points(["b", "a", "c"]), tmp_path / "1.parquet")
    write_table(SAMPLE_POINTS, points(["c", "b", "a"]), tmp_path / "2.parquet")
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


def test_a_table_that_breaks_its_contract_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TableContractError):
        write_table(SAMPLE_POINTS, points(["a", "a"]), tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []


def test_embeddings_are_stored_as_a_matrix(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 512)).astype(np.float32)
    frame = as_table(
        IMAGE_EMBEDDINGS,
        {
            "image_id": ["a", "b", "c"],
            "view": ["N"] * 3,
            "model_version": ["m"] * 3,
            "lat": [1.0] * 3,
            "lon": [2.0] * 3,
            "embedding": list(vectors),
        },
    )
    write_table(IMAGE_EMBEDDINGS, frame, tmp_path / "e.parquet")
    assert str(pq.read_schema(tmp_path / "e.parquet").field("embedding").type) == "fixed_size_list<element: float>[512]"
    assert np.array_equal(np.stack(read_table(IMAGE_EMBEDDINGS, tmp_path / "e.parquet")["embedding"]), vectors)


def test_tokens_are_stored_as_a_matrix_of_half_floats_as_wide_as_they_are(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float16)
    rows = {"image_id": ["a", "b", "c"], "view": ["N"] * 3, "model_version": ["m"] * 3, "token": list(tokens)}
    write_table(BACKBONE_TOKENS, as_table(BACKBONE_TOKENS, rows), tmp_path / "t.parquet")
    assert str(pq.read_schema(tmp_path / "t.parquet").field("token").type) == "fixed_size_list<element: halffloat>[7]"
    found = np.stack(read_table(BACKBONE_TOKENS, tmp_path / "t.parquet")["token"])
    assert found.dtype == np.float16
    assert np.array_equal(found, tokens)


@pytest.mark.parametrize("contract", [IMAGE_EMBEDDINGS, BACKBONE_TOKENS], ids=lambda contract: contract.name)
def test_a_table_without_vectors_comes_back_empty(tmp_path: Path, contract: TableContract) -> None:
    write_table(contract, empty_table(contract), tmp_path / "t.parquet")
    assert len(read_table(contract, tmp_path / "t.parquet")) == 0


def test_no_partitions_make_an_empty_table_and_several_make_one(tmp_path: Path) -> None:
    assert len(read_tables(SAMPLE_POINTS, [])) == 0
    write_table(SAMPLE_POINTS, points([]), tmp_path / "0.parquet")
    write_table(SAMPLE_POINTS, points(["a"]), tmp_path / "1.parquet")
    write_table(SAMPLE_POINTS, points(["b", "c"]), tmp_path / "2.parquet")
    joined = read_tables(SAMPLE_POINTS, [tmp_path / f"{i}.parquet" for i in range(3)])
    assert joined["point_id"].tolist() == ["a", "b", "c"]


def test_a_missing_table_names_the_asset_to_materialise(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"materialise the asset `sample_points` \(partition 13_tokyo\)"):
        read_table(SAMPLE_POINTS, tmp_path / "13_tokyo.parquet")


def test_a_file_that_is_no_table_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(BadSourceFileError, match="remove it"):
        read_table(REJECTED, tmp_path / "x.parquet")
