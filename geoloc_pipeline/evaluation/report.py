"""The report page: one file that says how good the answers are, and how they came about.

Whatever was not measured is left out of the page, never shown as zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation import charts, distribution, metrics
from geoloc_pipeline.evaluation.pages import render_page
from geoloc_pipeline.geo.prefectures import BY_CODE
from geoloc_pipeline.geo.sphere import spherical_mean
from geoloc_pipeline.storage.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from markupsafe import Markup

    from geoloc_pipeline.evaluation.cartography import Outline

WORDS = {
    metrics.MEAN_POSITION: ("Mean position", "always the mean place of the training pictures; looks at no picture"),
    metrics.UNTRAINED: ("Untrained encoder", "the same network before training, same gallery, same read-out"),
    "centroid": ("Centroid", "centre of all neighbours (the paper's read-out, §4)"),
    "weighted": ("Weighted centre", "neighbours weigh by similarity"),
    "nearest": ("Nearest", "place of the most similar picture"),
    "mode": ("Density mode", "where the neighbours stand densest"),
}
"""Name and explanation of everything that may stand in the result table."""

PAPER_TABLE_3 = (
    ("OSV5M", 339.0, 0.3, 13.2, 27.9),
    ("GeoCLIP", 413.0, 0.04, 1.3, 10.0),
    ("The paper", 25.0, 20.5, 83.7, 91.4),
)
"""Model, median km, and percent within 1, 25 and 100 km on the paper's own test pictures (§4, table 3)."""

X_RANGE_KM = (0.05, 3000.0)


@dataclass(frozen=True)
class ReportData:
    """Everything that the page may show.

    Attributes:
        title: Of the page.
        summary: One sentence: which world, which split, which model.
        estimates: `ESTIMATES` of the test pictures: every read-out, and the baselines `mean_position` and `untrained`.
        default_readout: The one chosen on validation.
        pictures: `lat`, `lon` and `prefecture_code` of every picture of the data set; None: not shown.
        counts: How many of what, in the order of the chain, such as roads, landmarks, sample points, images, labels, classes.
        seconds: Seconds of each step, in the order of the chain.
        losses: A column `epoch`, and a column for each loss; None when there was no training.
        true_code: Prefecture code of each query, by `query_id`.
        estimated_code: Prefecture code in which the default read-out's answer lies, by `query_id`; None: in the sea.
        regions_text: How the regions were calibrated (`Regions.text`).
        leaks: What was counted to find leaks between training and test, by name.
        coverage: What the gallery could know at best, by name, such as the share of queries with a picture within 1 km.
        latency: Seconds of the stages of one answer, by name.
        heads: Accuracy of the heads in percent, by task.
        outlines: Drawn on the map, such as prefectures.
        provenance: What was made of what, by name: dump dates, census edition, model and collection versions.
        notes: Known limits of this run, one sentence each.
    """

    title: str
    summary: str
    estimates: pd.DataFrame
    default_readout: str
    pictures: pd.DataFrame | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    losses: pd.DataFrame | None = None
    true_code: Mapping[str, str] = field(default_factory=dict)
    estimated_code: Mapping[str, str | None] = field(default_factory=dict)
    regions_text: str = ""
    leaks: Mapping[str, Any] = field(default_factory=dict)
    coverage: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, float] = field(default_factory=dict)
    heads: Mapping[str, float] = field(default_factory=dict)
    outlines: Sequence[Outline] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_report(data: ReportData, path: Path) -> None:
    """Write the report page, whole or not at all; same data, same bytes.

    Args:
        data: What the page shows.
        path: Where it shall stand (`Home.reports`, `index.html`).

    Raises:
        SettingError: There is no estimate of the default read-out.
        HomeError: The disk is full, read-only, or not ours to write.
    """
    write_text(path, report_html(data))


def report_html(data: ReportData) -> str:
    """Return the report page as HTML.

    Args:
        data: What the page shows.

    Returns:
        One self-contained page.

    Raises:
        SettingError: There is no estimate of the default read-out.
    """
    mine = data.estimates[data.estimates["readout"] == data.default_readout]
    if mine.empty:
        raise SettingError(
            setting="default_readout",
            value=data.default_readout,
            cure="hand over estimates of it: without answers there is no report",
        )
    table = metrics.result_table(data.estimates, default=data.default_readout)
    headline = table[table["is_default"]].iloc[0].to_dict()
    values = {
        "data": data,
        "headline": headline,
        "results": [_result_row(row) for row in table.to_dict("records")],
        "words": WORDS,
        "paper": PAPER_TABLE_3,
        "curve": _curve(data, table),
        "histogram": charts.error_histogram(mine["error_km"], label=f"Distribution of {len(mine)} test errors"),
        "error_legend": charts.legend(list(zip(charts.ERROR_WORDS, charts.ERROR_COLOURS, strict=True))),
        "losses": _losses(data.losses),
        "calibration": metrics.calibration_table(data.estimates).to_dict("records"),
        "outside_box": metrics.outside_box_count(mine)[data.default_readout],
        "unplaced": sum(data.estimated_code.get(query) is None for query in mine["query_id"]) if data.estimated_code else None,
        "longest_s": max(data.seconds.values(), default=0.0),
        **_prefectures(data, mine),
        **_pictures(data),
    }
    return render_page("geoloc_pipeline.evaluation", "report.html.j2", values)


def _result_row(row: dict[str, Any]) -> dict[str, Any]:
    title, about = WORDS.get(row["readout"], (row["readout"], ""))
    return {**row, "title": title, "about": about}


def _curve(data: ReportData, table: pd.DataFrame) -> Markup:
    """Return the cumulative curves with their legend: baselines grey and dashed, the default read-out on top."""
    drawn, entries = [], []
    colours = iter(charts.PALETTE[1:])
    for row in table.to_dict("records"):
        is_baseline = row["kind"] == "baseline"
        colour = charts.PALETTE[0] if row["is_default"] else charts.GREY if is_baseline else next(colours, charts.GREY)
        if row["readout"] == metrics.UNTRAINED:
            colour = "#4d5560"
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


def _prefectures(data: ReportData, mine: pd.DataFrame) -> dict[str, Any]:
    """Return the table of bias, its standard deviation and the map; nothing when the true prefectures are not known."""
    if not data.true_code:
        return {"prefectures": [], "bias_std": None, "map": "", "n_even": 0}
    table = metrics.prefecture_table(mine, true_code=data.true_code, estimated_code=data.estimated_code)
    bubbles = []
    codes = mine["query_id"].map(dict(data.true_code))
    for code, part in mine.groupby(codes, sort=True):
        lat, lon = spherical_mean(lat=part["true_lat"], lon=part["true_lon"])
        name = BY_CODE[str(code)].name if str(code) in BY_CODE else str(code)
        bubbles.append(charts.Bubble(name, lat, lon, len(part), float(np.median(part["error_km"]))))
    return {
        "prefectures": table.to_dict("records"),
        "bias_std": metrics.bias_std_pct(table),
        "n_even": int((table["n"] > 0).sum()),
        "map": charts.error_map(bubbles, data.outlines, label="Median error of the test pictures of each prefecture"),
    }


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
