"""Tables of pictures: one manifest for street view and photo sets alike, and what was turned away."""

from __future__ import annotations

from geoloc_pipeline.tables.contract import Column, TableContract
from geoloc_pipeline.tables.places import LAT, LON

_IMAGE_COLUMNS = (
    Column("image_id", "string", "hash of source and source_image_id"),
    Column("source", "string", "provider or photo set, such as mapillary, local"),
    Column("source_image_id", "string", "the provider's id; several joined by + when four flat views make one picture"),
    Column(
        "origin_id",
        "string",
        "who else may hold the same picture, such as mapillary:123, flickr:456; missing where nobody can",
        nullable=True,
    ),
    LAT,
    LON,
    Column("accuracy_m", "float64", "how far the place may be off, metres; missing where nobody says", nullable=True, low=0),
    Column(
        "requested_lat",
        "float64",
        "where a picture was wanted; missing for photo sets",
        nullable=True,
        low=-90,
        high=90,
    ),
    Column(
        "requested_lon",
        "float64",
        "where a picture was wanted; missing for photo sets",
        nullable=True,
        low=-180,
        high=180,
    ),
    Column("point_id", "string", "the sample point that it serves or last served; missing for photo sets", nullable=True),
    Column("is_wanted", "bool", "false: its sample point has vanished from the map; the picture stays in use"),
    Column(
        "views",
        "string",
        "directions in the picture, joined in this order: NESW, or N-S- with gaps; photo: one free view",
    ),
    Column("width_px", "int32", "width of the archived picture", low=1),
    Column("height_px", "int32", "height of the archived picture", low=1),
    Column("captured_at", "timestamp", "when the camera took it", nullable=True),
    Column("fetched_at", "timestamp", "when the provider sent it (its Date header)"),
    Column("licence", "string", "SPDX identifier where there is one, such as CC-BY-SA-4.0"),
    Column("attribution", "string", "whom to name beside the picture"),
    Column("source_url", "string", "page of the picture at the provider; never an expiring download link"),
    Column("capture_group", "string", "sequence or author: pictures that must not be split between train and test"),
    Column("content_sha256", "string", "of the picture's bytes as they came; of several pictures, of their hashes joined by +"),
    Column("sha256", "string", "of the archived WebP bytes"),
    Column("shard", "string", "tar file inside the asset's and partition's image folder"),
    Column("offset", "int64", "of the picture's first byte in the shard", low=0),
    Column("size_bytes", "int64", "of the picture", low=1),
)

STREET_VIEW_IMAGES = TableContract(
    name="street_view_images",
    about="One street-view picture: N, E, S, W views at 90 degrees joined in that order, WebP q90 with EXIF GPS.",
    columns=_IMAGE_COLUMNS,
    key=("image_id",),
    geometry=("Point",),
)

PHOTO_COLLECTIONS = TableContract(
    name="photo_collections",
    about="One photo of a photo set that lies in the country, WebP q90 with EXIF GPS.",
    columns=_IMAGE_COLUMNS,
    key=("image_id",),
    geometry=("Point",),
)
IMAGES = (STREET_VIEW_IMAGES, PHOTO_COLLECTIONS)

REJECTED = TableContract(
    name="rejected",
    about="One picture that was turned away, and why.",
    columns=(
        Column("source", "string", "provider or photo set"),
        Column("source_image_id", "string", "the provider's id, or the point when the provider had nothing"),
        Column("reason", "string", "short machine-readable reason"),
        Column("detail", "string", "for people"),
    ),
    key=("source", "source_image_id", "reason"),
)

FORGOTTEN = TableContract(
    name="forgotten",
    about="One picture, or one capture group, that must never come back.",
    columns=(
        Column("source", "string", "provider or photo set; empty for a group"),
        Column("source_image_id", "string", "the provider's id; empty for a group"),
        Column("capture_group", "string", "as in the image tables; empty for one picture"),
        Column("why", "string", "for people"),
    ),
    key=("source", "source_image_id", "capture_group"),
)
