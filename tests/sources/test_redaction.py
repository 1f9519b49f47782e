"""No secret is shown, and what is no secret stays readable."""

from __future__ import annotations

import logging
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoloc_pipeline.sources.redaction import Redaction, quieten_http_logs

_TOKEN = "MLY|4423|abcdef0123456789"


@given(
    secret=st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=40),
    before=st.sampled_from(["", "https://x.org/a?b=1&t=", "Authorization: OAuth ", '{"token": "']),
)
def test_a_secret_that_is_known_is_never_shown_plain_or_quoted(secret, before):
    redaction = Redaction()
    redaction.hide(secret)
    for spelling in (secret, quote(secret, safe="")):
        assert spelling not in redaction.clean(f"{before}{spelling} and more")


@pytest.mark.parametrize(
    "text",
    [
        "https://tiles.mapillary.com/a/b?access_token=S3CRET-VALUE&x=1",
        "https://maps.example.org/s?size=1&key=S3CRET-VALUE",
        "https://maps.example.org/s?signature=S3CRET-VALUE",
        "https://scontent.example.org/m1/v/t6/a.jpg?stp=1&oh=S3CRET-VALUE&oe=5F00",
        "https://s3.example.org/a?X-Amz-Signature=S3CRET-VALUE",
        "Authorization: OAuth S3CRET-VALUE",
        "{'authorization': 'Bearer S3CRET-VALUE'}",
        "https://user:S3CRET-VALUE@example.org/",
        "https%3A%2F%2Fx.org%3Faccess_token%3DS3CRET-VALUE",
    ],
)
def test_secrets_nobody_told_us_of_are_known_by_their_names(text):
    assert "S3CRET" not in Redaction().clean(text)


def test_a_mapillary_token_is_known_by_its_looks():
    assert "abcdef" not in Redaction().clean(f"somewhere {_TOKEN} else, {quote(_TOKEN)}")


@pytest.mark.parametrize(
    "text",
    [
        "https://www.mapillary.com/app/?pKey=12345",
        "https://www.e-stat.go.jp/gis/statmap-search/data?dlserveyId=A002005212020&code=13&datum=2011",
        "https://graph.mapillary.com/images?bbox=139.1,35.1,139.2,35.2&fields=id,geometry&limit=2000",
        "the monkey=banana, author=someone",
    ],
)
def test_what_is_no_secret_stays(text):
    assert Redaction().clean(text) == text


def test_the_http_library_logs_no_token_even_when_someone_turns_its_logs_on(caplog):
    redaction = Redaction()
    quieten_http_logs(redaction)
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore.http11"):
        caplog.set_level(logging.DEBUG, logger=name)
    with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))) as client:
        client.get("https://tiles.example.org/1", params={"access_token": _TOKEN})
    logging.getLogger("httpcore.http11").debug("headers %s", [("Authorization", f"OAuth {_TOKEN}")])
    assert len(caplog.records) == 2
    assert "abcdef" not in caplog.text
    assert "tiles.example.org" in caplog.text
