"""Publishes town blocks as e-Stat publishes the 2020 census' small areas: a zip with a shapefile in cp932 and JGD2011.

Belongs here: the archive of each prefecture, with the oddities of the real ones: one KEY_CODE on several rows (people on E1
alone), water survey areas, records without S_NAME, an outline that crosses itself.
Does not belong here: serving it, and any cleaning.

Source: https://www.e-stat.go.jp/ 「2020年国勢調査 小地域境界データ」 and its definition of columns (A002005212020).
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pyogrio
import pyproj
import shapely

from geoloc_pipeline.geo.crs import JGD2011, WGS84

if TYPE_CHECKING:
    from geoloc_pipeline.demo.land import Land, Town

SURVEY = "A002005212020"
_PRJ = (
    'GEOGCS["GCS_JGD_2011",DATUM["D_JGD_2011",SPHEROID["GRS_1980",6378137.0,298.257222101]],'
    'PRIMEM["Greenwich",0.0],UNIT["Degree",0.0174532925199433]]'
)
_STAMP = (2023, 1, 4, 0, 0, 0)  # the day on which the census' areas were published
_GEOD = pyproj.Geod(ellps="GRS80")


def archive_name(code: str) -> str:
    """Tells the name of a prefecture's archive, such as `A002005212020DDSWC13-JGD2011.zip`."""
    return f"{SURVEY}DDSWC{code}-JGD2011.zip"


def publish_census(land: Land, folder: Path) -> None:
    """Writes the archive of each prefecture.

    Args:
        land: Where the town blocks are.
        folder: Where the archives go, side by side.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for code in land.prefecture_codes:
        towns = [town for town in land.towns if town.prefecture_code == code]
        write_archive(folder / archive_name(code), code, towns)


def write_archive(path: Path, code: str, towns: list[Town]) -> None:
    """Writes one prefecture's archive, rows in code order; the same towns give the same bytes."""
    records = [record for town in sorted(towns, key=lambda town: town.key_code) for record in _records(town)]
    for number, record in enumerate(records):
        record["R2KAxx"], record["R2KAxx_ID"] = number + 2, number + 1
    crossed = next(row for row, record in enumerate(records) if record["S_NAME"] and not record["geometry"].interiors)
    records[crossed]["geometry"] = _crossed(records[crossed]["geometry"])
    frame = gpd.GeoDataFrame(records, geometry="geometry", crs=WGS84)
    frame = frame.set_geometry(frame.geometry.set_crs(JGD2011, allow_override=True))  # they agree within a metre
    with tempfile.TemporaryDirectory() as scratch:
        stem = Path(scratch) / f"r2ka{code}"
        pyogrio.write_dataframe(
            frame, stem.with_suffix(".shp"), driver="ESRI Shapefile", encoding="cp932", geometry_type="Polygon",
            layer_options={"DBF_DATE_LAST_UPDATE": "2023-01-04"},
        )  # fmt: skip
        stem.with_suffix(".prj").write_text(_PRJ, encoding="ascii")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            for ending in (".dbf", ".prj", ".shp", ".shx"):
                member = zipfile.ZipInfo(stem.name + ending, date_time=_STAMP)
                member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(member, stem.with_suffix(ending).read_bytes())


def _records(town: Town) -> list[dict[str, Any]]:
    """Gives a town's rows: one for each part of its polygon, the people all on the first."""
    parts = sorted(shapely.get_parts(town.polygon), key=shapely.area, reverse=True)
    area = town.key_code[5:]
    nameless = not town.town and not town.is_water
    rows = []
    for number, part in enumerate(parts):
        people = town.population if number == 0 else 0
        middle = part.representative_point()
        area_m2, around_m = _GEOD.geometry_area_perimeter(part)
        # a nameless record's KEY_CODE says no more than is known; in Tokyo that is the prefecture alone
        key = (town.prefecture_code if town.prefecture_code == "13" else town.municipality_code) if nameless else town.key_code
        rows.append({
            "KEY_CODE": key, "PREF": town.prefecture_code, "CITY": town.municipality_code[2:], "S_AREA": area,
            "PREF_NAME": town.prefecture, "CITY_NAME": town.municipality, "S_NAME": town.town or None,
            "KIGO_E": f"E{number + 1}" if len(parts) > 1 else None, "HCODE": 8154 if town.is_water else 8101,
            "AREA": round(abs(area_m2), 3), "PERIMETER": round(around_m, 3), "R2KAxx": 0, "R2KAxx_ID": 0,
            "KIHON1": f"{area[:3]}0", "DUMMY1": "-", "KIHON2": area[4:], "KEYCODE1": town.key_code[2:],
            "KEYCODE2": town.key_code[2:], "AREA_MAX_F": "M" if number == 0 else None, "KIGO_D": None, "N_KEN": None,
            "N_CITY": None, "KIGO_I": None, "KBSUM": people // 50, "JINKO": people, "SETAI": people // 2,
            "X_CODE": round(middle.x, 5), "Y_CODE": round(middle.y, 5), "KCODE1": f"{area[:3]}0-{area[4:]}",
            "geometry": part,
        })  # fmt: skip
    return rows


def _crossed(polygon: shapely.Polygon) -> shapely.Polygon:
    """Gives the polygon with a bow-tie of some 20 m on its longest side, as careless tracing leaves them."""
    ring = np.asarray(polygon.exterior.coords)
    side = int(np.argmax(np.hypot(*np.diff(ring, axis=0).T)))
    start, step = ring[side], ring[side + 1] - ring[side]
    ahead, aside = step * 0.03, np.array([-step[1], step[0]]) * 0.06
    middle = start + step / 2
    knot = np.stack([middle - ahead, middle + ahead + aside, middle - ahead + aside, middle + ahead])
    return shapely.Polygon(np.concatenate([ring[: side + 1], knot, ring[side + 1 :]]), polygon.interiors)
