"""The report page: one file that says how good the answers are, what limits them, and how they came about.

Whatever was not measured is left out of the page, never shown as zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation import metrics, paper, report_charts
from geoloc_pipeline.evaluation.areas import URBAN_PER_KM2
from geoloc_pipeline.evaluation.audit import ALIKE_FROM
from geoloc_pipeline.evaluation.pages import render_page
from geoloc_pipeline.evaluation.tracks import KNOWN, NEW, SAME_SEQUENCE
from geoloc_pipeline.evaluation.words import WORDS
from geoloc_pipeline.storage.atomic import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from geoloc_pipeline.evaluation.cartography import Outline
    from geoloc_pipeline.evaluation.findings import Findings

HEADLINE = ("within_1_km_pct", "within_25_km_pct", "within_100_km_pct")
TRACK_WORDS = {
    KNOWN: ("Known place", "the gallery holds a picture within 1 km by somebody else, or of another day"),
    NEW: ("New place", "the gallery holds nothing within 1 km"),
    SAME_SEQUENCE: ("Same sequence only", "within 1 km, the gallery holds only pictures of the same sequence and day: a leak"),
}
LEVEL_WORDS = {"prefecture": "prefectures", "municipality": "municipalities", "town": "town blocks"}
LEAK_WORDS = {
    "test_images": "test pictures",
    "capture_groups_cut": "sequences or authors on both sides",
    "test_images_in_cut_groups": "test pictures of such a sequence or author",
    "test_images_near_train": "test pictures with a training picture nearby",
    "near_m": "nearby means within, m",
    "nearest_train_m": "median distance to the nearest training picture, m",
}
"""What `labels.splits.LeakReport` counts, in words, in the order in which it is read."""
PICTURE_WORDS = {"near_duplicates": "near-duplicates", "others": "all others"}


@dataclass(frozen=True)
class SplitFigures:
    """What one way of splitting gave.

    Attributes:
        rule: `grouped` or `paper`.
        is_this: Whether it is this run's own.
        readout: The default read-out there.
        figures: Of the default read-out: n, median_km, low_km, high_km and the shares.
    """

    rule: str
    is_this: bool
    readout: str
    figures: Mapping[str, Any]


@dataclass(frozen=True)
class PhotoTrialFigures:
    """What a public test set gave.

    Attributes:
        name: For people.
        about: What it is, and how many of it there should be.
        listed: Photos that its list names.
        left_out: How many were left out, by reason.
        estimates: `ESTIMATES` of the others.
        default_readout: The one chosen on this home's validation pictures.
    """

    name: str
    about: str
    listed: int
    left_out: Mapping[str, int]
    estimates: pd.DataFrame
    default_readout: str = ""


@dataclass(frozen=True)
class ReportData:
    """Everything that the page may show.

    Attributes:
        title: Of the page.
        summary: Which world, which split, which model.
        estimates: `ESTIMATES` of the test pictures: every read-out, and whichever baselines there are.
        default_readout: The one chosen on validation.
        findings: Tables of these estimates (`findings.find`).
        pictures: `lat`, `lon` and `prefecture_code` of every picture of the data set; None: not shown.
        counts: How many of what, in the order of the chain, such as roads, landmarks, sample points, images, labels, classes.
        seconds: Seconds of each step, in the order of the chain.
        losses: A column `epoch`, and a column for each loss; None when there was no training.
        true_code: Prefecture code of each query, by `query_id`.
        estimated_code: Prefecture code in which the default read-out's answer lies, by `query_id`; None: in the sea.
        urban_per_km2: Inhabitants per km² from which a town block counted as urban.
        regions_text: How the regions were calibrated (`Regions.text`).
        one_view: Figures of the default read-out when it is shown one view of each test picture.
        leaks: What was counted to find leaks between training and test, by name.
        latency: `latency.latency_table`; None: not measured.
        heads: `heads.head_table`; None: not measured.
        splits: This run's split, and others that were handed over.
        test_sets: Public test sets, each a track of its own.
        outlines: Drawn on the map, such as prefectures.
        provenance: What was made of what, by name: dump dates, census edition, model and collection versions.
        notes: Known limits of this run, one sentence each.
    """

    title: str
    summary: str
    estimates: pd.DataFrame
    default_readout: str
    findings: Findings
    pictures: pd.DataFrame | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    losses: pd.DataFrame | None = None
    true_code: Mapping[str, str] = field(default_factory=dict)
    estimated_code: Mapping[str, str | None] = field(default_factory=dict)
    urban_per_km2: float = URBAN_PER_KM2
    regions_text: str = ""
    one_view: Mapping[str, Any] = field(default_factory=dict)
    leaks: Mapping[str, Any] = field(default_factory=dict)
    latency: pd.DataFrame | None = None
    heads: pd.DataFrame | None = None
    splits: Sequence[SplitFigures] = ()
    test_sets: Sequence[PhotoTrialFigures] = ()
    outlines: Sequence[Outline] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()


def write_report(data: ReportData, path: Path) -> None:
    """Write the report page, whole or not at all; same data, same bytes.

    Args:
        data: What the page shows.
        path: Where it shall stand (`Home.report_page`).

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
    table = data.findings.results
    headline = table[table["is_default"]].iloc[0].to_dict()
    unplaced = sum(data.estimated_code.get(query) is None for query in mine["query_id"]) if data.estimated_code else None
    values = {
        "data": data,
        "headline": headline,
        "ends": _ends(data),
        "results": [_result_row(row) for row in table.to_dict("records")],
        "words": WORDS,
        "leaks": _leaks(data.leaks),
        "track_words": TRACK_WORDS,
        "level_words": LEVEL_WORDS,
        "picture_words": PICTURE_WORDS,
        "paper": paper,
        "alike_from": ALIKE_FROM,
        "outside_box": metrics.outside_box_count(mine)[data.default_readout],
        "unplaced": unplaced,
        "longest_s": max(data.seconds.values(), default=0.0),
        "test_sets": [_test_set(test_set) for test_set in data.test_sets],
        **_tables(data),
        **report_charts.charts_of(data, mine),
    }
    return render_page("geoloc_pipeline.evaluation", "report.html.j2", values)


def _ends(data: ReportData) -> dict[str, tuple[float, float]]:
    """Return the intervals of the default read-out's figures."""
    table = data.findings.intervals
    mine = table[table["readout"] == data.default_readout]
    return {str(row.figure): (float(row.low), float(row.high)) for row in mine.itertuples()}


def _result_row(row: dict[str, Any]) -> dict[str, Any]:
    title, about = WORDS.get(row["readout"], (row["readout"], ""))
    return {**row, "title": title, "about": about}


def _tables(data: ReportData) -> dict[str, Any]:
    """Return the tables that the page shows, as rows; empty ones are not shown."""
    found = data.findings
    names = ("tracks", "ceilings", "floors", "by_source", "by_kind", "duplicates", "calibration", "prefectures")
    rows: dict[str, Any] = {name: getattr(found, name).to_dict("records") for name in names}
    macro = found.macro
    rows["macro"] = macro[macro["readout"] == data.default_readout].to_dict("records") if len(macro) else []
    rows["bias"] = found.bias
    rows["bias_top"] = [] if found.bias is None else found.bias.shares.head(5).to_dict("records")
    rows["heads"] = [] if data.heads is None else data.heads.to_dict("records")
    rows["latency"] = [] if data.latency is None else data.latency.to_dict("records")
    centroid = found.results[found.results["readout"] == "centroid"]
    rows["centroid"] = centroid.iloc[0].to_dict() if len(centroid) else None
    return rows


def _leaks(told: Mapping[str, Any]) -> dict[str, Any]:
    known = {words: told[name] for name, words in LEAK_WORDS.items() if name in told}
    return known | {name: value for name, value in told.items() if name not in LEAK_WORDS}


def _test_set(told: PhotoTrialFigures) -> dict[str, Any]:
    rows = metrics.result_table(told.estimates, default=told.default_readout).to_dict("records") if len(told.estimates) else []
    reasons = [(reason.replace("_", " "), count) for reason, count in told.left_out.items() if count]
    return {"told": told, "rows": [_result_row(row) for row in rows], "left_out": reasons}
