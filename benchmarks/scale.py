"""What one country, a continent and the world would take, on 1, 10 and 50 nodes: `python -m benchmarks.scale`.

Nothing is run: the plan is computed from the unit costs, facts and assumptions of `_scale_figures`, as intervals from the least
to the most that is plausible. docs/scale.md holds what this program prints, and a test compares them; `--write` renews the
page.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import _scale_model as m
from benchmarks._measure import table
from benchmarks._scale_breaks import fixed, growing, reached_by
from benchmarks._scale_figures import PLACES, Figure, Span, figures, in_words, number, span

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"
README_PICTURES = 900_000  # what README's table "Real Japan" reckons with
SIZES = m.SIZES


def told(value: Span, unit: str = "", *, per: float = 1.0) -> str:
    """Return a span in words; very small ones as what they stay below."""
    low, high = number(value.low / per), number(value.high / per)
    if value.high / per < 0.095:
        return f"under 0.1{unit}"
    if low.endswith(" M") and high.endswith(" M"):
        low = low.removesuffix(" M")
    return f"{high}{unit}" if low == high else f"{low} to {high}{unit}"


def size_told(value: Span) -> str:
    """Return bytes in GB or TB."""
    return told(value, " TB", per=1e12) if value.high >= 1e12 else told(value, " GB", per=1e9)


def _across(head: str, rows: dict[str, Sequence[str]]) -> str:
    return table([head, *(place.name for place in PLACES)], [(name, *cells) for name, cells in rows.items()])


def _bold(cells: Sequence[str]) -> list[str]:
    return [f"**{cell}**" for cell in cells]


def table_size() -> str:
    """Return what there is."""
    return _across(
        "what there is",
        {
            "ways of the seven classes": [told(one.ways) for one in SIZES],
            "sample points": [told(one.points) for one in SIZES],
            "z14 tiles with a sample point": [told(one.tiles) for one in SIZES],
            "points served, % (a guess)": [told(one.place.served.value * 100) for one in SIZES],
            "**pictures**, of four views each": _bold([told(one.pictures) for one in SIZES]),
            "partitions": [told(one.partitions) for one in SIZES],
        },
    )


def table_requests() -> str:
    """Return requests and days, by service."""
    asked = [m.asked_of(one) for one in SIZES]
    rows: list[Sequence[str]] = []
    for key, first in asked[0].items():
        cells = (f"{told(one[key].requests)}: {told(one[key].days, ' d')}" for one in asked)
        rows.append((first.service, first.pace, *cells))
    for words, is_cured in (("**floor, as the code is**", False), ("**floor, with the cures**", True)):
        rows.append((words, "the slowest", *_bold([told(m.floor_days(one, is_cured=is_cured), " d") for one in SIZES])))
    return table(["requests and days", "pace", *(place.name for place in PLACES)], rows)


def table_bytes() -> str:
    """Return bytes, by kind."""
    kinds, held = [m.stored_bytes(one) for one in SIZES], [m.gallery_memory(one) for one in SIZES]
    rows: dict[str, Sequence[str]] = {name: [size_told(one[name]) for one in kinds] for name in kinds[0]}
    rows["**in the store, all together**"] = _bold([size_told(m.in_all(*one.values())) for one in kinds])
    rows["fetched from picture servers"] = [size_told(m.fetched_bytes(one)) for one in SIZES]
    rows |= {name: [size_told(one[name]) for one in held] for name in held[0]}
    return _across("bytes", rows)


def table_hours() -> str:
    """Return hours, by work."""
    kinds = [
        {f"core h: {name}": one for name, one in m.core_hours(size).items()}
        | {f"H200 h: {name}": one for name, one in m.gpu_hours(size.pictures).items()}
        for size in SIZES
    ]
    return _across("hours", {name: [told(one[name]) for one in kinds] for name in kinds[0]})


def table_clock() -> str:
    """Return days on the clock, by nodes, and what takes the longest with the most of them."""
    rows = []
    for size in SIZES:
        for words, is_cured in (("as the code is", False), ("with the cures", True)):
            parts = [m.stages(size, nodes=nodes, is_cured=is_cured) for nodes in m.NODES]
            days = [told(m.in_all(*one.values()), " d") for one in parts]
            held = " and ".join(sorted({max(parts[-1], key=lambda name: end(parts[-1][name])) for end in _ENDS}))
            rows.append((f"{size.place.name}, {words}", *(_bold(days) if is_cured else days), held))
    heads = [f"{nodes} node{'s' * (nodes > 1)}, {m.GPUS[nodes]} H200" for nodes in m.NODES]
    return table(["on the clock", *heads, "longest, on 50 nodes (least, most)"], rows)


_ENDS: tuple[Callable[[Span], float], ...] = (lambda value: value.low, lambda value: value.high)


def table_euros() -> str:
    """Return euros, once and each month."""
    rows: dict[str, Sequence[str]] = {}
    for words, priced in (("once", m.euros_once), ("a month", m.euros_monthly)):
        kinds = [priced(one) for one in SIZES]
        rows |= {f"{words}: {name}": [told(one[name]) for one in kinds] for name in kinds[0]}
        rows[f"**{words}, all together**"] = _bold([told(m.in_all(*one.values())) for one in kinds])
    rows["instead: one node and its GPU held all the while, as the code is"] = [told(m.euros_held(one)) for one in SIZES]
    return _across("euros", rows)


def table_breaks() -> str:
    """Return what gives way, first things first."""
    rows = [(one.what, one.at, reached_by(one), one.cure) for one in (*fixed(), *growing())]
    return table(["what gives way, in order", "at", "who comes to it", "what to do"], rows)


def table_readme() -> str:
    """Return README's figures for Japan beside this plan's at the same number of pictures."""
    pictures, japan = span(README_PICTURES), SIZES[0]
    needed = pictures / japan.points * 100
    each = m.core_hours(japan)["extraction"] * m.HOUR_S / 47
    points = m.gallery_points_of(pictures)
    held = size_told(points * m.f.GALLERY_POINT_BYTES.value)
    rows = [
        (
            "900,000 pictures",
            f"{told(japan.pictures)}",
            "README has the paper's number, with Google's pictures and photo sets; "
            f"here that needs {told(needed)} % of the points served",
        ),
        (
            "250 GB of pictures",
            size_told(pictures * m.f.PICTURE_BYTES.value),
            "one source: the paper's archive. The strips of RESULTS.md (124 kB) are drawn and pack better than photographs",
        ),
        (
            "50,000 tiles a day",
            told(m.asked_of(japan)["tiles"].days, " days"),
            "README names the limit, not the days; the collector's code counts 94,000 tiles for all of Japan",
        ),
        (
            "13 to 17 hours of training",
            told(m.gpu_hours(pictures)[m.TRAINING], " hours"),
            "README takes 45 to 61 % of the GPU's peak; we go down to the 700 a second below which something is wrong",
        ),
        (
            "10 s to 5 min for a prefecture's extraction",
            told(each, " core s"),
            "ours is a share of one pass for all prefectures of a region; alone, each pays for the whole region's dump",
        ),
        (
            "(no word on the gallery)",
            f"{number(points.low)} points, {held}",
            "RESULTS.md measured 857,000 points, one a picture; the pipeline keeps five of each",
        ),
    ]
    return table(["README, Real Japan", "here", "why they differ"], rows)


def table_places() -> str:
    """Return what is known and guessed of the places."""
    rows = []
    for name in ("dump", "roads", "mapped", "land", "roaded", "served", "images"):
        parts: list[Figure] = [getattr(place, name) for place in PLACES]
        rows.append((parts[0].what, *(f"{in_words(one.value, one.unit)} ({one.kind}: {one.source})" for one in parts)))
    return table(["of a place", *(place.name for place in PLACES)], rows)


def table_figures() -> str:
    """Return the figures that all this stands on, by kind and by where they come from."""
    kinds: dict[str, dict[str, list[str]]] = {kind: {} for kind in ("measured", "projected", "code", "published", "assumed")}
    for one in figures():
        source = f"*{one.source}*" if one.quoted else one.source
        kinds[one.kind].setdefault(source, []).append(f"{one.what} {in_words(one.value, one.unit)}")
    rows = [
        (kind, "<br>".join(f"{source}: {'; '.join(words)}" for source, words in by_source.items()))
        for kind, by_source in kinds.items()
    ]
    return table(["kind", "where it comes from, and the figures"], rows)


TABLES: tuple[Callable[[], str], ...] = (
    table_size,
    table_requests,
    table_bytes,
    table_hours,
    table_clock,
    table_euros,
    table_readme,
    table_breaks,
    table_places,
    table_figures,
)


def renewed(page: str) -> str:
    """Return a page with the tables as they are now; each is known by its first head.

    Args:
        page: Markdown that has every table once, with an empty line below.

    Raises:
        ValueError: A table is missing, or comes twice.
    """
    for make in TABLES:
        fresh = make()
        first = fresh[: fresh.index(" |") + 2]
        if page.count(f"\n{first}") != 1:
            raise ValueError(f"the page has {page.count(first)} tables that begin with `{first}`; it needs one")
        head, tail = page.split(f"\n{first}")
        page = f"{head}\n{fresh}\n\n{tail.partition(chr(10) * 2)[2]}"
    return page.rstrip("\n") + "\n"


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="renew docs/scale.md instead of printing")
    if parser.parse_args().write:
        PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        return
    print("\n\n".join(make() for make in TABLES))


if __name__ == "__main__":
    main()
