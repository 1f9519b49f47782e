"""What there is on the demo's ground: roads, landmarks and town blocks, grown or read from real files.

Belongs here: the plain records that the mirror publishes and the renderer draws.
Does not belong here: how they are grown (`grow.py`), read (`read.py`), published or drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray
    from shapely.geometry.base import BaseGeometry


@dataclass(frozen=True)
class Road:
    """One OSM way with a `highway` tag.

    Attributes:
        way_id: OSM way id, without prefix.
        tags: OSM tags, `highway` always among them.
        lonlat: `[n, 2]` float64, (longitude, latitude) in WGS 84 degrees, n >= 2.
    """

    way_id: int
    tags: dict[str, str]
    lonlat: NDArray[np.float64]


@dataclass(frozen=True)
class Landmark:
    """One OSM object that people would name when they say where they are.

    Attributes:
        kind: `node`, `way` or `relation`.
        osm_id: OSM id, without prefix.
        tags: OSM tags.
        geometry: Point, Polygon or MultiPolygon in WGS 84 degrees (x = longitude).
    """

    kind: str
    osm_id: int
    tags: dict[str, str]
    geometry: BaseGeometry


@dataclass(frozen=True)
class Town:
    """One town block (町丁・字等) as the census draws it.

    Attributes:
        key_code: e-Stat KEY_CODE (prefecture 2 + city 3 + area 6 digits), as a string.
        prefecture_code: JIS X 0401, 2 digits.
        municipality_code: JIS X 0402, 5 digits.
        prefecture: Name in Japanese.
        municipality: Name in Japanese.
        town: Name in Japanese; empty where the census gives none.
        polygon: Polygon or MultiPolygon in WGS 84 degrees.
        population: People.
        is_water: True for a water survey area (HCODE 8154).
    """

    key_code: str
    prefecture_code: str
    municipality_code: str
    prefecture: str
    municipality: str
    town: str
    polygon: BaseGeometry
    population: int = 0
    is_water: bool = False


@dataclass(frozen=True)
class Land:
    """Everything that the demo's world knows of its ground.

    Attributes:
        seed: What the pictures' chance is drawn from.
        roads: All road ways.
        landmarks: All landmarks.
        towns: All town blocks, water included.
        published_at: When the map was cut (aware, UTC): the dump's replication timestamp.
        sequence: The dump's replication sequence number.
    """

    seed: int
    roads: tuple[Road, ...]
    landmarks: tuple[Landmark, ...]
    towns: tuple[Town, ...]
    published_at: datetime
    sequence: int
    name: str = field(default="demo")

    @property
    def prefecture_codes(self) -> tuple[str, ...]:
        """The two-digit codes of the prefectures that have town blocks here, sorted."""
        return tuple(sorted({town.prefecture_code for town in self.towns}))
