"""The made-up Japan as a whole: what the seed decides, and that nothing of it is lost in a thin land."""

from __future__ import annotations

import time

import pytest
import shapely

from geoloc_pipeline.demo.grow import grow_land
from geoloc_pipeline.demo.land import Land
from geoloc_pipeline.demo.publish import fingerprint_of
from geoloc_pipeline.errors import SettingError


def test_a_seed_grows_one_land_and_another_seed_another() -> None:
    once, again, other = (grow_land(seed=seed, prefecture_codes=("35",), density=0.05) for seed in (5, 5, 6))
    assert fingerprint_of(once) == fingerprint_of(again) != fingerprint_of(other)


def test_a_prefecture_does_not_depend_on_the_others(thin_land: Land) -> None:
    alone = grow_land(seed=3, prefecture_codes=("47",), density=0.08)
    ids = {road.way_id for road in alone.roads}
    same = [road for road in thin_land.roads if road.way_id in ids]
    assert [road.lonlat.tolist() for road in same] == [road.lonlat.tolist() for road in alone.roads]
    assert [town for town in thin_land.towns if town.prefecture_code == "47"] == list(alone.towns)


def test_the_prefectures_lie_where_they_truly_are(whole_land: Land) -> None:
    assert whole_land.prefecture_codes == ("01", "13", "35", "47")
    true = {"01": (43.06, 141.35), "13": (35.69, 139.69), "35": (34.18, 131.47), "47": (26.4, 127.85)}
    for code, (lat, lon) in true.items():
        polygons = [town.polygon for town in whole_land.towns if town.prefecture_code == code]
        assert min(polygon.distance(shapely.Point(lon, lat)) for polygon in polygons) < 0.05


def test_ids_are_given_once(whole_land: Land) -> None:
    ways = [road.way_id for road in whole_land.roads] + [m.osm_id for m in whole_land.landmarks if m.kind == "way"]
    assert len(set(ways)) == len(ways)
    marks = [(mark.kind, mark.osm_id) for mark in whole_land.landmarks]
    assert len(set(marks)) == len(marks)


def test_growing_all_of_it_is_quick() -> None:
    started_s = time.process_time()
    grow_land(seed=11)
    assert time.process_time() - started_s < 6.0  # about 1 s on one core; the rest is for slow machines


@pytest.mark.parametrize(
    "setting", [{"prefecture_codes": ("02",)}, {"prefecture_codes": ()}, {"density": 0.0}, {"density": 1.5}]
)
def test_what_cannot_be_grown_is_refused_with_the_cure(setting: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=r"choose among 01, 13, 35, 47|above 0"):
        grow_land(**setting)  # type: ignore[arg-type]
