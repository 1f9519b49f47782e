"""Which features of a result belong to an area, against a plain loop over their nodes."""

from __future__ import annotations

import duckdb
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoloc_pipeline.osm.features import features_in
from geoloc_pipeline.osm.spatial import ensure_spatial

AREA = shapely.Polygon([(139.0, 35.0), (139.1, 35.0), (139.1, 35.1), (139.05, 35.03), (139.0, 35.1)])  # not convex
LIMIT_BYTES = 500_000_000


@pytest.fixture(scope="module", autouse=True)
def _spatial():
    ensure_spatial()


def write_result(path, shapes):
    """Write what QuackOSM would: all tags in one column, geometry as GeoParquet."""
    frame = pd.DataFrame({"feature_id": [f"way/{n}" for n in range(len(shapes))], "wkt": shapely.to_wkt(shapes, 7)})
    with duckdb.connect() as connection:
        connection.load_extension("spatial")
        connection.register("frame", frame)
        tags = "MAP {'highway': 'residential', 'name': ' ' || feature_id || ' ', 'ref': ' '}"
        connection.execute(f"COPY (SELECT feature_id, {tags} AS tags, ST_GeomFromText(wkt) AS geometry FROM frame) TO '{path}'")
    return path


places = st.tuples(st.integers(-40, 140), st.integers(-40, 140)).map(lambda at: (139 + at[0] / 1000, 35 + at[1] / 1000))
lines = st.lists(places, min_size=2, max_size=5, unique=True).map(shapely.LineString)


@settings(deadline=None, max_examples=5)
@given(drawn=st.lists(lines, min_size=10, max_size=40))
def test_a_feature_belongs_to_an_area_when_one_of_its_nodes_lies_in_it(tmp_path_factory, drawn):
    path = write_result(tmp_path_factory.mktemp("result") / "features.parquet", drawn)
    found = features_in(path, AREA, memory_limit_bytes=LIMIT_BYTES)
    oracle = {f"way/{n}" for n, line in enumerate(drawn) if any(AREA.intersects(shapely.Point(at)) for at in line.coords)}
    assert set(found["feature_id"]) == oracle
    assert found["feature_id"].is_monotonic_increasing
    for row in found.itertuples():
        assert row.geometry.equals(drawn[int(row.feature_id.removeprefix("way/"))])  # whole and uncut


def test_a_feature_with_a_node_in_the_wrong_place_is_left_out(tmp_path):
    inside, north = (139.02, 35.02), (139.02, 36.9)
    drawn = [[inside, (0, 0)], [inside, (35.0, 139.0)], [inside, (139.0, -35.0)], [inside, north]]
    path = write_result(tmp_path / "features.parquet", [shapely.LineString(line) for line in drawn])
    assert list(features_in(path, AREA, memory_limit_bytes=LIMIT_BYTES)["feature_id"]) == ["way/3"]


def test_tags_lose_their_blanks_and_empty_ones_are_missing(tmp_path):
    path = write_result(tmp_path / "features.parquet", [shapely.LineString([(139.02, 35.02), (139.03, 35.02)])])
    row = features_in(path, AREA, memory_limit_bytes=LIMIT_BYTES).iloc[0]
    assert (row["name"], row["highway"]) == ("way/0", "residential")
    assert pd.isna(row["ref"])
    assert pd.isna(row["name:ja"])


def test_more_features_than_a_batch_come_all_and_once(tmp_path):
    starts = np.random.default_rng(0).uniform((138.9, 34.9), (139.2, 35.2), (50_000, 2)).round(7)
    drawn = shapely.linestrings(np.stack([starts, (starts + 1e-5).round(7)], axis=1))
    path = write_result(tmp_path / "features.parquet", drawn)
    found = features_in(path, AREA, memory_limit_bytes=LIMIT_BYTES)
    inside = shapely.intersects_xy(AREA, *starts.T) | shapely.intersects_xy(AREA, *(starts + 1e-5).round(7).T)
    assert len(found) == found["feature_id"].nunique() == inside.sum() > 2000
