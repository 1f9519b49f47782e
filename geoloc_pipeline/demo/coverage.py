"""Where street-view cameras have been on a land: every picture's place, time and heading, before any is drawn.

Belongs here: drives along roads, walks through parks and around lonely landmarks, and looking pictures up by id, box or tile.
Does not belong here: providers' protocols (`mirror_*.py`), pixels (`pictures.py`).
"""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
from collections import defaultdict
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import shapely

from geoloc_pipeline.demo.chance import seed_of, uniform
from geoloc_pipeline.geo.tiles import tile_of

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.land import Land, Road

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

DRIVEN = frozenset({
    "motorway", "motorway_link", "trunk", "trunk_link", "primary", "primary_link", "secondary", "secondary_link", "tertiary",
    "tertiary_link", "unclassified", "residential", "living_street",
})  # fmt: skip
TILE_ZOOM = 14
NEVER_DRIVEN, FLAT_AHEAD, FLAT_AROUND, DRIVEN_TWICE = 0.04, 0.01, 0.015, 0.18
"""Shares of stretches that no camera, only a dash camera, or only four flat cameras have seen; and that were driven twice."""
WITHOUT_COMPUTED = 0.06
"""Share of pictures whose place and heading were never computed from their neighbours."""
TO_PANORAMAX, FLAT_TO_KARTAVIEW = 0.04, 0.3
"""Shares of trips whose pictures went to Panoramax, and of trips with flat cameras that went to KartaView (3 % of sequences);
all others went to Mapillary."""
_METRES_PER_DEG = 111_195.0
_DENSE_CELL_DEG = 0.0025
_DENSE_PICTURES = 150  # in three by three cells, some 700 m across


@dataclass(frozen=True)
class Shots:
    """Pictures as columns, one row each.

    Attributes:
        image_id: 15 digits.
        sequence: Row of `Coverage.sequence_ids`.
        lat: Where the camera truly was, WGS 84 degrees.
        lon: Where the camera truly was.
        heading_deg: Where it truly looked; the middle column of a panorama.
        captured_ms: Unix time, milliseconds.
        is_pano: True for panoramas, False for flat 4:3 pictures.
        gps_lat: What the camera's GPS said.
        gps_lon: What the camera's GPS said.
        compass_deg: What the camera's compass said.
        is_computed: True where the provider has computed place and heading too.
        pitch_deg: Tilt of the rig.
        roll_deg: Tilt of the rig.
    """

    image_id: Ints
    sequence: Ints
    lat: Floats
    lon: Floats
    heading_deg: Floats
    captured_ms: Ints
    is_pano: NDArray[np.bool_]
    gps_lat: Floats
    gps_lon: Floats
    compass_deg: Floats
    is_computed: NDArray[np.bool_]
    pitch_deg: Floats
    roll_deg: Floats


class Coverage:
    """All pictures of a land; cheap to build, nothing is drawn."""

    def __init__(self, land: Land) -> None:
        """Sends the cameras out.

        Args:
            land: Any map, grown or real.
        """
        self.sequence_ids: list[str] = []
        self.creators: list[str] = []
        self.providers: list[str] = []
        self._trips: list[tuple[Floats, Floats, int, bool, float, Generator]] = []
        latest_ms = int(land.published_at.timestamp() * 1000)
        lines = _lines(land.roads)
        for line in lines:
            for stretch in _stretches(np.asarray(line.coords), land.seed):
                self._drive(stretch, land.seed, latest_ms)
        for path in _walks(land, lines):
            self._drive(path, land.seed, latest_ms, on_foot=True)
        self.shots = self._developed()
        self._sort()

    def _sort(self) -> None:
        """Makes the pictures easy to find."""
        tile_x, tile_y = tile_of(lat=self.shots.gps_lat, lon=self.shots.gps_lon, zoom=TILE_ZOOM)
        self._by_tile = _grouped(tile_x * 2**TILE_ZOOM + tile_y)
        self._by_sequence = _grouped(self.shots.sequence)
        self._row_of = {int(image_id): row for row, image_id in enumerate(self.shots.image_id)}
        self._sequence_row = {name: row for row, name in enumerate(self.sequence_ids)}
        cells, counts = np.unique(_cells(self.shots.gps_lat, self.shots.gps_lon), return_counts=True)
        self._crowd = dict(zip(cells.tolist(), counts.tolist(), strict=True))

    def __len__(self) -> int:
        return len(self.shots.image_id)

    def only(self, provider: str) -> Coverage:
        """Gives one provider's part of the coverage; pictures keep their ids and everything else but their rows.

        Args:
            provider: `mapillary`, `panoramax` or `kartaview`.
        """
        mine = np.array([name == provider for name in self.providers], dtype=np.bool_)
        rows = np.flatnonzero(mine[self.shots.sequence])
        part = copy.copy(self)
        part.sequence_ids, part.creators, part.providers = (
            list(itertools.compress(names, mine)) for names in (self.sequence_ids, self.creators, self.providers)
        )
        shots = {field.name: getattr(self.shots, field.name)[rows] for field in fields(Shots)}
        part.shots = Shots(**shots | {"sequence": (np.cumsum(mine) - 1)[shots["sequence"]]})
        part._sort()
        return part

    def row_of(self, image_id: str) -> int | None:
        """Tells the row of a picture; None for an id that nobody has."""
        return self._row_of.get(int(image_id)) if image_id.isdecimal() else None

    def in_sequence(self, sequence_id: str) -> Ints:
        """Gives the rows of a sequence in the order in which they were taken; none for an unknown one."""
        return self._by_sequence.get(self._sequence_row.get(sequence_id, -1), np.zeros(0, dtype=np.int64))

    def in_tile(self, *, x: int, y: int, zoom: int = TILE_ZOOM) -> Ints:
        """Gives the rows whose GPS place lies in a map tile, in order of row; from zoom 14 outwards."""
        span = 2 ** (TILE_ZOOM - zoom)
        keys = [(x * span + i) * 2**TILE_ZOOM + y * span + j for i in range(span) for j in range(span)]
        found = [self._by_tile[key] for key in keys if key in self._by_tile]
        return np.sort(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)

    def in_box(self, west: float, south: float, east: float, north: float) -> Ints:
        """Gives the rows whose GPS place lies in a box of WGS 84 degrees."""
        lat, lon = self.shots.gps_lat, self.shots.gps_lon
        return np.flatnonzero((lon >= west) & (lon <= east) & (lat >= south) & (lat <= north))

    def is_dense(self, *, lat: float, lon: float) -> bool:
        """Tells whether so many pictures were taken around a place that the provider refuses to search there."""
        cell = int(_cells(np.array([lat]), np.array([lon]))[0])
        around = [cell + i * 1_000_000 + j for i in (-1, 0, 1) for j in (-1, 0, 1)]
        return bool(sum(self._crowd.get(key, 0) for key in around) > _DENSE_PICTURES)

    def captured_at(self, row: int) -> datetime:
        """Tells when a picture was taken (aware, UTC)."""
        return datetime.fromtimestamp(int(self.shots.captured_ms[row]) / 1000, tz=UTC)

    def _drive(self, lonlat: Floats, seed: int, latest_ms: int, *, on_foot: bool = False) -> None:
        """Sends a camera, or four flat ones, or none, or one twice, along a stretch."""
        dice = np.random.default_rng(seed_of("drive", seed, on_foot, len(lonlat), *np.round(lonlat[[0, -1]].ravel(), 7)))
        luck = dice.random()
        if not on_foot and luck < NEVER_DRIVEN:
            return
        is_flat = not on_foot and luck < NEVER_DRIVEN + FLAT_AHEAD + FLAT_AROUND
        turns = (0.0,) if not is_flat or luck < NEVER_DRIVEN + FLAT_AHEAD else (0.0, 90.0, 180.0, 270.0)
        self._trip(lonlat, latest_ms, dice, turns=turns, is_pano=not is_flat, gap_m=38.0 if on_foot else 50.0)
        if not on_foot and dice.random() < DRIVEN_TWICE:
            self._trip(lonlat[::-1], latest_ms, dice, turns=(0.0,), is_pano=dice.random() < 0.7, gap_m=50.0)

    def _trip(
        self, lonlat: Floats, latest_ms: int, dice: Generator, *, turns: tuple[float, ...], is_pano: bool, gap_m: float
    ) -> None:
        """Notes one trip: a sequence for each camera of the rig."""
        at, heading = _along(lonlat, gap_m, dice)
        days_ago = int(dice.uniform(20.0, 365.0 * 8))
        day_ms = (latest_ms // 86_400_000 - days_ago) * 86_400_000
        start_ms = day_ms + int(dice.uniform(7.0 - 9.0, 17.0 - 9.0) * 3_600_000)  # 7 to 17 h in Japan, which is UTC+9
        creator = f"made_up_mapper_{int(dice.integers(1, 61)):02d}"
        provider = _provider_of(seed_of("provider", start_ms, *np.round(at[[0, -1]].ravel(), 7)), is_pano=is_pano)
        for turn in turns:
            digest = hashlib.blake2b(f"{start_ms} {turn} {at[0]} {at[-1]}".encode(), digest_size=16).digest()
            self.sequence_ids.append(base64.urlsafe_b64encode(digest).decode()[:22])
            self.creators.append(creator)
            self.providers.append(provider)
            self._trips.append((at, (heading + turn) % 360.0, start_ms, is_pano, gap_m, dice))

    def _developed(self) -> Shots:
        """Turns the noted trips into columns, with the errors of GPS, compass and rig."""
        if not self._trips:
            return Shots(*(np.zeros(0, dtype=np.bool_ if "is_" in field.name else np.int64) for field in fields(Shots)))
        counts = [len(trip[0]) for trip in self._trips]
        total, sequence = sum(counts), np.repeat(np.arange(len(counts)), counts)
        lonlat = np.concatenate([trip[0] for trip in self._trips])
        heading = np.concatenate([trip[1] for trip in self._trips])
        pace_ms = np.array([trip[4] * 90 for trip in self._trips], dtype=np.int64)[sequence]  # about 40 km/h
        order = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)
        noise = np.random.default_rng(seed_of("noise", total, self.sequence_ids[0])).normal(size=(6, total))
        rig = np.random.default_rng(seed_of("rig", total, self.sequence_ids[-1])).normal(size=(3, len(counts)))[:, sequence]
        scale = _METRES_PER_DEG * np.cos(np.radians(lonlat[:, 1]))
        image_id = _ids(total)
        return Shots(
            image_id=image_id,
            sequence=sequence,
            lat=lonlat[:, 1],
            lon=lonlat[:, 0],
            heading_deg=heading,
            captured_ms=np.array([trip[2] for trip in self._trips], dtype=np.int64)[sequence] + order * pace_ms,
            is_pano=np.array([trip[3] for trip in self._trips])[sequence],
            gps_lat=np.round(lonlat[:, 1] + noise[0] * 2.5 / _METRES_PER_DEG, 9),
            gps_lon=np.round(lonlat[:, 0] + noise[1] * 2.5 / scale, 9),
            compass_deg=np.round((heading + rig[0] * 4.0 + noise[2] * 2.0) % 360.0, 6),
            is_computed=uniform(77, image_id) >= WITHOUT_COMPUTED,
            pitch_deg=np.clip(rig[1] * 1.0 + noise[3] * 0.6, -4.0, 4.0),
            roll_deg=np.clip(rig[2] * 1.0 + noise[4] * 0.6, -4.0, 4.0),
        )


def _provider_of(seed: int, *, is_pano: bool) -> str:
    """Tells to whom a trip was uploaded; a rig's cameras go together, and no other chance is touched."""
    luck = float(uniform(seed)[0])
    if not is_pano and luck >= 1.0 - FLAT_TO_KARTAVIEW:
        return "kartaview"
    return "panoramax" if luck < TO_PANORAMAX else "mapillary"


def _ids(count: int) -> Ints:
    """Gives distinct numbers of 15 digits that look as if nobody had counted them."""
    span, step = 9 * 10**14, 61_803_398_874_989  # without common divisor, so that no number comes twice
    high, low = np.divmod(np.arange(1, count + 1, dtype=np.int64), 100_000)
    image_id: Ints = 10**14 + (low * step % span + high * (step * 100_000 % span) % span) % span
    return image_id


def _grouped(keys: Ints) -> dict[int, Ints]:
    """Gives the rows of each key, in order."""
    order = np.argsort(keys, kind="stable")
    unique, starts = np.unique(keys[order], return_index=True)
    return dict(zip(unique.tolist(), np.split(order, starts[1:]), strict=False)) if len(keys) else {}


def _cells(lat: Floats, lon: Floats) -> Ints:
    return (np.floor(lat / _DENSE_CELL_DEG) * 1_000_000 + np.floor(lon / _DENSE_CELL_DEG)).astype(np.int64)


def _lines(roads: tuple[Road, ...]) -> list[shapely.LineString]:
    """Joins the ways of each road where they meet, as a driver does."""
    groups: dict[str, list[shapely.LineString]] = defaultdict(list)
    for road in roads:
        if road.tags["highway"] in DRIVEN and road.tags.get("area") != "yes":
            key = road.tags.get("ref", "").split(";")[0] or road.tags.get("name", "")
            groups[f"{road.tags['highway']} {key}"].append(shapely.LineString(road.lonlat))
    lines = []
    for key in sorted(groups):
        merged = shapely.line_merge(shapely.MultiLineString(groups[key]))
        lines += sorted(shapely.get_parts(merged).tolist(), key=lambda line: tuple(line.coords[0]) + tuple(line.coords[-1]))
    return lines


def _stretches(lonlat: Floats, seed: int) -> list[Floats]:
    """Cuts a road into stretches of two to five kilometres: as far as people drive before they upload."""
    chain, _ = _chained(lonlat)
    if chain[-1] < 8.0:
        return []
    dice = np.random.default_rng(seed_of("stretch", seed, *np.round(lonlat[[0, -1]].ravel(), 7)))
    cuts = np.cumsum(dice.uniform(2000.0, 5000.0, int(chain[-1] // 2000.0) + 1))
    bounds = np.concatenate([[0.0], cuts[cuts < chain[-1] - 600.0], [chain[-1]]])
    return [_between(lonlat, chain, start, stop) for start, stop in itertools.pairwise(bounds)]


def _between(lonlat: Floats, chain: Floats, start_m: float, stop_m: float) -> Floats:
    inside = (chain > start_m) & (chain < stop_m)
    ends = np.array([[np.interp(at, chain, lonlat[:, k]) for k in (0, 1)] for at in (start_m, stop_m)])
    return np.concatenate([ends[:1], lonlat[inside], ends[1:]])


def _chained(lonlat: Floats) -> tuple[Floats, Floats]:
    """Gives metres from the beginning at each vertex, and `[n, 2]` metres (east, north) of each step."""
    scale = _METRES_PER_DEG * np.array([np.cos(np.radians(lonlat[0, 1])), 1.0])
    steps = np.diff(lonlat, axis=0) * scale
    return np.concatenate([[0.0], np.cumsum(np.hypot(*steps.T))]), steps


def _along(lonlat: Floats, gap_m: float, dice: Generator) -> tuple[Floats, Floats]:
    """Gives camera places on the left half of the road, and the compass headings along it."""
    chain, steps = _chained(lonlat)
    count = max(round(chain[-1] / gap_m), 1)
    at_m = (np.arange(count) + 0.5) * chain[-1] / count + dice.uniform(-0.12, 0.12, count) * gap_m
    at_m = np.clip(at_m, 0.0, chain[-1])
    place = np.column_stack([np.interp(at_m, chain, lonlat[:, k]) for k in (0, 1)])
    ahead = steps[np.clip(np.searchsorted(chain, at_m, side="right") - 1, 0, len(steps) - 1)]
    ahead = ahead / np.maximum(np.hypot(*ahead.T), 1e-9)[:, None]
    left = np.column_stack([-ahead[:, 1], ahead[:, 0]]) * 1.6  # Japan drives on the left
    scale = _METRES_PER_DEG * np.array([np.cos(np.radians(lonlat[0, 1])), 1.0])
    return place + left / scale, np.degrees(np.arctan2(ahead[:, 0], ahead[:, 1])) % 360.0


def _walks(land: Land, lines: list[shapely.LineString]) -> list[Floats]:
    """Gives paths that people walk: through large grounds, and around landmarks that no driven road passes."""
    tree = shapely.STRtree(lines)
    walks: list[Floats] = []
    for mark in land.landmarks:
        foot = mark.geometry.representative_point()
        middle = np.array([foot.x, foot.y])
        scale = _METRES_PER_DEG * np.array([np.cos(np.radians(foot.y)), 1.0])
        west, south, east, north = mark.geometry.bounds
        if (east - west) * scale[0] > 700.0 and (north - south) * scale[1] > 700.0:
            rows = np.arange(south + 225.0 / scale[1], north, 450.0 / scale[1])
            chords = shapely.linestrings([[[west, row], [east, row]] for row in rows])
            parts = shapely.get_parts(shapely.intersection(chords, mark.geometry))
            walks += [np.asarray(part.coords) for part in parts if part.geom_type == "LineString"]
            continue
        reach = shapely.box(*(middle - 120.0 / scale), *(middle + 120.0 / scale))
        if len(tree.query(reach, predicate="intersects")) == 0:
            angle = np.linspace(0.0, 2 * np.pi, 13)
            walks.append(middle + np.column_stack([np.cos(angle), np.sin(angle)]) * 30.0 / scale)
    return walks
