"""Figures are written for people, and a page may load nothing."""

from __future__ import annotations

import base64
import hashlib
import math

import jinja2
import pytest

from geoloc_pipeline.evaluation.pages import data_uri, km, number, pct, render_page, safe_link, seconds


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0 m"),
        (0.35, "350 m"),
        (0.9999, "1.0 km"),
        (4.23, "4.2 km"),
        (99.96, "100 km"),
        (1203.4, "1,203 km"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_distances_are_told_in_the_unit_that_fits(value: float | None, words: str):
    assert km(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0.42, "0.4 s"), (12.3, "12 s"), (59.8, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")]
)
def test_durations_are_told_in_the_unit_that_fits(value: float, words: str):
    assert seconds(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1234567, "1,234,567"),
        (0, "0"),
        (3.14159, "3.14"),
        (12345.6, "12,346"),
        ("a", "a"),
        (True, "True"),
        (None, "–"),
        (math.inf, "–"),
    ],
)
def test_figures_are_told_with_as_many_digits_as_they_need(value: object, words: str):
    assert number(value) == words


def test_shares_that_are_not_known_are_a_dash():
    assert pct(math.nan) == pct(None) == "–"
    assert pct(83.66) == "83.7 %"


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "//host/x",
        "",
        None,
        "http://",
        "http://[x",
    ],
)
def test_only_links_to_web_pages_are_kept(url: str | None):
    assert safe_link(url) == ""
    assert safe_link("https://example.org/a?b=c") == "https://example.org/a?b=c"


def test_a_data_address_holds_the_bytes():
    head, body = data_uri(b"\x00\xff", "image/png").split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(body) == b"\x00\xff"


def test_a_page_runs_only_the_script_that_is_handed_in(tmp_path, monkeypatch):
    package = tmp_path / "pagepackage"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "t.html.j2").write_text("{{ policy|safe }}|{{ name }}|{{ script }}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    policy, name, script = render_page("pagepackage", "t.html.j2", {"name": "<b>"}, script="a&&b").split("|")
    digest = base64.b64encode(hashlib.sha256(b"a&&b").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert (name, script) == ("&lt;b&gt;", "a&&b")
    assert "script-src 'none'" in render_page("pagepackage", "t.html.j2", {"name": ""})
    with pytest.raises(jinja2.UndefinedError):
        render_page("pagepackage", "t.html.j2", {})
