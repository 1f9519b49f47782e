"""Grows a prefecture's town blocks: a bent lattice whose blocks share every vertex of their borders.

Belongs here: the plane a prefecture is drawn in, its blocks, and the census' oddities among them (a block in two pieces, a
record without a name, a water survey area).
Does not belong here: names and codes (`grow_names.py`), the census' file format (`publish_census.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import shapely

from geoloc_pipeline.demo import grow_names
from geoloc_pipeline.demo.land import Town
from geoloc_pipeline.geo.crs import from_plane, metric_crs
from geoloc_pipeline.geo.prefectures import BY_CODE

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.grow_names import Homeland

    Floats = NDArray[np.float64]

WIDTH_M, HEIGHT_M = 48_000.0, 28_000.0
COLUMNS, ROWS = 9, 4
"""Town blocks along and across; a municipality holds 3 x 2 of them."""
_CELL_M = np.array([WIDTH_M / COLUMNS, HEIGHT_M / ROWS])
_BENDS = 4  # every border is halved so often: 16 pieces of about 350 m
DIGITS = 7  # OSM keeps seven decimals of a degree, about a centimetre


@dataclass(frozen=True)
class Ground:
    """The plane that one prefecture is drawn in: x along its long side, y across, metres from its middle.

    Attributes:
        homeland: Where it lies.
    """

    homeland: Homeland

    def lonlat(self, xy: Floats) -> Floats:
        """Gives `[n, 2]` (longitude, latitude) of `[n, 2]` metres, rounded as OSM rounds."""
        turn = np.radians(self.homeland.turn_deg)
        east = xy[:, 0] * np.cos(turn) - xy[:, 1] * np.sin(turn)
        north = xy[:, 0] * np.sin(turn) + xy[:, 1] * np.cos(turn)
        # metric_crs rounds its centre to a tenth of a degree: places are shifted back so that the homeland is the middle
        lat0, lon0 = round(self.homeland.lat, 1), round(self.homeland.lon, 1)
        lat, lon = from_plane(x=east, y=north, crs=metric_crs(lat=lat0, lon=lon0))
        placed = np.column_stack([lon + self.homeland.lon - lon0, lat + self.homeland.lat - lat0])
        return np.asarray(np.round(placed, DIGITS), dtype=np.float64)

    def placed(self, shape: shapely.Geometry) -> shapely.Geometry:
        """Gives a shape of the plane in WGS 84 degrees; equal vertices stay equal."""
        return shapely.transform(shape, self.lonlat)


@dataclass(frozen=True)
class Block:
    """A town block in the plane.

    Attributes:
        town: What the census knows of it, polygon in degrees.
        shape: Its polygon in the plane.
        municipality: 0 to 5.
        column: In the lattice; -1 for what is no block of the lattice.
        row: In the lattice.
    """

    town: Town
    shape: shapely.Geometry
    municipality: int
    column: int
    row: int


def grow_blocks(ground: Ground, dice: Generator) -> list[Block]:
    """Grows the prefecture's 36 blocks, its nameless record and its water.

    Every point of the prefecture lies in one block: neighbours share their border's vertices exactly. One block in the
    north-east owns an exclave inside its neighbour, and a record without a name is cut out of another.

    Args:
        ground: The plane.
        dice: Chance.

    Returns:
        Lattice blocks first, row by row; then the nameless record, then the water.
    """
    shapes = _lattice(dice)
    while not (all(shapely.is_valid(shapes)) and shapely.coverage_is_valid(shapes)):
        shapes = _lattice(dice)  # two borders crossed: draw again
    exclave = _pebble(shapes[COLUMNS * 3 + 8].representative_point(), 700.0, dice)
    shapes[COLUMNS * 3 + 8] = shapely.Polygon(shapes[COLUMNS * 3 + 8].exterior, [exclave.exterior])
    shapes[COLUMNS * 3 + 7] = shapely.MultiPolygon([shapes[COLUMNS * 3 + 7], exclave])
    wild = _pebble(shapes[COLUMNS + 1].representative_point(), 450.0, dice)
    shapes[COLUMNS + 1] = shapely.Polygon(shapes[COLUMNS + 1].exterior, [wild.exterior])

    blocks = []
    for number, shape in enumerate(shapes):
        row, column = divmod(number, COLUMNS)
        place = row // 2 * 3 + column // 3
        name, area = grow_names.town(place, row % 2 * 3 + column % 3)
        people = int(400 + 9000 * dice.random() ** 2)
        blocks.append(_block(ground, shape, place, name=name, area=area, people=people, column=column, row=row))
    blocks.append(_block(ground, wild, 0, name="", area="000000"))
    blocks.append(_block(ground, _water(shapes[4]), 1, name="", area="900000", is_water=True))
    return blocks


def _block(
    ground: Ground, shape: shapely.Geometry, place: int, *, name: str, area: str, people: int = 0, column: int = -1,
    row: int = -1, is_water: bool = False,
) -> Block:  # fmt: skip
    homeland = ground.homeland
    code, municipality = grow_names.municipality(homeland, place)
    town = Town(
        key_code=code + area,
        prefecture_code=homeland.code,
        municipality_code=code,
        prefecture=BY_CODE[homeland.code].name,
        municipality=municipality,
        town=name,
        polygon=ground.placed(shape),
        population=people,
        is_water=is_water,
    )
    return Block(town, shape, place, column, row)


def _lattice(dice: Generator) -> list[shapely.Geometry]:
    """Bends a lattice of 9 x 4 cells: jittered corners, borders halved again and again."""
    corners = np.stack(np.meshgrid(np.arange(COLUMNS + 1.0), np.arange(ROWS + 1.0)), axis=-1)
    corners = (corners - [COLUMNS / 2, ROWS / 2]) * _CELL_M + dice.normal(0.0, 1.0, corners.shape) * _CELL_M * 0.06
    across = [[_bent(corners[j, i], corners[j, i + 1], dice) for i in range(COLUMNS)] for j in range(ROWS + 1)]
    along = [[_bent(corners[j, i], corners[j + 1, i], dice) for i in range(COLUMNS + 1)] for j in range(ROWS)]
    shapes = []
    for j in range(ROWS):
        for i in range(COLUMNS):
            ring = [across[j][i][:-1], along[j][i + 1][:-1], across[j + 1][i][:0:-1], along[j][i][:0:-1]]
            shapes.append(shapely.Polygon(np.concatenate(ring)))
    return shapes


def _bent(start: Floats, end: Floats, dice: Generator) -> Floats:
    """Halves a straight border again and again, each time pushing the middle aside."""
    line = np.stack([start, end])
    for _ in range(_BENDS):
        step = np.diff(line, axis=0)
        push = np.column_stack([-step[:, 1], step[:, 0]]) * np.clip(dice.normal(0.0, 0.08, (len(step), 1)), -0.16, 0.16)
        bent = np.empty((2 * len(line) - 1, 2))
        bent[::2] = line
        bent[1::2] = line[:-1] + step / 2 + push
        line = bent
    return line


def _pebble(middle: shapely.Point, radius_m: float, dice: Generator) -> shapely.Polygon:
    """Gives a rounded patch."""
    angle = np.arange(14) * 2 * np.pi / 14
    radius = radius_m * dice.uniform(0.8, 1.1, 14)
    return shapely.Polygon(np.column_stack([middle.x + radius * np.cos(angle), middle.y + radius * np.sin(angle)]))


def _water(shape: shapely.Geometry) -> shapely.Polygon:
    """Gives the strip of sea before a block of the southern shore, sharing the shore's vertices."""
    shore = np.asarray(shape.exterior.coords)[: 2**_BENDS + 1]
    return shapely.Polygon(np.concatenate([shore[::-1], shore - [0.0, 900.0]]))
