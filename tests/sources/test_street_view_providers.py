"""Providers by name: their order, their keys, and who is never asked unless named."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.errors import MissingKeyError, SettingError, TermsNotAcceptedError
from geoloc_pipeline.sources.google import ACCEPTED_TERMS
from geoloc_pipeline.sources.http_async import AsyncHttpClient
from geoloc_pipeline.sources.street_view_providers import KNOWN, PROVIDERS, open_provider, read_order

KEYS = {
    "MAPILLARY_ACCESS_TOKEN": "MLY|1|made-up",
    "GOOGLE_MAPS_API_KEY": "AIza-made-up",
    "GOOGLE_MAPS_SIGNING_SECRET": "bWFkZSB1cA==",
    "GEOLOC_GOOGLE_TERMS": ACCEPTED_TERMS,
}


def opened(name: str, environ: Mapping[str, str]) -> Any:
    def nobody_may_ask(request: httpx.Request) -> httpx.Response:
        pytest.fail(f"{request.url.host} was asked")

    async def run() -> Any:
        async with AsyncHttpClient(transport=httpx.MockTransport(nobody_may_ask)) as http:
            return open_provider(name, http, environ)

    return asyncio.run(run())


def test_open_data_is_asked_by_itself_and_google_never() -> None:
    assert read_order("") == read_order(" , \n") == PROVIDERS == ("mapillary", "panoramax", "kartaview")
    assert set(KNOWN) - set(PROVIDERS) == {"google"}


@given(st.permutations(KNOWN), st.integers(0, len(KNOWN)), st.sampled_from([" ", ",", ", ", "\n", " , "]))
def test_an_order_is_read_as_it_is_told(names: list[str], count: int, between: str) -> None:
    told = tuple(names[:count])
    assert read_order(between.join(told).upper()) == (told or PROVIDERS)


@pytest.mark.parametrize("told", ["mapilary", "mapillary bing", "panoramax panoramax", "kartaview, KartaView"])
def test_an_unknown_or_doubled_name_is_told_with_the_cure(told: str) -> None:
    with pytest.raises(SettingError, match="mapillary, panoramax, kartaview, google") as caught:
        read_order(told)
    assert "GEOLOC_STREET_VIEW" in str(caught.value)
    assert repr(told) in str(caught.value)


@pytest.mark.parametrize("name", KNOWN)
def test_every_provider_opens_with_its_keys_and_asks_nothing(name: str) -> None:
    provider = opened(name, KEYS)
    assert provider.source == name
    assert provider.service
    assert provider.requests_per_picture >= 1
    assert provider.keeps_coverage is (name != "google")
    if name in {"panoramax", "kartaview"}:
        assert opened(name, {}).source == name


@pytest.mark.parametrize("environ", [{}, {"MAPILLARY_ACCESS_TOKEN": " "}])
def test_without_its_token_mapillary_says_how_to_go_on_without_it(environ: dict[str, str]) -> None:
    with pytest.raises(MissingKeyError, match="MAPILLARY_ACCESS_TOKEN") as caught:
        opened("mapillary", environ)
    told = str(caught.value)
    assert "https://www.mapillary.com/dashboard/developers" in told
    assert 'GEOLOC_STREET_VIEW="panoramax kartaview"' in told
    assert read_order("panoramax kartaview") == ("panoramax", "kartaview")


def test_google_wants_terms_then_a_key_and_takes_no_other_providers() -> None:
    with pytest.raises(TermsNotAcceptedError):
        opened("google", {name: value for name, value in KEYS.items() if name != "GEOLOC_GOOGLE_TERMS"})
    with pytest.raises(MissingKeyError, match="GOOGLE_MAPS_API_KEY"):
        opened("google", {"GEOLOC_GOOGLE_TERMS": ACCEPTED_TERMS})
    with pytest.raises(SettingError, match="GEOLOC_STREET_VIEW"):
        opened("bing", KEYS)
