"""Where each column comes from is what the code reads: no more columns are needed than are named, and no table but those."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.imagery.duplicates import without_duplicates
from geoloc_pipeline.labels.nearby import label_images
from geoloc_pipeline.labels.shards import write_training_shards
from geoloc_pipeline.labels.splits import split_images
from geoloc_pipeline.labels.vocabulary import build_vocabulary
from geoloc_pipeline.sampling.clusters import cluster_points
from geoloc_pipeline.sampling.landmarks import sample_landmarks
from geoloc_pipeline.sampling.roads import sample_roads
from geoloc_pipeline.storage.parquet import read_table
from geoloc_pipeline.tables import CONTRACTS
from geoloc_pipeline.tables.lineage import COLUMN_LINEAGE, OSM_DUMP_COLUMNS, columns_read

KEY = "47_okinawa"


def test_every_column_of_every_table_has_its_sources_and_they_exist():
    known = {f"{name}.{column}" for name, contract in CONTRACTS.items() for column in contract.column_names}
    known |= {f"osm_dump.{column}" for column in OSM_DUMP_COLUMNS}
    assert set(COLUMN_LINEAGE) == set(CONTRACTS)
    for name, columns in COLUMN_LINEAGE.items():
        assert set(columns) == set(CONTRACTS[name].column_names), name
        for column, sources in columns.items():
            assert set(sources) <= known, (name, column)
            assert len(sources) == len(set(sources)), (name, column)


def test_columns_lead_back_to_roots_and_never_in_a_circle():
    tables = {
        name: {source.split(".")[0] for of in columns.values() for source in of} for name, columns in COLUMN_LINEAGE.items()
    }
    done: set[str] = {"osm_dump"}
    while ready := {name for name, sources in tables.items() if sources <= done} - done:
        done |= ready
    assert done == {*CONTRACTS, "osm_dump"}


def test_the_sources_are_upstream_in_the_graph_of_assets():
    from geoloc_pipeline.definitions import defs

    specs = {spec.key.to_user_string(): spec for spec in defs().resolve_all_asset_specs()}
    upstream = {key: {dep.asset_key.to_user_string() for dep in spec.deps} for key, spec in specs.items()}

    def all_upstream(key: str) -> set[str]:
        found = set(upstream.get(key, ()))
        return found.union(*map(all_upstream, found)) if found else found

    owners = {"estimates": "evaluation_report", "embedded_views": "image_embeddings", "backbone_tokens": "image_embeddings"}
    for name, columns in COLUMN_LINEAGE.items():
        sources = {source.split(".")[0] for of in columns.values() for source in of}
        assert sources <= all_upstream(owners.get(name, name)), name


class Frames:
    """The tables of a grown home, each with those columns alone that a table is said to be made from."""

    def __init__(self, home, table):
        self.home, self.table = home, table

    def __call__(self, upstream, *, without="", partition=KEY):
        whole = read_table(CONTRACTS[upstream], self.home.table(upstream, partition))
        kept = [column for column in whole.columns if column in columns_read(self.table, upstream) and column != without]
        return whole[kept]


def made(frames, table, without=("", "")):
    """Make a table from the named columns alone; less one more of one of them."""

    def of(upstream, **more):
        return frames(upstream, without=without[1] if without[0] == upstream else "", **more)

    if table == "road_points":
        return sample_roads(of("osm_roads"), of("census_towns"))
    if table == "landmark_points":
        return sample_landmarks(of("osm_landmarks"), of("census_towns"))
    if table == "sample_points":
        return cluster_points(of("road_points"), of("landmark_points"), prefecture_code="47")
    if table == "labelled_images":
        images = [of("street_view_images"), of("photo_collections", partition="local")]
        without_duplicates(images)
        return label_images(images, of("census_towns"), of("osm_roads"), of("osm_landmarks"), prefecture_code="47")
    if table == "dataset_splits":
        return split_images(of("labelled_images"))
    return build_vocabulary(of("labelled_images"), of("dataset_splits"), names={}, min_images=2)


TABLES = ("road_points", "landmark_points", "sample_points", "labelled_images", "dataset_splits", "label_vocabulary")
NAMES_ONLY = {"census_towns", "osm_roads", "osm_landmarks"}  # of the vocabulary: they name classes


@pytest.mark.parametrize("table", TABLES)
def test_what_is_named_is_enough_to_make_the_table(grown, table):
    found = made(Frames(grown, table), table)
    partition = "all" if table == "label_vocabulary" else KEY
    stands = read_table(CONTRACTS[table], grown.table(table, partition))
    if table == "label_vocabulary":  # the profile's own number of pictures makes a class
        assert set(found["code"]) >= set(stands["code"])
    elif table == "labelled_images":
        both = found.merge(stands, on="image_id", suffixes=("", "_stands"))
        assert len(both) > 100
        assert (both["town_code"].fillna("") == both["town_code_stands"].fillna("")).all()
    else:
        key = list(CONTRACTS[table].key)
        assert found[key].astype(str).to_numpy().tolist() == stands[key].astype(str).to_numpy().tolist()


@pytest.mark.parametrize("table", TABLES)
def test_the_code_misses_every_column_that_is_taken_away(grown, table):
    for upstream in sorted({source.split(".")[0] for of in COLUMN_LINEAGE[table].values() for source in of}):
        for column in sorted(columns_read(table, upstream)):
            if (table == "label_vocabulary" and upstream in NAMES_ONLY) or (upstream, column) == (
                "census_towns",
                "prefecture_code",
            ):
                continue  # names are handed over apart; grouping by it needs the geometry as well
            if (table, upstream) == ("labelled_images", "photo_collections"):
                continue  # read by the same lines as street_view_images
            with pytest.raises((KeyError, AttributeError, ValueError)):
                made(Frames(grown, table), table, without=(upstream, column))


def test_views_are_cut_from_what_is_named(grown, tmp_path):
    frames = Frames(grown, "training_shards")
    archive = [(frames("street_view_images"), grown.images("street_view_images", KEY))]
    shot = read_table(CONTRACTS["street_view_images"], grown.table("street_view_images", KEY))["image_id"]
    whole = read_table(CONTRACTS["labelled_images"], grown.table("labelled_images", KEY))
    mine = whole["image_id"].isin(shot).to_numpy() & (np.arange(len(whole)) < 20)
    labelled = frames("labelled_images")[mine]
    views = write_training_shards(labelled, frames("dataset_splits"), archive, tmp_path / "views")
    assert set(views["image_id"]) == set(labelled["image_id"])
    assert isinstance(labelled, (pd.DataFrame, gpd.GeoDataFrame))
