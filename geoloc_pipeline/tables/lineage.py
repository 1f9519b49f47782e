"""From which columns each column of each table is made.

Belongs here: facts that the code keeps (a test takes away what is not named here, and the code must not miss it).
Does not belong here: the lineage of one row (`orchestration.lineage`), how Dagster shows columns (`orchestration.io`).

A source is written `table.column`. Roots have none: what comes from outside the house (`osm_dump`, e-Stat, the providers, files
of photo sets), and what is drawn from nothing but settings. A column that decides which rows there are is a source of the key.
"""

from __future__ import annotations

OSM_DUMP_COLUMNS = ("id", "tags", "geometry")
"""What is taken of an OpenStreetMap object; `osm_dump` is a file, not a table."""

_PICTURES = ("street_view_images", "photo_collections")


def _of(*sources: str) -> tuple[str, ...]:
    """Return sources as they are: names beside tables' names read better than quotes and commas in rows."""
    return sources


def _pictures(*columns: str) -> tuple[str, ...]:
    return tuple(f"{table}.{column}" for column in columns for table in _PICTURES)


def _points(features: str, feature_ids: tuple[str, ...], decides: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the lineage of a table of `tables.POINTS`: a place on the shape of a feature, on the prefecture's ground."""
    ground = ("census_towns.geometry", "census_towns.prefecture_code")
    place = (*(f"{features}.{column}" for column in decides), *ground)
    return {
        "point_id": tuple(dict.fromkeys((*place, *feature_ids))),
        "lat": place,
        "lon": place,
        "feature_id": feature_ids,
        "spacing_m": place,
        "geometry": place,
    }


_ROAD_IDENTITY = ("osm_dump.tags", "census_towns.prefecture_code")
_POINTS_MEMBERS = ("road_points.point_id", "landmark_points.point_id")
_POINTS_PLACES = ("road_points.lat", "road_points.lon", "landmark_points.lat", "landmark_points.lon")
_PLACE = _pictures("lat", "lon")
_TOWN_SHAPE = ("census_towns.geometry", "census_towns.town_code")
_HALO = ("osm_dump.geometry", "census_towns.geometry")

_IMAGE_ROOTS = (
    "source", "origin_id", "accuracy_m", "width_px", "height_px", "captured_at", "fetched_at", "licence", "attribution",
    "source_url", "capture_group", "content_sha256", "sha256", "shard", "offset", "size_bytes",
)  # fmt: skip
_CHOICE = ("sample_points.point_id", "sample_points.lat", "sample_points.lon")

_STREET_VIEW = {
    **dict.fromkeys(_IMAGE_ROOTS, ()),
    **dict.fromkeys(("image_id", "source_image_id", "lat", "lon", "views", "geometry"), _CHOICE),
    "requested_lat": _of("sample_points.lat"),
    "requested_lon": _of("sample_points.lon"),
    "point_id": _of("sample_points.point_id"),
    "is_wanted": _of("sample_points.point_id"),
}

COLUMN_LINEAGE: dict[str, dict[str, tuple[str, ...]]] = {
    "census_towns": {
        **dict.fromkeys(("town_code", "town", "municipality_code", "municipality", "prefecture_code", "prefecture"), ()),
        **dict.fromkeys(("population", "geometry"), ()),
    },
    "osm_roads": {
        "way_id": _of("osm_dump.id", *_HALO),
        "road_id": _ROAD_IDENTITY,
        "highway": _of("osm_dump.tags"),
        "name": _of("osm_dump.tags"),
        "name_latin": _of("osm_dump.tags"),
        "ref": _of("osm_dump.tags"),
        "length_m": _of("osm_dump.geometry"),
        "geometry": _of("osm_dump.geometry"),
    },
    "osm_landmarks": {
        "landmark_id": _of("osm_dump.id", *_HALO),
        "category": _of("osm_dump.tags"),
        "name": _of("osm_dump.tags"),
        "name_latin": _of("osm_dump.tags"),
        "area_m2": _of("osm_dump.geometry"),
        "geometry": _of("osm_dump.geometry"),
    },
    "road_points": _points(
        "osm_roads", ("osm_roads.road_id", "osm_roads.way_id"), ("geometry", "highway", "road_id", "way_id")
    ),
    "landmark_points": _points("osm_landmarks", ("osm_landmarks.landmark_id",), ("geometry", "area_m2")),
    "sample_points": {
        "point_id": _of(*_POINTS_MEMBERS, *_POINTS_PLACES),
        "lat": _POINTS_PLACES,
        "lon": _POINTS_PLACES,
        "prefecture_code": (),
        "n_members": _of(*_POINTS_MEMBERS, *_POINTS_PLACES),
        "radius_m": _POINTS_PLACES,
        "geometry": _POINTS_PLACES,
    },
    "street_view_images": _STREET_VIEW,
    "photo_collections": dict.fromkeys(_STREET_VIEW, ()),
    "rejected": dict.fromkeys(("source", "source_image_id", "reason", "detail"), ()),
    "forgotten": dict.fromkeys(("source", "source_image_id", "capture_group", "why"), ()),
    "labelled_images": {
        "image_id": _of(*_pictures("image_id", "source", "source_image_id", "origin_id", "content_sha256")),
        "lat": _pictures("lat"),
        "lon": _pictures("lon"),
        "prefecture_code": _of(*_PLACE, "census_towns.geometry"),
        "municipality_code": _of(*_PLACE, "census_towns.municipality_code", *_TOWN_SHAPE),
        "town_code": _of(*_PLACE, *_pictures("accuracy_m"), "census_towns.town", *_TOWN_SHAPE),
        "town_distance_m": _of(*_PLACE, *_TOWN_SHAPE),
        "road_id": _of(*_PLACE, *_pictures("accuracy_m"), "osm_roads.road_id", "osm_roads.geometry"),
        "road_distance_m": _of(*_PLACE, *_pictures("accuracy_m"), "osm_roads.road_id", "osm_roads.geometry"),
        "landmark_id": _of(*_PLACE, *_pictures("accuracy_m"), "osm_landmarks.landmark_id", "osm_landmarks.geometry"),
        "landmark_distance_m": _of(*_PLACE, *_pictures("accuracy_m"), "osm_landmarks.landmark_id", "osm_landmarks.geometry"),
        "source": _pictures("source"),
        "capture_group": _pictures("capture_group"),
        "geometry": _PLACE,
    },
    "dataset_splits": {
        "image_id": _of("labelled_images.image_id"),
        "split": _of(*(f"labelled_images.{name}" for name in ("image_id", "lat", "lon", "municipality_code", "capture_group"))),
        "split_group": _of(*(f"labelled_images.{name}" for name in ("lat", "lon", "municipality_code", "capture_group"))),
        "municipality_code": _of("labelled_images.municipality_code"),
    },
    "label_vocabulary": {
        "task": (),
        **{
            name: _of(
                *(f"labelled_images.{column}" for column in ("image_id", "prefecture_code", "municipality_code", "town_code")),
                *("labelled_images.road_id", "labelled_images.landmark_id", "dataset_splits.image_id", "dataset_splits.split"),
            )
            for name in ("class_index", "code", "n_train", "weight")
        },
        "name": _of("census_towns.municipality", "census_towns.town", "osm_roads.name", "osm_landmarks.name"),
    },
    "training_shards": {
        "image_id": _of("labelled_images.image_id"),
        "view": _pictures("views"),
        "split": _of("dataset_splits.split", "dataset_splits.image_id"),
        **{
            name: _of(f"labelled_images.{name}")
            for name in ("lat", "lon", "prefecture_code", "municipality_code", "town_code", "road_id", "landmark_id")
        },
        **{
            name: _pictures("image_id", "views", "sha256", "shard", "offset", "size_bytes")
            for name in ("shard", "offset", "size_bytes", "width_px", "height_px")
        },
    },
    "image_embeddings": {
        "image_id": _of("training_shards.image_id", "training_shards.split"),
        "view": _of("training_shards.view"),
        "model_version": (),
        "lat": _of("training_shards.lat"),
        "lon": _of("training_shards.lon"),
        "embedding": _of("training_shards.shard", "training_shards.offset", "training_shards.size_bytes"),
    },
    "backbone_tokens": {
        "image_id": _of("training_shards.image_id", "training_shards.split"),
        "view": _of("training_shards.view"),
        "model_version": (),
        "token": _of("training_shards.shard", "training_shards.offset", "training_shards.size_bytes"),
    },
    "embedded_views": {
        "image_id": _of("training_shards.image_id", "training_shards.split"),
        "view": _of("training_shards.view"),
        "made_from": _of("training_shards.shard", "training_shards.offset", "training_shards.size_bytes"),
    },
    "estimates": {
        "query_id": _of("training_shards.image_id", "dataset_splits.image_id", "dataset_splits.split"),
        "readout": (),
        "true_lat": _of("training_shards.lat"),
        "true_lon": _of("training_shards.lon"),
        **{
            name: _of(
                *(f"training_shards.{column}" for column in ("shard", "offset", "size_bytes", "lat", "lon")),
                *(f"image_embeddings.{column}" for column in ("image_id", "embedding", "lat", "lon")),
            )
            for name in ("lat", "lon", "error_km", "region_50_km", "region_90_km")
        },
    },
}
"""Sources by table and column, in the order of DESIGN §4; `geometry` is a column, too."""


def columns_read(table: str, upstream: str) -> set[str]:
    """Return which columns of `upstream` a table is made from."""
    sources = {source for of_column in COLUMN_LINEAGE[table].values() for source in of_column}
    return {source.split(".", 1)[1] for source in sources if source.startswith(f"{upstream}.")}
