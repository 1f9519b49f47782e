"""Photo sets that are a CSV list beside pictures: IM2GPS, Im2GPS3k, MP-16, OSV-5M, Google Landmarks v2."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.sources.photo_files import PictureIndex, read_rows
from geoloc_pipeline.sources.photo_record import Photo, place_from, spdx_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FLICKR_NAME = re.compile(r"(?:^|_)(\d{5,})_[0-9a-f]{6,}_\d+_(\d+@N\d\d)\.\w+$")
_OSV5M_LICENCE = "CC-BY-SA-4.0"


def read_im2gps(folder: Path) -> Iterator[Photo]:
    """Yield the photos of the IM2GPS test set's list (`*im2gps_places365.csv`)."""
    yield from _flickr_list(folder, source="im2gps", pattern="*im2gps_places365.csv")


def read_im2gps3k(folder: Path) -> Iterator[Photo]:
    """Yield the photos of the Im2GPS3k list (`*im2gps3k_places365.csv`)."""
    yield from _flickr_list(folder, source="im2gps3k", pattern="*im2gps3k_places365.csv")


def read_mp16(folder: Path) -> Iterator[Photo]:
    """Yield the photos of the MP-16 list (`mp16_places365.csv` or one of MP16-Pro's)."""
    pattern = "*mp16_places365.csv" if any(folder.rglob("*mp16_places365.csv")) else "MP16_Pro*.csv"
    yield from _flickr_list(folder, source="mp16", pattern=pattern)


def _flickr_list(folder: Path, *, source: str, pattern: str) -> Iterator[Photo]:
    lists = sorted(folder.rglob(pattern))[:1]  # several are the same photos again
    if not lists:
        return
    index = PictureIndex(folder)
    for row in read_rows(lists[0], required=("IMG_ID", "LAT", "LON")):
        image_id, author, place = row["IMG_ID"], row.get("AUTHOR", ""), place_from(row.get("LAT", ""), row.get("LON", ""))
        file = index.find(image_id)
        name = _FLICKR_NAME.search(image_id)
        photo_id = name[1] if name else image_id.rsplit("/", 1)[-1].split(".")[0].split("_")[-1]
        user = name[2] if name else author
        yield Photo(
            source=source,
            source_image_id=image_id,
            lat=place[0] if place else None,
            lon=place[1] if place else None,
            author=author or user or None,
            attribution=f"{author or user or 'unknown user'} via Flickr",
            # Flickr leads from a photo's number to its page, whoever took it
            source_url=f"https://www.flickr.com/photos/{user}/{photo_id}"
            if user
            else f"https://www.flickr.com/photo.gne?id={photo_id}",
            capture_group=f"flickr:{user}" if user else None,
            file=file,
            fault=_fault(image_id, place, has_file=file is not None, where=f"{row.get('LAT', '')!r}, {row.get('LON', '')!r}"),
        )


def read_osv5m(folder: Path) -> Iterator[Photo]:
    """Yield the photos of OSV-5M that its lists place in Japan (`country` JP)."""
    lists = [path for name in ("train.csv", "test.csv") for path in sorted(folder.rglob(name))]
    if not lists:
        return
    index = PictureIndex(folder)
    for path in lists:
        for row in read_rows(path, required=("ID", "LATITUDE", "LONGITUDE")):
            if row.get("COUNTRY", "JP") not in {"JP", ""}:
                continue
            image_id, place = row["ID"], place_from(row["LATITUDE"], row["LONGITUDE"])
            file = index.find(f"{image_id}.jpg")
            creator = row.get("CREATOR_USERNAME", "")
            sequence = row.get("SEQUENCE", "")
            yield Photo(
                source="osv5m",
                source_image_id=image_id,
                lat=place[0] if place else None,
                lon=place[1] if place else None,
                author=creator or None,
                licence=_OSV5M_LICENCE,
                attribution=f"{creator or 'unknown user'} via Mapillary and OSV-5M, CC BY-SA 4.0",
                source_url=f"https://www.mapillary.com/app/?pKey={image_id}",
                captured_at=_moment(row.get("CAPTURED_AT", "")),
                capture_group=f"mapillary:{sequence}" if sequence else None,
                file=file,
                fault=_fault(image_id, place, has_file=file is not None, where=f"{row['LATITUDE']!r}, {row['LONGITUDE']!r}"),
            )


def read_google_landmarks(folder: Path) -> Iterator[Photo]:
    """Yield the photos of Google Landmarks v2 whose landmark lies in the box around Japan.

    The set has no places of its own: a photo's place is its landmark's, off by up to the landmark's size. Without
    `category_coordinates.csv` nothing can be placed, and nothing comes.

    Args:
        folder: Holds the set's lists and archives, and `category_coordinates.csv` (category, lat, lon).

    Yields:
        Photos in the order of `train.csv`.

    Raises:
        BadSourceFileError: A list cannot be read.
    """
    paths = {
        name: next(iter(sorted(folder.rglob(f"{name}.csv"))), None)
        for name in ("train", "train_attribution", "train_label_to_category", "category_coordinates")
    }
    train, categories, coordinates = paths["train"], paths["train_label_to_category"], paths["category_coordinates"]
    if train is None or categories is None or coordinates is None:
        return
    places = _landmark_places(categories, coordinates)
    wanted = {
        row["ID"]: row["LANDMARK_ID"]
        for row in read_rows(train, required=("ID", "LANDMARK_ID"))
        if row["LANDMARK_ID"] in places
    }
    credits_by_id: dict[str, dict[str, str]] = {}
    if paths["train_attribution"] is not None:
        for row in read_rows(paths["train_attribution"], required=("ID",)):
            if row["ID"] in wanted:
                credits_by_id[row["ID"]] = row
    index = PictureIndex(folder)
    for image_id, landmark_id in wanted.items():
        said, place, file = credits_by_id.get(image_id, {}), places[landmark_id], index.find(f"{image_id}.jpg")
        author = said.get("AUTHOR", "")
        yield Photo(
            source="google_landmarks_v2",
            source_image_id=image_id,
            lat=place[0],
            lon=place[1],
            author=author or None,
            licence=spdx_of(said.get("LICENSE", "")),
            attribution=", ".join(
                part for part in (author or "unknown author", said.get("TITLE", ""), "via Wikimedia Commons") if part
            ),
            source_url=said.get("URL", "") or f"https://github.com/cvdfoundation/google-landmark#{image_id}",
            capture_group=f"commons:{author}" if author else f"landmark:{landmark_id}",
            file=file,
            fault=_fault(image_id, place, has_file=file is not None, where=""),
        )


def _landmark_places(categories: Path, coordinates: Path) -> dict[str, tuple[float, float]]:
    """Return the places of the landmarks in the box, by landmark id."""
    by_category = {}
    for row in read_rows(coordinates, required=("CATEGORY", "LAT", "LON")):
        place = place_from(row.get("LAT", ""), row.get("LON", ""))
        if place is not None and in_japan_box(lat=place[0], lon=place[1]):
            by_category[_category(row["CATEGORY"])] = place
    found = {}
    for row in read_rows(categories, required=("LANDMARK_ID", "CATEGORY")):
        place = by_category.get(_category(row["CATEGORY"]))
        if place is not None:
            found[row["LANDMARK_ID"]] = place
    return found


def _category(written: str) -> str:
    """Return a Commons category as its bare title, given as an address, with or without `Category:`, with `_` or spaces."""
    return written.rsplit("Category:", 1)[-1].replace("_", " ").strip()


def _moment(written: str) -> datetime | None:
    try:
        if written.isdigit():
            return datetime.fromtimestamp(int(written) / 1000.0, UTC)
        moment = datetime.fromisoformat(written)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _fault(name: str, place: tuple[float, float] | None, *, has_file: bool, where: str) -> tuple[str, str] | None:
    if place is None:
        return "bad_place", f"the list places it at {where}"
    return None if has_file else ("file_missing", f"there is no picture {name!r} in the set's folder or archives")
