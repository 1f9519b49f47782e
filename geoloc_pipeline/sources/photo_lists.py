"""Photo sets that are a CSV list beside pictures: IM2GPS, Im2GPS3k, YFCC4k, MP-16, OSV-5M."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.sources.photo_files import PictureIndex, read_rows
from geoloc_pipeline.sources.photo_record import Photo, fault_of, place_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geoloc_pipeline.sources.photo_files import PictureFile

_FLICKR_NAME = re.compile(r"(?:^|_)(\d{5,})_[0-9a-f]{6,}_\d+_(\d+@N\d\d)\.\w+$")
"""As IM2GPS names its photos: 104123223_7410c654ba_19_19355699@N00.jpg is photo, secret, server, author."""
_MP16_NAME = re.compile(r"(?:^|[/_])([1-9]\d{4,})\.\w+$")
_MP16_LISTS = ("*mp16_places365.csv", "MP16_Pro_places365.csv", "MP16_Pro_filtered.csv", "MP16_Pro*.csv")
_OSV5M_LICENCE = "CC-BY-SA-4.0"


def read_im2gps(folder: Path) -> Iterator[Photo]:
    """Yield the photos of the IM2GPS test set's list (`*im2gps_places365.csv`)."""
    yield from _flickr_list(folder, source="im2gps", patterns=("*im2gps_places365.csv",))


def read_im2gps3k(folder: Path) -> Iterator[Photo]:
    """Yield the photos of the Im2GPS3k list (`*im2gps3k_places365.csv`)."""
    yield from _flickr_list(folder, source="im2gps3k", patterns=("*im2gps3k_places365.csv",))


def read_yfcc4k(folder: Path) -> Iterator[Photo]:
    """Yield the photos of the YFCC4k list (`*yfcc4k_places365.csv`); its columns are those of Im2GPS3k's."""
    yield from _flickr_list(folder, source="yfcc4k", patterns=("*yfcc4k_places365.csv",))


def read_mp16(folder: Path) -> Iterator[Photo]:
    """Yield the photos of the MP-16 list (`mp16_places365.csv`, else MP16-Pro's).

    Pictures are loose (`34/8d/9055806529.jpg`), in a tar, or in MP16-Pro's raw parts of one tar, which are read where they lie.
    """
    yield from _flickr_list(folder, source="mp16", patterns=_MP16_LISTS)


def _flickr_list(folder: Path, *, source: str, patterns: tuple[str, ...]) -> Iterator[Photo]:
    lists = [path for pattern in patterns for path in sorted(folder.rglob(pattern))][:1]  # several are the same photos again
    if not lists:
        return
    index = PictureIndex(folder)
    for row in read_rows(lists[0], required=("IMG_ID", "LAT", "LON")):
        image_id, author, place = row["IMG_ID"], row.get("AUTHOR", ""), place_from(row.get("LAT", ""), row.get("LON", ""))
        file = _find(index, image_id, place)
        photo_id, user = _flickr_names(image_id, author)
        page = f"https://www.flickr.com/photos/{user}/{photo_id}" if user else f"https://www.flickr.com/photo.gne?id={photo_id}"
        yield Photo(
            source=source,
            source_image_id=image_id,
            origin_id=f"flickr:{photo_id}" if photo_id else None,
            lat=place[0] if place else None,
            lon=place[1] if place else None,
            author=author or user or None,
            attribution=f"{author or user or 'unknown user'} via Flickr",
            source_url=page if photo_id else "",  # Flickr leads from a photo's number to its page, whoever took it
            capture_group=f"flickr:{user}" if user else None,
            file=file,
            fault=fault_of(image_id, place, has_file=file is not None, where=f"{row.get('LAT', '')!r}, {row.get('LON', '')!r}"),
        )


def _flickr_names(image_id: str, author: str) -> tuple[str, str]:
    """Return Flickr's number of a photo and its author's, each empty where the list does not tell."""
    if found := _FLICKR_NAME.search(image_id):
        return found[1], found[2]
    found = _MP16_NAME.search(image_id)
    return (found[1] if found else "", author)


def read_osv5m(folder: Path) -> Iterator[Photo]:
    """Yield the photos of OSV-5M's lists (`train.csv`, `test.csv`)."""
    yield from _osv5m(folder, names=("train.csv", "test.csv"))


def read_osv5m_test(folder: Path) -> Iterator[Photo]:
    """Yield the photos of OSV-5M's test list (`test.csv`) alone."""
    yield from _osv5m(folder, names=("test.csv",))


def _osv5m(folder: Path, *, names: tuple[str, ...]) -> Iterator[Photo]:
    lists = [path for name in names for path in sorted(folder.rglob(name))]
    if not lists:
        return
    index = PictureIndex(folder)
    for path in lists:
        for row in read_rows(path, required=("ID", "LATITUDE", "LONGITUDE")):
            image_id, lat, lon = row["ID"], row.get("LATITUDE", ""), row.get("LONGITUDE", "")
            place = place_from(lat, lon)
            file = _find(index, f"{image_id}.jpg", place)
            creator = row.get("CREATOR_USERNAME", "")
            sequence = row.get("SEQUENCE", "")
            yield Photo(
                source="osv5m",
                source_image_id=image_id,
                origin_id=f"mapillary:{image_id}",
                lat=place[0] if place else None,
                lon=place[1] if place else None,
                author=creator or None,
                licence=_OSV5M_LICENCE,
                attribution=f"{creator or 'unknown user'} via Mapillary and OSV-5M, CC BY-SA 4.0",
                source_url=f"https://www.mapillary.com/app/?pKey={image_id}",
                captured_at=_moment(row.get("CAPTURED_AT", "")),
                capture_group=f"mapillary:{sequence}" if sequence else None,
                file=file,
                fault=fault_of(image_id, place, has_file=file is not None, where=f"{lat!r}, {lon!r}"),
            )


def _find(index: PictureIndex, name: str, place: tuple[float, float] | None) -> PictureFile | None:
    """Return the picture of a photo that may lie in the country; of the millions elsewhere none is looked for."""
    return index.find(name) if place is not None and in_japan_box(lat=place[0], lon=place[1]) else None


def _moment(written: str) -> datetime | None:
    try:
        if written.isdigit():
            return datetime.fromtimestamp(int(written) / 1000.0, UTC)
        moment = datetime.fromisoformat(written)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None
