"""Town blocks: borders are shared exactly, and the census' oddities are there."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import shapely

from geoloc_pipeline.demo.grow_names import HOMELANDS
from geoloc_pipeline.demo.grow_towns import Ground
from geoloc_pipeline.demo.land import Land, Town
from geoloc_pipeline.geo.sphere import distance_m

CODES = ("01", "13", "35", "47")


def towns_of(land: Land, code: str) -> list[Town]:
    return [town for town in land.towns if town.prefecture_code == code]


@pytest.mark.parametrize("code", CODES)
def test_borders_are_shared_without_gap_or_overlap(whole_land: Land, code: str) -> None:
    parts = shapely.get_parts([town.polygon for town in towns_of(whole_land, code)])
    assert shapely.is_valid(parts).all()
    assert shapely.coverage_is_valid(parts)
    union = shapely.coverage_union_all(parts)
    assert union.geom_type == "Polygon"
    assert len(union.interiors) == 0
    assert np.isclose(union.area, shapely.area(parts).sum(), rtol=1e-12)


@pytest.mark.parametrize("code", CODES)
def test_six_municipalities_hold_six_named_blocks_each(whole_land: Land, code: str) -> None:
    named = [town for town in towns_of(whole_land, code) if town.town]
    assert sorted(Counter(town.municipality_code for town in named).values()) == [6] * 6
    assert len({town.key_code for town in towns_of(whole_land, code)}) == len(towns_of(whole_land, code))
    for town in towns_of(whole_land, code):
        assert len(town.key_code) == 11
        assert town.key_code.startswith(town.municipality_code)
        assert town.municipality_code.startswith(town.prefecture_code)


@pytest.mark.parametrize("code", CODES)
def test_the_oddities_of_the_census_are_there(whole_land: Land, code: str) -> None:
    towns = towns_of(whole_land, code)
    assert sum(town.is_water for town in towns) == 1
    assert sum(not town.town and not town.is_water for town in towns) == 1
    assert sum(town.polygon.geom_type == "MultiPolygon" for town in towns) == 1
    twins = Counter((town.municipality_code, town.town) for town in towns if town.town)
    assert max(twins.values()) == 2  # blocks without chome share their name


@pytest.mark.parametrize("code", CODES)
def test_a_prefecture_is_about_48_by_28_km(code: str, whole_land: Land) -> None:
    ground = Ground(HOMELANDS[code])
    corners = ground.lonlat(np.array([[-24_000.0, 0.0], [24_000.0, 0.0], [0.0, -14_000.0], [0.0, 14_000.0]]))
    lon, lat = corners.T
    wide, high = distance_m(lat=lat[::2], lon=lon[::2], to_lat=lat[1::2], to_lon=lon[1::2])
    assert wide == pytest.approx(48_000, rel=2e-3)
    assert high == pytest.approx(28_000, rel=2e-3)
    reach = shapely.union_all([town.polygon for town in towns_of(whole_land, code)])
    assert shapely.contains_xy(reach, *ground.lonlat(np.zeros((1, 2)))[0])
