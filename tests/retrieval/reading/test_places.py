"""Names of places come from the block that holds them; nowhere has no name."""

from __future__ import annotations

import geopandas as gpd
import pytest
import shapely

from geoloc_pipeline.geo.crs import WGS84
from geoloc_pipeline.retrieval.reading.places import PlaceNames
from geoloc_pipeline.tables import CENSUS_TOWNS, check_table, empty_table

TOWNS = gpd.GeoDataFrame(
    {
        "town_code": ["13101000002", "13101000001", "47201000001"],
        "town": ["二丁目", "一丁目", None],
        "municipality_code": ["13101", "13101", "47201"],
        "municipality": ["見本区", "見本区", "見本市"],
        "prefecture_code": ["13", "13", "47"],
        "prefecture": ["東京都", "東京都", "沖縄県"],
        "population": [1, 2, 3],
    },
    geometry=[shapely.box(139.1, 35, 139.2, 35.1), shapely.box(139, 35, 139.1, 35.1), shapely.box(127, 26, 128, 27)],
    crs=WGS84,
)


def test_codes_and_names_come_in_the_order_of_the_places():
    check_table(CENSUS_TOWNS, TOWNS)
    table = PlaceNames(TOWNS).table_at(lat=[26.5, 35.05, 35.05, 0.0], lon=[127.5, 139.15, 139.05, 0.0])
    assert table["town_code"].tolist()[:3] == ["47201000001", "13101000002", "13101000001"]
    assert table["prefecture_code"].tolist()[:3] == ["47", "13", "13"]
    assert table.iloc[3].isna().all()


def test_a_place_on_a_border_belongs_to_the_smaller_code():
    assert PlaceNames(TOWNS).table_at(lat=[35.05], lon=[139.1])["town_code"].tolist() == ["13101000001"]


def test_names_leave_out_what_the_census_does_not_name():
    names = PlaceNames(TOWNS)
    assert names.names_at(lat=35.05, lon=139.05) == {"prefecture": "東京都", "municipality": "見本区", "town": "一丁目"}
    assert names.names_at(lat=26.5, lon=127.5) == {"prefecture": "沖縄県", "municipality": "見本市"}
    assert names.names_at(lat=0.0, lon=0.0) == {}


@pytest.mark.parametrize("n", [0, 3])
def test_without_any_census_every_place_is_nowhere(n: int):
    table = PlaceNames(empty_table(CENSUS_TOWNS)).table_at(lat=[35.0] * n, lon=[139.0] * n)
    assert len(table) == n
    assert table.isna().all().all()
