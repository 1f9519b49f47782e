"""Google Landmarks v2: photos of Wikimedia Commons by landmark, placed by coordinates that the user adds.

The set has no places, and its files carry no GPS. Coordinates come from any tables in its folder: of the file page, of the
landmark, of its Commons category, or of its Wikidata item; the header tells which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.sources.photo_files import PictureIndex, header_of, read_rows
from geoloc_pipeline.sources.photo_record import Photo, fault_of, place_from, spdx_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_ACCURACY_M = 20.0
"""A file page says where the camera stood, by its GPS or by a click on a map: as good as a photo's own EXIF."""
LANDMARK_ACCURACY_M = 500.0
"""A category or item is one place for a whole object, and its photos are taken from around it; temple grounds, castles and
parks are some hundred metres across, and what shows a tower may stand as far away. Commons tells no size."""
_SOURCE = "google_landmarks_v2"
_FILE_KEYS = ("ID", "TITLE", "FILE")


class _Spot(NamedTuple):
    lat: float
    lon: float
    accuracy_m: float


@dataclass
class _Gazetteer:
    """Where images and landmarks are, as the folder's tables tell; a later table in path order goes before an earlier one."""

    by_file: dict[str, _Spot] = field(default_factory=dict)
    by_landmark: dict[str, _Spot] = field(default_factory=dict)
    by_category: dict[str, _Spot] = field(default_factory=dict)
    by_wikidata: dict[str, _Spot] = field(default_factory=dict)
    item_of: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def in_folder(cls, folder: Path) -> _Gazetteer:
        """Return what the tables below a folder say."""
        found = cls()
        for path in sorted(folder.rglob("*.csv")):
            header = header_of(path)
            if {"LAT", "LON"} <= header:
                found._read_places(path, header)
            elif "WIKIDATA" in header:
                for row in read_rows(path, required=("WIKIDATA",)):
                    for key in ("LANDMARK_ID", "CATEGORY"):
                        if row.get(key):
                            found.item_of[key, _category(row[key])] = _item(row["WIKIDATA"])
        return found

    def _read_places(self, path: Path, header: set[str]) -> None:
        file_key = next((key for key in _FILE_KEYS if key in header), None)
        for row in read_rows(path, required=("LAT", "LON")):
            spot = _spot(row, default_m=FILE_ACCURACY_M if file_key else LANDMARK_ACCURACY_M)
            if spot is None:
                continue
            if file_key:
                self.by_file[_file_title(row.get(file_key, "")) or row.get(file_key, "")] = spot
            elif "LANDMARK_ID" in header:
                self.by_landmark[row.get("LANDMARK_ID", "")] = spot
            elif "CATEGORY" in header:
                self.by_category[_category(row.get("CATEGORY", ""))] = spot
            elif "WIKIDATA" in header:
                self.by_wikidata[_item(row.get("WIKIDATA", ""))] = spot

    def settle(self, categories: Path | None) -> None:
        """Place the landmarks that no table places by their id: by their category, else by their item."""
        for row in read_rows(categories, required=("LANDMARK_ID", "CATEGORY")) if categories else ():
            category = _category(row.get("CATEGORY", ""))
            spot = self.by_category.get(category) or self.by_wikidata.get(self.item_of.get(("CATEGORY", category), ""))
            if spot is not None:
                self.by_landmark.setdefault(row["LANDMARK_ID"], spot)
        for (key, landmark_id), item in self.item_of.items():
            if key == "LANDMARK_ID" and item in self.by_wikidata:
                self.by_landmark.setdefault(landmark_id, self.by_wikidata[item])


def read_google_landmarks(folder: Path) -> Iterator[Photo]:
    """Yield the photos of Google Landmarks v2 that can be placed, and in the end one that counts those that cannot.

    A file page's place goes before its landmark's; a landmark's own before its category's before its Wikidata item's. Each
    carries an accuracy: the table's (`accuracy_m` or `radius_m`), else the kind's.

    Args:
        folder: Holds the set's lists and archives, and tables with `lat,lon` and one of `id` (or `title`), `landmark_id`,
            `category`, `wikidata`; for the last, also a table `landmark_id,wikidata` or `category,wikidata`.

    Yields:
        Photos in the order of `train.csv`.

    Raises:
        BadSourceFileError: A list cannot be read.
    """
    train, credited, categories = (
        next(iter(sorted(folder.rglob(f"{name}.csv"))), None)
        for name in ("train", "train_attribution", "train_label_to_category")
    )
    if train is None:
        return
    gazetteer = _Gazetteer.in_folder(folder)
    gazetteer.settle(categories)
    if credited is not None and any(name.startswith("File:") for name in gazetteer.by_file):
        for row in read_rows(credited, required=("ID",)):
            spot = gazetteer.by_file.get(_title_of(row))
            if spot is not None:
                gazetteer.by_file.setdefault(row["ID"], spot)
    placed: dict[str, tuple[_Spot, dict[str, str]]] = {}
    n_unplaced = 0
    for row in read_rows(train, required=("ID", "LANDMARK_ID")):
        spot = gazetteer.by_file.get(row["ID"]) or gazetteer.by_landmark.get(row.get("LANDMARK_ID", ""))
        if spot is not None:
            placed[row["ID"]] = (spot, row)
        else:
            n_unplaced += 1
    said = {}
    if credited is not None:
        here = {image_id for image_id, (spot, _) in placed.items() if in_japan_box(lat=spot.lat, lon=spot.lon)}
        said = {row["ID"]: row for row in read_rows(credited, required=("ID",)) if row["ID"] in here}
    index = PictureIndex(folder)
    for image_id, (spot, row) in placed.items():
        yield _photo(row, spot, said.get(image_id, {}), index)
    if n_unplaced:
        detail = f"no table of coordinates places the landmarks of {n_unplaced:,} photos"
        yield Photo(source=_SOURCE, source_image_id="*", fault=("no_place", detail))


def _photo(row: dict[str, str], spot: _Spot, said: dict[str, str], index: PictureIndex) -> Photo:
    image_id, landmark_id = row["ID"], row.get("LANDMARK_ID", "")
    file = index.find(f"{image_id}.jpg") if in_japan_box(lat=spot.lat, lon=spot.lon) else None
    author, title = said.get("AUTHOR", ""), _title_of(said) or _title_of(row)
    return Photo(
        source=_SOURCE,
        source_image_id=image_id,
        origin_id=f"commons:{title}" if title else None,
        lat=spot.lat,
        lon=spot.lon,
        accuracy_m=spot.accuracy_m,
        author=author or None,
        licence=spdx_of(said.get("LICENSE", "")),
        attribution=", ".join(
            part for part in (author or "unknown author", said.get("TITLE", ""), "via Wikimedia Commons") if part
        ),
        source_url=said.get("URL", "") or f"https://github.com/cvdfoundation/google-landmark#{image_id}",
        capture_group=f"commons:{author}" if author else f"landmark:{landmark_id}",
        file=file,
        fault=fault_of(image_id, (spot.lat, spot.lon), has_file=file is not None, where=""),
    )


def _spot(row: dict[str, str], *, default_m: float) -> _Spot | None:
    place = place_from(row.get("LAT", ""), row.get("LON", ""))
    if place is None:
        return None
    try:
        accuracy_m = float(row.get("ACCURACY_M") or row.get("RADIUS_M") or default_m)
    except ValueError:
        accuracy_m = default_m
    return _Spot(*place, accuracy_m if math.isfinite(accuracy_m) and accuracy_m >= 0 else default_m)


def _category(written: str) -> str:
    """Return a Commons category as its bare title, given as an address, with or without `Category:`, with `_` or spaces."""
    return unquote(written).rsplit("Category:", 1)[-1].replace("_", " ").strip()


def _item(written: str) -> str:
    """Return a Wikidata item as `Q42`, given as that or as an address."""
    return written.rsplit("/", 1)[-1].strip().upper()


def _title_of(row: dict[str, str]) -> str:
    """Return the file page's title (`File:A tower.jpg`) by the row's title or address; empty where neither is one."""
    return _file_title(row.get("TITLE", "")) or _file_title(row.get("URL", ""))


def _file_title(written: str) -> str:
    written = unquote(written).replace("_", " ").strip()
    if "File:" in written:
        return "File:" + written.rsplit("File:", 1)[1]
    if "/wikipedia/commons/" not in written:
        return ""
    parts = written.split("/")  # …/commons/e/eb/A tower.jpg, or …/commons/thumb/e/eb/A tower.jpg/640px-A tower.jpg
    return "File:" + parts[-2 if "thumb" in parts else -1]
