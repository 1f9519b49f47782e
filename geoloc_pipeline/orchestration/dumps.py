"""Where the map of a region comes from: Geofabrik's extract of that name, another of its extracts, or a local file.

Belongs here: the one choice between the three, for the assets and for the sensor. GEOLOC_OSM_DUMPS makes it (`resources.py`).
Does not belong here: downloading and checking (`sources.geofabrik`).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from geoloc_pipeline.orchestration.resources import Pipeline
from geoloc_pipeline.storage.progress import Progress

if TYPE_CHECKING:
    from geoloc_pipeline.sources.dump_copies import DumpVersion


def latest_dumps(pipeline: Pipeline, regions: Iterable[str]) -> dict[str, "DumpVersion"]:
    """Return which state of the map each region could have now; costs two small requests a region, or a local file's md5.

    Args:
        pipeline: Knows the sources.
        regions: Partition keys of `osm_dump`.

    Returns:
        Versions by region; a region for which nothing is published now is left out.

    Raises:
        SettingError: GEOLOC_OSM_DUMPS cannot be read, or names what Geofabrik does not know.
        MissingInputError: A local file is not there.
        SourceError: Geofabrik does not answer, or a local file is no OSM PBF file.
    """
    from geoloc_pipeline.sources.dump_copies import read_dump_version
    from geoloc_pipeline.sources.geofabrik import GeofabrikClient

    client, found = GeofabrikClient(pipeline.http()), {}
    for region in regions:
        source = pipeline.dump_source(region)
        version = read_dump_version(source, region=region) if isinstance(source, Path) else client.latest(source)
        if version is not None:
            found[region] = version
    return found


def bring_dump(pipeline: Pipeline, region: str, *, progress: Progress) -> Path:
    """Bring the current map of a region into the home, checked; what is there already is not fetched again.

    Args:
        pipeline: Knows the source.
        region: Partition key of `osm_dump`.
        progress: Told bytes.

    Returns:
        The dated copy in the home.

    Raises:
        GeolocError: As `GeofabrikClient.fetch` and `adopt_dump`.
    """
    from geoloc_pipeline.sources.dump_copies import adopt_dump
    from geoloc_pipeline.sources.geofabrik import GeofabrikClient

    source, folder = pipeline.dump_source(region), pipeline.home.dumps(region)
    if isinstance(source, Path):
        return adopt_dump(source, folder, region=region)
    return GeofabrikClient(pipeline.http()).fetch(source, folder, progress=progress)
