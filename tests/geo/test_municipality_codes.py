"""Codes of today and of the census: nothing is lost on the way there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.geo.municipality_codes import census_code_of, census_codes_of, codes_today_of

_FORMER = [f"2213{ward}" for ward in range(1, 8)]
_TODAY = ["22138", "22139", "22140"]


@pytest.mark.parametrize(
    ("today", "former"),
    [
        ("22138", ("22131", "22132", "22133", "22134", "22135")),
        ("22139", ("22135", "22136")),
        ("22140", ("22137",)),
        ("22130", ("22130",)),
        ("13101", ("13101",)),
    ],
)
def test_a_ward_of_today_is_told_its_former_ones(today: str, former: tuple[str, ...]) -> None:
    assert census_codes_of(today) == former


def test_the_divided_ward_went_into_two_and_every_other_into_one() -> None:
    assert [codes_today_of(code) for code in _FORMER] == [("22138",)] * 4 + [("22138", "22139"), ("22139",), ("22140",)]


@given(code=st.one_of(st.sampled_from(_FORMER), st.integers(1101, 47382).map("{:05}".format).filter(lambda c: c not in _TODAY)))
def test_there_and_back_leads_to_oneself(code: str) -> None:
    for today in codes_today_of(code):
        assert code in census_codes_of(today)
    assert {today for today in codes_today_of(code) if today not in _TODAY} <= {code}


def test_only_a_ward_that_merely_got_another_code_is_renamed() -> None:
    assert {code: census_code_of(code) for code in [*_TODAY, "22131", "13101"]} == {
        "22138": "22138",
        "22139": "22139",
        "22140": "22137",
        "22131": "22131",
        "13101": "13101",
    }
