"""Census blocks: every quirk of e-Stat's files, on shapefiles grown here."""

from __future__ import annotations

import logging
import math
import random
import struct
import tempfile
import zipfile
from pathlib import Path

import geopandas as gpd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import MultiPolygon, Point, Polygon, box

from geoloc_pipeline.errors import BadSourceFileError, MissingInputError
from geoloc_pipeline.geo.crs import WGS84
from geoloc_pipeline.sources.census import read_towns
from geoloc_pipeline.sources.census_archive import check_archive
from geoloc_pipeline.tables import CENSUS_TOWNS, check_table

_COLUMNS = ("KEY_CODE", "PREF", "CITY", "S_AREA", "PREF_NAME", "CITY_NAME", "S_NAME", "KIGO_E", "HCODE", "JINKO")


def _row(
    area, *, city="101", name="見本町一丁目", people=10, key=None, hcode=8101, sign=None, city_name="見本区", at=0.0, shape=None
):
    return {
        "KEY_CODE": key if key is not None else f"13{city}{area}",
        "PREF": "13",
        "CITY": city,
        "S_AREA": area,
        "PREF_NAME": "東京都",
        "CITY_NAME": city_name,
        "S_NAME": name,
        "KIGO_E": sign,
        "HCODE": hcode,
        "JINKO": people,
        "geometry": box(139.7 + at, 35.7, 139.71 + at, 35.71) if shape is None else shape,
    }


def _archive(folder, rows, *, encoding="cp932", crs="EPSG:6668", name="A002005212020DDSWC13-JGD2011.zip", inner=""):
    folder.mkdir(exist_ok=True, parents=True)
    frame = gpd.GeoDataFrame(rows, geometry="geometry", crs=crs)
    shapes = folder / "shapes"
    shapes.mkdir(exist_ok=True)
    frame.to_file(shapes / "r2ka13.shp", encoding=encoding, engine="pyogrio")
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for part in sorted(shapes.glob("r2ka13.*")):
            if part.suffix != ".cpg":
                archive.write(part, f"{inner}{part.name}")
    return path


def _read(tmp_path, rows, **options):
    towns = read_towns(_archive(tmp_path / "grown", rows, **options))
    check_table(CENSUS_TOWNS, towns)
    return towns.set_index("town_code")


_PARTS = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 900), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=25, deadline=None)
@given(parts=_PARTS, chance=st.randoms(use_true_random=False))
def test_every_block_has_the_people_and_the_ground_of_its_rows_and_water_has_none(parts, chance):
    rows = [
        _row(f"00{block}001", people=people, hcode=8154 if is_water else 8101, at=0.02 * number)
        for number, (block, people, is_water) in enumerate([*parts, (5, 1, False)])
    ]
    chance.shuffle(rows)
    with tempfile.TemporaryDirectory() as folder:
        towns = _read(Path(folder), rows)
    wanted = {}
    for block, people, is_water in [*parts, (5, 1, False)]:
        if not is_water:
            before = wanted.get(f"1310100{block}001", (0, 0))
            wanted[f"1310100{block}001"] = (before[0] + people, before[1] + 1)
    assert {code: town["population"] for code, town in towns.iterrows()} == {code: found[0] for code, found in wanted.items()}
    for code, (_, pieces) in wanted.items():
        assert towns.loc[code].geometry.area == pytest.approx(pieces * 1e-4)
    assert towns.geometry.is_valid.all()


def test_rows_of_one_block_are_joined_and_their_people_summed(tmp_path):
    rows = [_row("001001", sign="E1", people=1234), _row("001001", sign="E2", people=0, at=1), _row("002000", people=5, at=2)]
    towns = _read(tmp_path, rows)
    assert list(towns.index) == ["13101001001", "13101002000"]
    assert towns.loc["13101001001", "population"] == 1234
    assert towns.loc["13101001001"].geometry.geom_type == "MultiPolygon"
    assert towns["population"].sum() == 1239


@pytest.mark.parametrize(("ground", "hcode"), [(8101, 8154), (8101.0, 8154.0), ("8101", "8154")])
def test_water_is_left_out_whatever_its_code_is_written_as(tmp_path, ground, hcode):
    rows = [_row("001001", hcode=ground), _row("002000", name="水面調査区", hcode=hcode, at=1)]
    assert list(_read(tmp_path, rows)["town"]) == ["見本町一丁目"]


@pytest.mark.parametrize("name", [None, "", "-", "‐", "－", "\u3000"])
def test_a_block_without_a_name_stays_and_has_a_code_of_its_own(tmp_path, name):
    rows = [
        _row("001001"),
        _row("000000", name=name, key="13", at=1),
        _row("000000", city="102", name=name, key="13", at=2),
        _row("003000", name=name, key="13", at=3),
    ]
    towns = _read(tmp_path, rows)
    nameless = towns[towns["town"].isna()]
    assert sorted(nameless.index) == ["13101000000", "13101003000", "13102000000"]
    assert set(nameless["municipality_code"]) == {"13101", "13102"}
    reverse = _read(tmp_path / "again", rows[::-1])
    assert list(reverse.index) == list(towns.index)


def test_the_unassigned_area_has_no_municipality_name(tmp_path):
    towns = _read(tmp_path, [_row("000000", city="199", name=None, city_name=None, key="13199"), _row("001001", at=1)])
    assert towns.loc["13199000000", "municipality_code"] == "13199"
    assert towns.loc[["13199000000"], "municipality"].isna().all()


def test_people_that_are_no_number_are_none(tmp_path):
    towns = _read(tmp_path, [_row("001001", people="12"), _row("002000", people="-", at=1), _row("003000", people=None, at=2)])
    assert list(towns["population"]) == [12, 0, 0]


def test_a_broken_polygon_is_mended_and_keeps_its_area(tmp_path):
    bow = Polygon([(139.7, 35.7), (139.71, 35.71), (139.71, 35.7), (139.7, 35.71)])
    towns = _read(tmp_path, [_row("001001", shape=bow), _row("002000", at=1)])
    mended = towns.loc["13101001001"].geometry
    assert mended.is_valid
    assert mended.area == pytest.approx(2 * 0.5 * 0.01 * 0.005, rel=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:6668", "EPSG:4612", "EPSG:6677"])
def test_every_reference_system_ends_in_wgs84(tmp_path, crs):
    rows = gpd.GeoDataFrame([_row("001001")], crs=WGS84).to_crs(crs).to_dict("records")
    towns = read_towns(_archive(tmp_path / "grown", rows, crs=crs))
    assert str(towns.crs) == WGS84
    assert towns.geometry.iloc[0].centroid.distance(Point(139.705, 35.705)) < 2e-5


_REAL = """
KEY_CODE 13101001001|PREF 13|CITY 101|S_AREA 001001|PREF_NAME 東京都|CITY_NAME 見本区|S_NAME 桜町１丁目|KIGO_E|HCODE 8101
AREA 61179.222|PERIMETER 1126.625|R2KAxx 2|R2KAxx_ID 1|KIHON1 0010|DUMMY1 -|KIHON2 01|KEYCODE1 101001001|KEYCODE2 101001001
AREA_MAX_F M|KIGO_D|N_KEN|N_CITY|KIGO_I|KBSUM 8|JINKO 234|SETAI 139|X_CODE 137.21466|Y_CODE 36.69948|KCODE1 0010-01
"""
_NUMBERS = {"HCODE": int, "KBSUM": int, "JINKO": int, "SETAI": int, "AREA": float, "PERIMETER": float, "X_CODE": float}


def _record(**more):
    """A record with every column of the 2020 edition, in e-Stat's order; the values are those of a real one, moved to Tokyo."""
    fields = [field.split(" ") for field in _REAL.strip().replace("\n", "|").split("|")]
    record = {name: _NUMBERS.get(name, str)(value[0]) if value else None for name, *value in fields}
    return record | {"geometry": box(139.7, 35.7, 139.71, 35.71)} | more


_ADDED_IN_2015 = {
    "KEN": "13", "KEN_NAME": "東京都", "SITYO_NAME": None, "GST_NAME": "見本市", "CSS_NAME": "見本区", "MOJI": "桜町１丁目",
    "H27KAxx_": 3, "H27KAxx_ID": 2,
}  # fmt: skip
_ONLY_IN_2020 = ("R2KAxx", "R2KAxx_ID")


def _of_2015(record):
    return {name: value for name, value in record.items() if name not in _ONLY_IN_2020} | _ADDED_IN_2015


@pytest.mark.parametrize("edition", [dict, _of_2015])
def test_both_editions_with_all_their_columns_read_alike(tmp_path, edition):
    towns = _read(tmp_path, [edition(_record()), edition(_record(KEY_CODE="13", S_AREA="000000", S_NAME="-", JINKO=1))])
    assert list(towns.index) == ["13101000000", "13101001001"]
    assert list(towns["population"]) == [1, 234]
    assert towns.loc["13101001001", ["town", "municipality", "prefecture"]].to_list() == ["桜町１丁目", "見本区", "東京都"]
    assert towns["town"].isna().to_list() == [True, False]


def test_a_file_with_only_the_older_columns_is_read_too(tmp_path):
    newer = {"PREF", "PREF_NAME", "CITY_NAME", "S_NAME"}
    towns = _read(tmp_path, [{name: value for name, value in _of_2015(_record()).items() if name not in newer}])
    assert towns.loc["13101001001", "town"] == "桜町１丁目"
    assert towns.loc["13101001001", "municipality"] == "見本市見本区"
    assert towns.loc["13101001001", "prefecture"] == "東京都"


def test_signs_of_islands_and_exclaves_change_nothing(tmp_path):
    signs = ({}, {"KIGO_I": "I"}, {"KIGO_D": "D", "N_KEN": "13", "N_CITY": "102"}, {"KIGO_D": "D1", "AREA_MAX_F": None})
    rows = [_record(KEY_CODE=f"1310100{number}001", S_AREA=f"00{number}001", **sign) for number, sign in enumerate(signs)]
    towns = _read(tmp_path, rows)
    assert list(towns.index) == [f"1310100{number}001" for number in range(4)]
    assert set(towns["municipality_code"]) == {"13101"}
    assert set(towns["population"]) == {234}


def test_many_parts_of_a_block_are_one_whatever_the_order_of_the_rows(tmp_path):
    rows = [
        _record(KIGO_E=f"E{number + 1}", JINKO=234 if number == 3 else 0, S_NAME="桜町" if number == 3 else f"桜{number}",
                AREA_MAX_F="M" if number == 7 else None, geometry=box(139.7 + at, 35.7, 139.7 + at + 0.01, 35.71))
        for number, at in enumerate(0.008 * step for step in range(22))
    ]  # fmt: skip
    rows += [_record(KEY_CODE="13101002001", S_AREA="002001", geometry=box(139.9, 35.8, 139.91, 35.81))]
    first = _read(tmp_path, rows)
    assert first.loc["13101001001", "population"] == 234
    assert first.loc["13101001001", "town"] == "桜町"  # that of the part with the people
    assert first.loc["13101001001"].geometry.area == pytest.approx((0.008 * 21 + 0.01) * 0.01)
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        again = _read(tmp_path / str(seed), rows)
        assert again.drop(columns="geometry").equals(first.drop(columns="geometry"))
        assert again.geometry.to_wkb().equals(first.geometry.to_wkb())


# --- outlines that are not what they should be ----------------------------------------------------------------------------


def test_blocks_that_overlap_or_leave_gaps_stay_as_they_are_drawn(tmp_path):
    drawn = [box(139.7, 35.7, 139.72, 35.71), box(139.71, 35.7, 139.73, 35.71), box(139.75, 35.7, 139.76, 35.71)]
    rows = [_row(f"00{number}000", shape=shape) for number, shape in enumerate(drawn)]
    towns = _read(tmp_path, rows)
    assert all(found.equals(shape) for found, shape in zip(towns.geometry, drawn, strict=True))


def test_mending_leaves_areas_only(tmp_path):
    spike = Polygon([(139.7, 35.7), (139.71, 35.7), (139.71, 35.71), (139.71, 35.73), (139.71, 35.71), (139.7, 35.71)])
    line = Polygon([(139.8, 35.7), (139.81, 35.7), (139.82, 35.7)])
    rows = [
        _row("001001", shape=spike),
        _row("002000", shape=line),
        _row("003000", shape=MultiPolygon([box(139, 35, 140, 36)])),
    ]
    towns = _read(tmp_path, rows)
    assert list(towns.index) == ["13101001001", "13101003000"]
    assert towns.geometry.iloc[0].area == pytest.approx(1e-4)


_MARK = 139.123456789


def _with_corner(path, value):
    """Put `value` where a corner was marked: no library writes NaN into a shapefile."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            if name.endswith(".shp"):
                assert struct.pack("<d", _MARK) in content
                content = content.replace(struct.pack("<d", _MARK), struct.pack("<d", value))
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("value", [math.nan, math.inf, -1e300, 0.0, 35.7, 200.0])
def test_a_corner_that_is_nowhere_costs_its_block_and_is_told(tmp_path, caplog, value):
    bad = Polygon([(139.7, 35.7), (_MARK, 35.71), (139.71, 35.71), (139.71, 35.7)])
    path = _archive(tmp_path / "grown", [_row("001001", shape=bad), _row("002000"), _row("003000", shape=None, at=1)])
    with caplog.at_level(logging.WARNING):
        towns = read_towns(_with_corner(path, value))
    assert list(towns["town_code"]) == ["13101002000", "13101003000"]
    assert "1 of 3 outlines are empty, not finite or outside Japan" in caplog.text
    assert "KEY_CODE 13101001001" in caplog.text


def test_a_block_without_outline_is_left_out_and_told(tmp_path, caplog):
    rows = [_row("001001") | {"geometry": None}, _row("002000") | {"geometry": Polygon()}, _row("003000")]
    with caplog.at_level(logging.WARNING):
        assert list(_read(tmp_path, rows).index) == ["13101003000"]
    assert "2 of 3 outlines" in caplog.text


def test_a_good_archive_is_not_complained_of(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        _read(tmp_path, [_row("001001")])
    assert caplog.text == ""


def test_exchanged_coordinates_are_told_with_their_cure(tmp_path):
    rows = [_row(f"00{number}000", shape=box(35.7, 139.7 + number, 35.71, 139.71 + number)) for number in range(3)]
    with pytest.raises(
        BadSourceFileError, match=r"latitudes and longitudes are exchanged; write it with x = longitude.*fetch pref"
    ):
        read_towns(_archive(tmp_path / "grown", rows))


@pytest.mark.parametrize("shape", [box(2.3, 48.8, 2.4, 48.9), box(-35_000, -12_000, -34_000, -11_000)])
def test_an_archive_from_elsewhere_or_of_a_plane_without_its_prj_is_none_of_japan(tmp_path, shape):
    with pytest.raises(BadSourceFileError, match="not one of its outlines lies in Japan"):
        read_towns(_archive(tmp_path / "grown", [_row("001001", shape=shape)]))


@pytest.mark.parametrize("row", [_row("001001", hcode=8154), _row("001001") | {"geometry": None}])
def test_an_archive_without_land_is_told(tmp_path, row):
    with pytest.raises(BadSourceFileError, match="no block of land"):
        read_towns(_archive(tmp_path / "grown", [row, _row("002000", hcode=8154)]))


# --- codes that have changed since ---------------------------------------------------------------------------------------


def test_a_ward_that_only_got_another_code_labels_as_in_the_census(tmp_path):
    def block(city, area, *, key=None, name="見本町"):
        return _row(area, city=city, key=key or f"22{city}{area}", name=name) | {"PREF": "22", "PREF_NAME": "静岡県"}

    former = _read(tmp_path / "2020", [block("137", "001001"), block("137", "000000", key="22", name=None)])
    today = _read(tmp_path / "later", [block("140", "001001"), block("140", "000000", key="22", name=None)])
    assert list(former.index) == list(today.index) == ["22137000000", "22137001001"]
    assert list(today["municipality_code"]) == ["22137", "22137"]
    joined = _read(tmp_path / "joined", [block("138", "001001"), block("139", "001001"), block("131", "001001")])
    assert list(joined.index) == ["22131001001", "22138001001", "22139001001"]  # made of several: as they are


# --- the file and its archive --------------------------------------------------------------------------------------------


def test_utf8_is_detected_and_any_other_encoding_is_an_error(tmp_path):
    assert list(_read(tmp_path, [_row("001001")], encoding="utf-8")["town"]) == ["見本町一丁目"]
    path = _archive(tmp_path / "euc", [_row("001001")], encoding="EUC-JP")
    with pytest.raises(BadSourceFileError, match="another encoding than cp932") as caught:
        read_towns(path)
    assert str(path) in str(caught.value)
    assert "prefecture 13 (東京都)" in str(caught.value)


def _rezip(source, target, change):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            name = change(info.filename)
            if name:
                new.writestr(name, old.read(info))
    return target


@pytest.mark.parametrize("name", ["../r2ka13.dbf", "/etc/r2ka13.dbf", "a/../../r2ka13.dbf", "..\\r2ka13.dbf", "C:\\r2ka13.dbf"])
def test_a_name_that_leads_outside_is_refused_and_nothing_written(tmp_path, name):
    path = _archive(tmp_path / "grown", [_row("001001")])
    bad = _rezip(path, tmp_path / "bad-DDSWC13.zip", lambda inner: name if inner.endswith(".dbf") else inner)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadSourceFileError, match="outside of itself"):
        read_towns(bad)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(("missing", "said"), [(".dbf", "no .dbf"), (".shx", "no .shx"), (".shp", "no .shp")])
def test_an_archive_that_lacks_a_part_says_which(tmp_path, missing, said):
    path = _archive(tmp_path / "grown", [_row("001001")])
    bad = _rezip(path, tmp_path / "bad.zip", lambda inner: None if inner.endswith(missing) else inner)
    with pytest.raises(BadSourceFileError, match=said):
        read_towns(bad)


def test_shapes_in_a_folder_of_the_archive_are_found(tmp_path):
    assert list(_read(tmp_path, [_row("001001")], inner="h/")["town"]) == ["見本町一丁目"]


def test_shapes_of_something_else_are_no_census(tmp_path):
    with pytest.raises(BadSourceFileError, match="no KEY_CODE and no PREF"):
        read_towns(_archive(tmp_path / "grown", [{"NAME": "lake", "geometry": box(0, 0, 1, 1)}]))


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>sorry", b"PK\x03\x04 cut", b"\0" * 4000])
def test_what_is_no_archive_is_told_with_its_cure(tmp_path, content):
    path = tmp_path / "A002005212020DDSWC13-JGD2011.zip"
    path.write_bytes(content)
    with pytest.raises(BadSourceFileError, match=r"prefecture 13 \(東京都\)"):
        read_towns(path)


def test_a_spoilt_member_is_found_out(tmp_path):
    path = _archive(tmp_path / "grown", [_row("001001")])
    content = bytearray(path.read_bytes())
    content[content.index(b"r2ka13.dbf") + 200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(BadSourceFileError):
        check_archive(path, shown=path)


def test_a_missing_archive_is_told(tmp_path):
    with pytest.raises(MissingInputError, match="census_towns"):
        read_towns(tmp_path / "none.zip")


def test_the_real_tokyo_file(shared_data):
    towns = read_towns(shared_data / "tokyo" / "A002005212020DDSWC13-JGD2011.zip")
    check_table(CENSUS_TOWNS, towns)
    people = towns.groupby("municipality")["population"].sum()
    # census 2020: the published sums of these wards; Minato's five people on boats are left out with the water
    assert people["千代田区"] == 66_680
    assert people["中央区"] == 169_179
    assert people["文京区"] == 240_069
    assert people["港区"] == 260_486 - 5
    nameless = towns[towns["town"].isna()]
    assert list(nameless["town_code"]) == ["13113000000"]
    assert towns.geometry.is_valid.all()
