"""Looks: steady, told apart by prefecture most, then municipality, then town."""

from __future__ import annotations

import colorsys
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest

from geoloc_pipeline.demo.chance import seed_of, uniform
from geoloc_pipeline.demo.style import GUARDRAIL_ORANGE, Style, style_of

PREFECTURES = tuple(f"{number:02d}" for number in range(1, 48))


def look(prefecture: str, municipality: int = 1, town: int = 1, lat: float = 35.0) -> Style:
    code = f"{prefecture}{100 + municipality}"
    return style_of(prefecture_code=prefecture, municipality_code=code, key_code=f"{code}{town:06d}", lat=lat)


def hue(colour: tuple[float, float, float]) -> float:
    return colorsys.rgb_to_hsv(*(part / 255.0 for part in colour))[0]


def hue_gap(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    return abs((hue(one) - hue(other) + 0.5) % 1.0 - 0.5)


def test_the_same_codes_give_the_same_look() -> None:
    assert look("35", 2, 3) == look("35", 2, 3)


def test_a_look_is_the_same_in_another_process_with_another_hash_salt() -> None:
    code = (
        "from geoloc_pipeline.demo.style import style_of;"
        "print(style_of(prefecture_code='28', municipality_code='28101', key_code='28101001001', lat=34.7))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": salt}
        ).stdout
        for salt in ("1", "2")
    }
    here = style_of(prefecture_code="28", municipality_code="28101", key_code="28101001001", lat=34.7)
    assert runs == {f"{here}\n"}


@pytest.mark.parametrize("prefecture", PREFECTURES)
def test_every_prefecture_of_japan_has_a_look_whose_colours_can_be_painted(prefecture: str) -> None:
    style = look(prefecture)
    for colour in (*style.wall_colours, *style.roof_colours, *style.kerb_colours, style.first_colour, style.rail_colour):
        assert all(0.0 <= part <= 255.0 for part in colour)
    assert 0.0 <= style.occupancy <= 1.0
    assert style.palm_share + style.conifer_share <= 1.0


def test_only_yamaguchi_has_orange_guardrails() -> None:
    orange = [code for code in PREFECTURES if look(code).rail_colour == GUARDRAIL_ORANGE]
    assert orange == ["35"]
    strong = [code for code in PREFECTURES if _is_strong_orange(look(code).rail_colour)]
    assert strong == ["35"]


def _is_strong_orange(colour: tuple[float, float, float]) -> bool:
    turn, saturation, value = colorsys.rgb_to_hsv(*(part / 255.0 for part in colour))
    return 0.04 < turn < 0.12 and saturation > 0.6 and value > 0.6


def test_no_municipality_flies_the_orange_of_the_guardrails() -> None:
    for number in range(300):
        assert not _is_strong_orange(look("01", number).first_colour)


@pytest.mark.parametrize("prefecture", ["01", "13", "28", "35", "47"])
def test_neighbouring_municipalities_are_told_apart_by_colour(prefecture: str) -> None:
    colours = [style_of(prefecture_code=prefecture, municipality_code=f"{prefecture}{101 + k}", lat=35.0) for k in range(6)]
    for one, other in combinations(colours, 2):
        assert hue_gap(one.first_colour, other.first_colour) > 0.05


def test_towns_differ_less_than_their_municipalities() -> None:
    within = [hue_gap(look("13", 1, a).first_colour, look("13", 1, b).first_colour) for a, b in combinations(range(6), 2)]
    between = [hue_gap(look("13", a).first_colour, look("13", b).first_colour) for a, b in combinations(range(6), 2)]
    assert 0.0 < np.mean(within) < np.mean(between) / 3
    assert len({look("13", 1, town).floors_mean for town in range(6)}) == 6


def test_quarters_lay_kerbs_and_footways_in_pale_colours_of_their_own_and_change_nothing_else() -> None:
    plain, *looks = (
        style_of(prefecture_code="13", municipality_code="13101", quarter=quarter, lat=35.7)
        for quarter in (None, *((3950, column) for column in range(60)))
    )
    assert len({look.paving_colour for look in looks}) == len({look.kerb_colours[1] for look in looks}) == 60
    gaps = [hue_gap(one.kerb_colours[1], other.kerb_colours[1]) for one, other in pairwise(looks)]
    assert np.mean(np.array(gaps) > 0.05) > 0.7
    assert {replace(look, paving_colour=plain.paving_colour, kerb_colours=plain.kerb_colours) for look in looks} == {plain}
    assert not any(_is_strong_orange(colour) for look in looks for colour in (*look.kerb_colours, look.paving_colour))
    assert {look.kerb_colours[0] for look in looks} == {plain.kerb_colours[0]}


def test_the_north_has_snow_and_the_south_has_palms() -> None:
    north, south = (style_of(prefecture_code="99", lat=lat) for lat in (43.0, 26.0))
    assert north.snow_depth > 0.9 > 0.0 == south.snow_depth
    assert south.palm_share > 0.8 > 0.0 == north.palm_share


def test_a_crowded_block_is_built_closer_than_a_lonely_one() -> None:
    lonely, crowded = (
        style_of(prefecture_code="01", municipality_code="01101", lat=43.0, people_per_km2=people) for people in (20.0, 9000.0)
    )
    assert lonely.occupancy < crowded.occupancy


def test_chance_depends_on_each_key_alone() -> None:
    keys = np.arange(5000)
    together = uniform(3, keys, 7)
    np.testing.assert_array_equal(together[[4999, 12]], uniform(3, np.array([4999, 12]), 7))
    assert abs(together.mean() - 0.5) < 0.02
    assert len(np.unique(together)) == len(keys)
    assert abs(np.corrcoef(together[1:], together[:-1])[0, 1]) < 0.05
    assert not np.array_equal(together, uniform(3, keys, 8))


def test_seeds_tell_parts_apart_that_read_alike_when_joined() -> None:
    assert seed_of("a", "bc") != seed_of("ab", "c")
    assert seed_of(1, 2) == seed_of("1", "2")
