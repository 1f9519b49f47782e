"""What a thing is called: its Japanese name, its Latin one, and the plain form by which two spellings are the same name.

Belongs here: which of an object's name tags counts, and what of it is a name. In Japan `name` is Japanese; many mappers add
the Latin form to it, in brackets or behind a semicolon (https://wiki.openstreetmap.org/wiki/Multilingual_names#Japan).
Does not belong here: route numbers (`roads.py`).
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from geoloc_pipeline.osm.tags import LATIN_NAME_TAGS, NAME_TAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

_JAPANESE = re.compile(r"[\u3005-\u3007\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9d]")
_READING = r"[A-Za-zÀ-ɏ][A-Za-zÀ-ɏ0-9'’. -]{3,}"  # four letters at least: the A of 見本通り A tells two streets apart
_LATIN = re.compile(_READING)
_LATIN_TAIL = re.compile(rf"\s+({_READING})$")
_BRACKET = re.compile(r"\s*\(([^()]*)\)")


def spoken_names(tags: Mapping[str, str | None]) -> tuple[str | None, str | None]:
    """Return (name, Latin name) of an object; both None when nobody has named it.

    The name is `name` as it is tagged, or `name:ja` where only that one is Japanese, else the first name of any kind. The
    Latin name is the first of the Latin tags, else the Latin part of the name; it is there whenever one can be read.

    Args:
        tags: Values by OSM key; `tags.NAME_TAGS` and `tags.LATIN_NAME_TAGS` are looked at.

    Returns:
        The names as tagged, without blanks around them.
    """
    told = {key: value.strip() for key in (*NAME_TAGS, *LATIN_NAME_TAGS) if (value := tags.get(key)) and value.strip()}
    japanese = [told[key] for key in NAME_TAGS if key in told and _JAPANESE.search(told[key])]
    name = next(iter(japanese or told.values()), None)
    latin = [told[key] for key in LATIN_NAME_TAGS if key in told] or [
        part for value in told.values() for part in _parts(value) if not _JAPANESE.search(part)
    ]
    return name, next(iter(latin), None)


def plain_name(name: str | None) -> str | None:
    """Return a name in the form in which it identifies; None when nothing is left.

    One width, case and blank; of a name that is told in Japanese and in Latin letters only the Japanese. Where several names
    share a way (`明治通り;外苑西通り`), mappers list them in any order, so the first in alphabetical order stands for it.

    Args:
        name: As tagged.

    Returns:
        Such as `明治通り` for `明治通り (Meiji-dori)`, `明治通り;Meiji Dori`, `Meiji-dori（明治通り）`.
    """
    parts = _parts(name or "")
    japanese = [part for part in parts if _JAPANESE.search(part)]
    return min((part.casefold() for part in japanese or parts), default=None)


def _parts(name: str) -> list[str]:
    """Split a name into the names that it holds, normalised; a bracket or a tail is one when it repeats in Latin letters."""
    parts = []
    for piece in re.split(r"[;/]", unicodedata.normalize("NFKC", name)):
        whole = " ".join(piece.split())
        bracketed, outside = [found.strip() for found in _BRACKET.findall(whole)], _BRACKET.sub("", whole).strip()
        told_twice = any(_is_reading(outside, part) or _is_reading(part, outside) for part in bracketed)
        for part in (outside, *bracketed) if told_twice else (whole,):
            tail = _LATIN_TAIL.search(part) if _JAPANESE.search(part) else None
            parts += [part[: tail.start()], tail.group(1)] if tail else [part]
    return [part for part in parts if re.search(r"\w", part)]


def _is_reading(japanese: str, latin: str) -> bool:
    return bool(_JAPANESE.search(japanese)) and bool(_LATIN.fullmatch(latin))
