"""Archives as e-Stat publishes them: names, columns, encoding, and the oddities of real ones."""

from __future__ import annotations

import zipfile
from pathlib import Path

import geopandas as gpd
import pytest
import shapely

from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.publish_census import archive_name, write_archive
from geoloc_pipeline.geo.crs import JGD2011

COLUMNS = [
    "KEY_CODE", "PREF", "CITY", "S_AREA", "PREF_NAME", "CITY_NAME", "S_NAME", "KIGO_E", "HCODE", "AREA", "PERIMETER",
    "R2KAxx", "R2KAxx_ID", "KIHON1", "DUMMY1", "KIHON2", "KEYCODE1", "KEYCODE2", "AREA_MAX_F", "KIGO_D", "N_KEN",
    "N_CITY", "KIGO_I", "KBSUM", "JINKO", "SETAI", "X_CODE", "Y_CODE", "KCODE1", "geometry",
]  # fmt: skip


@pytest.fixture(scope="module")
def rows(world: Path) -> gpd.GeoDataFrame:
    return gpd.read_file(world / "estat" / archive_name("13"), encoding="cp932")


def test_an_archive_is_flat_named_as_the_real_ones_and_carries_no_clock(world: Path) -> None:
    assert archive_name("13") == "A002005212020DDSWC13-JGD2011.zip"
    with zipfile.ZipFile(world / "estat" / archive_name("13")) as archive:
        assert archive.namelist() == ["r2ka13.dbf", "r2ka13.prj", "r2ka13.shp", "r2ka13.shx"]
        assert {member.date_time for member in archive.infolist()} == {(2023, 1, 4, 0, 0, 0)}
        assert archive.read("r2ka13.prj").startswith(b'GEOGCS["GCS_JGD_2011"')


def test_columns_stand_in_the_real_order(rows: gpd.GeoDataFrame) -> None:
    assert list(rows.columns) == COLUMNS
    assert rows.crs == JGD2011
    for numeric in ("HCODE", "JINKO", "SETAI", "KBSUM"):
        assert rows[numeric].dtype.kind == "i"
    assert set(rows["PREF"]) == {"13"}
    assert rows["CITY"].str.fullmatch(r"\d{3}").all()
    assert rows["S_AREA"].str.fullmatch(r"\d{6}").all()


def test_names_are_in_cp932_and_in_nothing_else(world: Path, rows: gpd.GeoDataFrame) -> None:
    assert set(rows["PREF_NAME"]) == {"東京都"}
    assert rows["S_NAME"].dropna().str.contains("髙台").any()
    with zipfile.ZipFile(world / "estat" / archive_name("13")) as archive:
        table = archive.read("r2ka13.dbf")
    assert "東京都".encode("cp932") in table
    with pytest.raises(UnicodeDecodeError):
        table.decode("utf-8")


def test_a_block_in_two_pieces_has_two_rows_and_its_people_on_the_first(rows: gpd.GeoDataFrame) -> None:
    split = rows[rows["KIGO_E"].notna()]
    assert list(split["KIGO_E"]) == ["E1", "E2"]
    assert split["KEY_CODE"].nunique() == 1
    assert split["JINKO"].iloc[0] > 0
    assert split[["JINKO", "SETAI", "KBSUM"]].iloc[1].tolist() == [0, 0, 0]
    assert list(split["AREA_MAX_F"].fillna("")) == ["M", ""]


def test_people_are_all_counted_once(rows: gpd.GeoDataFrame, thin_land: Land) -> None:
    assert rows["JINKO"].sum() == sum(town.population for town in thin_land.towns if town.prefecture_code == "13")


def test_water_a_nameless_record_and_a_crossed_outline_are_there(rows: gpd.GeoDataFrame) -> None:
    assert (rows["HCODE"] == 8154).sum() == 1
    nameless = rows[rows["S_NAME"].isna() & (rows["HCODE"] == 8101)]
    assert nameless["S_AREA"].tolist() == ["000000"]
    assert nameless["KEY_CODE"].tolist() == ["13"]  # no more than is known
    broken = rows[~rows.is_valid]
    assert len(broken) == 1
    assert "Self-intersection" in shapely.is_valid_reason(broken.geometry.iloc[0])


def test_polygons_are_the_towns(rows: gpd.GeoDataFrame, thin_land: Land) -> None:
    true = shapely.union_all([town.polygon for town in thin_land.towns if town.prefecture_code == "13"])
    drawn = shapely.union_all(shapely.make_valid(rows.geometry.to_numpy()))
    assert shapely.symmetric_difference(true, drawn).area < 1e-6 * true.area


def test_the_same_towns_give_the_same_bytes_in_any_order(thin_land: Land, tmp_path: Path) -> None:
    towns = [town for town in thin_land.towns if town.prefecture_code == "47"]
    write_archive(tmp_path / "a.zip", "47", towns)
    write_archive(tmp_path / "b.zip", "47", towns[::-1])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
