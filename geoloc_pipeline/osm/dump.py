"""Is this dump there, whole, and with data in it? Asked before QuackOSM, whose own words for a broken file name no cure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.sources.pbf import check_pbf

if TYPE_CHECKING:
    from pathlib import Path

_CURE = "remove the file and materialise the asset `osm_dump` again, or put a whole .osm.pbf in its place"


def check_dump(path: Path) -> None:
    """Raise unless `path` is a whole `.osm.pbf` that holds data; a cut just between two blobs is seen by its md5 alone.

    Args:
        path: The dump.

    Raises:
        MissingInputError: There is no such file.
        BadSourceFileError: It is something else (HTML, another format), empty, or truncated.
    """
    if not path.is_file():
        raise MissingInputError(what="the OpenStreetMap dump", path=path, cure="materialise the asset `osm_dump` first")
    if check_pbf(path, shown=path, cure=_CURE) == 0:
        raise BadSourceFileError(path=path, reason=f"it holds no data ({path.stat().st_size} bytes)", cure=_CURE)
