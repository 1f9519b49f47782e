"""What browsers are sent beside answers: the page in the visitor's language, its script and style, the readable description."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any

import jinja2

from geoloc_pipeline.retrieval.answering.telling import UNFAMILIAR
from geoloc_pipeline.retrieval.answering.wording import FAR_KM, LANGUAGES
from geoloc_pipeline.web.openapi import openapi

STATIC = {
    "search.js": "text/javascript",
    "answer.js": "text/javascript",
    "map.js": "text/javascript",
    "search.css": "text/css",
}
"""Files that may be asked for, and what they are."""


def preferred_language(accepted: str) -> str:
    """Return the language of ours that a browser's Accept-Language likes best; English when it likes none.

    Args:
        accepted: Such as `ja,en-US;q=0.7,en;q=0.3`.

    Returns:
        `en` or `ja`.
    """
    best, wanted = 0.0, "en"
    for entry in accepted.split(","):
        tag, _, quality = entry.partition(";")
        language = tag.strip().lower().split("-")[0]
        try:
            weight = float(quality.strip().removeprefix("q=")) if quality else 1.0
        except ValueError:
            weight = 0.0
        if language in LANGUAGES and weight > best:
            best, wanted = weight, language
    return wanted


@cache
def words() -> dict[str, dict[str, str]]:
    """Return the page's words by language and key."""
    told: dict[str, list[str]] = json.loads(_text("static/words.json"))
    return {language: {key: pair[index] for key, pair in told.items()} for index, language in enumerate(LANGUAGES)}


@cache
def search_page(language: str) -> str:
    """Return the search page; both languages are in it, so that it can switch without forgetting anything."""
    told = words()
    block = json.dumps(told, ensure_ascii=False, sort_keys=True).replace("<", "\\u003c")  # no word can end the block
    limits = {"unfamiliar": UNFAMILIAR, "far_km": FAR_KM}
    return str(_template("page.html.j2").render(language=language, t=told[language], words=block, **limits))


@cache
def api_page() -> str:
    """Return the description of the API for people."""
    return str(_template("api.html.j2").render(api=openapi()))


@cache
def static_file(name: str) -> tuple[bytes, str]:
    """Return a file of `STATIC` and its entity tag."""
    data = _text(f"static/{name}").encode()
    return data, f'"{hashlib.sha256(data).hexdigest()[:20]}"'


def _text(name: str) -> str:
    return (resources.files("geoloc_pipeline.web") / name).read_text(encoding="utf-8")


def _template(name: str) -> Any:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_text(name))
