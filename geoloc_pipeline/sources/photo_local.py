"""A user's own folder of photos, placed by a CSV (IMG_FILE,LAT,LON as GeoCLIP's loader has it) or by their EXIF."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from geoloc_pipeline.sources.photo_files import PictureFile, header_of, loose_pictures, read_rows, readable_name
from geoloc_pipeline.sources.photo_record import Photo, place_from, spdx_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_REQUIRED = ("IMG_FILE", "LAT", "LON")


def read_local(folder: Path) -> Iterator[Photo]:
    """Yield every picture file below `folder` in path order, then what the lists name and is not there.

    A list's place goes before EXIF. Names in a list are relative to the list's folder, or to `folder`. Of two lists that name
    a photo, the one later in path order counts.

    Args:
        folder: The user's folder.

    Yields:
        Photos; `lat` is None where no list places the photo.

    Raises:
        BadSourceFileError: A list cannot be read.
    """
    files = {file.name: file for file in loose_pictures(folder)}
    listed: dict[str, Photo] = {}
    for path in sorted(folder.rglob("*.csv")):
        if set(_REQUIRED) <= header_of(path):
            here = path.parent.relative_to(folder).as_posix()
            for row in read_rows(path, required=_REQUIRED):
                photo = _listed_photo(row, files=files, here=here)
                listed[photo.source_image_id] = photo
    for name, file in files.items():
        if readable_name(name) != name:
            fault = ("bad_name", "its file name is not UTF-8; rename it")
            yield Photo(source="local", source_image_id=readable_name(name), source_url=_url(readable_name(name)), fault=fault)
            continue
        yield listed.get(name) or Photo(source="local", source_image_id=name, source_url=_url(name), file=file)
    for name in sorted(set(listed) - set(files)):
        yield listed[name]


def _listed_photo(row: dict[str, str], *, files: dict[str, PictureFile], here: str) -> Photo:
    written = row["IMG_FILE"].replace("\\", "/").removeprefix("./")
    beside = written if here == "." else f"{here}/{written}"
    name = beside if beside in files else written
    place, author, file = place_from(row.get("LAT", ""), row.get("LON", "")), row.get("AUTHOR") or None, files.get(name)
    fault = None
    if file is None:
        fault = ("file_missing", f"the list names {written!r}, and there is no such picture file")
    elif place is None:
        fault = ("bad_place", f"the list places it at {row.get('LAT', '')!r}, {row.get('LON', '')!r}")
    return Photo(
        source="local",
        source_image_id=name,
        lat=place[0] if place else None,
        lon=place[1] if place else None,
        author=author,
        licence=spdx_of(row.get("LICENCE", "") or row.get("LICENSE", "")),
        attribution=author or "",
        source_url=row.get("URL", "") or _url(name),
        capture_group=author,
        file=file,
        fault=fault,
    )


def _url(name: str) -> str:
    return f"local:{quote(name)}"  # where the folder lies on this machine is nobody's business
