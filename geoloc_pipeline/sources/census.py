"""e-Stat: the 2020 census' small areas (町丁・字等), one shapefile a prefecture.

Source: https://www.e-stat.go.jp/gis/statmap-search (survey A002005212020, boundary data in JGD2011 with datum=2011).
Licence: government standard terms 2.0, compatible with CC BY 4.0; attribution in `ATTRIBUTION`.
Cadence: every five years; this edition was published 2023-01-04 with reference date 2020-10-01.
Polite: one request a prefecture, once; what came is checked to be the archive before it is kept.
Keeps: the archives as they came, under e-Stat's own names.
Absent: an archive that e-Stat says it has not is None; a block without a name has no `town`; the Northern Territories are not
    surveyed.
"""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import shapely

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError, SettingError
from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.geo.crs import JGD2011, to_wgs84
from geoloc_pipeline.geo.municipality_codes import census_code_of
from geoloc_pipeline.geo.prefectures import BY_CODE
from geoloc_pipeline.sources.census_archive import SURVEY, URL, check_archive, cure_of, says_there_is_none, unpack
from geoloc_pipeline.storage.atomic import disk_errors
from geoloc_pipeline.tables import CENSUS_TOWNS, as_table

if TYPE_CHECKING:
    from geoloc_pipeline.sources.http import HttpClient
    from geoloc_pipeline.storage.progress import Progress

log = logging.getLogger(__name__)

SERVICE = "e-Stat"
ATTRIBUTION = "出典：政府統計の総合窓口(e-Stat)（https://www.e-stat.go.jp/）2020年国勢調査 小地域境界データを加工して作成"
WATER_HCODE = 8154  # 水面調査区: people on boats, no place to be

# What GDAL, PROJ and GEOS say of a spoilt .dbf, .prj and .shp; they have no common base.
_SPOILT = (
    pyogrio.errors.DataSourceError,
    pyogrio.errors.DataLayerError,
    pyogrio.errors.FeatureError,
    pyogrio.errors.GeometryError,
    pyogrio.errors.FieldError,
    pyogrio.errors.CRSError,
    pyproj.exceptions.ProjError,
    shapely.errors.ShapelyError,
    ValueError,
    OverflowError,
    UnboundLocalError,  # pyogrio's, of a .prj without end
)
_ENCODINGS = ("cp932", "utf-8")  # e-Stat's own; the one that people save shapefiles in
_NO_NAME = frozenset({"", "-", "‐", "－", "―", "ー"})
# The 2015 edition has further columns, and some of its files only these.
_OLDER_NAMES = {"PREF": ("KEN",), "PREF_NAME": ("KEN_NAME",), "CITY_NAME": ("GST_NAME", "CSS_NAME"), "S_NAME": ("MOJI",)}
_TEXTS = ("KEY_CODE", "PREF", "CITY", "S_AREA", "PREF_NAME", "CITY_NAME", "S_NAME")
_COLUMNS = [*_TEXTS, "HCODE", "JINKO", *(name for names in _OLDER_NAMES.values() for name in names)]  # of some 30


class _NoArchiveError(Exception):
    """What came says that there is none."""


class CensusClient:
    """Brings the archives."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def fetch(self, prefecture_code: str, folder: Path, *, progress: Progress | None = None) -> Path | None:
        """Bring a prefecture's archive; one that is already there is not fetched again.

        Args:
            prefecture_code: JIS X 0401, two digits.
            folder: Where the archives are kept.
            progress: Told bytes.

        Returns:
            The zip file; None when e-Stat says that it has none: by 404, or by its page for an empty search. Any other page,
            such as that of an outage, is an error.

        Raises:
            SettingError: There is no such prefecture.
            BadSourceFileError: Something else than the archive came, such as an error page.
            SourceUnavailableError: e-Stat does not answer.
            SourceRefusedError: e-Stat refuses.
            HomeError: The disk is full or not ours to write.
        """
        if prefecture_code not in BY_CODE:
            raise SettingError(setting="the prefecture code", value=prefecture_code, cure="use 01 to 47, with the leading zero")
        path = folder / f"{SURVEY}DDSWC{prefecture_code}-JGD2011.zip"
        if path.is_file():
            return path

        def check(part: Path) -> None:
            if says_there_is_none(part):
                raise _NoArchiveError
            check_archive(part, shown=path, prefecture_code=prefecture_code)

        url = URL.format(code=prefecture_code)
        try:
            is_there = self._http.download(url, path, service=SERVICE, check=check, progress=progress, absent=frozenset({404}))
        except _NoArchiveError:
            is_there = False
        if not is_there:
            log.warning("%s has no archive of %s (%s)", SERVICE, BY_CODE[prefecture_code].key, url)
        return path if is_there else None


def read_towns(zip_path: Path) -> pd.DataFrame:
    """Return the town blocks of an archive.

    A block that the archive draws in several rows (KIGO_E E1, E2, …) is one row here, its people summed. Water is left out.
    Rows without a name stay, with `town` missing; their KEY_CODE can be just a prefecture's, so their code is made of
    municipality and S_AREA instead. cp932 and UTF-8 are told apart by the names themselves; any other encoding is an error.
    Outlines that cross themselves are mended; blocks that overlap or leave gaps stay as they are drawn, for only a place asks
    which block it lies in. A row without outline, or with a corner that is NaN or outside Japan, is left out and told in the
    log. Codes are those of the 2020 census: a ward of a later edition that merely got another code has its former one (see
    `geo.municipality_codes`); one that was made of several has its own.

    Args:
        zip_path: As fetched, for a prefecture or a municipality, of the 2020 or the 2015 edition, in any reference system.

    Returns:
        `tables.CENSUS_TOWNS`, in code order; the same whatever the order of the archive's rows.

    Raises:
        MissingInputError: The archive is not there.
        BadSourceFileError: It is no archive of town blocks, is spoilt, in an unknown encoding, names a file outside itself, or
            none of its outlines lies in Japan, as when latitude and longitude are exchanged.
        HomeError: There is no room to unpack it.
    """
    if not zip_path.is_file():
        raise MissingInputError(
            what="a census archive", path=zip_path, cure="materialise the asset `census_towns` or put e-Stat's zip there"
        )
    with tempfile.TemporaryDirectory(prefix="census-") as scratch, disk_errors(Path(scratch)):
        shapes = unpack(zip_path, Path(scratch))
        rows = pd.concat([_read_shapes(path, archive=zip_path) for path in shapes], ignore_index=True)
    return _dissolve(_with_codes(_drawn(rows[rows["hcode"] != WATER_HCODE], archive=zip_path)))


def _drawn(rows: pd.DataFrame, *, archive: Path) -> pd.DataFrame:
    """Return the rows that are drawn as an area in the box around Japan, corner by corner, and their outlines mended.

    Raises:
        BadSourceFileError: None is.
    """
    outlines = rows["geometry"].to_numpy()
    corners, owner = shapely.get_coordinates(outlines, return_index=True)
    lon, lat = corners.T
    is_outside = ~in_japan_box(lat=lat, lon=lon)  # NaN is outside as well
    is_good = np.isin(np.arange(len(rows)), owner) & ~np.isin(np.arange(len(rows)), owner[is_outside])
    if not is_good.any():
        is_swapped = len(corners) > 0 and in_japan_box(lat=lon, lon=lat).mean() > 0.5
        reason = "it draws no block of land" if len(corners) == 0 else "not one of its outlines lies in Japan"
        raise BadSourceFileError(
            path=archive,
            reason="its latitudes and longitudes are exchanged" if is_swapped else reason,
            cure=("write it with x = longitude and y = latitude, or " if is_swapped else "") + cure_of(archive),
        )
    mended = np.full(len(rows), None, dtype=object)
    mended[is_good] = _polygons(outlines[is_good])
    is_good = ~shapely.is_missing(mended)
    if not is_good.all():
        log.warning(
            "%s: %d of %d outlines are empty, not finite or outside Japan and were left out, such as that of KEY_CODE %s",
            archive.name, int((~is_good).sum()), len(rows), rows["key_code"][~is_good].iloc[0],
        )  # fmt: skip
    return rows.assign(geometry=mended)[is_good]


def _read_shapes(path: Path, *, archive: Path) -> pd.DataFrame:
    # with our column names, in WGS 84
    for encoding in _ENCODINGS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # GDAL's, of characters that do not fit: judged below
                frame = pyogrio.read_dataframe(path, encoding=encoding, columns=_COLUMNS, use_arrow=False)
            rows = _renamed(frame, archive=archive)
        except UnicodeDecodeError:
            continue
        except BadSourceFileError:
            raise  # a ValueError, too
        except _SPOILT as error:
            raise BadSourceFileError(
                path=archive, reason=f"its shapes cannot be read ({error})", cure=cure_of(archive)
            ) from error
        if _is_japanese(rows):
            return rows
    raise BadSourceFileError(
        path=archive,
        reason="the names in its .dbf are in another encoding than cp932 (e-Stat's) or UTF-8",
        cure=cure_of(archive),
    )


def _is_japanese(rows: pd.DataFrame) -> bool:
    """Return whether the prefectures' names read as such: wrongly decoded, they end in something else."""
    names = rows["prefecture"].dropna().unique()
    text = "".join([*names, *rows["town"].dropna().unique()])
    strange = re.search("[\ufffd\ue000-\uf8ff\uff61-\uff9f\x80-\x9f]", text)  # replaced, private, half-width kana, C1
    return len(names) > 0 and all(str(name).endswith(("都", "道", "府", "県")) for name in names) and not strange


def _renamed(frame: gpd.GeoDataFrame, *, archive: Path) -> pd.DataFrame:
    texts = {name: _text(frame, name) for name in _TEXTS}
    lacking = [name for name in ("KEY_CODE", "PREF", "PREF_NAME") if texts[name] is None or texts[name].isna().all()]
    if lacking:
        reason = f"its .dbf has no {' and no '.join(lacking)}: these are no census blocks"
        raise BadSourceFileError(path=archive, reason=reason, cure=cure_of(archive))
    if frame.crs is None:
        frame = frame.set_crs(JGD2011)
    nothing = pd.Series(None, index=frame.index, dtype=object)
    columns = {name: nothing if values is None else values for name, values in texts.items()}
    people = pd.to_numeric(frame.get("JINKO", nothing), errors="coerce").fillna(0).clip(lower=0)
    return pd.DataFrame(
        {
            "key_code": columns["KEY_CODE"],
            "prefecture_code": columns["PREF"].str.zfill(2),
            "city_code": columns["CITY"],
            "area_code": columns["S_AREA"],
            "prefecture": columns["PREF_NAME"],
            "municipality": columns["CITY_NAME"],
            "town": columns["S_NAME"],
            "hcode": pd.to_numeric(frame.get("HCODE", nothing), errors="coerce"),
            "population": people.round().astype("int64"),
            "geometry": to_wgs84(frame).geometry.to_numpy(),
        }
    )


def _text(frame: pd.DataFrame, name: str) -> Any:
    """Return a column as stripped text, None where there is nothing to read; the older editions' columns fill in."""
    if name in frame:
        values = frame[name].map(_cleaned)
        if values.notna().any() or name not in _OLDER_NAMES:
            return values
    older = [column for column in _OLDER_NAMES.get(name, ()) if column in frame]
    if not older:
        return frame[name].map(_cleaned) if name in frame else None
    joined = frame[older].map(_cleaned).fillna("").agg("".join, axis=1)
    return joined.map(_cleaned)


def _cleaned(value: object) -> str | None:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return None
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    text = text.strip().strip("\u3000\x00").strip()
    return None if text in _NO_NAME or text.lower() == "nan" else text


def _with_codes(rows: pd.DataFrame) -> pd.DataFrame:
    """Add `municipality_code` and `town_code`."""
    city = rows["city_code"].map(lambda code: str(code).zfill(3) if code is not None and not pd.isna(code) else "000")
    area = rows["area_code"].map(lambda code: str(code).zfill(6) if code is not None and not pd.isna(code) else "000000")
    municipality_code = (rows["prefecture_code"] + city).map(census_code_of)
    key_code = rows["key_code"].str[:5].map(census_code_of) + rows["key_code"].str[5:]
    is_block = rows["town"].notna() & (key_code.str.len() > 5)  # 2 or 5 digits name a prefecture or municipality only
    town_code = key_code.where(is_block, municipality_code + area)
    return rows.assign(municipality_code=municipality_code, town_code=town_code)


def _dissolve(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row a block: the rows of a block joined. Its names are those of the row with most people."""
    rows = rows.assign(wkb=shapely.to_wkb(rows["geometry"].to_numpy()))
    rows = rows.sort_values(["town_code", "population", "wkb"], ascending=[True, False, True])  # not as they came
    blocks = rows.groupby("town_code", sort=True)
    first = blocks[["town", "municipality_code", "municipality", "prefecture_code", "prefecture"]].first()
    outlines = rows.drop_duplicates("town_code").set_index("town_code")["geometry"]
    in_parts = rows[rows["town_code"].duplicated(keep=False)]
    for code, parts in in_parts.groupby("town_code")["geometry"]:
        outlines[code] = _polygons([shapely.union_all(parts.to_numpy())])[0]
    return as_table(
        CENSUS_TOWNS,
        {
            "town_code": first.index.to_series().astype("str"),
            **{name: first[name].where(first[name].notna(), None) for name in first.columns},
            "population": blocks["population"].sum(),
            "geometry": list(outlines),
        },
    )


def _polygons(geometries: Any) -> list[Any]:
    """Return the geometries valid and flat, and of a mended one only its areas (mending can leave lines and points).

    One that has no area is None.
    """
    mended = shapely.make_valid(shapely.force_2d(geometries))
    areas = []
    for geometry in mended:
        if geometry is None or geometry.geom_type in {"Polygon", "MultiPolygon"}:
            areas.append(geometry)
        else:
            parts = [part for part in shapely.get_parts(shapely.get_parts(geometry)) if part.geom_type == "Polygon"]
            areas.append(shapely.union_all(parts) if parts else None)
    return areas
