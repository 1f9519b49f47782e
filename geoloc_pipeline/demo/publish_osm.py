"""Publishes the map as Geofabrik does: dated regional extracts with replication headers, checksums, state and index.

Belongs here: the files below `download.geofabrik.de`, byte for byte the same for the same land.
Does not belong here: serving them (`mirror_files.py`), reading them back (`read.py`).

Source: https://download.geofabrik.de/ (layout, index-v1.json, state.txt), ODbL.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import osmium
import shapely

from geoloc_pipeline.geo.prefectures import BY_CODE, REGIONS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

    from geoloc_pipeline.demo.land import Land, Landmark, Road

BASE_URL = "https://download.geofabrik.de/asia/japan"
_FIRST_NODE = 10_000_000_001
_EXTENT_DEG = {
    "hokkaido": (139.3, 41.3, 149.0, 45.6),
    "tohoku": (138.9, 36.7, 142.2, 41.6),
    "kanto": (138.3, 20.2, 154.1, 37.2),
    "chubu": (135.4, 34.5, 140.0, 38.6),
    "kansai": (134.2, 33.4, 137.0, 35.8),
    "chugoku": (130.7, 33.7, 134.5, 37.3),
    "shikoku": (132.0, 32.6, 134.9, 34.6),
    "kyushu": (122.8, 24.0, 132.2, 34.8),
}
"""Rough boxes (west, south, east, north); the real index holds detailed outlines."""


def dated_name(region: str, published_at: datetime) -> str:
    """Tells the name of a region's extract, such as `kanto-260903.osm.pbf`."""
    return f"{region}-{published_at:%y%m%d}.osm.pbf"


def publish_extracts(land: Land, folder: Path) -> None:
    """Writes one extract for each region in which the land has a prefecture, and the index of all regions.

    Args:
        land: The map.
        folder: Stands for `https://download.geofabrik.de/`.
    """
    codes = {region: {code for code in land.prefecture_codes if BY_CODE[code].region == region} for region in REGIONS}
    for region in REGIONS:
        if codes[region]:
            path = extract_path(folder, region, land.published_at)
            path.parent.mkdir(parents=True, exist_ok=True)
            roads, landmarks = _part(land, codes[region])
            write_pbf(path, roads, landmarks, published_at=land.published_at, sequence=land.sequence, region=region)
            describe_extract(folder, region, published_at=land.published_at, sequence=land.sequence)
    publish_index(folder)


def extract_path(folder: Path, region: str, published_at: datetime) -> Path:
    """Tells where a region's extract stands below the folder of `download.geofabrik.de`."""
    return folder / "asia" / "japan" / dated_name(region, published_at)


def describe_extract(folder: Path, region: str, *, published_at: datetime, sequence: int) -> None:
    """Writes checksum and replication state of an extract that stands already."""
    path = extract_path(folder, region, published_at)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "md5").hexdigest()
    path.with_name(path.name + ".md5").write_text(f"{digest}  {path.name}\n", encoding="ascii")
    state = path.parent / f"{region}-updates" / "state.txt"
    state.parent.mkdir(exist_ok=True)
    moment = published_at.strftime("%Y-%m-%dT%H:%M:%SZ").replace(":", "\\:")
    state.write_text(
        f"# original OSM minutely replication sequence number {sequence * 1440 + 262_871}\n"
        f"timestamp={moment}\nsequenceNumber={sequence}\n",
        encoding="ascii",
    )


def publish_index(folder: Path) -> None:
    """Writes `index-v1.json` and `index-v1-nogeom.json`: Asia, Japan and its eight regions, whether or not they have files."""
    features = [_feature("asia", "Asia", None, "asia", (25.0, -12.0, 180.0, 82.0), {"parent": None})]
    features.append(_feature("japan", "Japan", "asia", "asia/japan", (122.5, 20.0, 154.5, 46.0), {"iso3166-1:alpha2": ["JP"]}))
    for region in REGIONS:
        name = f"{region.capitalize()} region"
        features.append(_feature(region, name, "japan", f"asia/japan/{region}", _EXTENT_DEG[region], {}))
    folder.mkdir(parents=True, exist_ok=True)
    for file, keeps_shape in (("index-v1.json", True), ("index-v1-nogeom.json", False)):
        shown = [feature if keeps_shape else {**feature, "geometry": None} for feature in features]
        text = json.dumps({"type": "FeatureCollection", "features": shown}, ensure_ascii=False, sort_keys=True)
        (folder / file).write_text(text, encoding="utf-8")


def _feature(
    region: str, name: str, parent: str | None, path: str, extent_deg: tuple[float, ...], more: dict[str, Any]
) -> dict[str, Any]:
    public, internal = "https://download.geofabrik.de", "https://osm-internal.download.geofabrik.de"
    urls = {
        "pbf": f"{public}/{path}-latest.osm.pbf",
        "pbf-internal": f"{internal}/{path}-latest-internal.osm.pbf",
        "history": f"{internal}/{path}-internal.osh.pbf",
        "taginfo": f"https://taginfo.geofabrik.de/{path.replace('/', ':')}/",
        "updates": f"{public}/{path}-updates",
    }
    if parent == "japan":
        urls["shp"] = f"{public}/{path}-latest-free.shp.zip"
    properties = {"id": region, "name": name, "parent": parent, **more, "urls": urls}
    return {
        "type": "Feature",
        "properties": {key: value for key, value in properties.items() if value is not None},
        "geometry": shapely.geometry.mapping(shapely.MultiPolygon([shapely.box(*extent_deg)])),
    }


def _part(land: Land, codes: set[str]) -> tuple[list[Road], list[Landmark]]:
    """Gives what lies nearer to the prefectures of `codes` than to the land's others."""
    towns = list(land.towns)
    tree = shapely.STRtree([town.polygon for town in towns])

    def is_here(shapes: list[shapely.Geometry]) -> NDArray[np.bool_]:
        near = tree.nearest(shapely.centroid(np.asarray(shapes, dtype=object)))
        return np.array([towns[row].prefecture_code in codes for row in near], dtype=bool)

    if len(codes) == len(land.prefecture_codes):
        return list(land.roads), list(land.landmarks)
    at_home = is_here([shapely.LineString(road.lonlat) for road in land.roads])
    marked = is_here([mark.geometry for mark in land.landmarks])
    return (
        [road for road, here in zip(land.roads, at_home, strict=True) if here],
        [mark for mark, here in zip(land.landmarks, marked, strict=True) if here],
    )


class _Nodes:
    """Vertices by place: ways that share a vertex share its node."""

    def __init__(self) -> None:
        self.ids: dict[tuple[float, float], int] = {}

    def of(self, lonlat: Iterable[tuple[float, float]]) -> list[int]:
        """Gives the ids of vertices, new ones for places that are met for the first time."""
        return [self.ids.setdefault((float(lon), float(lat)), _FIRST_NODE + len(self.ids)) for lon, lat in lonlat]


def write_pbf(
    path: Path, roads: Iterable[Road], landmarks: Iterable[Landmark], *, published_at: datetime, sequence: int, region: str
) -> None:
    """Writes an extract, objects sorted by type and id, with the header that tells its version.

    Args:
        path: Where; its name ends in `.osm.pbf`.
        roads: Ways.
        landmarks: Nodes, ways and multipolygon relations.
        published_at: Replication timestamp.
        sequence: Replication sequence number.
        region: Geofabrik id, for the replication URL.
    """
    nodes = _Nodes()
    ways = {road.way_id: (nodes.of(road.lonlat), road.tags) for road in roads}
    tagged: dict[int, tuple[tuple[float, float], dict[str, str]]] = {}
    relations: dict[int, tuple[list[tuple[str, int, str]], dict[str, str]]] = {}
    for mark in landmarks:
        if mark.kind == "node":
            tagged[mark.osm_id] = ((mark.geometry.x, mark.geometry.y), mark.tags)
        elif mark.kind == "way":
            ways[mark.osm_id] = (nodes.of(mark.geometry.exterior.coords), mark.tags)
        else:
            relations[mark.osm_id] = (_members(mark, nodes, ways), {"type": "multipolygon", **mark.tags})
    points: dict[int, tuple[tuple[float, float], dict[str, str]]] = {number: (at, {}) for at, number in nodes.ids.items()}
    points |= tagged
    stamp = {"version": 1, "timestamp": published_at.replace(microsecond=0)}
    with osmium.SimpleWriter(str(path), header=_header(points, published_at, sequence, region), overwrite=True) as writer:
        for number in sorted(points):
            place, tags = points[number]
            writer.add_node(osmium.osm.mutable.Node(id=number, location=place, tags=tags, **stamp))
        for number in sorted(ways):
            writer.add_way(osmium.osm.mutable.Way(id=number, nodes=ways[number][0], tags=ways[number][1], **stamp))
        for number in sorted(relations):
            members, tags = relations[number]
            writer.add_relation(osmium.osm.mutable.Relation(id=number, members=members, tags=tags, **stamp))


def _members(mark: Landmark, nodes: _Nodes, ways: dict[int, tuple[list[int], dict[str, str]]]) -> list[tuple[str, int, str]]:
    """Adds the rings of a multipolygon as untagged ways and tells which they are."""
    members: list[tuple[str, int, str]] = []
    for part in shapely.get_parts(mark.geometry):
        for role, rings in (("outer", [part.exterior]), ("inner", part.interiors)):
            for ring in rings:
                way_id = 1_400_000_000 + mark.osm_id % 100_000_000 * 10 + len(members)
                ways[way_id] = (nodes.of(ring.coords), {})
                members.append(("w", way_id, role))
    return members


def _header(points: dict[int, Any], published_at: datetime, sequence: int, region: str) -> osmium.io.Header:
    header = osmium.io.Header()
    header.set("generator", "osmium/1.16.0")
    header.set("sorting", "Type_then_ID")
    header.set("osmosis_replication_timestamp", published_at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    header.set("osmosis_replication_sequence_number", str(sequence))
    header.set("osmosis_replication_base_url", f"{BASE_URL}/{region}-updates")
    if points:
        lonlat = np.array([place for place, _ in points.values()])
        south_west, north_east = (osmium.osm.Location(*map(float, end)) for end in (lonlat.min(axis=0), lonlat.max(axis=0)))
        header.add_box(osmium.osm.Box(south_west, north_east))
    return header
