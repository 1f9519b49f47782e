"""Whoever opens the server to others must shut it with a token; what a request, a browser or a socket says is understood."""

from __future__ import annotations

import json
import socket

import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.web.guard import TOKEN_VARIABLE, checked_token, is_loopback
from geoloc_pipeline.web.listening import listen, url_of
from geoloc_pipeline.web.pages import preferred_language, search_page, words
from geoloc_pipeline.web.wishes import Wishes, read_wishes


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.8.8.8"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert checked_token(host, "") == ""


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "photos.example", "127.0.0.1.evil.example", ""])
def test_every_other_address_does(host: str) -> None:
    with pytest.raises(SettingError, match=TOKEN_VARIABLE):
        checked_token(host, "")
    assert checked_token(host, "a" * 16) == "a" * 16


@pytest.mark.parametrize("token", ["short", "with a space in it, long", "日本語のトークンは使えませんよ", 'quote"quote"quote"'])
def test_a_token_that_is_weak_or_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(SettingError) as told:
        checked_token("0.0.0.0", token)
    assert token not in str(told.value)


def test_a_port_that_is_taken_is_told_and_any_free_one_is_found() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert url_of(first) == f"http://127.0.0.1:{port}"
        with pytest.raises(SettingError, match=f"{port}.*--port 0"):
            listen("127.0.0.1", port)
    for host, wrong in (("127.0.0.1", 70_000), ("256.1.1.1", 0)):
        with pytest.raises((SettingError, socket.gaierror)):
            listen(host, wrong)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("", "en"), ("ja", "ja"), ("ja-JP,en;q=0.8", "ja"), ("en-GB,ja;q=0.9", "en"), ("fr,de;q=0.9", "en"), ("fr,ja;q=0.1", "ja"),
     ("ja;q=spoilt", "en"), ("*", "en"), (",,;;", "en")],
)  # fmt: skip
def test_a_browsers_languages_are_understood(accepted: str, language: str) -> None:
    assert preferred_language(accepted) == language


def test_the_page_has_every_word_in_both_languages() -> None:
    told = words()
    assert told["en"].keys() == told["ja"].keys()
    assert all(told["en"].values())
    for key, word in told["en"].items():
        holes = [part.split("}")[0] for part in word.split("{")[1:]]
        assert all(f"{{{hole}}}" in told["ja"][key] for hole in holes), key
    for language in ("en", "ja"):
        page = search_page(language)
        assert f'<html lang="{language}" ' in page
        block = page.split('id="words">')[1].split("</script>")[0]
        assert json.loads(block) == told


def test_what_is_not_asked_for_has_its_default() -> None:
    assert read_wishes([], prefecture_codes=["13"], sources=[]) == Wishes()
    told = read_wishes(
        [("prefecture", "47"), ("prefecture", "13"), ("prefecture", "47"), ("abstain_over_km", "50")],
        prefecture_codes=["13", "47"],
        sources=[],
        language="ja",
    )
    assert told.where.prefecture_codes == ("13", "47")
    assert told.abstain.over_km == 50.0
    assert told.language == "ja"
