"""The identity of roads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.osm.roads import first_route, road_identity


@pytest.mark.parametrize(
    ("highway", "ref", "name", "expected"),
    [
        ("trunk", "4", "日光街道", "JP:4"),
        ("motorway", "E1", "東名高速道路", "JP:E1"),
        ("trunk", "４", None, "JP:4"),
        ("trunk", "国道4号", None, "JP:4"),
        ("trunk", "17;4", None, "JP:4"),
        ("motorway", "E20; C4", None, "JP:C4"),
        ("motorway", "e1a", None, "JP:E1A"),
        ("primary", "318", "環七通り", "13:318"),
        ("secondary", "都道 412号", None, "13:412"),
        ("tertiary", "０４３２", None, "13:432"),
        ("residential", None, "竹下通り", "13:竹下通り"),
        ("residential", "", "  明治　通り ", "13:明治 通り"),
        ("residential", None, "明治通り (Meiji-dōri)", "13:明治通り"),
        ("unclassified", " ; ", "ABC Street", "13:abc street"),
        ("unclassified", None, "ＡＢＣ street", "13:abc street"),
        ("trunk", None, "新道", "13:新道"),
        ("residential", None, None, None),
        ("residential", "", " ", None),
        ("residential", "-", None, None),
    ],
)
def test_a_way_belongs_to_the_road_people_know(highway, ref, name, expected):
    assert road_identity(highway=highway, ref=ref, name=name, prefecture_code="13") == expected


@pytest.mark.parametrize(
    ("ref", "name", "expected"),
    [
        ("3", "首都高速3号渋谷線", "13:首都高速3号渋谷線"),
        ("３", "首都高速3号渋谷線", "13:首都高速3号渋谷線"),
        ("3", None, "13:motorway 3"),
        ("11;3", None, "13:motorway 3"),
        ("C2", "首都高速中央環状線", "JP:C2"),
        ("3;E1", "東名高速道路", "JP:E1"),
        (None, "首都高速3号渋谷線", "13:首都高速3号渋谷線"),
    ],
)
def test_an_urban_expressway_with_a_bare_number_is_no_national_route(ref, name, expected):
    assert road_identity(highway="motorway", ref=ref, name=name, prefecture_code="13") == expected
    assert road_identity(highway="trunk", ref="3", name=None, prefecture_code="13") == "JP:3" != expected


routes = st.lists(st.sampled_from(["4", "17", "246", "E1", "E1A", "C2", "318"]), min_size=1, max_size=4)


@given(routes.flatmap(lambda listed: st.tuples(st.just(listed), st.permutations(listed))))
def test_the_order_in_which_mappers_list_routes_says_nothing(both):
    one, other = both
    assert first_route(";".join(one)) == first_route("; ".join(other)) in one


@given(st.integers(1, 9999))
def test_the_width_of_digits_says_nothing(number):
    wide = str(number).translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    assert first_route(wide) == first_route(f"{number:05d}") == first_route(f"県道{wide}号線") == str(number)
