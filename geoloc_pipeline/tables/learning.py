"""Tables of learning: labels, splits, classes, embeddings and estimates."""

from __future__ import annotations

from geoloc_pipeline.tables.contract import Column, TableContract
from geoloc_pipeline.tables.places import LAT, LON, PREFECTURE_CODE

LABEL_IGNORED = -1
"""Class index of "no label here": left out of the loss (paper §3.1)."""

TASKS = ("prefecture", "municipality", "town", "road", "landmark")
"""The five heads (paper §3.2)."""

SPLITS = ("train", "val", "test")

_IMAGE_ID = Column("image_id", "string", "hash of source and source_image_id")
_VIEWS = ("N", "E", "S", "W", "photo")

LABELLED_IMAGES = TableContract(
    name="labelled_images",
    about="One picture with everything that can be said of its place; a missing code means: nothing within reach.",
    columns=(
        _IMAGE_ID,
        LAT,
        LON,
        PREFECTURE_CODE,
        Column("municipality_code", "string", "JIS X 0402 of the block the picture lies in", nullable=True),
        Column("town_code", "string", "town block; missing where the census names none", nullable=True),
        Column("town_distance_m", "float64", "outside that block, metres: 0 in it, up to 100 just off the shore", low=0),
        Column("road_id", "string", "nearest road within 20 m", nullable=True),
        Column("road_distance_m", "float64", "to that road, metres", nullable=True, low=0),
        Column("landmark_id", "string", "nearest landmark within 20 m", nullable=True),
        Column("landmark_distance_m", "float64", "to that landmark, metres", nullable=True, low=0),
        Column("source", "string", "provider or photo set"),
        Column("capture_group", "string", "sequence or author"),
    ),
    key=("image_id",),
    geometry=("Point",),
)

DATASET_SPLITS = TableContract(
    name="dataset_splits",
    about="One picture's side: 80:15:5 in every municipality, whole groups on one side (paper §3.1).",
    columns=(
        _IMAGE_ID,
        Column("split", "string", "train, val or test", among=SPLITS),
        Column("split_group", "string", "pictures linked by capture groups and places; named after a capture group"),
        Column("municipality_code", "string", "the stratum", nullable=True),
    ),
    key=("image_id",),
)

LABEL_VOCABULARY = TableContract(
    name="label_vocabulary",
    about="One class of one head: places with enough training pictures, their count and loss weight (paper eq. 1).",
    columns=(
        Column("task", "string", "head", among=TASKS),
        Column("class_index", "int64", "dense index of the class in its head", low=0),
        Column("code", "string", "prefecture, municipality or town code, road_id or landmark_id"),
        Column("name", "string", "for people", nullable=True),
        Column("n_train", "int64", "training pictures", low=1),
        Column("weight", "float64", "weight in the cross entropy, mean 1 over the classes of a head", low=0),
    ),
    key=("task", "class_index"),
)

TRAINING_SHARDS = TableContract(
    name="training_shards",
    about="One view of one picture in a tar shard, and everything that training reads beside its pixels.",
    columns=(
        _IMAGE_ID,
        Column("view", "string", "compass direction of the view, or photo", among=_VIEWS),
        Column("split", "string", "train, val or test", among=SPLITS),
        LAT,
        LON,
        Column("prefecture_code", "string", "label", nullable=True),
        Column("municipality_code", "string", "label", nullable=True),
        Column("town_code", "string", "label", nullable=True),
        Column("road_id", "string", "label", nullable=True),
        Column("landmark_id", "string", "label", nullable=True),
        Column("shard", "string", "tar file inside the partition's shard folder"),
        Column("offset", "int64", "of the view's first byte in the shard", low=0),
        Column("size_bytes", "int64", "of the view", low=1),
        Column("width_px", "int32", "of the view", low=1),
        Column("height_px", "int32", "of the view", low=1),
    ),
    key=("image_id", "view"),
)

EMBEDDING_SIZE = 512

IMAGE_EMBEDDINGS = TableContract(
    name="image_embeddings",
    about="One view's embedding; train and val pictures only, never test.",
    columns=(
        _IMAGE_ID,
        Column("view", "string", "compass direction, photo, or mean of a picture's views", among=(*_VIEWS, "mean")),
        Column("model_version", "string", "content hash of the checkpoint"),
        LAT,
        LON,
        Column("embedding", "vector", "512 float32, unit length", size=EMBEDDING_SIZE),
    ),
    key=("image_id", "view"),
)

BACKBONE_TOKENS = TableContract(
    name="backbone_tokens",
    about="The backbone's output for one view, before it is pressed into 512 numbers; only where it was asked for.",
    columns=(
        _IMAGE_ID,
        Column("view", "string", "as in image_embeddings", among=(*_VIEWS, "mean")),
        Column("model_version", "string", "content hash of the checkpoint"),
        Column("token", "half_vector", "the backbone's output (1024 float16 of the paper's ViT), unit length"),
    ),
    key=("image_id", "view"),
)

EMBEDDED_VIEWS = TableContract(
    name="embedded_views",
    about="From what each view's embedding was made: where nothing has changed, it need not be made again.",
    columns=(
        _IMAGE_ID,
        Column("view", "string", "compass direction of the view, or photo", among=_VIEWS),
        Column("made_from", "string", "hash of the model, its preprocessing, the asset's code version and the view's bytes"),
    ),
    key=("image_id", "view"),
)

ESTIMATES = TableContract(
    name="estimates",
    about="One read-out's answer to one test picture.",
    columns=(
        Column("query_id", "string", "image_id of the test picture"),
        Column("readout", "string", "how the answer was read from the neighbours"),
        LAT,
        LON,
        Column("true_lat", "float64", "where the picture was taken", low=-90, high=90),
        Column("true_lon", "float64", "where the picture was taken", low=-180, high=180),
        Column("error_km", "float64", "geodesic distance between the two, km", low=0),
        Column("region_50_km", "float64", "radius said to hold the truth in 50 of 100 cases, km", nullable=True, low=0),
        Column("region_90_km", "float64", "radius said to hold the truth in 90 of 100 cases, km", nullable=True, low=0),
    ),
    key=("query_id", "readout"),
)
