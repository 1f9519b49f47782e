"""From a regional dump to a prefecture's roads and landmarks, with QuackOSM, in one pass (paper §3.1).

Traps of QuackOSM 0.19 that this module takes care of: results are cached under the dump's file name, never its content (own
result path, cache off); the connection settings it is handed are changed in place (a new dict each call); its own processes
are spawned, so a program that calls this needs a main guard; a path with a quote breaks its SQL; a result without rows has
no `tags` column; closed ways with `junction` (every roundabout) come as polygons, and are turned back into lines here.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import duckdb
import geopandas as gpd
import pandas as pd
import shapely

from geoloc_pipeline.errors import BadSourceFileError, HomeError, SettingError
from geoloc_pipeline.geo.crs import WGS84, to_metres
from geoloc_pipeline.osm.dump import check_dump
from geoloc_pipeline.osm.landmarks import landmark_categories
from geoloc_pipeline.osm.roads import road_identity
from geoloc_pipeline.osm.spatial import ensure_spatial
from geoloc_pipeline.osm.tags import LANDMARK_TAGS, NAME_TAGS, ROAD_CLASSES, tags_filter
from geoloc_pipeline.storage.atomic import disk_errors
from geoloc_pipeline.tables import OSM_LANDMARKS, OSM_ROADS, as_table, empty_table

if TYPE_CHECKING:
    from pathlib import Path

    from geoloc_pipeline.storage.progress import Progress

HALO_M = 1_000.0
"""How far around the prefecture the map is read, so that pictures and clusters at the border see both sides."""
_COARSE_M = 100.0  # the outline may be this wrong, outwards only: far fewer corners, a far faster filter
_LANDMARK_KEYS = tuple(dict.fromkeys(key for key, _ in LANDMARK_TAGS))


def extract_map(
    dump: Path,
    towns: gpd.GeoDataFrame,
    *,
    prefecture_code: str,
    scratch: Path,
    memory_limit_bytes: int = 3_000_000_000,
    progress: Progress | None = None,
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Return the roads and the landmarks that touch a prefecture or its 1 km halo, whole and uncut.

    QuackOSM keeps a way when one of its nodes lies in the halo, so a way that crosses a corner of it without a node there
    is left out; with a halo of 1 km nothing is lost inside the prefecture.

    Args:
        dump: A whole `.osm.pbf`; several prefectures may share it.
        towns: `tables.CENSUS_TOWNS`; only this prefecture's rows count.
        prefecture_code: JIS X 0401, two digits; becomes part of `road_id`.
        scratch: A folder of this extraction's own; emptied before and removed afterwards.
        memory_limit_bytes: DuckDB's cap; beyond it QuackOSM spills to `scratch`.
        progress: Told of the steps.

    Returns:
        `tables.OSM_ROADS` and `tables.OSM_LANDMARKS`, in key order; empty where there is nothing.

    Raises:
        MissingInputError: The dump or DuckDB's spatial extension is not there.
        BadSourceFileError: The dump is truncated or something else.
        SettingError: No town of the prefecture, or a path that QuackOSM cannot take.
        HomeError: `scratch` cannot be written.

    Source: paper §3.1 (QuackOSM over Geofabrik's dump of Japan); halo and whole ways are ours.
    """
    for path in (dump, scratch):
        if "'" in str(path):
            raise SettingError(setting="path", value=str(path), cure="QuackOSM takes no path with a quote: rename the folder")
    ensure_spatial()
    check_dump(dump)
    area = extraction_area(towns, prefecture_code=prefecture_code)
    _tell(progress, 0)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with disk_errors(scratch):
            scratch.mkdir(parents=True)
        result = _run_quackosm(dump, area, scratch, memory_limit_bytes)
        _tell(progress, 2)
        features = _read_features(result)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    tables = _road_table(features, prefecture_code), _landmark_table(features)
    _tell(progress, 3)
    return tables


def extraction_area(towns: gpd.GeoDataFrame, *, prefecture_code: str, halo_m: float = HALO_M) -> shapely.Geometry:
    """Return the prefecture widened by its halo, with few corners, as one (multi)polygon in WGS 84.

    Args:
        towns: `tables.CENSUS_TOWNS`.
        prefecture_code: Whose rows count.
        halo_m: Every place within this distance is inside; some up to 200 m farther are too.

    Returns:
        Polygon or MultiPolygon.

    Raises:
        SettingError: The prefecture has no town.
    """
    own = towns[towns["prefecture_code"] == prefecture_code]
    if own.empty:
        cure = "hand over the census_towns of that prefecture: without them nobody knows where it is"
        raise SettingError(setting="prefecture_code", value=prefecture_code, cure=cure)
    metres = to_metres(own)
    widened = metres.simplify(_COARSE_M / 2).buffer(halo_m + _COARSE_M, quad_segs=4)
    outline = shapely.simplify(shapely.union_all(widened.to_numpy()), _COARSE_M / 2)
    return gpd.GeoSeries([outline], crs=metres.crs).to_crs(WGS84).iloc[0]


def _run_quackosm(dump: Path, area: shapely.Geometry, scratch: Path, memory_limit_bytes: int) -> Path:
    import quackosm  # seconds to import: only when there is something to extract

    try:
        path = quackosm.convert_pbf_to_parquet(
            dump,
            tags_filter=tags_filter(),
            geometry_filter=area,
            keep_all_tags=True,
            explode_tags=False,
            ignore_metadata_tags=False,  # `area` counts as one, and tells a square from a ring
            result_file_path=scratch / "features.parquet",
            working_directory=scratch / "quackosm",
            ignore_cache=True,
            verbosity_mode="silent",
            duckdb_conn_kwargs={"config_kwargs": {"memory_limit": f"{memory_limit_bytes // 1_000_000}MB"}},
        )
    except (duckdb.ParserException, duckdb.InvalidInputException, duckdb.IOException, duckdb.SerializationException) as error:
        if "No space left" in str(error):
            cure = "free some space (ten times the dump is enough), then run the same step again"
            raise HomeError(home=scratch, reason=str(error), cure=cure) from error
        cure = "it is damaged: remove it and materialise the asset `osm_dump` again"
        raise BadSourceFileError(path=dump, reason=f"QuackOSM cannot read it ({error})", cure=cure) from error
    return _as_path(path)


def _as_path(path: Any) -> Path:
    from pathlib import Path

    return Path(path)


def _read_features(result: Path) -> gpd.GeoDataFrame:
    """Read QuackOSM's result: feature_id, one column for each tag that we know, length_m, area_m2, geometry."""
    keys = ("highway", "ref", *_LANDMARK_KEYS, *NAME_TAGS)
    with duckdb.connect() as connection:
        connection.load_extension("spatial")
        source = connection.read_parquet(str(result))
        tags = "tags" if "tags" in source.columns else "(NULL::MAP(VARCHAR, VARCHAR))"
        columns = ", ".join(f"NULLIF(trim({tags}['{key}']), '') AS \"{key}\"" for key in keys)
        is_ring = f"ST_GeometryType(geometry) = 'POLYGON' AND {tags}['highway'] != '' AND COALESCE({tags}['area'], '') != 'yes'"
        # DuckDB measures on the ellipsoid when it is given (lat, lon); its files hold (lon, lat).
        query = f"""
            WITH shaped AS (
                SELECT feature_id, {columns}, CASE WHEN {is_ring} THEN ST_ExteriorRing(geometry) ELSE geometry END AS shape
                FROM source WHERE NOT ST_IsEmpty(geometry)
            )
            SELECT * EXCLUDE shape, ST_AsWKB(shape)::BLOB AS wkb,
                   CASE ST_Dimension(shape) WHEN 1 THEN ST_Length_Spheroid(ST_FlipCoordinates(shape)) ELSE 0 END AS length_m,
                   CASE ST_Dimension(shape) WHEN 2 THEN ST_Area_Spheroid(ST_FlipCoordinates(shape)) ELSE 0 END AS area_m2
            FROM shaped ORDER BY feature_id
        """
        frame = connection.execute(query).fetch_df()
    geometry = shapely.from_wkb([bytes(value) for value in frame.pop("wkb")])
    return gpd.GeoDataFrame(frame, geometry=geometry, crs=WGS84)


def _names(features: pd.DataFrame) -> pd.Series:
    name = features[NAME_TAGS[0]]
    for key in NAME_TAGS[1:]:
        name = name.fillna(features[key])
    return name


def _road_table(features: gpd.GeoDataFrame, prefecture_code: str) -> gpd.GeoDataFrame:
    is_line = features.geometry.geom_type == "LineString"  # a highway drawn as an area is a square, not a road
    roads = features[is_line & features["highway"].isin(list(ROAD_CLASSES)) & (features["length_m"] > 0)]
    if roads.empty:
        return empty_table(OSM_ROADS)
    name, ref = _names(roads), roads["ref"]
    # Distinct (class, ref, name) are far fewer than ways: the identity is worked out once for each.
    spoken = pd.DataFrame({"highway": roads["highway"], "ref": ref, "name": name}).astype(object)
    spoken = spoken.where(spoken.notna(), None)
    known = {
        key: road_identity(highway=key[0], ref=key[1], name=key[2], prefecture_code=prefecture_code)
        for key in set(spoken.itertuples(index=False, name=None))
    }
    return as_table(
        OSM_ROADS,
        {
            "way_id": roads["feature_id"].to_numpy(),
            "road_id": [known[key] for key in spoken.itertuples(index=False, name=None)],
            "highway": roads["highway"].to_numpy(),
            "name": name.to_numpy(),
            "ref": ref.to_numpy(),
            "length_m": roads["length_m"].to_numpy(),
            "geometry": roads.geometry.to_numpy(),
        },
    )


def _landmark_table(features: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    category = landmark_categories({key: features[key] for key in _LANDMARK_KEYS}, features.index)
    allowed = features.geometry.geom_type.isin(OSM_LANDMARKS.geometry)
    marks = features[category.notna() & allowed]
    if marks.empty:
        return empty_table(OSM_LANDMARKS)
    return as_table(
        OSM_LANDMARKS,
        {
            "landmark_id": marks["feature_id"].to_numpy(),
            "category": category[marks.index].to_numpy(),
            "name": _names(marks).to_numpy(),
            "area_m2": marks["area_m2"].to_numpy(),
            "geometry": marks.geometry.to_numpy(),
        },
    )


def _tell(progress: Progress | None, done: int) -> None:
    if progress:
        progress.tell(done, total=3, unit="steps")
