"""The 47 and the 8, and which of the 47 touch."""

from __future__ import annotations

import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.geo.prefectures import BY_CODE, BY_KEY, PREFECTURES, REGIONS, neighbours_of, prefectures_of

# how many prefectures each one touches by land, counted on a map; in code order
_COUNTS = (
    0, 2, 3, 4, 4, 4, 6, 4, 4, 5, 7, 3, 4, 3, 5, 4, 3, 4, 5, 8, 7, 4, 4, 6,
    4, 6, 4, 4, 4, 3, 4, 3, 4, 5, 2, 3, 3, 4, 2, 3, 2, 1, 4, 3, 3, 2, 0,
)  # fmt: skip


def test_there_are_47_in_code_order_each_in_one_region() -> None:
    assert [prefecture.code for prefecture in PREFECTURES] == [f"{code:02d}" for code in range(1, 48)]
    assert sum(len(prefectures_of(region)) for region in REGIONS) == 47
    assert all(prefectures_of(region) for region in REGIONS)


def test_keys_are_code_and_latin_name() -> None:
    assert BY_KEY["13_tokyo"].name == "東京都"
    assert BY_KEY["47_okinawa"].region == "kyushu"
    assert all(key == f"{prefecture.code}_{key[3:]}" and key.isascii() for key, prefecture in BY_KEY.items())


def test_a_border_is_seen_from_both_sides_and_nobody_touches_itself() -> None:
    for code in BY_CODE:
        assert list(neighbours_of(code)) == sorted(set(neighbours_of(code)))
        assert code not in neighbours_of(code)
        assert all(code in neighbours_of(other) for other in neighbours_of(code))


def test_the_numbers_of_neighbours_are_those_of_the_map() -> None:
    assert tuple(len(neighbours_of(prefecture.code)) for prefecture in PREFECTURES) == _COUNTS


def test_known_neighbourhoods() -> None:
    assert neighbours_of("20") == ("10", "11", "15", "16", "19", "21", "22", "23")  # Nagano touches the most
    assert neighbours_of("13") == ("11", "12", "14", "19")
    assert neighbours_of("42") == ("41",)
    assert neighbours_of("01") == neighbours_of("47") == ()


@pytest.mark.parametrize(("one", "other"), [("01", "02"), ("35", "40"), ("28", "36"), ("38", "44"), ("12", "14"), ("46", "47")])
def test_bridges_tunnels_and_ferries_are_no_borders(one: str, other: str) -> None:
    assert other not in neighbours_of(one)


def test_a_part_of_the_country_is_connected_as_its_islands_are() -> None:
    def reached(start: str) -> set[str]:
        found, ahead = set(), {start}
        while ahead:
            found |= ahead
            ahead = {other for code in ahead for other in neighbours_of(code)} - found
        return found

    assert reached("40") == {f"{code}" for code in range(40, 47)}
    honshu_and_shikoku = {f"{code:02}" for code in range(2, 40)}  # joined on the divided islands of the Inland Sea
    assert reached("13") == honshu_and_shikoku


@pytest.mark.parametrize("code", ["", "1", "48", "13_tokyo"])
def test_what_is_no_prefecture_has_no_neighbours(code: str) -> None:
    with pytest.raises(SettingError, match="01 to 47"):
        neighbours_of(code)
