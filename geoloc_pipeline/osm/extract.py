"""From a regional dump to the roads and landmarks of its prefectures, with QuackOSM, in one pass (paper §3.1).

Traps of QuackOSM 0.19 that this module takes care of: results are cached under the dump's file name, never its content (own
result path, cache off); the connection settings it is handed are changed in place (a new dict each call); its own processes
are spawned, so a program that calls this needs a main guard; a path with a quote breaks its SQL; a result without rows has
no `tags` column; closed ways with `junction` (every roundabout) come as polygons, and are turned back into lines here.

What is odd in a dump never ends a run: ways of one node, with missing nodes or of length zero, and relations with missing
members are left out; doubled nodes and shapes that cross themselves are cleaned; what reaches beyond reason is left out.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import geopandas as gpd
import pandas as pd
import shapely

from geoloc_pipeline.errors import BadSourceFileError, HomeError, SettingError
from geoloc_pipeline.geo.crs import WGS84, to_metres
from geoloc_pipeline.osm.dump import check_dump
from geoloc_pipeline.osm.features import LANDMARK_KEYS, features_in
from geoloc_pipeline.osm.landmarks import landmark_categories
from geoloc_pipeline.osm.names import spoken_names
from geoloc_pipeline.osm.roads import road_identity
from geoloc_pipeline.osm.spatial import AFTER_CHECK, ensure_spatial
from geoloc_pipeline.osm.tags import LATIN_NAME_TAGS, NAME_TAGS, ROAD_CLASSES, tags_filter
from geoloc_pipeline.storage.atomic import disk_errors, is_alive
from geoloc_pipeline.storage.lifeline import end_group, lead_group
from geoloc_pipeline.tables import OSM_LANDMARKS, OSM_ROADS, as_table, empty_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from multiprocessing.connection import Connection

    from geoloc_pipeline.storage.progress import Progress

HALO_M = 1_000.0
"""How far around the prefecture the map is read, so that pictures and clusters at the border see both sides."""
MEMORY_LIMIT_BYTES = 3_000_000_000
_COARSE_M = 100.0  # the outline may be this wrong, outwards only: far fewer corners, a far faster filter
_SLACK_DEG = 1e-6  # QuackOSM compares places before it rounds them to 1e-7 degrees; the cut afterwards is the exact one
_RESULT = "features.parquet"
_TIDYING_S = 5.0  # for QuackOSM's processes to end by themselves
_NAMES = (*NAME_TAGS, *LATIN_NAME_TAGS)


def extract_map(
    dump: Path,
    towns: gpd.GeoDataFrame,
    *,
    prefecture_code: str,
    scratch: Path,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    progress: Progress | None = None,
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Return the roads and the landmarks of one prefecture: `extract_maps` for a single one.

    Args:
        dump: A whole `.osm.pbf`.
        towns: `tables.CENSUS_TOWNS`; only this prefecture's rows count.
        prefecture_code: JIS X 0401, two digits; becomes part of `road_id`.
        scratch: As for `extract_maps`.
        memory_limit_bytes: As for `extract_maps`.
        progress: Told of the steps.

    Returns:
        `tables.OSM_ROADS` and `tables.OSM_LANDMARKS`, in key order; empty where there is nothing.

    Raises:
        GeolocError: As `extract_maps`.
    """
    maps = extract_maps(
        dump, {prefecture_code: towns}, scratch=scratch, memory_limit_bytes=memory_limit_bytes, progress=progress
    )
    [(_, roads, landmarks)] = maps
    return roads, landmarks


def extract_maps(
    dump: Path,
    towns: Mapping[str, gpd.GeoDataFrame],
    *,
    scratch: Path,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    progress: Progress | None = None,
) -> Iterator[tuple[str, gpd.GeoDataFrame, gpd.GeoDataFrame]]:
    """Yield the roads and the landmarks that touch each prefecture or its 1 km halo, whole and uncut, from one pass.

    QuackOSM reads the dump once for the union of all areas; each prefecture is then cut out of its result by the same rule,
    so a prefecture's tables do not depend on which others are asked for. Only one prefecture at a time is in memory.
    QuackOSM keeps a way when one of its nodes lies in the halo, so a way that crosses a corner of it without a node there
    is left out; with a halo of 1 km nothing is lost inside the prefecture. Nothing happens before the first one is taken.

    Args:
        dump: A whole `.osm.pbf`.
        towns: `tables.CENSUS_TOWNS` by JIS X 0401 code (two digits, part of `road_id`); only that prefecture's rows count.
        scratch: A folder for extractions of these areas; each process has one of its own in it, removed afterwards.
        memory_limit_bytes: DuckDB's cap; beyond it QuackOSM spills to `scratch`.
        progress: Told of the steps.

    Yields:
        Code, `tables.OSM_ROADS`, `tables.OSM_LANDMARKS` (in key order; empty where there is nothing), in order of the codes.

    Raises:
        MissingInputError: The dump or DuckDB's spatial extension is not there.
        BadSourceFileError: The dump is truncated or something else.
        SettingError: No town of a prefecture, or a path that QuackOSM cannot take.
        HomeError: `scratch` cannot be written.

    Source: paper §3.1 (QuackOSM over Geofabrik's dump of Japan); halo and whole ways are ours.
    """
    for path in (dump, scratch):
        if "'" in str(path):
            raise SettingError(setting="path", value=str(path), cure="QuackOSM takes no path with a quote: rename the folder")
    ensure_spatial()
    check_dump(dump)
    areas = {code: extraction_area(towns[code], prefecture_code=code) for code in sorted(towns)}
    _tell(progress, 0, areas)
    scratch = _own_scratch(scratch)
    try:
        with disk_errors(scratch):
            scratch.mkdir(parents=True)
        result = _run_quackosm(dump, shapely.union_all(list(areas.values())).buffer(_SLACK_DEG), scratch, memory_limit_bytes)
        for done, (code, area) in enumerate(areas.items(), start=1):
            _tell(progress, done, areas)
            features = features_in(result, area, memory_limit_bytes=memory_limit_bytes)
            yield code, _road_table(features, code), _landmark_table(features)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        with suppress(OSError):
            scratch.parent.rmdir()  # unless somebody else works beside
    _tell(progress, len(areas) + 1, areas)


def _own_scratch(scratch: Path) -> Path:
    """Return a folder of this process' own, and remove those of processes that are gone.

    QuackOSM works in processes of its own. They outlive one that is killed for a while, and two runs may extract the same
    prefecture at the same moment: nobody may write into, or remove, what another one works with.
    """
    for left in scratch.glob("*"):
        if not (left.name.isdigit() and is_alive(int(left.name))):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
    own = scratch / str(os.getpid())
    shutil.rmtree(own, ignore_errors=True)
    return own


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
    """Let QuackOSM work in a process group of its own, which ends with this process, however that ends.

    QuackOSM starts processes that would serve nobody for ever after a `kill -9`, and keep the disk busy.

    Raises:
        HomeError: The disk is full.
        BadSourceFileError: QuackOSM cannot read the dump, or died over it.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    told = (theirs, os.getpid(), dump, shapely.to_wkb(area), scratch, memory_limit_bytes)
    process = context.Process(target=_convert, args=told, name="quackosm")
    process.start()
    theirs.close()
    try:
        error = ours.recv()
        process.join(_TIDYING_S)
    except EOFError:
        process.join()
        reason = f"QuackOSM died over it (exit status {process.exitcode})"
        cure = "give the step more memory, and see its log; if that says nothing, materialise the asset `osm_dump` again"
        raise BadSourceFileError(path=dump, reason=reason, cure=cure) from None
    finally:
        end_group(process.pid)
        process.kill()
        process.join()
        ours.close()
    if "No space left" in error:
        cure = "free some space (ten times the dump is enough), then run the same step again"
        raise HomeError(home=scratch, reason=error, cure=cure)
    if error:
        cure = "it is damaged: remove it and materialise the asset `osm_dump` again"
        raise BadSourceFileError(path=dump, reason=f"QuackOSM cannot read it ({error})", cure=cure)
    return scratch / _RESULT


def _convert(told: Connection, ancestor: int, dump: Path, area: bytes, scratch: Path, memory_limit_bytes: int) -> None:
    """Convert a dump and tell the error, or nothing; runs in the process of its own."""
    lead_group(ancestor)
    _spare_imports()
    import quackosm  # seconds to import: only when there is something to extract

    error = ""
    try:
        quackosm.convert_pbf_to_parquet(
            dump,
            tags_filter=tags_filter(),
            geometry_filter=shapely.from_wkb(area),
            keep_all_tags=True,
            explode_tags=False,
            ignore_metadata_tags=False,  # `area` counts as one, and tells a square from a ring
            result_file_path=scratch / _RESULT,
            working_directory=scratch / "quackosm",
            ignore_cache=True,
            sort_result=False,
            verbosity_mode="silent",
            duckdb_conn_kwargs={"config_kwargs": {"memory_limit": f"{memory_limit_bytes // 1_000_000}MB"} | AFTER_CHECK},
        )
    except (duckdb.Error, OSError) as fault:  # its reader of PBF raises the base class itself
        error = str(fault) or type(fault).__name__
    told.send(error)


def _spare_imports() -> None:
    """Let QuackOSM's dozen processes be forked from one that has imported it: it spawns them, and each imports all anew.

    Both are safe beside DuckDB's and Polars' threads, as the server that forks has none; of a light prefecture's extraction
    the imports were nine tenths of the CPU time.
    """
    of_method = multiprocessing.get_context
    multiprocessing.get_context = lambda method=None: of_method("forkserver" if method == "spawn" else method)  # type: ignore[assignment]
    multiprocessing.set_start_method("forkserver", force=True)
    multiprocessing.set_forkserver_preload(["quackosm"])


def _named(features: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """Return `keys`, name and name_latin of each feature; worked out once for each distinct name, as they are far fewer."""
    spoken = features[[*keys, *_NAMES]].astype(object)
    spoken = spoken.where(spoken.notna(), None)
    tags = list(spoken[list(_NAMES)].itertuples(index=False, name=None))
    known = {values: spoken_names(dict(zip(_NAMES, values, strict=True))) for values in set(tags)}
    names = pd.DataFrame([known[values] for values in tags], columns=["name", "name_latin"], index=spoken.index, dtype=object)
    return spoken[list(keys)].join(names)


def _road_table(features: gpd.GeoDataFrame, prefecture_code: str) -> gpd.GeoDataFrame:
    is_line = features.geometry.geom_type == "LineString"  # a highway drawn as an area is a square, not a road
    roads = features[is_line & features["highway"].isin(list(ROAD_CLASSES)) & (features["length_m"] > 0)]
    if roads.empty:
        return empty_table(OSM_ROADS)
    spoken = _named(roads, "highway", "ref")
    keys = list(spoken[["highway", "ref", "name"]].itertuples(index=False, name=None))
    known = {key: road_identity(highway=key[0], ref=key[1], name=key[2], prefecture_code=prefecture_code) for key in set(keys)}
    return as_table(
        OSM_ROADS,
        {
            "way_id": roads["feature_id"].to_numpy(),
            "road_id": [known[key] for key in keys],
            **{name: spoken[name].to_numpy() for name in ("highway", "name", "name_latin", "ref")},
            "length_m": roads["length_m"].to_numpy(),
            "geometry": roads.geometry.to_numpy(),
        },
    )


def _landmark_table(features: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    category = landmark_categories({key: features[key] for key in LANDMARK_KEYS}, features.index)
    allowed = features.geometry.geom_type.isin(OSM_LANDMARKS.geometry)
    marks = features[category.notna() & allowed]
    if marks.empty:
        return empty_table(OSM_LANDMARKS)
    names = _named(marks)
    return as_table(
        OSM_LANDMARKS,
        {
            "landmark_id": marks["feature_id"].to_numpy(),
            "category": category[marks.index].to_numpy(),
            "name": names["name"].to_numpy(),
            "name_latin": names["name_latin"].to_numpy(),
            "area_m2": marks["area_m2"].to_numpy(),
            "geometry": marks.geometry.to_numpy(),
        },
    )


def _tell(progress: Progress | None, done: int, areas: Mapping[str, shapely.Geometry]) -> None:
    if progress:
        progress.tell(done, total=len(areas) + 1, unit="steps")
