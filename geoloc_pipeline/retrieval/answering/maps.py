"""The two maps of an evidence page, drawn without the network: the whole country, and what is around the answer.

Below lie the outlines that are handed in (prefectures, municipalities or town blocks of the census) and, on wide maps, a
schematic coast; above them the heat of the neighbours, their places, the regions, the answer, and the truth where it is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup, escape

from geoloc_pipeline.evaluation.cartography import MapFrame, circle_path, coast_path, scale_bar, seen_outlines
from geoloc_pipeline.evaluation.pages import data_uri
from geoloc_pipeline.geo.country import in_japan_box
from geoloc_pipeline.retrieval.answering.heatmap import density_grid, heat_png
from geoloc_pipeline.retrieval.answering.wording import words_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from geoloc_pipeline.evaluation.cartography import Outline
    from geoloc_pipeline.retrieval.answering.answer import Answer

WIDTH_PX, HEIGHT_PX = 520, 440
COAST_FROM_KM = 120.0
"""The schematic coast is good to about 5 km: maps narrower than this leave it out."""

_JAPAN = ((26.0, 127.5), (45.6, 145.9))
_HEAT_PX = (9.0, 26.0)
_LARGEST_DETAIL_KM, _SMALLEST_DETAIL_KM = 120.0, 0.8


def wide_frame(answer: Answer, *, truth: tuple[float, float] | None = None) -> MapFrame:
    """Return the frame that shows every neighbour, the answer and the truth; all of Japan when any of them is there."""
    places = [(answer.lat, answer.lon), *((n.lat, n.lon) for n in answer.neighbours), *([truth] if truth else [])]
    lat, lon = (np.array(values) for values in zip(*places, strict=True))
    if in_japan_box(lat=lat, lon=lon).any():
        lat, lon = (np.append(values, [corner[axis] for corner in _JAPAN]) for axis, values in enumerate((lat, lon)))
    return MapFrame.fitting(lat=lat, lon=lon, width_px=WIDTH_PX, height_px=HEIGHT_PX, margin=0.05)


def detail_frame(answer: Answer, *, truth_km: float | None = None) -> MapFrame:
    """Return the frame around the answer: its 50 % region and half of its neighbours, as far as 120 km allow.

    Args:
        answer: What is shown.
        truth_km: Distance of the truth; it is shown too when it is not far beyond the rest.

    Returns:
        The frame, between 0.8 and 120 km in each direction.
    """
    near_km = float(np.median([n.distance_km for n in answer.neighbours])) if answer.neighbours else 0.0
    radius_km = max(1.3 * near_km, 1.4 * (answer.region_50_km or 0.0), _SMALLEST_DETAIL_KM)
    for other_km in (answer.region_90_km, truth_km):
        if other_km is not None and other_km <= 3 * radius_km:
            radius_km = max(radius_km, 1.15 * other_km)
    radius_km = min(radius_km, _LARGEST_DETAIL_KM)
    return MapFrame.around(lat=answer.lat, lon=answer.lon, radius_km=radius_km, width_px=WIDTH_PX, height_px=HEIGHT_PX)


def draw_map(
    frame: MapFrame,
    answer: Answer,
    *,
    outlines: Sequence[Outline] = (),
    truth: tuple[float, float] | None = None,
    bandwidth_km: float = 5.0,
    label: str,
    language: str = "en",
) -> Markup:
    """Return a map of one answer as an inline SVG that loads nothing.

    Args:
        frame: What it shows.
        answer: With its neighbours.
        outlines: Areas below everything; their names are written where there are few.
        truth: Where the picture was taken, if known.
        bandwidth_km: Of the heat; bent so that a lone neighbour is seen, and a crowd has a shape, at any scale.
        label: What the map shows, for those who cannot see it.
        language: Of the words that appear over a mark, `en` or `ja`.

    Returns:
        An `<svg>`; a neighbour's mark carries `data-n`, its rank.
    """
    w, h = frame.width_px, frame.height_px
    words = words_in(language)
    px_per_km = frame.px_per_km()
    body = [f'<rect class="{"sea" if outlines or w / px_per_km > COAST_FROM_KM else "land"}" width="{w}" height="{h}"/>']
    if w / px_per_km > COAST_FROM_KM:
        body.append(f'<path class="coast" d="{coast_path(frame)}"/>')
    seen = seen_outlines(frame, outlines)
    body += [f'<path class="area" d="{area.path}"/>' for area in seen]
    body += _heat(frame, answer, bandwidth_km=min(max(bandwidth_km, _HEAT_PX[0] / px_per_km), _HEAT_PX[1] / px_per_km))
    for level, radius_km in ((90, answer.region_90_km), (50, answer.region_50_km)):
        if radius_km and 4.0 <= radius_km * px_per_km <= 4 * w:
            path = circle_path(frame, lat=answer.lat, lon=answer.lon, radius_km=radius_km)
            body.append(f'<path class="around" d="{path}"/>')
            body.append(f'<path class="region r{level}" d="{path}"><title>{words[f"region_{level}"]}</title></path>')
    body += _names(frame, [(area.name, area.x, area.y) for area in seen if area.name])
    body += _marks(frame, answer, truth, words)
    bar_px, length = scale_bar(frame)
    body.append(f'<path class="bar" d="M14 {h - 14}h{bar_px:.1f}"/><text class="name" x="14" y="{h - 21}">{length}</text>')
    head = f'<svg class="map" viewBox="0 0 {w} {h}" role="img" aria-label="{escape(label)}">'
    return Markup(head + "".join(body) + "</svg>")  # noqa: S704 -- every text in `body` was escaped by its maker


def _heat(frame: MapFrame, answer: Answer, *, bandwidth_km: float) -> list[str]:
    if not answer.neighbours:
        return []
    grid = density_grid(
        frame,
        lat=[n.lat for n in answer.neighbours],
        lon=[n.lon for n in answer.neighbours],
        weight=np.ones(len(answer.neighbours)),
        bandwidth_km=bandwidth_km,
    )
    uri = data_uri(heat_png(grid), "image/png")
    size = f'width="{frame.width_px}" height="{frame.height_px}" preserveAspectRatio="none"'
    return [f'<image {size} href="{uri}"/>']


def _names(frame: MapFrame, names: Sequence[tuple[str, float, float]], *, most: int = 24) -> list[str]:
    """Return names that do not run into each other: first come, first placed."""
    parts: list[str] = []
    taken: list[tuple[float, float, float]] = []
    for name, x, y in names:
        half = 6.5 * len(name)
        is_free = all(abs(y - other_y) > 15 or abs(x - other_x) > half + other_half for other_x, other_y, other_half in taken)
        is_inside = half < x < frame.width_px - half and 14 < y < frame.height_px - (34 if x < 170 else 6)
        if is_inside and is_free and len(parts) < most:
            taken.append((x, y, half))
            parts.append(f'<text class="place" x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{escape(name)}</text>')
    return parts


def _marks(frame: MapFrame, answer: Answer, truth: tuple[float, float] | None, words: Mapping[str, str]) -> list[str]:
    parts = []
    for neighbour in reversed(answer.neighbours):  # the best on top
        x, y = (float(v) for v in frame.xy(lat=neighbour.lat, lon=neighbour.lon))
        if -8 <= x <= frame.width_px + 8 and -8 <= y <= frame.height_px + 8:
            told = f"{neighbour.rank}: {words['similarity']} {neighbour.score:.3f}, {neighbour.distance_km:.1f} km"
            mark = f'class="dot" data-n="{neighbour.rank}" cx="{x:.1f}" cy="{y:.1f}" r="{4.6 if neighbour.rank <= 10 else 3.2}"'
            parts.append(f"<circle {mark}><title>{told}</title></circle>")
    x, y = (float(v) for v in frame.xy(lat=answer.lat, lon=answer.lon))
    if truth is not None:
        tx, ty = (float(v) for v in frame.xy(lat=truth[0], lon=truth[1]))
        parts.append(f'<path class="gap" d="M{x:.1f} {y:.1f}L{tx:.1f} {ty:.1f}"/>')
        parts.append(f'<path class="truth" d="M{tx:.1f} {ty - 9:.1f}l8 9l-8 9l-8 -9Z"><title>{words["truth"]}</title></path>')
    cross = f"M{x - 11:.1f} {y:.1f}h22M{x:.1f} {y - 11:.1f}v22"
    parts.append(f'<path class="halo" d="{cross}"/><path class="answer" d="{cross}"/>')
    parts.append(f'<circle class="answer" cx="{x:.1f}" cy="{y:.1f}" r="6"><title>{words["answer"]}</title></circle>')
    return parts
