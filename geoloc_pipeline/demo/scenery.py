"""What stands around a camera: from a `Land` to roads, houses, poles, rails and trees in local metres.

Belongs here: the indexes over a whole land, and the question "what is around this place?".
Does not belong here: how one kind of thing is lined up beside roads (`lots.py`), how it looks, how it is painted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import shapely

from geoloc_pipeline.demo import lots
from geoloc_pipeline.demo.chance import seed_of, uniform
from geoloc_pipeline.demo.style import style_of
from geoloc_pipeline.demo.surroundings import Monument, Pieces, Posts, Surroundings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from geoloc_pipeline.demo.land import Land, Landmark, Road
    from geoloc_pipeline.demo.style import Style
    from geoloc_pipeline.demo.surroundings import Bools, Floats, Ints

METRES_PER_DEG = 111_195.0
"""Metres of one degree of latitude on the sphere of 6,371 km."""
SIGHT_M = 110.0
"""How far single buildings are drawn; beyond stands the skyline."""
_MARGIN_M = 45.0  # a building's right to stand depends on neighbours that far beyond sight
_ROADS_M = SIGHT_M + _MARGIN_M + 20.0
_FAR_ROADS_M = 320.0  # bare carriageways are seen farther, along straight roads
_MONUMENT_SIGHT_M = 400.0
_BOARD_SIGHT_M = 60.0
_MOST_MONUMENTS, _MOST_BOARDS = 12, 16  # the nearest; more would hide each other
_TREE_CELL_M, _TREE_SIGHT_M = 16.0, 85.0
_HOUSE_CELL_M = 26.0
_QUARTER_M = 1000.0  # a walk of a quarter of an hour: whoever stands within a kilometre sees much the same

# highway class: rank, half carriageway in metres, sidewalk in metres
_CLASSES: dict[str, tuple[int, float, float]] = {
    "motorway": (7, 9.0, 0.6), "trunk": (6, 7.0, 2.6), "primary": (5, 6.2, 2.6), "secondary": (4, 5.0, 2.2),
    "tertiary": (3, 3.9, 1.8), "unclassified": (2, 3.0, 0.9), "residential": (2, 2.9, 0.9),
    "living_street": (2, 2.5, 0.7), "service": (1, 2.2, 0.4), "pedestrian": (1, 3.5, 1.0), "track": (0, 1.5, 0.0),
}  # fmt: skip
_OTHER_CLASS = (0, 1.2, 0.0)
_MARSHALLED = {"motorway_link": "trunk", "trunk_link": "secondary", "primary_link": "secondary"}


class Scenery:
    """A land made ready to be asked what stands around a place; build it once, ask it often."""

    def __init__(self, land: Land) -> None:
        """Indexes roads, landmarks and town blocks.

        Args:
            land: Any map, grown or real, empty ones included.
        """
        self._seed = seed_of("scenery", land.seed)
        self._landmarks = tuple(mark for mark in land.landmarks if not mark.geometry.is_empty)
        points = shapely.centroid(np.array([mark.geometry for mark in self._landmarks], dtype=object))
        self._landmark_tree = shapely.STRtree(points)
        self._landmark_lonlat = shapely.get_coordinates(points)
        self._towns = tuple(town for town in land.towns if not town.is_water and not town.polygon.is_empty)
        polygons = [town.polygon for town in self._towns]
        shapely.prepare(polygons)
        self._town_tree = shapely.STRtree(polygons)
        self._styles: dict[tuple[int, tuple[int, int] | None], Style] = {}
        self._index_roads(land.roads)

    def around(self, *, lat: float, lon: float) -> Surroundings:
        """Tells what stands around a place, the same things whatever place they are seen from.

        A building that would swallow the camera is left out: the only thing that depends on who looks.

        Args:
            lat: WGS 84 degrees.
            lon: WGS 84 degrees.

        Returns:
            Everything within `SIGHT_M`, bare roads and landmarks farther; empty arrays where nothing is.
        """
        origin = np.array([lon, lat])
        scale = METRES_PER_DEG * np.array([np.cos(np.radians(lat)), 1.0])
        towns = _TownFinder(self._town_tree, origin, scale, _ROADS_M)
        pieces = self._pieces(origin, scale, towns)
        near = lots.near(pieces, _ROADS_M)
        home = int(towns.at(np.zeros((1, 2)))[0])
        styles = tuple(self._style(town, quarter, lat) for town, quarter in towns.seen)
        monuments, clearings = self._monuments(origin, scale, towns)
        line = lots.Line(self._seed, near, styles, towns.at)
        trees = self._scattered(lat, lon, 31, towns, cell_m=_TREE_CELL_M, sight_m=_TREE_SIGHT_M)
        wooded = np.array([0.4 * style.tree_density for style in styles])[trees.style]
        wild = trees.where((uniform(self._seed, 33, trees.key) < wooded) & (np.hypot(*trees.at_m.T) > 4.0))
        spots = self._scattered(lat, lon, 35, towns, cell_m=_HOUSE_CELL_M, sight_m=SIGHT_M + _MARGIN_M)
        behind = lots.infill(self._seed, spots.where(towns.hold(spots.at_m)), styles)
        buildings = lots.buildings(line, behind, SIGHT_M, _MARGIN_M, clearings)
        posts = lots.furniture(line, buildings, wild)
        return Surroundings(
            styles=styles, home=home, pieces=pieces, buildings=buildings, monuments=monuments,
            skyline=self._skyline(towns.seen[home][0]), **posts,
        )  # fmt: skip

    def _index_roads(self, roads: tuple[Road, ...]) -> None:
        """Cuts all ways into straight segments, with the distance from the way's beginning at each end."""
        starts, ends, chains, ways, kinds, totals = [], [], [], [], [], []
        roads = tuple(road for road in roads if _is_seen(road.tags))
        for road, wide in zip(roads, self._road_scales(roads), strict=True):
            lonlat = np.asarray(road.lonlat, dtype=np.float64)
            scale = METRES_PER_DEG * np.array([np.cos(np.radians(lonlat[0, 1])), 1.0])
            steps = np.hypot(*((lonlat[1:] - lonlat[:-1]) * scale).T)
            chain = np.concatenate([[0.0], np.cumsum(steps)])
            real = steps > 0.01  # doubled vertices have no direction
            starts.append(lonlat[:-1][real])
            ends.append(lonlat[1:][real])
            chains.append(np.column_stack([chain[:-1], chain[1:]])[real])
            ways.append(np.full(int(real.sum()), road.way_id, dtype=np.int64))
            rank, half_m, sidewalk_m = _road_form(road.tags)
            kinds.append(np.tile((rank, half_m * wide, sidewalk_m), (int(real.sum()), 1)))
            totals.append(np.full(int(real.sum()), chain[-1]))
        self._start, self._end, self._chain = _joined(starts, 2), _joined(ends, 2), _joined(chains, 2)
        self._way = np.concatenate(ways) if ways else np.zeros(0, dtype=np.int64)
        self._form, self._total = _joined(kinds, 3), (np.concatenate(totals) if totals else np.zeros(0))
        self._road_tree = shapely.STRtree(shapely.linestrings(np.stack([self._start, self._end], axis=1)))

    def _road_scales(self, roads: tuple[Road, ...]) -> list[float]:
        """Tells how wide each road is built, by the place where its way begins: a way keeps its width at a border."""
        if not roads:
            return []
        begins = np.array([road.lonlat[0] for road in roads], dtype=np.float64)
        towns = self._town_tree.nearest(shapely.points(begins)).tolist() if self._towns else [-1] * len(roads)
        return [self._style(town, None, lat).road_scale for town, lat in zip(towns, begins[:, 1].tolist(), strict=True)]

    def _pieces(self, origin: Floats, scale: Floats, towns: _TownFinder) -> Pieces:
        """Finds the segments in sight and cuts them to the circle, so that a 5-km straight costs no more than 300 m."""
        reach = _FAR_ROADS_M / scale
        rows = np.sort(self._road_tree.query(shapely.box(*(origin - reach), *(origin + reach))))
        start, end = (self._start[rows] - origin) * scale, (self._end[rows] - origin) * scale
        length = np.maximum(np.hypot(*(end - start).T), 1e-6)
        along = (end - start) / length[:, None]
        foot = -(start * along).sum(axis=1)
        off = np.hypot(*(start + along * foot[:, None]).T)
        half = np.sqrt(np.maximum(_FAR_ROADS_M**2 - off**2, 0.0))
        low, high = np.clip(foot - half, 0.0, length), np.clip(foot + half, 0.0, length)
        kept = (high - low > 0.05) & (off < _FAR_ROADS_M)
        rows, start, along, low, high, length = (part[kept] for part in (rows, start, along, low, high, length))
        stretch = (self._chain[rows, 1] - self._chain[rows, 0]) / length  # ~1: local scale against the way's own
        first, last = start + along * low[:, None], start + along * high[:, None]
        nearest = start + along * np.clip(foot[kept], low, high)[:, None]
        return Pieces(
            start_m=first, end_m=last, along=along,
            chain_m=self._chain[rows, :1] + np.column_stack([low, high]) * stretch[:, None],
            half_m=self._form[rows, 1], sidewalk_m=self._form[rows, 2], rank=self._form[rows, 0].astype(np.int64),
            way=self._way[rows], style=towns.at(nearest), way_length_m=self._total[rows],
        )  # fmt: skip

    def _style(self, town: int, quarter: tuple[int, int] | None, lat: float) -> Style:
        """Gives the look of a quarter of a town block, -1 for a land without any."""
        if (town, quarter) not in self._styles:
            if town < 0:
                return style_of(prefecture_code="", lat=lat)
            block = self._towns[town]
            middle = block.polygon.centroid
            area_km2 = block.polygon.area * (METRES_PER_DEG / 1000) ** 2 * np.cos(np.radians(middle.y))
            self._styles[town, quarter] = style_of(
                prefecture_code=block.prefecture_code,
                municipality_code=block.municipality_code,
                key_code=block.key_code,
                quarter=quarter,
                lat=middle.y,
                people_per_km2=block.population / max(area_km2, 1e-6),
            )
        return self._styles[town, quarter]

    def _skyline(self, town: int) -> int:
        """Seeds the hills on the horizon: they belong to the municipality, as mountains do."""
        return seed_of("skyline", self._towns[town].municipality_code if town >= 0 else "")

    def _monuments(
        self, origin: Floats, scale: Floats, towns: _TownFinder
    ) -> tuple[tuple[Monument, ...], tuple[Monument, ...]]:
        """Finds landmarks: those to draw, farthest first, and all whose ground is kept free of houses.

        A city centre has hundreds of shops in sight; only the nearest are drawn. Clearings know no such limit: they must not
        depend on who looks.
        """
        reach = _MONUMENT_SIGHT_M / scale
        rows = np.sort(self._landmark_tree.query(shapely.box(*(origin - reach), *(origin + reach))))
        at = (self._landmark_lonlat[rows] - origin) * scale
        far = np.hypot(*at.T)
        drawn: list[Monument] = []
        cleared: list[Monument] = []
        room = {"board": _MOST_BOARDS}
        for index in np.argsort(far, kind="stable").tolist():
            mark = self._landmarks[rows[index]]
            shape = _monument_shape(mark)
            small = shape == "board"
            if far[index] > (_BOARD_SIGHT_M if small else _MONUMENT_SIGHT_M):
                continue
            west, south, east, north = mark.geometry.bounds
            size = (np.array([east - west, north - south]) * scale).clip(6.0, 60.0)
            style = int(towns.at(at[index : index + 1])[0])
            place = (float(at[index, 0]), float(at[index, 1]))
            key = seed_of(mark.kind, mark.osm_id) >> 1
            monument = Monument(shape, place, (float(size[0]), float(size[1])), key, style)
            if shape not in {"board", "grove"} and far[index] < _ROADS_M + 60.0:
                cleared.append(monument)
            kind = "board" if small else "large"
            if far[index] > 2.5 and room.setdefault(kind, _MOST_MONUMENTS) > 0:
                room[kind] -= 1
                drawn.append(monument)
        return tuple(reversed(drawn)), tuple(cleared)

    def _scattered(self, lat: float, lon: float, salt: int, towns: _TownFinder, *, cell_m: float, sight_m: float) -> Posts:
        """Gives one place in each cell of a lattice that is fixed to the ground."""
        rows = np.arange(*((lat * METRES_PER_DEG + np.array([-sight_m, sight_m])) // cell_m).astype(np.int64))[:, None]
        squeeze = METRES_PER_DEG * np.cos(np.radians(rows * cell_m / METRES_PER_DEG))
        first = ((lon * squeeze - sight_m) // cell_m).astype(np.int64)
        columns = first + np.arange(int(2 * sight_m // cell_m) + 1)
        x = (columns + uniform(self._seed, salt, rows, columns)) * cell_m - lon * squeeze
        y = (rows + uniform(self._seed, salt + 1, rows, columns)) * cell_m - lat * METRES_PER_DEG
        at = np.stack([x, y], axis=-1).reshape(-1, 2)
        key = np.abs(rows * 1_000_003 + columns).ravel() * 64 + salt
        return lots.loose_posts(at, key, towns.at(at))


class _TownFinder:
    """Tells towns and their quarters apart around one place; asks the index point by point only where several towns meet."""

    def __init__(self, tree: shapely.STRtree, origin: Floats, scale: Floats, reach_m: float) -> None:
        """Looks which towns and quarters touch the neighbourhood, and numbers their pairs."""
        self._tree, self._origin, self._scale = tree, origin, scale
        reach = reach_m / scale
        box = shapely.box(*(origin - reach), *(origin + reach))
        touching = np.sort(tree.query(box, predicate="intersects"))
        if len(touching) == 0:
            nearest = tree.nearest(shapely.Point(origin)) if len(tree.geometries) else None
            touching = np.array([-1 if nearest is None else int(nearest)])
        self._towns: list[int] = touching.tolist()
        corners = origin + reach * np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
        (south, west), (_, east), (north, north_west), (_, north_east) = _quarters(corners).tolist()
        spans = {south: (west, east), north: (north_west, north_east)}  # columns of two rows need not lie above each other
        quarters = [(row, column) for row, (low, high) in spans.items() for column in range(low, high + 1)]
        self._quarters = np.array(quarters)
        self.seen = [(town, quarter) for town in self._towns for quarter in quarters]

    def hold(self, points_m: Floats) -> Bools:
        """Tells which `[n, 2]` places lie in a town at all."""
        points = points_m / self._scale + self._origin
        held: Bools = np.zeros(len(points), dtype=bool)
        for town in self._towns:
            if town >= 0:
                held |= shapely.intersects_xy(self._tree.geometries[town], points[:, 0], points[:, 1])
        return held

    def at(self, points_m: Floats) -> Ints:
        """Gives rows of `seen`, the nearest town's where a point lies in none.

        Args:
            points_m: `[n, 2]` local metres.

        Returns:
            `[n]` rows.
        """
        rows: NDArray[np.int64] = np.zeros(len(points_m), dtype=np.int64)
        if len(self.seen) == 1 or len(points_m) == 0:
            return rows
        lonlat = points_m / self._scale + self._origin
        if len(self._towns) > 1:
            points = shapely.points(lonlat)
            seen = self._tree.geometries[self._towns]
            rows -= 1
            for row, polygon in enumerate(seen):
                free = rows < 0
                rows[free] = np.where(shapely.intersects(polygon, points[free]), row, -1)
            outside = np.flatnonzero(rows < 0)
            if len(outside):
                far = np.stack([shapely.distance(polygon, points[outside]) for polygon in seen])
                rows[outside] = far.argmin(axis=0)
        steps = np.abs(_quarters(lonlat)[:, None] - self._quarters)  # what lies beyond reach wears the nearest quarter's look
        return np.asarray(rows * len(self._quarters) + (steps @ np.array([1000, 1])).argmin(axis=1), dtype=np.int64)


def _quarters(lonlat: Floats) -> Ints:
    """Gives `[n, 2]` rows and columns, in a lattice that is fixed to the ground, of `[n, 2]` degrees."""
    row = np.floor(lonlat[:, 1] * METRES_PER_DEG / _QUARTER_M)
    squeeze = np.cos(np.radians((row + 0.5) * _QUARTER_M / METRES_PER_DEG))
    column = np.floor(lonlat[:, 0] * squeeze * METRES_PER_DEG / _QUARTER_M)
    return np.column_stack([row, column]).astype(np.int64)


def _joined(parts: list[Floats], columns: int) -> Floats:
    """Stacks rows, and keeps the shape where there are none."""
    return np.concatenate(parts) if parts else np.zeros((0, columns))


def _is_seen(tags: dict[str, str]) -> bool:
    """Tells whether a way shows on the ground as a road of its own: no tunnels, stairs, or sidewalks mapped beside roads."""
    if tags.get("highway") in {"steps", "corridor", "elevator", "platform", "construction", "proposed"}:
        return False
    hidden = tags.get("tunnel", "no") != "no" or tags.get("indoor") == "yes" or tags.get("layer", "0").startswith("-")
    return not hidden and tags.get("footway") not in {"sidewalk", "crossing"}


def _road_form(tags: dict[str, str]) -> tuple[int, float, float]:
    """Tells rank, half width and sidewalk of a road; `lanes` and `width` count where they can be read."""
    kind = tags.get("highway", "")
    rank, half, sidewalk = _CLASSES.get(_MARSHALLED.get(kind, kind.removesuffix("_link")), _OTHER_CLASS)
    for tag, metres in (("lanes", 3.1), ("width", 1.0)):
        value = tags.get(tag, "")
        if value.replace(".", "", 1).isdecimal():
            half = min(max(float(value) * metres / 2, 1.5), 14.0)
    return rank, half, sidewalk


_PUBLIC = {
    "townhall",
    "school",
    "university",
    "college",
    "hospital",
    "library",
    "theatre",
    "courthouse",
    "police",
    "fire_station",
}
_SIGHTS = {"museum", "gallery", "hotel", "attraction", "zoo", "aquarium", "theme_park"}


def _monument_shape(mark: Landmark) -> str:
    """Tells what a landmark is drawn as, by its tags; a node that says little is a board by the road."""
    tags = mark.tags
    if tags.get("man_made") in {"tower", "lighthouse", "mast", "chimney"} or tags.get("tourism") == "viewpoint":
        return "tower"
    if tags.get("religion") == "shinto" or tags.get("historic") in {"wayside_shrine", "shrine"}:
        return "torii"
    if tags.get("railway") in {"station", "halt"} or tags.get("building") == "train_station" or "aeroway" in tags:
        return "station"
    if tags.get("historic") in {"castle", "ruins", "fort"} or tags.get("amenity") == "place_of_worship":
        return "castle"
    if "leisure" in tags or "natural" in tags or "landuse" in tags:
        return "grove"
    public = tags.get("amenity") in _PUBLIC or tags.get("tourism") in _SIGHTS
    return "hall" if public or mark.kind != "node" else "board"
