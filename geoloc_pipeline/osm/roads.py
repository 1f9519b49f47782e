"""The identity of a road, decided once: from the ways that mappers draw to the road that people know.

`road_id` (DESIGN, tables): motorways and trunks by `ref` across the country (`JP:4`, `JP:E1`); other roads with a `ref` by
prefecture and ref (`13:318`); else prefecture and name (`13:明治通り`); else missing, which means: not a class.
The prefecture is the one that the extraction is for, also in its halo, so that a picture beside the border and the road it
stands on speak of the same prefecture.

A departure from DESIGN: a motorway whose ref is a bare number is an urban expressway (Shuto 3, Hanshin 3, Nagoya 3, Fukuoka
3), which has nothing to do with national route 3 and exists once a city; it goes by prefecture and name
(`13:首都高速3号渋谷線`), without a name by prefecture and number (`13:motorway 3`). Motorways that are numbered across the
country have a letter (https://wiki.openstreetmap.org/wiki/Japan_tagging/Road_types).
"""

from __future__ import annotations

import re
import unicodedata

from geoloc_pipeline.osm.names import plain_name

_OFFICIAL = re.compile(r"(?:一般)?(?:国道|[都道府県]道|主要地方道)?第?(\d+)号?線?")  # 国道4号, 県道318号線, 第3号
_NATURAL = re.compile(r"\d+|\D+")


def road_identity(*, highway: str, ref: str | None, name: str | None, prefecture_code: str) -> str | None:
    """Return the road that a way belongs to; None when nothing names it.

    Args:
        highway: OSM class, one of `tags.ROAD_CLASSES`.
        ref: Route numbers as tagged, several joined by `;`, digits of any width.
        name: Name of the way, if any.
        prefecture_code: JIS X 0401 of the prefecture that is extracted.

    Returns:
        Such as `JP:E1`, `13:318`, `13:明治通り`, `13:motorway 3`, or None.
    """
    route, known = first_route(ref), plain_name(name)
    if route and highway == "motorway" and route.isdigit():
        return f"{prefecture_code}:{known or f'motorway {route}'}"
    if route:
        return f"JP:{route}" if highway in {"motorway", "trunk"} else f"{prefecture_code}:{route}"
    return f"{prefecture_code}:{known}" if known else None


def first_route(ref: str | None) -> str | None:
    """Return the one route number that a way is known by; None when it has none.

    Where several routes share a way (`4;17`), mappers list them in any order, so the order says nothing: the smallest number
    names the way, as on Japanese signs, where the lower number has precedence.

    Args:
        ref: As tagged.

    Returns:
        The number without blanks, full-width digits, leading zeros or words such as 国道…号; letters in upper case.
    """
    routes = {route for part in re.split(r"[;,、・/]", unicodedata.normalize("NFKC", ref or "")) if (route := _route(part))}
    return min(routes, key=_natural_key) if routes else None


def _route(part: str) -> str:
    part = re.sub(r"\s+", "", part).upper()
    official = _OFFICIAL.fullmatch(part)
    if official:
        return str(int(official.group(1)))
    return part if re.search(r"\w", part) else ""


def _natural_key(route: str) -> tuple[tuple[bool, int, str], ...]:
    return tuple((piece.isdigit(), int(piece) if piece.isdigit() else 0, piece) for piece in _NATURAL.findall(route))
