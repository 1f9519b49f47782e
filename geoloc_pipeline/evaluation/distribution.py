"""Where the pictures of the data set are: the paper's fig. 4 (§3.1, regional distribution), as a map and as counts.

A data set that is dense in two cities and empty elsewhere makes a model that answers with two cities; whoever reads the errors
should see first what there was to learn from.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup, escape

from geoloc_pipeline.evaluation.cartography import MapFrame, coast_path, scale_bar, seen_outlines
from geoloc_pipeline.evaluation.coast import COAST
from geoloc_pipeline.geo.prefectures import BY_CODE
from geoloc_pipeline.geo.sphere import MEAN_EARTH_RADIUS_M

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from geoloc_pipeline.evaluation.cartography import Outline

WIDTH, HEIGHT, CELL_PX = 640, 620, 4
SHADES = ("#cfe3dd", "#9fcbc8", "#67aeb5", "#3390a3", "#146c86", "#0a3f55")
PAPER_TABLE_2 = (4_480, 117_857)
"""Fewest and most pictures of a prefecture in the paper's data set (§3.1, table 2)."""


def density_map(
    *, lat: ArrayLike, lon: ArrayLike, outlines: Sequence[Outline] = (), label: str
) -> tuple[Markup, list[tuple[str, str]]]:
    """Return a map of how densely pictures stand, in cells of 4 pixels; far islands with few of them may lie outside.

    Args:
        lat: `[n]` degrees.
        lon: `[n]` degrees, not across the antimeridian.
        outlines: Drawn below, such as prefectures; the schematic coast of Japan is always drawn.
        label: What the map shows, for those who cannot see it.

    Returns:
        An `<svg>`, and its legend as words and colours (`charts.legend`): pictures in 100 km². Empty without pictures.

    Paper: §3.1, fig. 4.
    """
    lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    if not len(lat):
        return Markup(""), []
    frame = _frame(lat, lon)
    coast = coast_path(frame)
    body = [f'<rect class="sea" width="{WIDTH}" height="{HEIGHT}"/>', f'<path class="coast" d="{coast}"/>']
    body += [f'<path class="area" d="{seen.path}"/>' for seen in seen_outlines(frame, outlines)]
    row, column, density = cell_densities(frame, lat=lat, lon=lon)
    steps = shade_steps(density)
    shade = np.searchsorted(steps, density, side="right") - 1
    for number, colour in enumerate(SHADES):
        cells = "".join(
            f"M{x * CELL_PX} {y * CELL_PX}h{CELL_PX}v{CELL_PX}h-{CELL_PX}z"
            for x, y in zip(column[shade == number], row[shade == number], strict=True)
        )
        if cells:
            body.append(f'<path fill="{colour}" d="{cells}"/>')
    body.append(f'<path fill="none" stroke="#5d6675" stroke-width="0.6" d="{coast}"/>')  # again, over what hides it
    bar_px, words = scale_bar(frame)
    body.append(f'<path class="bar" d="M14 {HEIGHT - 14}h{bar_px:.1f}"/><text x="14" y="{HEIGHT - 20}">{words}</text>')
    head = f'<svg class="map" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
    begins = [f"below {steps[1]:,.10g}", *(f"from {step:,.10g}" for step in steps[1:])]
    svg = Markup(head + "".join(body) + "</svg>")  # noqa: S704 -- every text in `body` is ours or was escaped by its maker
    return svg, list(zip(begins, SHADES, strict=True))


def _frame(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> MapFrame:
    """Return the frame of all pictures that are not far from most of them, and of the islands that they are spread over."""
    near = np.ones(len(lat), dtype=bool)
    for values in (lat, lon):
        low, high = np.quantile(values, [0.01, 0.99])
        near &= (values >= low - 0.25 * (high - low)) & (values <= high + 0.25 * (high - low))
    shown = np.column_stack([lat, lon])[near if near.any() else ~near]
    low, high = shown.min(axis=0), shown.max(axis=0)
    spread_over = [
        island
        for island in map(np.array, COAST)
        if (island.min(axis=0) <= high).all()
        and (island.max(axis=0) >= low).all()
        and (high - low > np.ptp(island, axis=0) / 3).all()  # one city shall not bring all of Honshu with it
    ]
    places = np.concatenate([shown, *spread_over])
    return MapFrame.fitting(lat=places[:, 0], lon=places[:, 1], width_px=WIDTH, height_px=HEIGHT, margin=0.05)


def cell_densities(
    frame: MapFrame, *, lat: NDArray[np.float64], lon: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the cells of a map in which pictures stand, and how densely.

    Args:
        frame: What the map shows.
        lat: `[n]` degrees.
        lon: `[n]` degrees.

    Returns:
        Row and column of each cell `[m]`, from the upper left, and pictures in 100 km² `[m]`; beyond the frame nothing. A cell
        of the map is smaller on the ground the farther north it is, which is allowed for.
    """
    x, y = frame.xy(lat=lat, lon=lon)
    inside = (x >= 0) & (x < frame.width_px) & (y >= 0) & (y < frame.height_px)
    cells = np.column_stack([y[inside], x[inside]]).astype(np.int64) // CELL_PX
    cells, counts = np.unique(cells, axis=0, return_counts=True)
    middle_lat, _ = frame.places(x=0.0, y=(cells[:, 0] + 0.5) * CELL_PX)
    side_km = np.radians(CELL_PX / frame.px_per_deg) * MEAN_EARTH_RADIUS_M / 1000 * np.cos(np.radians(middle_lat))
    return cells[:, 0], cells[:, 1], counts / side_km**2 * 100.0


def shade_steps(density: NDArray[np.float64]) -> list[float]:
    """Return from which density on each shade is used: 0, then round figures 1, 3, 10, ... up to that of the densest cells.

    They fit a country of which a cell is 200 km² as well as a city of which it is one block.

    Args:
        density: `[m]` positive, at least one.
    """
    dense = float(np.quantile(density, 0.97))
    decade = math.floor(math.log10(dense))
    last = 2 * decade + (dense >= 3 * 10.0**decade)
    return [0.0, *(_round_figure(last + number) for number in range(2 - len(SHADES), 1))]


def _round_figure(number: int) -> float:
    """Return ..., 1, 3, 10, 30, ... for ..., 0, 1, 2, 3, ..."""
    return float(f"{3 if number % 2 else 1}e{number // 2}")


def prefecture_counts(prefecture_code: pd.Series[str]) -> list[dict[str, Any]]:
    """Return how many pictures each prefecture has, most first: `prefecture`, `n`, `of_most_pct`.

    Args:
        prefecture_code: JIS X 0401 code of each picture; missing ones are not counted.
    """
    counts = prefecture_code.value_counts(sort=False)
    rows = sorted(((int(n), str(code)) for code, n in counts.items()), key=lambda row: (-row[0], row[1]))
    return [
        {
            "prefecture": BY_CODE[code].name if code in BY_CODE else code,
            "n": n,
            "of_most_pct": 100.0 * n / rows[0][0],
        }
        for n, code in rows
    ]
