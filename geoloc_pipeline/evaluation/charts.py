"""Line charts, histograms and the map of errors as inline SVG: sharp at any size, same numbers same bytes, no library.

Belongs here: pictures of numbers. Text in them is left to the browser, so Japanese shows wherever the reader has a font for it.
Does not belong here: the numbers themselves (`metrics`) and the page around them (`report`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup, escape

from geoloc_pipeline.evaluation.cartography import MapFrame, coast_path, scale_bar, seen_outlines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from geoloc_pipeline.evaluation.cartography import Outline

WIDTH, HEIGHT = 480, 290
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 42
PALETTE = ("#b3402e", "#146c86", "#7a8f2a", "#8a5a9e", "#c98a1b", "#4c6ea8")
GREY = "#8b919b"

ERROR_STEPS_KM = (1.0, 25.0, 100.0, math.inf)
ERROR_COLOURS = ("#1a7f5a", "#8fb339", "#e0a030", "#b3402e")
ERROR_WORDS = ("within 1 km", "within 25 km", "within 100 km", "farther")


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: In the legend.
        x: `[n]` values.
        y: `[n]` values; gaps where not finite.
        colour: CSS colour.
        is_dashed: Drawn dashed and thinner: a reference, not a result.
    """

    name: str
    x: ArrayLike = field(repr=False)
    y: ArrayLike = field(repr=False)
    colour: str = PALETTE[0]
    is_dashed: bool = False


def _svg(body: Sequence[str], *, label: str, width: int = WIDTH, height: int = HEIGHT, kind: str = "chart") -> Markup:
    head = f'<svg class="{kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
    return Markup(head + "".join(body) + "</svg>")  # noqa: S704 -- every text in `body` was escaped by its maker


def _ticks(low: float, high: float, *, is_log: bool) -> list[float]:
    if is_log:
        return [10.0**power for power in range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)]
    rough = max(high - low, 1e-12) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [round(step * n, 12) for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _scaled(values: ArrayLike, low: float, high: float, start: float, end: float, *, is_log: bool) -> NDArray[np.float64]:
    at = np.asarray(values, dtype=np.float64)
    if is_log:
        at, low, high = np.log10(np.maximum(at, low)), math.log10(low), math.log10(high)
    return np.asarray(start + (at - low) / max(high - low, 1e-12) * (end - start))


def _axes(x_range: tuple[float, float], y_range: tuple[float, float], x_label: str, y_label: str, *, log_x: bool) -> list[str]:
    parts = []
    for tick in _ticks(*y_range, is_log=False):
        y = float(_scaled(tick, *y_range, HEIGHT - BOTTOM, TOP, is_log=False))
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(*x_range, is_log=log_x):
        x = float(_scaled(tick, *x_range, LEFT, WIDTH - RIGHT, is_log=log_x))
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{tick:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="axis" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    turn = f'transform="rotate(-90 11 {(TOP + HEIGHT - BOTTOM) / 2})"'
    parts.append(
        f'<text class="axis" x="11" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" {turn}>{escape(y_label)}</text>'
    )
    return parts


def line_chart(
    lines: Sequence[Line],
    *,
    label: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    log_x: bool = False,
) -> Markup:
    """Return lines over common axes, without a legend (`legend`).

    Args:
        lines: What to draw; later ones on top.
        label: What the chart shows, for those who cannot see it.
        x_label: Below the axis, with its unit.
        y_label: Beside the axis, with its unit.
        x_range: Ends of the axis; the data's where absent.
        y_range: Ends of the axis; from 0 to the data's largest where absent.
        log_x: Whether the x axis is logarithmic; its ends must be above 0.

    Returns:
        An `<svg>`; empty when no line has a finite point.
    """
    points = [(np.asarray(line.x, dtype=np.float64), np.asarray(line.y, dtype=np.float64)) for line in lines]
    finite = [(x[ok], y[ok]) for x, y in points for ok in [np.isfinite(x) & np.isfinite(y)] if ok.any()]
    if not finite:
        return Markup("")
    x_range = x_range or (min(float(x.min()) for x, _ in finite), max(float(x.max()) for x, _ in finite))
    y_range = y_range or (
        min(0.0, *(float(y.min()) for _, y in finite), 0.0),
        max(float(y.max()) for _, y in finite) * 1.05 or 1.0,
    )
    body = _axes(x_range, y_range, x_label, y_label, log_x=log_x)
    for line, (x, y) in zip(lines, points, strict=True):
        ok = np.isfinite(x) & np.isfinite(y)
        px = _scaled(x[ok], *x_range, LEFT, WIDTH - RIGHT, is_log=log_x)
        py = _scaled(y[ok], *y_range, HEIGHT - BOTTOM, TOP, is_log=False)
        style = 'stroke-width="1.6" stroke-dasharray="5 4"' if line.is_dashed else 'stroke-width="2.4"'
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, py, strict=True))
        body.append(f'<polyline points="{path}" fill="none" stroke="{line.colour}" {style} stroke-linejoin="round"/>')
        if len(px) == 1:
            body.append(f'<circle cx="{px[0]:.1f}" cy="{py[0]:.1f}" r="4" fill="{line.colour}"/>')
    return _svg(body, label=label)


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """Return a legend of (words, CSS colour)."""
    items = (Markup('<span><i style="background:{}"></i>{}</span>').format(colour, words) for words, colour in entries)
    return Markup('<p class="legend">{}</p>').format(Markup(" ").join(items))


def cumulative_lines(errors: Sequence[tuple[str, ArrayLike, str, bool]], *, x_range: tuple[float, float]) -> list[Line]:
    """Return, for each (name, errors in km, colour, is_dashed), the share of errors below each distance of a log axis."""
    x = np.geomspace(*x_range, 161)
    return [
        Line(
            name=name,
            x=x,
            y=100.0 * np.searchsorted(np.sort(np.asarray(values)), x, side="right") / max(np.size(values), 1),
            colour=colour,
            is_dashed=is_dashed,
        )
        for name, values, colour, is_dashed in errors
    ]


def error_histogram(error_km: ArrayLike, *, label: str, x_range: tuple[float, float] = (0.01, 3000.0)) -> Markup:
    """Return a histogram of errors over a logarithmic axis in km, coloured by how good they are.

    Errors beyond the ends of the axis are counted in its first and last bar.
    """
    errors = np.clip(np.asarray(error_km, dtype=np.float64), *x_range)
    if len(errors) == 0:
        return Markup("")
    edges = np.geomspace(*x_range, 34)
    counts, _ = np.histogram(errors, bins=edges)
    y_range = (0.0, max(float(counts.max()) * 1.08, 1.0))
    body = _axes(x_range, y_range, "error, km", "test pictures", log_x=True)
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            x0, x1 = (float(_scaled(edge, *x_range, LEFT, WIDTH - RIGHT, is_log=True)) for edge in (low, high))
            y = float(_scaled(float(count), *y_range, HEIGHT - BOTTOM, TOP, is_log=False))
            box = f'x="{x0 + 0.5:.1f}" y="{y:.1f}" width="{x1 - x0 - 1:.1f}" height="{HEIGHT - BOTTOM - y:.1f}"'
            body.append(f'<rect {box} rx="1" fill="{error_colour(math.sqrt(low * high))}"/>')
    return _svg(body, label=label)


def error_colour(error_km: float) -> str:
    """Return the colour of an error: green within 1 km, then lighter, amber, and red beyond 100 km; grey when unknown."""
    if not math.isfinite(error_km):
        return GREY
    return next(colour for limit, colour in zip(ERROR_STEPS_KM, ERROR_COLOURS, strict=True) if error_km <= limit)


@dataclass(frozen=True)
class Bubble:
    """One place on the map of errors.

    Attributes:
        name: Written beside it.
        lat: Degrees.
        lon: Degrees.
        count: Pictures; its area.
        median_km: Median error; its colour.
    """

    name: str
    lat: float
    lon: float
    count: int
    median_km: float


def error_map(bubbles: Sequence[Bubble], outlines: Sequence[Outline], *, label: str) -> Markup:
    """Return a map on which every prefecture's test pictures are a disc: its area their number, its colour their median error.

    Args:
        bubbles: One a prefecture.
        outlines: Drawn below them, such as prefectures; the schematic coast of Japan is always drawn.
        label: What the map shows, for those who cannot see it.

    Returns:
        An `<svg>`; empty without bubbles.
    """
    if not bubbles:
        return Markup("")
    width, height = WIDTH, 470
    lats, lons = [b.lat for b in bubbles], [b.lon for b in bubbles]
    frame = MapFrame.fitting(lat=lats, lon=lons, width_px=width, height_px=height, margin=0.14)
    body = [f'<rect class="sea" width="{width}" height="{height}"/>', f'<path class="coast" d="{coast_path(frame)}"/>']
    body += [f'<path class="area" d="{seen.path}"/>' for seen in seen_outlines(frame, outlines)]
    largest = max(b.count for b in bubbles) or 1
    x, y = frame.xy(lat=lats, lon=lons)
    for bubble, cx, cy in sorted(zip(bubbles, x, y, strict=True), key=lambda item: -item[0].count):
        radius = 5 + 15 * math.sqrt(bubble.count / largest)
        title = escape(f"{bubble.name}: {bubble.count} pictures, median {bubble.median_km:.1f} km")
        disc = f'cx="{cx:.1f}" cy="{cy:.1f}" r="{radius:.1f}" fill="{error_colour(bubble.median_km)}"'
        body.append(f'<circle class="bubble" {disc}><title>{title}</title></circle>')
        if len(bubbles) <= 16:
            side = (cx + radius + 4, "start") if cx < width * 0.7 else (cx - radius - 4, "end")
            body.append(
                f'<text class="name" x="{side[0]:.1f}" y="{cy + 4:.1f}" text-anchor="{side[1]}">{escape(bubble.name)}</text>'
            )
    bar_px, words = scale_bar(frame)
    body.append(f'<path class="bar" d="M14 {height - 14}h{bar_px:.1f}"/><text x="14" y="{height - 20}">{words}</text>')
    return _svg(body, label=label, width=width, height=height, kind="map")
