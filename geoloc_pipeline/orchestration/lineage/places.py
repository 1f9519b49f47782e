"""Places: sample points and the points behind them, roads and landmarks of OpenStreetMap, town blocks.

Belongs here: which way passes where a point is, which points a sample point stands for.
Does not belong here: pictures (`lineage`).
"""

from typing import TYPE_CHECKING, Any

from geoloc_pipeline.geo.prefectures import BY_CODE
from geoloc_pipeline.orchestration.lineage.made import Made
from geoloc_pipeline.orchestration.lineage.rows import Node, Reader
from geoloc_pipeline.storage.layout import Home

if TYPE_CHECKING:
    import pandas as pd

PICTURE_TABLES = ("street_view_images", "photo_collections")
ON_THE_WAY_M = 0.5
"""Points on roads are rounded to seven decimals, a centimetre; a way farther off than this is another one."""
MOST_WAYS = 20
"""A national route has thousands; these are named."""
_POINT_TABLES = {"road_points": "osm_roads", "landmark_points": "osm_landmarks"}
_FEATURE_KEYS = {"osm_roads": "way_id", "osm_landmarks": "landmark_id"}
_FEATURE_FACTS = ("highway", "category", "name", "name_latin", "ref", "road_id", "length_m", "area_m2")
_DEGREE_M = 111_195.0


class Places:
    """Places of one home as nodes.

    Args:
        home: Where everything is.
        reader: Of its tables.
        made: Its artefacts.
    """

    def __init__(self, home: Home, reader: Reader, made: Made) -> None:
        self._home, self._reader, self._made = home, reader, made
        self._nodes: dict[str, Node] = {}

    def sample_point(self, point_id: str, partition: str | None = None) -> Node | None:
        """Return a sample point with the road and landmark points that it stands for; None where there is none."""
        if point_id in self._nodes:
            return self._nodes[point_id]
        for at, row in self._reader.rows("sample_points", "point_id", [point_id], partition=partition):
            node = self._nodes[point_id] = Node("sample point", point_id)
            node.tell({name: row[name] for name in ("lat", "lon", "n_members", "radius_m")})
            node.link("map", _map_at(row["lat"], row["lon"]))
            node.add("of", self._made.artefact(f"sample_points/{at}"))
            self._add_members(node, at, row)
            return node
        return None

    def _add_members(self, node: Node, partition: str, row: dict[str, Any]) -> None:
        from geoloc_pipeline.orchestration.lineage.members import members_of

        members = members_of(self._home, self._reader, partition, row)
        if not members.is_certain:
            near = f"the points within {row['radius_m']:.0f} m are shown, of which {row['n_members']} are its own"
            node.missing.append(f"which points it stands for cannot be told from the tables as they are now: {near}")
        for table, each in members.rows:
            node.add("stands for", self._point(table, partition, each))

    def point(self, point_id: str) -> Node | None:
        """Return a road or landmark point; None where there is none."""
        for table in _POINT_TABLES:
            for partition, row in self._reader.rows(table, "point_id", [point_id]):
                return self._point(table, partition, row)
        return None

    def _point(self, table: str, partition: str, row: dict[str, Any]) -> Node:
        if row["point_id"] in self._nodes:
            return self._nodes[row["point_id"]]
        node = self._nodes[row["point_id"]] = Node(table.replace("_points", " point"), row["point_id"])
        node.tell({name: row[name] for name in ("lat", "lon", "feature_id", "spacing_m")})
        node.add("of", self._made.artefact(f"{table}/{partition}"))
        if table == "landmark_points":
            feature = self.feature(row["feature_id"], partition)
            if feature is not None:
                node.add("on", feature)
            else:
                node.missing.append(f"{row['feature_id']} is not in osm_landmarks/{partition} any more")
            return node
        way = self._way_at(partition, row)
        if way is None:
            node.missing.append(f"no way of {row['feature_id']} passes here any more: osm_roads was made anew since")
        else:
            node.add("on", self._feature("osm_roads", partition, way))
        return node

    def _way_at(self, partition: str, row: dict[str, Any], *, within_m: float = ON_THE_WAY_M) -> dict[str, Any] | None:
        """Return the way of a feature that passes a place nearest; of several, the one with the smallest id.

        Args:
            partition: Prefecture.
            row: The place, and `feature_id`: a road_id or way_id.
            within_m: A way farther off than this does not pass, metres.
        """
        import numpy as np
        import shapely

        # On a plane whose unit is a metre at this latitude: fine for a few metres.
        lat, lon = row["lat"], row["lon"]
        scale = np.array([_DEGREE_M * np.cos(np.radians(lat)), _DEGREE_M])
        reach_deg = 2 * within_m / scale
        box = (lon - reach_deg[0], lat - reach_deg[1], lon + reach_deg[0], lat + reach_deg[1])
        ways = self._reader.shapes("osm_roads", partition, box=box)
        if ways is None or ways.empty:
            return None
        ours: pd.DataFrame = ways[(ways["road_id"] == row["feature_id"]) | (ways["way_id"] == row["feature_id"])]
        lines = shapely.transform(ours["geometry"].to_numpy(), lambda at: (at - np.array([lon, lat])) * scale)
        away_m = np.round(shapely.distance(lines, shapely.Point(0, 0)), 2)
        near = ours.assign(away_m=away_m)[away_m <= within_m].sort_values(["away_m", "way_id"])
        return dict(near.iloc[0].drop(["geometry", "away_m"])) if len(near) else None

    def feature(self, feature_id: str, partition: str | None = None) -> Node | None:
        """Return an OpenStreetMap object; None where no table holds it."""
        for table, key in _FEATURE_KEYS.items():
            for at, row in self._reader.rows(table, key, [feature_id], partition=partition):
                return self._feature(table, at, row)
        return None

    def _feature(self, table: str, partition: str, row: dict[str, Any]) -> Node:
        feature_id = row[_FEATURE_KEYS[table]]
        if feature_id in self._nodes:
            return self._nodes[feature_id]
        node = self._nodes[feature_id] = Node("OpenStreetMap", feature_id)
        node.tell({name: row.get(name) for name in _FEATURE_FACTS})
        node.link("OpenStreetMap", f"https://www.openstreetmap.org/{feature_id}")
        node.add("of", self._made.artefact(f"{table}/{partition}"))
        return node

    def road(self, road_id: str) -> Node | None:
        """Return a road by its identity, with its ways; None where no way belongs to it."""
        if road_id in self._nodes:
            return self._nodes[road_id]
        found = self._reader.rows("osm_roads", "road_id", [road_id])
        if not found:
            return None
        node = self._nodes[road_id] = Node("road", road_id)
        ways = {row["way_id"]: (partition, row) for partition, row in reversed(found)}
        node.tell({"ways": len(ways), "length_m": round(sum(row["length_m"] for _, row in ways.values()), 1)})
        for partition, row in sorted(ways.values(), key=lambda each: str(each[1]["way_id"]))[:MOST_WAYS]:
            node.add("made of", self._feature("osm_roads", partition, row))
        if len(ways) > MOST_WAYS:
            node.missing.append(f"{len(ways) - MOST_WAYS} more ways are not shown")
        return node

    def town(self, town_code: str) -> Node | None:
        """Return a town block; None where the census tables hold none of that code."""
        if town_code in self._nodes:
            return self._nodes[town_code]
        prefecture = BY_CODE.get(town_code[:2])
        for partition, row in (
            self._reader.rows("census_towns", "town_code", [town_code], partition=prefecture.key) if prefecture else ()
        ):
            node = self._nodes[town_code] = Node("town block", town_code)
            node.tell({name: row[name] for name in ("town", "municipality", "prefecture", "population")})
            node.add("of", self._made.artefact(f"census_towns/{partition}"))
            return node
        return None

    def labels(self, partition: str, row: dict[str, Any]) -> Node:
        """Return what was said of a picture's place: a row of labelled_images."""
        node = Node("labels", f"{partition} {row['image_id']}")
        names = ("prefecture_code", "municipality_code", "town_code", "town_distance_m", "road_id", "road_distance_m")
        node.tell({name: row[name] for name in (*names, "landmark_id", "landmark_distance_m")})
        node.add("of", self._made.artefact(f"labelled_images/{partition}"))
        way = None
        if row["road_id"]:
            way = self._way_at(partition, {**row, "feature_id": row["road_id"]}, within_m=row["road_distance_m"] + 1)
        found = {
            "town_code": self.town(row["town_code"]) if row["town_code"] else None,
            "road_id": self._feature("osm_roads", partition, way) if way else None,
            "landmark_id": self.feature(row["landmark_id"], partition) if row["landmark_id"] else None,
        }
        for name, source in found.items():
            if row[name] is None:
                continue
            if source is not None:
                node.add(name.split("_", maxsplit=1)[0], source)
            else:
                node.missing.append(f"{name} {row[name]} is not in the map's tables any more")
        return node


def _map_at(lat: float, lon: float) -> str:
    return f"https://www.openstreetmap.org/?mlat={lat:.6f}&mlon={lon:.6f}#map=18/{lat:.6f}/{lon:.6f}"
