"""The demo's world, of which a new map is published whenever it is told to: some roads are new in it, some have moved.

The land itself stands still, and so do census and street view: cameras have driven roads that nobody has mapped yet. The map
of the first day lacks some local streets; each later map brings one of them and moves others. Maps are published as Geofabrik
does, a dated extract with checksum and replication state beside the older ones, and served by the demo's own mirror, which here
also counts what it gives away.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import osmium
import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from geoloc_pipeline.demo.grow import PUBLISHED_AT, SEQUENCE, grow_land
from geoloc_pipeline.demo.mirror import Mirror
from geoloc_pipeline.demo.publish import GEOFABRIK
from geoloc_pipeline.demo.publish_osm import publish_extracts
from geoloc_pipeline.orchestration.world import World, choose_world, ensure_world
from geoloc_pipeline.osm.tags import ROAD_CLASSES

if TYPE_CHECKING:
    from pathlib import Path

    from geoloc_pipeline.demo.land import Land, Road
    from geoloc_pipeline.demo.mirror_answers import Answer, Asked
    from geoloc_pipeline.storage.layout import Home

LOCAL = frozenset({"tertiary", "unclassified", "residential"})
MOVED_DEG = np.array([0.00025, -0.0002])
"""Some 30 m: more than a sample point's id forgives, less than what its picture does."""


@dataclass(frozen=True)
class News:
    """What the maps of one day tell that those of the day before did not.

    Attributes:
        changed: Prefectures in which one road in a hundred is new or has moved.
        renamed: Prefectures in which one road has another name and is where it was.
        elsewhere: Prefectures whose region has a new map, in which only a service way has moved: no road of interest.
    """

    changed: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    @property
    def published(self) -> tuple[str, ...]:
        """Prefectures whose region has a new map."""
        return tuple(sorted({*self.changed, *self.renamed, *self.elsewhere}))


def a_week(codes: Sequence[str], *, days: int = 7) -> list[News]:
    """Return a week in which all prefectures but one change each day, in turn.

    Every other day the region of the one that does not change has a new map as well.

    Args:
        codes: Prefectures, each of a region of its own.
        days: How many days the week has.
    """
    week = []
    for day in range(1, days + 1):
        quiet = codes[day % len(codes)]
        elsewhere = (quiet,) if day % 2 == 0 else ()
        week.append(News(changed=tuple(code for code in codes if code != quiet), elsewhere=elsewhere))
    return week


class CountingMirror(Mirror):
    """The mirror, which remembers what it has given away.

    Attributes:
        given: How often each picture, whole dump and census archive was sent, by host and path.
        asked: Requests by what they were for: `picture`, `dump`, `census` (sent whole), `coverage`, `entity`, `version`.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.given: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()

    def answer(self, asked: Asked, raw_query: str) -> Answer:
        """Answer as the mirror does, and count."""
        answer = super().answer(asked, raw_query)
        kind = _kind_of(asked, answer)
        self.asked[kind] += 1
        if kind in {"picture", "dump", "census"}:
            self.given[f"{asked.host}{asked.path} {asked.query.get('code', '')}"] += 1
        return answer

    @property
    def given_twice(self) -> list[str]:
        """What was sent more than once."""
        return sorted(what for what, times in self.given.items() if times > 1)


def _kind_of(asked: Asked, answer: Answer) -> str:
    if asked.host == "download.geofabrik.de":
        return "dump" if asked.path.endswith(".osm.pbf") and answer.status == 200 else "version"
    if asked.host == "www.e-stat.go.jp":
        return "census" if answer.content_type == "application/octet-stream" else "census index"
    if answer.content_type.startswith("image/"):
        return "picture"
    return "coverage" if asked.host.startswith("tiles.") else "entity"


@dataclass
class _Map:
    """What is mapped of one prefecture.

    Attributes:
        land: The prefecture as it is.
        roads: Its ways as they are mapped now.
        unmapped: Streets that come later, the next one last.
        unmoved: Ways that can still move, the next one last.
    """

    land: Land
    roads: dict[int, Road]
    unmapped: list[int]
    unmoved: list[int]


class ChangingWorld:
    """A published world and its maps, day by day.

    Attributes:
        home: Whose world it is.
        mirror: Serves it.
    """

    def __init__(self, home: Home, *, codes: Sequence[str], density: float, days: int, seed: int = 0, draw: Any = None) -> None:
        """Grow the land, publish it, and publish the map of the first day over the whole one.

        Args:
            home: The home.
            codes: Prefectures of the made-up Japan.
            density: See `grow_land`.
            days: How many new maps of a prefecture there can be.
            seed: What the land is grown from.
            draw: Draws the pictures; the demo's renderer if absent.
        """
        choose_world(home, World(seed=seed, prefecture_codes=tuple(codes), density=density))
        folder, land = ensure_world(home)
        self.home, self.mirror = home, CountingMirror(folder, land, draw=draw)
        self._folder, self._day = folder / GEOFABRIK, 0
        self._maps = {code: _first_map(grow_land(seed=seed, prefecture_codes=(code,), density=density), days) for code in codes}
        for code in codes:
            self._publish(code)

    def roads(self, code: str) -> int:
        """Return how many ways of a prefecture are roads of interest and are mapped now."""
        return sum(road.tags["highway"] in ROAD_CLASSES for road in self._maps[code].roads.values())

    def bring(self, news: News) -> dict[str, int]:
        """Publish the maps of the next day.

        Args:
            news: What is new in them.

        Returns:
            How many roads are new, moved or renamed, by prefecture.
        """
        self._day += 1
        told = {code: self._change(code) for code in news.changed} | {code: self._rename(code) for code in news.renamed}
        for code in news.elsewhere:
            self._move(code, next(road.way_id for road in self._maps[code].roads.values() if road.tags["highway"] == "service"))
        for code in news.published:
            self._publish(code)
        return told

    def _change(self, code: str) -> int:
        """Map one street for the first time and move others: one road in a hundred in all, rounded up."""
        known = self._maps[code]
        number = math.ceil(self.roads(code) / 100)
        new = known.unmapped.pop()
        known.roads[new] = next(road for road in known.land.roads if road.way_id == new)
        for _ in range(number - 1):
            self._move(code, known.unmoved.pop())
        return number

    def _move(self, code: str, way_id: int) -> None:
        """Move a way's inner vertices, as somebody does who has seen a better aerial picture; its ends stay tied to others."""
        road = self._maps[code].roads[way_id]
        lonlat = road.lonlat.copy()
        lonlat[1:-1] += MOVED_DEG
        self._maps[code].roads[way_id] = replace(road, lonlat=np.round(lonlat, 7))

    def _rename(self, code: str) -> int:
        """Give one way of a numbered road another name: the road is the same by its number."""
        roads = self._maps[code].roads
        way_id = next(way_id for way_id, road in roads.items() if {"ref", "name"} <= road.tags.keys())
        roads[way_id] = replace(roads[way_id], tags=roads[way_id].tags | {"name": f"見本改名通り{self._day}"})
        return 1

    def _publish(self, code: str) -> None:
        known = self._maps[code]
        roads = tuple(known.roads[way_id] for way_id in sorted(known.roads))
        when = PUBLISHED_AT + timedelta(days=self._day)
        publish_extracts(replace(known.land, roads=roads, published_at=when, sequence=SEQUENCE + self._day), self._folder)


def _first_map(land: Land, days: int) -> _Map:
    """Return a prefecture's map without the streets that come later: the loneliest ones, so that each asks for pictures."""
    local = [
        road for road in land.roads if road.tags["highway"] in LOCAL and _is_its_own(road, land.roads) and len(road.lonlat) > 3
    ]
    lonely = sorted(local, key=lambda road: (_room_deg(road, land.roads), road.way_id))
    unmapped = [road.way_id for road in lonely[-days:]]
    rest = [road.way_id for road in lonely[:-days]]
    roads = {road.way_id: road for road in land.roads if road.way_id not in unmapped}
    return _Map(land=land, roads=roads, unmapped=unmapped, unmoved=rest)


def _is_its_own(road: Road, roads: Sequence[Road]) -> bool:
    """Return whether a way is a whole street: no other way has its name."""
    if {"area", "junction", "ref"} & road.tags.keys():
        return False
    name = road.tags.get("name")
    return name is None or sum(other.tags.get("name") == name for other in roads) == 1


def _room_deg(road: Road, roads: Sequence[Road]) -> float:
    """Return how far the middle of a way is from every other way, degrees."""
    middle = shapely.LineString(road.lonlat).interpolate(0.5, normalized=True)
    others = [shapely.LineString(other.lonlat) for other in roads if other.way_id != road.way_id]
    return float(shapely.distance(middle, others).min())


def read_plainly(dump: Path, area: Any, scratch: Path, memory_limit_bytes: int) -> Path:  # noqa: ARG001 - QuackOSM's arguments
    """Read a small dump in this process and leave what QuackOSM would leave, without the dozen processes that it starts.

    For the ways and landmarks that the demo publishes; everything is read, wherever it lies.

    Args:
        dump: A `.osm.pbf` of the demo.
        area: Ignored.
        scratch: Takes the result.
        memory_limit_bytes: Ignored.

    Returns:
        Parquet of feature_id, tags and geometry.
    """
    shape, found = osmium.geom.WKBFactory(), dict[str, tuple[dict[str, str], bytes]]()
    for each in osmium.FileProcessor(str(dump)).with_areas():
        tags = {tag.k: tag.v for tag in each.tags}
        is_street = "highway" in tags and tags.get("area") != "yes"
        if not tags or (each.is_way() and not is_street) or (each.is_area() and is_street) or each.is_relation():
            continue
        if each.is_area():
            outlines = shapely.from_wkb(shape.create_multipolygon(each))
            name = f"{'way' if each.from_way() else 'relation'}/{each.orig_id()}"
            wkb = (outlines if len(outlines.geoms) > 1 else outlines.geoms[0]).wkb
        else:
            kind, create = ("way", shape.create_linestring) if each.is_way() else ("node", shape.create_point)
            name, wkb = f"{kind}/{each.id}", bytes.fromhex(create(each))
        found[name] = tags, wkb
    columns = {
        "feature_id": pa.array(list(found)),
        "tags": pa.array([list(tags.items()) for tags, _ in found.values()], pa.map_(pa.string(), pa.string())),
        "geometry": pa.array([wkb for _, wkb in found.values()], pa.binary()),
    }
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": {"encoding": "WKB", "geometry_types": []}}}
    path = scratch / "features.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata({"geo": json.dumps(geo)}), path)
    return path
