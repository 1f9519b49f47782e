"""What may cross a wall: every table's columns, types, units, key and coordinate system, checked on every write.

Belongs here: declarations (`places`, `pictures`, `learning`) and the check itself (`contract`).
Does not belong here: reading and writing files (`storage.parquet`), making the rows (the rooms).
"""

from geoloc_pipeline.tables.contract import Column, TableContract, as_table, check_table, empty_table
from geoloc_pipeline.tables.learning import (
    BACKBONE_TOKENS,
    DATASET_SPLITS,
    EMBEDDED_VIEWS,
    EMBEDDING_SIZE,
    ESTIMATES,
    IMAGE_EMBEDDINGS,
    LABEL_IGNORED,
    LABEL_VOCABULARY,
    LABELLED_IMAGES,
    SPLITS,
    TASKS,
    TRAINING_SHARDS,
)
from geoloc_pipeline.tables.pictures import FORGOTTEN, IMAGES, PHOTO_COLLECTIONS, REJECTED, STREET_VIEW_IMAGES
from geoloc_pipeline.tables.places import (
    CENSUS_TOWNS,
    LANDMARK_POINTS,
    OSM_LANDMARKS,
    OSM_ROADS,
    POINTS,
    ROAD_POINTS,
    SAMPLE_POINTS,
)

CONTRACTS: dict[str, TableContract] = {
    contract.name: contract
    for contract in (
        CENSUS_TOWNS, OSM_ROADS, OSM_LANDMARKS, ROAD_POINTS, LANDMARK_POINTS, SAMPLE_POINTS, STREET_VIEW_IMAGES,
        PHOTO_COLLECTIONS, REJECTED, FORGOTTEN, LABELLED_IMAGES, DATASET_SPLITS, LABEL_VOCABULARY, TRAINING_SHARDS,
        IMAGE_EMBEDDINGS, BACKBONE_TOKENS, EMBEDDED_VIEWS, ESTIMATES,
    )
}  # fmt: skip

__all__ = [
    "BACKBONE_TOKENS",
    "CENSUS_TOWNS",
    "CONTRACTS",
    "DATASET_SPLITS",
    "EMBEDDED_VIEWS",
    "EMBEDDING_SIZE",
    "ESTIMATES",
    "FORGOTTEN",
    "IMAGES",
    "IMAGE_EMBEDDINGS",
    "LABELLED_IMAGES",
    "LABEL_IGNORED",
    "LABEL_VOCABULARY",
    "LANDMARK_POINTS",
    "OSM_LANDMARKS",
    "OSM_ROADS",
    "PHOTO_COLLECTIONS",
    "POINTS",
    "REJECTED",
    "ROAD_POINTS",
    "SAMPLE_POINTS",
    "SPLITS",
    "STREET_VIEW_IMAGES",
    "TASKS",
    "TRAINING_SHARDS",
    "Column",
    "TableContract",
    "as_table",
    "check_table",
    "empty_table",
]
