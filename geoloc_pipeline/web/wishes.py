"""What a request asks for beside its photo: the query parameters, read strictly: a typing error is no silent default."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.retrieval.answering.locate import Abstain
from geoloc_pipeline.retrieval.answering.wording import LANGUAGES
from geoloc_pipeline.retrieval.gallery.neighbours import Where

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

MOST_NEIGHBOURS = 1000
KNOWN = ("top_k", "readout", "prefecture", "source", "query", "exif", "lang", "name", "abstain_over_km", "abstain_below")


@dataclass(frozen=True)
class Wishes:
    """What a request asks for.

    Attributes:
        top_k: Neighbours.
        readout: Name of a read-out; empty: the calibrated one.
        where: Prefectures and sources that the search is limited to.
        query: Name under which the server remembers an earlier photo; empty: the photo comes along.
        exif: Whether the photo's own EXIF position shall be told beside the answer.
        language: Of an evidence page.
        name: Of the photo, on its evidence page.
        abstain: When no answer shall be given.
    """

    top_k: int = 100
    readout: str = ""
    where: Where = field(default_factory=Where)
    query: str = ""
    exif: bool = False
    language: str = "en"
    name: str = ""
    abstain: Abstain = field(default_factory=Abstain)


def read_wishes(
    told: Sequence[tuple[str, str]], *, prefecture_codes: Collection[str], sources: Collection[str], language: str = "en"
) -> Wishes:
    """Return what query parameters ask for.

    Args:
        told: Names and values in their order; `prefecture` and `source` may come several times.
        prefecture_codes: That exist.
        sources: That exist.
        language: When `lang` is not told.

    Returns:
        The wishes.

    Raises:
        SettingError: A parameter is not known, or has a value that cannot work.
    """
    for name, value in told:
        if name not in KNOWN:
            raise SettingError(setting=name, value=value, cure=f"use only {', '.join(KNOWN)}")
    last = dict(told)
    return Wishes(
        top_k=_whole(last.get("top_k", "100"), name="top_k", most=MOST_NEIGHBOURS),
        readout=last.get("readout", ""),
        where=Where(
            prefecture_codes=_some(told, "prefecture", known=prefecture_codes), sources=_some(told, "source", known=sources)
        ),
        query=last.get("query", ""),
        exif=_choice(last.get("exif", "0"), name="exif", among=("0", "1")) == "1",
        language=_choice(last.get("lang", language), name="lang", among=LANGUAGES),
        name=last.get("name", "")[:200],
        abstain=Abstain(
            over_km=_number(last.get("abstain_over_km"), name="abstain_over_km", most=20_038.0),
            below_familiarity=_number(last.get("abstain_below"), name="abstain_below", most=1.0),
        ),
    )


def _whole(told: str, *, name: str, most: int) -> int:
    if not (told.isascii() and told.isdigit() and len(told) < 9 and 1 <= int(told) <= most):
        raise SettingError(setting=name, value=told, cure=f"give a whole number from 1 to {most}")
    return int(told)


def _number(told: str | None, *, name: str, most: float) -> float | None:
    if told is None:
        return None
    try:
        value = float(told)
    except ValueError:
        value = math.nan
    if not 0.0 < value <= most:
        raise SettingError(setting=name, value=told, cure=f"give a number above 0, at most {most:g}")
    return value


def _choice(told: str, *, name: str, among: Sequence[str]) -> str:
    if told not in among:
        raise SettingError(setting=name, value=told, cure=f"choose one of {', '.join(among)}")
    return told


def _some(told: Sequence[tuple[str, str]], name: str, *, known: Collection[str]) -> tuple[str, ...]:
    values = sorted({value for key, value in told if key == name and value})
    for value in values:
        if value not in known:
            raise SettingError(
                setting=name, value=value, cure=f"choose among {', '.join(sorted(known)) or 'none: none is built'}"
            )
    return tuple(values)
