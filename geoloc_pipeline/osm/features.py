"""From QuackOSM's result to the features of one area: read in batches, measured, and cut by the area's own rule.

Belongs here: the one query over QuackOSM's result, and which of its rows belong to an area.
Does not belong here: running QuackOSM (`extract.py`), what a feature is to us (`roads.py`, `landmarks.py`, `names.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from geoloc_pipeline.geo.crs import WGS84
from geoloc_pipeline.osm.spatial import AFTER_CHECK
from geoloc_pipeline.osm.tags import LANDMARK_TAGS, LATIN_NAME_TAGS, NAME_TAGS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LANDMARK_KEYS = tuple(dict.fromkeys(key for key, _ in LANDMARK_TAGS))
_KEYS = ("highway", "ref", *LANDMARK_KEYS, *NAME_TAGS, *LATIN_NAME_TAGS)
_DIGITS = 7  # OpenStreetMap's and QuackOSM's grid, 1 cm
_FARTHEST_DEG = 2.0
"""No road or landmark reaches this far from its prefecture; one that does has a node in the wrong place, such as (0, 0)."""
_BATCH_ROWS = 20_000


def features_in(result: Path, area: shapely.Geometry, *, memory_limit_bytes: int) -> gpd.GeoDataFrame:
    """Return the features of QuackOSM's result that have a node in `area`, whole and measured.

    That is QuackOSM's own rule, applied again to what it found in a wider area, so that an area gets the same rows whether
    it was alone in the pass or not. A corner that lies off OpenStreetMap's grid is no node: cleaning a shape put it there.

    Args:
        result: Parquet file of `quackosm.convert_pbf_to_parquet` with all tags in one column.
        area: Polygon or MultiPolygon in WGS 84.
        memory_limit_bytes: DuckDB's cap; a batch of features is in memory besides.

    Returns:
        feature_id, one column for each tag that we know, length_m (lines), area_m2 (polygons), geometry; by feature_id.
    """
    shapely.prepare(area)
    settings = {"memory_limit": f"{memory_limit_bytes // 1_000_000}MB", "temp_directory": str(result.parent / "spilled")}
    with duckdb.connect(config=settings | AFTER_CHECK) as connection:
        connection.load_extension("spatial")
        batches = connection.execute(_query(connection, result, area)).to_arrow_reader(_BATCH_ROWS)
        kept = [_touching(batch.to_pandas(), area) for batch in batches] or [batches.schema.empty_table().to_pandas()]
    frame = pd.concat(kept, ignore_index=True).sort_values("feature_id", ignore_index=True)
    geometry = shapely.from_wkb(frame.pop("wkb").to_numpy())
    return gpd.GeoDataFrame(frame, geometry=geometry, crs=WGS84)


def _query(connection: duckdb.DuckDBPyConnection, result: Path, area: shapely.Geometry) -> str:
    tags = "tags" if "tags" in connection.read_parquet(str(result)).columns else "(NULL::MAP(VARCHAR, VARCHAR))"
    columns = ", ".join(f"NULLIF(trim({tags}['{key}']), '') AS \"{key}\"" for key in _KEYS)
    is_ring = f"ST_GeometryType(geometry) = 'POLYGON' AND {tags}['highway'] != '' AND COALESCE({tags}['area'], '') != 'yes'"
    west, south, east, north = area.bounds
    far = _FARTHEST_DEG
    # DuckDB measures on the ellipsoid when it is given (lat, lon); its files hold (lon, lat).
    return f"""
        WITH shaped AS (
            SELECT feature_id, {columns},
                   CASE WHEN {is_ring} THEN ST_ExteriorRing(geometry)
                        WHEN ST_GeometryType(geometry) = 'GEOMETRYCOLLECTION' THEN ST_CollectionExtract(geometry)
                        ELSE geometry END AS shape
            FROM read_parquet('{result}')
            WHERE NOT ST_IsEmpty(geometry)
              AND ST_XMax(geometry) BETWEEN {west} AND {east + far} AND ST_XMin(geometry) BETWEEN {west - far} AND {east}
              AND ST_YMax(geometry) BETWEEN {south} AND {north + far} AND ST_YMin(geometry) BETWEEN {south - far} AND {north}
        )
        SELECT * EXCLUDE shape, ST_AsWKB(shape)::BLOB AS wkb,
               CASE ST_Dimension(shape) WHEN 1 THEN ST_Length_Spheroid(ST_FlipCoordinates(shape)) ELSE 0 END AS length_m,
               CASE ST_Dimension(shape) WHEN 2 THEN ST_Area_Spheroid(ST_FlipCoordinates(shape)) ELSE 0 END AS area_m2
        FROM shaped
    """


def _touching(batch: pd.DataFrame, area: shapely.Geometry) -> pd.DataFrame:
    corners, owner = shapely.get_coordinates(shapely.from_wkb(batch["wkb"].to_numpy()), return_index=True)
    is_node = (np.round(corners, _DIGITS) == corners).all(axis=1)
    inside: NDArray[np.bool_] = shapely.intersects_xy(area, corners[:, 0], corners[:, 1]) & is_node
    return batch.iloc[np.unique(owner[inside])]
