"""Names say that they are made up, and codes are nobody's."""

from __future__ import annotations

from geoloc_pipeline.demo import grow_names
from geoloc_pipeline.demo.land import Land


def test_every_name_says_that_it_is_made_up(whole_land: Land) -> None:
    words = (*grow_names.SAMPLES, "仮名")
    for town in whole_land.towns:
        assert any(word in town.municipality for word in words)
        assert not town.town or any(word in town.town for word in words)
    named = [thing.tags["name"] for thing in (*whole_land.roads, *whole_land.landmarks) if "name" in thing.tags]
    strangers = [name for name in named if not any(word in name for word in words)]
    assert all(name.startswith("国道9") for name in strangers)  # real national routes end at 507


def test_municipalities_have_names_and_codes_of_their_own() -> None:
    told = [grow_names.municipality(land, number) for land in grow_names.HOMELANDS.values() for number in range(6)]
    assert len({code for code, _ in told}) == len({name for _, name in told}) == 24


def test_streets_of_a_prefecture_do_not_share_names() -> None:
    count = len(grow_names.STREETS) * len(grow_names.SAMPLES)
    assert len({grow_names.street(number) for number in range(count)}) == count == 240


def test_some_names_need_cp932_and_break_plain_shift_jis(whole_land: Land) -> None:
    names = {town.town for town in whole_land.towns}
    assert all(name.encode("cp932").decode("cp932") == name for name in names)
    only_cp932 = 0
    for name in names:
        try:
            name.encode("shift_jis")
        except UnicodeEncodeError:
            only_cp932 += 1
    assert only_cp932 > 0
