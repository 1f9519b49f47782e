"""Which road and landmark points a sample point stands for.

The table of sample points keeps how many they are and how far the farthest is; a sample point's id is a hash of its members. So
candidates can be told from members with certainty: the ids of the right ones add up to the sample point's own.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.orchestration.lineage.rows import Reader
from geoloc_pipeline.storage.layout import Home

if TYPE_CHECKING:
    import pandas as pd

_TABLES = ("road_points", "landmark_points")
_DEGREE_M = 110_000.0
_SLACK_M = 0.5


@dataclass(frozen=True)
class Members:
    """The points of a sample point.

    Attributes:
        rows: Table and row of each, the nearest first.
        is_certain: Whether their ids add up to the sample point's.
    """

    rows: list[tuple[str, dict[str, Any]]]
    is_certain: bool


def members_of(home: Home, reader: Reader, partition: str, sample: dict[str, Any]) -> Members:
    """Return the points that a sample point stands for.

    Args:
        home: Where everything is.
        reader: Of its tables.
        partition: Prefecture of the sample point.
        sample: Its row.

    Returns:
        The members; where the tables were made anew since, or neighbours took part, the points within its radius.
    """
    near = _near(reader, partition, sample)
    if _identity(near) == sample["point_id"]:
        return _members(near, is_certain=True)
    own = _of_cluster(home, partition, sample)
    if own is not None:
        return _members(own, is_certain=_identity(own) == sample["point_id"])
    return _members(near, is_certain=False)


def _members(points: "pd.DataFrame", *, is_certain: bool) -> Members:
    rows = [(row.pop("table"), row) for row in points.drop(columns=["geometry", "away_m"]).to_dict("records")]
    return Members(rows, is_certain)


def _near(reader: Reader, partition: str, sample: dict[str, Any]) -> "pd.DataFrame":
    """Return the points within the radius of a sample point, the nearest first, with their table."""
    import numpy as np
    import pandas as pd

    reach_deg = (sample["radius_m"] + _SLACK_M) / _DEGREE_M
    wide_deg = reach_deg / np.cos(np.radians(min(abs(sample["lat"]) + reach_deg, 89.0)))
    box = (sample["lon"] - wide_deg, sample["lat"] - reach_deg, sample["lon"] + wide_deg, sample["lat"] + reach_deg)
    shapes = {table: reader.shapes(table, partition, box=box) for table in _TABLES}
    found = [pd.DataFrame(rows).assign(table=table) for table, rows in shapes.items() if rows is not None]
    if not found:
        return pd.DataFrame(columns=["point_id", "lat", "lon", "feature_id", "spacing_m", "geometry", "table", "away_m"])
    points = _with_distance(pd.concat(found, ignore_index=True), sample)
    return points[points["away_m"] <= sample["radius_m"] + _SLACK_M].reset_index(drop=True)


def _with_distance(points: "pd.DataFrame", sample: dict[str, Any]) -> "pd.DataFrame":
    from geoloc_pipeline.geo.sphere import distance_m

    away_m = distance_m(lat=points["lat"], lon=points["lon"], to_lat=sample["lat"], to_lon=sample["lon"])
    return points.assign(away_m=away_m).sort_values(["away_m", "point_id"], ignore_index=True)


def _identity(points: "pd.DataFrame") -> str:
    """Return the id that a sample point of just these members has."""
    import numpy as np

    from geoloc_pipeline.sampling.points import hashes_of, hex_of

    names = np.unique(hashes_of(points["point_id"].to_numpy(dtype=object)))
    with np.errstate(over="ignore"):
        total = np.array([np.add.reduce(names) ^ np.uint64(len(names))], dtype=np.uint64)
    return str(hex_of(total)[0])


def _of_cluster(home: Home, partition: str, sample: dict[str, Any]) -> "pd.DataFrame | None":
    """Return the members by clustering the prefecture's points once more: other clusters reach into this one's radius."""
    import numpy as np
    import pandas as pd

    from geoloc_pipeline.sampling.clusters import ClusterSettings, clusters_of

    columns = ["point_id", "lat", "lon", "feature_id", "spacing_m"]
    paths = {table: home.table(table, partition) for table in _TABLES}
    if not all(path.is_file() for path in paths.values()):
        return None
    points = pd.concat(
        [pd.read_parquet(path, columns=columns).assign(table=table) for table, path in paths.items()], ignore_index=True
    ).drop_duplicates("point_id", ignore_index=True)
    lat, lon = points["lat"].to_numpy(dtype=np.float64), points["lon"].to_numpy(dtype=np.float64)
    if not len(lat):
        return None
    cluster, centre = clusters_of(lat=lat, lon=lon, settings=ClusterSettings())
    away = np.hypot(centre[:, 0] - sample["lat"], centre[:, 1] - sample["lon"])
    own = points[cluster == int(np.argmin(away))].assign(geometry=None)
    return _with_distance(own, sample)
