"""The charts and maps of the report page, drawn from its data.

Belongs here: which curve is shown in which colour. How a chart is drawn stands in `charts` and `distribution`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from geoloc_pipeline.evaluation import charts, distribution
from geoloc_pipeline.evaluation.words import FROZEN_BACKBONE, MEAN_POSITION, UNTRAINED, WORDS
from geoloc_pipeline.geo.prefectures import BY_CODE
from geoloc_pipeline.geo.sphere import spherical_mean

if TYPE_CHECKING:
    import pandas as pd

    from geoloc_pipeline.evaluation.report import ReportData

X_RANGE_KM = (0.05, 3000.0)
DRAWN_BASELINES = {MEAN_POSITION: charts.GREY, UNTRAINED: "#4d5560", FROZEN_BACKBONE: "#6b5d4d"}
"""Of the baselines, the curve shows these; all stand in the table."""


def charts_of(data: ReportData, mine: pd.DataFrame) -> dict[str, Any]:
    """Return every chart of the page by name; an empty one is not shown.

    Args:
        data: What the page shows.
        mine: `ESTIMATES` of the default read-out.
    """
    return {
        "curve": _curve(data),
        "histogram": charts.error_histogram(mine["error_km"], label=f"Distribution of {len(mine)} test errors"),
        "error_legend": charts.legend(list(zip(charts.ERROR_WORDS, charts.ERROR_COLOURS, strict=True))),
        "losses": _losses(data.losses),
        "risk_chart": _risk(data),
        "map": _error_map(data, mine),
        **_pictures(data),
    }


def _curve(data: ReportData) -> Markup:
    """Return the cumulative curves with their legend: baselines dashed, the default read-out on top."""
    drawn, entries = [], []
    colours = iter(charts.PALETTE[1:])
    for row in data.findings.results.to_dict("records"):
        is_baseline = row["kind"] == "baseline"
        if is_baseline and row["readout"] not in DRAWN_BASELINES:
            continue
        colour = DRAWN_BASELINES.get(row["readout"], charts.PALETTE[0])
        if not is_baseline and not row["is_default"]:
            colour = next(colours, charts.GREY)
        errors = data.estimates.loc[data.estimates["readout"] == row["readout"], "error_km"].to_numpy()
        title = WORDS.get(row["readout"], (row["readout"], ""))[0]
        drawn.append((row["is_default"], (title, errors, colour, is_baseline)))
        entries.append((title, colour))
    ordered = [curve for is_default, curve in sorted(drawn, key=lambda item: item[0])]
    chart = charts.line_chart(
        charts.cumulative_lines(ordered, x_range=X_RANGE_KM),
        label="Share of test pictures whose error is below a distance",
        x_label="error, km",
        y_label="% of test pictures",
        x_range=X_RANGE_KM,
        y_range=(0.0, 100.0),
        log_x=True,
    )
    return chart + charts.legend(entries)


def _losses(losses: pd.DataFrame | None) -> Markup | None:
    if losses is None or losses.empty:
        return None
    names = [str(name) for name in losses.columns if name != "epoch"]
    lines = [
        charts.Line(name, losses["epoch"], losses[name], charts.PALETTE[number % len(charts.PALETTE)])
        for number, name in enumerate(names)
    ]
    chart = charts.line_chart(lines, label="Loss by epoch", x_label="epoch", y_label="loss")
    return chart + charts.legend([(line.name, line.colour) for line in lines]) if chart else None


def _risk(data: ReportData) -> Markup:
    """Return the risk-coverage curves with their legend; empty when confidence was not measured."""
    lines = [
        charts.Line(name, 100.0 * table["coverage"], 100.0 * table["risk"], charts.PALETTE[number % len(charts.PALETTE)])
        for number, (name, table) in enumerate(data.findings.risk.items())
        if len(table)
    ]
    if not lines:
        return Markup("")
    chart = charts.line_chart(
        lines,
        label="Share of wrong answers among those given, by how many are given",
        x_label="% of pictures answered, the surest first",
        y_label="% of them off by over 25 km",
        x_range=(0.0, 100.0),
    )
    return chart + charts.legend([(line.name, line.colour) for line in lines])


def _error_map(data: ReportData, mine: pd.DataFrame) -> Markup:
    """Return the map of errors by prefecture; empty when the true prefectures are not known."""
    bubbles = []
    codes = mine["query_id"].map(dict(data.true_code))
    for code, part in mine.groupby(codes, sort=True):
        lat, lon = spherical_mean(lat=part["true_lat"], lon=part["true_lon"])
        name = BY_CODE[str(code)].name if str(code) in BY_CODE else str(code)
        bubbles.append(charts.Bubble(name, lat, lon, len(part), float(np.median(part["error_km"]))))
    return charts.error_map(bubbles, data.outlines, label="Median error of the test pictures of each prefecture")


def _pictures(data: ReportData) -> dict[str, Any]:
    """Return the paper's fig. 4: the map of the data set and its counts; nothing when it is not known."""
    if data.pictures is None or data.pictures.empty:
        return {"picture_counts": [], "picture_map": "", "picture_legend": "", "paper_counts": ()}
    label = "How densely the pictures of the data set stand"
    drawn, shades = distribution.density_map(
        lat=data.pictures["lat"], lon=data.pictures["lon"], outlines=data.outlines, label=label
    )
    return {
        "picture_counts": distribution.prefecture_counts(data.pictures["prefecture_code"]),
        "picture_map": drawn,
        "picture_legend": charts.legend(shades),
        "paper_counts": distribution.PAPER_TABLE_2,
    }
