"""The 47 and the 8."""

from __future__ import annotations

from geoloc_pipeline.geo.prefectures import BY_KEY, PREFECTURES, REGIONS, prefectures_of


def test_there_are_47_in_code_order_each_in_one_region() -> None:
    assert [prefecture.code for prefecture in PREFECTURES] == [f"{code:02d}" for code in range(1, 48)]
    assert sum(len(prefectures_of(region)) for region in REGIONS) == 47
    assert all(prefectures_of(region) for region in REGIONS)


def test_keys_are_code_and_latin_name() -> None:
    assert BY_KEY["13_tokyo"].name == "東京都"
    assert BY_KEY["47_okinawa"].region == "kyushu"
    assert all(key == f"{prefecture.code}_{key[3:]}" and key.isascii() for key, prefecture in BY_KEY.items())
