"""The two names of a thing, and when two spellings are the same name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.osm.names import plain_name, spoken_names
from geoloc_pipeline.osm.roads import road_identity

WRITTEN = [
    {"name": "明治通り"},
    {"name": " 明治通り ", "name:en": "Meiji-dori Avenue"},
    {"name": "明治通り (Meiji-dōri)"},
    {"name": "明治通り（Meiji Dori）"},
    {"name": "明治通り;Meiji Dori"},
    {"name": "Meiji Dori; 明治通り"},
    {"name": "明治通り / Meiji Dori"},
    {"name": "明治通り Meiji-dori"},
    {"name": "Meiji-dori (明治通り)"},
    {"name": "Ｍｅｉｊｉ－ｄｏｒｉ（明治通り）"},
    {"name": "Meiji Dori", "name:ja": "明治通り"},
    {"name:ja": "明治通り", "name:ja-Latn": "Meiji-dōri"},
]


@pytest.mark.parametrize("tags", WRITTEN, ids=str)
def test_a_road_is_one_road_however_its_name_is_tagged(tags):
    name, _ = spoken_names(tags)
    assert road_identity(highway="residential", ref=None, name=name, prefecture_code="13") == "13:明治通り"


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"name": "明治通り"}, ("明治通り", None)),
        ({"name": "明治通り", "name:en": "Meiji Avenue"}, ("明治通り", "Meiji Avenue")),
        ({"name": "明治通り", "name:en": "Meiji Avenue", "name:ja-Latn": "Meiji-dōri"}, ("明治通り", "Meiji-dōri")),
        ({"name": "明治通り", "name:ja_rm": "Meiji-dōri", "name:en": ""}, ("明治通り", "Meiji-dōri")),
        ({"name": "明治通り (Meiji-dōri)"}, ("明治通り (Meiji-dōri)", "Meiji-dōri")),
        ({"name": "明治通り;Meiji Dori"}, ("明治通り;Meiji Dori", "Meiji Dori")),
        ({"name": "Meiji Dori", "name:ja": "明治通り"}, ("明治通り", "Meiji Dori")),
        ({"name": "Bobby's", "name:en": ""}, ("Bobby's", "Bobby's")),
        ({"name:en": "Ring"}, ("Ring", "Ring")),
        ({"name": " "}, (None, None)),
        ({}, (None, None)),
    ],
    ids=str,
)
def test_the_japanese_name_stays_as_tagged_and_the_latin_one_is_found(tags, expected):
    assert spoken_names(tags) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [("見本通り A", "見本通り B"), ("見本通り(1)", "見本通り(2)"), ("見本通り（北）", "見本通り（南）"), ("1号線", "2号線")],
)
def test_what_tells_two_streets_apart_is_no_latin_form(one, other):
    assert plain_name(one) != plain_name(other)


@given(st.permutations(["明治通り", "外苑西通り", "Meiji Dori"]))
def test_the_order_in_which_mappers_list_names_says_nothing(names):
    assert plain_name(";".join(names)) == plain_name("; ".join(reversed(names))) == "外苑西通り"


@given(st.text(alphabet="明治通り北ABCd12", min_size=1, max_size=12))
def test_the_width_of_letters_and_the_blanks_around_say_nothing(name):
    wide = "".join(chr(ord(letter) + 0xFEE0) if letter.isascii() else letter for letter in name)
    assert plain_name(f"\u3000{wide} ") == plain_name(name)


def test_a_name_that_is_only_a_bracket_is_kept():
    assert plain_name("(A)") == "(a)"
