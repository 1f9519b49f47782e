"""Reads a land from real files: an OpenStreetMap extract and e-Stat archives.

Belongs here: just what the demo's renderer, coverage and mirror need to know of real ground.
Does not belong here: the pipeline's own extraction (`osm`) and census client (`sources`), which this must not depend on.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import osmium
import pyogrio
import shapely

from geoloc_pipeline.demo.land import Land, Landmark, Road, Town
from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.geo.crs import WGS84

if TYPE_CHECKING:
    from pathlib import Path

LANDMARK_TAGS: dict[str, frozenset[str]] = {
    "tourism": frozenset({"attraction", "museum", "viewpoint", "artwork", "gallery", "zoo", "aquarium", "theme_park"}),
    "historic": frozenset(),  # any value
    "railway": frozenset({"station"}),
    "amenity": frozenset({"place_of_worship"}),
    "natural": frozenset({"peak"}),
    "leisure": frozenset({"park", "garden", "stadium"}),
    "man_made": frozenset({"tower", "lighthouse"}),
}
"""Keys and values that make a landmark; an empty set takes any value."""
_WATER = 8154


def dumps_in(folder: Path) -> list[Path]:
    """Finds the maps in a folder.

    Args:
        folder: Where to look, not below it.

    Returns:
        Its `*.osm.pbf`, sorted.

    Raises:
        MissingInputError: There is none.
    """
    return _found(folder, "*.osm.pbf", what="an OpenStreetMap extract", cure="put one *.osm.pbf there")


def archives_in(folder: Path) -> list[Path]:
    """Finds the census archives in a folder.

    Args:
        folder: Where to look, not below it.

    Returns:
        Its e-Stat archives, sorted.

    Raises:
        MissingInputError: There is none.
    """
    cure = "download it from https://www.e-stat.go.jp/gis/statmap-search (2020 census, small areas, shapefile, JGD2011)"
    return _found(folder, "*DDSWC*.zip", what="an e-Stat archive of small areas", cure=cure)


def _found(folder: Path, pattern: str, *, what: str, cure: str) -> list[Path]:
    found = sorted(folder.glob(pattern)) if folder.is_dir() else []
    if not found:
        raise MissingInputError(what=what, path=folder / pattern, cure=cure)
    return found


def read_version(dump: Path) -> tuple[datetime, int]:
    """Reads when a map was cut and its place in the sequence of replication.

    Args:
        dump: An `.osm.pbf`.

    Returns:
        Replication timestamp (aware, UTC) and sequence number.

    Raises:
        BadSourceFileError: It is no PBF, or its header tells no version.
    """
    try:
        header = osmium.io.Reader(str(dump), osmium.osm.osm_entity_bits.NOTHING).header()
    except RuntimeError as error:
        raise BadSourceFileError(path=dump, reason=f"not readable as PBF ({error})", cure="download it again") from error
    moment, sequence = header.get("osmosis_replication_timestamp"), header.get("osmosis_replication_sequence_number")
    if not moment or not sequence.isdecimal():  # pyosmium's get_replication_header drops the number where there is no URL
        raise BadSourceFileError(
            path=dump, reason="its header has no replication timestamp and sequence", cure="use an extract from Geofabrik"
        )
    return datetime.fromisoformat(moment), int(sequence)


def read_land(folder: Path, *, seed: int = 0) -> Land:
    """Reads a land from the maps and census archives in a folder.

    Args:
        folder: Holds `*.osm.pbf` and e-Stat archives.
        seed: What the pictures' chance is drawn from.

    Returns:
        Roads are all ways with a `highway` tag; places in WGS 84 degrees.

    Raises:
        MissingInputError: A kind of file is not there.
        BadSourceFileError: A file cannot be read as what it should be.
    """
    dumps, archives = dumps_in(folder), archives_in(folder)
    versions = [read_version(dump) for dump in dumps]
    roads: dict[int, Road] = {}
    landmarks: dict[tuple[str, int], Landmark] = {}
    for dump in dumps:
        _read_map(dump, roads, landmarks)
    published_at, sequence = max(versions)
    return Land(
        seed=seed,
        roads=tuple(roads[key] for key in sorted(roads)),
        landmarks=tuple(landmarks[key] for key in sorted(landmarks)),
        towns=tuple(town for archive in archives for town in read_towns(archive)),
        published_at=published_at,
        sequence=sequence,
        name=folder.name,
    )


def is_landmark(tags: dict[str, str]) -> bool:
    """Tells whether people would name an object with these tags when they say where they are."""
    return any(key in tags and (not values or tags[key] in values) for key, values in LANDMARK_TAGS.items())


def _read_map(dump: Path, roads: dict[int, Road], landmarks: dict[tuple[str, int], Landmark]) -> None:
    """Adds a map's roads and landmarks; objects that lack some of their nodes are left out.

    Raises:
        BadSourceFileError: The map breaks off or is damaged.
    """
    wanted = osmium.filter.KeyFilter("highway", *LANDMARK_TAGS)
    areas = osmium.filter.KeyFilter(*LANDMARK_TAGS)
    try:
        for item in osmium.FileProcessor(str(dump)).with_locations().with_areas(areas).with_filter(wanted):
            tags = {tag.k: tag.v for tag in item.tags}
            if item.is_way() and "highway" in tags:
                lonlat = np.array([(node.lon, node.lat) for node in item.nodes if node.location.valid()], dtype=np.float64)
                if len(lonlat) >= 2:
                    roads[item.id] = Road(way_id=item.id, tags=tags, lonlat=lonlat)
            elif item.is_node() and is_landmark(tags):
                point = shapely.Point(item.location.lon, item.location.lat)
                landmarks["node", item.id] = Landmark(kind="node", osm_id=item.id, tags=tags, geometry=point)
            elif item.is_area() and "highway" not in tags and is_landmark(tags):
                kind, shape = ("way" if item.from_way() else "relation"), shapely.from_wkb(_WKB.create_multipolygon(item))
                parts = shapely.get_parts(shape)
                shape = parts[0] if len(parts) == 1 else shape
                landmarks[kind, item.orig_id()] = Landmark(kind=kind, osm_id=item.orig_id(), tags=tags, geometry=shape)
    except RuntimeError as error:
        raise BadSourceFileError(path=dump, reason=f"not readable as PBF ({error})", cure="download it again") from error


_WKB = osmium.geom.WKBFactory()


def read_towns(archive: Path) -> list[Town]:
    """Reads the town blocks of an e-Stat archive, rows of one block joined.

    Args:
        archive: A zip with a shapefile in cp932 and JGD2011.

    Returns:
        Town blocks in code order, water included; a record without a name keeps its municipality, with area 000000.

    Raises:
        BadSourceFileError: It cannot be read as such an archive.
    """
    try:
        frame = pyogrio.read_dataframe(f"/vsizip/{archive.resolve()}", encoding="cp932").to_crs(WGS84)
        rows = [dict(row._asdict()) for row in frame.itertuples(index=False)]
        joined: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            key = row["PREF"] + row["CITY"] + (_text(row["S_AREA"]) or "000000")
            joined.setdefault(f"{key}{'w' if int(row['HCODE']) == _WATER else ''}", []).append(row)
        return [_town(key.rstrip("w"), joined[key]) for key in sorted(joined)]
    except (pyogrio.errors.DataSourceError, UnicodeDecodeError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadSourceFileError(
            path=archive,
            reason=f"not readable as e-Stat's small areas ({error})",
            cure="download it again: shapefile, latitude/longitude, JGD2011",
        ) from error


def _town(key_code: str, rows: list[dict[str, Any]]) -> Town:
    first = rows[0]
    shape = shapely.union_all(shapely.make_valid([row["geometry"] for row in rows]))
    areas = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    people = sum(int(float(_text(row["JINKO"]) or 0)) for row in rows)
    return Town(
        key_code=key_code,
        prefecture_code=first["PREF"],
        municipality_code=first["PREF"] + first["CITY"],
        prefecture=_text(first["PREF_NAME"]),
        municipality=_text(first["CITY_NAME"]),
        town=_text(first["S_NAME"]).strip("-"),
        polygon=areas[0] if len(areas) == 1 else shapely.MultiPolygon(areas),
        population=people,
        is_water=int(first["HCODE"]) == _WATER,
    )


def _text(value: object) -> str:
    """Gives a field as text; missing values (None, NaN) as the empty string."""
    return "" if value is None or value != value else str(value)
