"""How lineage looks: an indented tree for a terminal, JSON for programs, a graph on a page that is one file.

Belongs here: layout. Does not belong here: what is shown (`lineage`).
"""

import unicodedata
from collections.abc import Iterator
from html import escape
from typing import Any

from geoloc_pipeline.evaluation.pages import render_page, safe_link
from geoloc_pipeline.orchestration.lineage.rows import Node

_LINE_WIDTH, _STEP_PX, _ROW_PX, _PAGE_PX = 52, 11, 16, 390
_DEEPEST = 12
_LONGEST_WORD = 20
_SHOWN_FACTS = 7


def as_text(node: Node) -> str:
    """Return a tree for a terminal: what is behind a thing stands indented below it, each thing's own story once."""
    lines: list[str] = []
    for depth, how, each, is_first in _rows(node):
        indent = "  " * depth
        again = "" if is_first else "  (see above)"
        lines.append(f"{indent}{how}: {each.name}{again}" if how else f"{indent}{each.name}{again}")
        if is_first:
            lines += [f"{indent}    {name}: {value}" for name, value in each.facts.items()]
            lines += [f"{indent}    {what}: {url}" for what, url in each.links.items()]
            lines += [f"{indent}    ! {sentence}" for sentence in each.missing]
    return "\n".join(lines)


def as_json(node: Node) -> dict[str, Any]:
    """Return the whole graph as plain values: `asked`, `nodes`, and `edges` as (thing, how, what is behind it)."""
    nodes = list(node.walk())
    names = ("name", "kind", "id", "facts", "links", "missing")
    return {
        "asked": node.name,
        "nodes": [{name: getattr(each, name) for name in names} for each in nodes],
        "edges": [[each.name, how, source.name] for each in nodes for how, source in each.sources],
    }


def as_page(node: Node) -> str:
    """Return a page that shows the graph: one file, without the network, readable on a phone."""
    from markupsafe import Markup

    values = {"name": node.name, "graph": Markup(_draw(node)), "nodes": len(list(node.walk()))}  # noqa: S704 -- escaped below
    return render_page("geoloc_pipeline.orchestration.lineage", "lineage.html.j2", values)


def _rows(node: Node, depth: int = 0, how: str = "", seen: set[int] | None = None) -> Iterator[tuple[int, str, Node, bool]]:
    """Yield the rows of the tree: depth, how, node, and whether its story is told here."""
    seen = set() if seen is None else seen
    is_first = id(node) not in seen
    seen.add(id(node))
    yield depth, how, node, is_first
    if is_first:
        for relation, source in node.sources:
            yield from _rows(source, depth + 1, relation, seen)


def _draw(node: Node) -> str:
    """Return the graph as SVG: a box a thing, one below the other, lines from each to what is behind it."""
    parts: list[str] = []
    wires: list[str] = []
    numbers: dict[int, int] = {}
    ends: list[float] = []  # at each depth, where the last box's wire begins
    top = 6.0
    for depth, how, each, is_first in _rows(node):
        left = 6 + min(depth, _DEEPEST) * _STEP_PX
        number = numbers.setdefault(id(each), len(numbers))
        box, height_px = _box(each, how, number, left=left, top=top, is_first=is_first)
        parts.append(box)
        del ends[depth:]
        if depth:
            x, y = left - _STEP_PX / 2, top + _ROW_PX / 2 + 2
            wires.append(f'<path d="M{x:.0f} {ends[depth - 1]:.0f}V{y:.0f}H{left}" fill="none" stroke="#b9c1c9"/>')
        ends.append(top + height_px)
        top += height_px + 6
    label = escape(f"Graph of what {node.name} was made of", quote=True)
    head = f'<svg class="chart" role="img" aria-label="{label}" viewBox="0 0 {_PAGE_PX} {top:.0f}" xmlns="http://www.w3.org/2000/svg">'
    return head + "".join(wires) + "".join(parts) + "</svg>"


def _box(node: Node, how: str, number: int, *, left: float, top: float, is_first: bool) -> tuple[str, float]:
    width = int(_LINE_WIDTH - left / 7)
    title = [f"{how}: {node.name}" if how else node.name]
    if is_first:
        facts = [f"{name}: {value}" for name, value in list(node.facts.items())[:_SHOWN_FACTS]]
        lines = [(line, "") for text in facts for line in _wrapped(text, width)]
        lines += [(line, ' fill="#b3402e"') for text in node.missing for line in _wrapped(text, width)]
    else:
        lines = [("see above", "")]
    heads = [line for text in title for line in _wrapped(text, width - 2)]
    links = [(what, safe_link(url)) for what, url in node.links.items() if is_first and safe_link(url)]
    height_px = (len(heads) + len(lines) + len(links)) * _ROW_PX + 8
    y = top + _ROW_PX
    drawn = [
        f'<rect x="{left}" y="{top:.0f}" width="{_PAGE_PX - 6 - left}" height="{height_px}" rx="5" fill="#fff" '
        f'stroke="{"#146c86" if is_first else "#dfe3e8"}"' + (f' id="n{number}"' if is_first else "") + "/>"
    ]
    for text in heads:
        drawn.append(f'<text class="axis" x="{left + 7}" y="{y:.0f}" font-weight="600">{escape(text)}</text>')
        y += _ROW_PX
    for text, style in lines:
        words = f'<a href="#n{number}">{text}</a>' if not is_first else f"<tspan{style}>{escape(text)}</tspan>"
        drawn.append(f'<text x="{left + 7}" y="{y:.0f}">{words}</text>')
        y += _ROW_PX
    for what, url in links:
        drawn.append(
            f'<a href="{escape(url, quote=True)}" rel="noopener noreferrer"><text x="{left + 7}" y="{y:.0f}">'
            f'<tspan fill="#146c86" text-decoration="underline">{escape(what)}</tspan></text></a>'
        )
        y += _ROW_PX
    return "".join(drawn), height_px


def _wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines of `width` half-width characters; broken at a blank, or anywhere: hashes have none."""
    lines, line, taken = [], "", 0
    for letter in text:
        wide = 2 if unicodedata.east_asian_width(letter) in "FW" else 1
        if taken + wide > width:
            head, blank, tail = line.rpartition(" ")
            keeps = bool(blank) and len(tail) < _LONGEST_WORD
            lines.append(head if keeps else line)
            line = tail if keeps else ""
            taken = sum(2 if unicodedata.east_asian_width(each) in "FW" else 1 for each in line)
        line, taken = line + letter, taken + wide
    return [*lines, line]
