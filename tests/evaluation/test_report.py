"""The report page opens without the network, says what it was told, and nothing that was not measured."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.errors import SettingError
from geoloc_pipeline.evaluation.findings import Evidence, find
from geoloc_pipeline.evaluation.heads import head_table
from geoloc_pipeline.evaluation.latency import latency_table
from geoloc_pipeline.evaluation.metrics import mean_position_table
from geoloc_pipeline.evaluation.report import PhotoTrialFigures, ReportData, SplitFigures, report_html, write_report
from geoloc_pipeline.geo.sphere import distance_m
from geoloc_pipeline.tables import ESTIMATES, as_table

CENTRES = {"01": (43.06, 141.35), "13": (35.68, 139.70), "47": (26.30, 127.80)}
QUERIES = [f"q{i}" for i in range(90)]
CODES = dict(zip(QUERIES, ["01", "13", "47"] * 30, strict=True))


def estimates(readout: str, away_deg: float, *, has_regions: bool = True) -> pd.DataFrame:
    chance = np.random.default_rng(0)
    truth = np.array([CENTRES[CODES[q]] for q in QUERIES]) + chance.normal(0, 0.05, (90, 2))
    place = truth + chance.normal(0, away_deg, (90, 2))
    error_km = distance_m(lat=place[:, 0], lon=place[:, 1], to_lat=truth[:, 0], to_lon=truth[:, 1]) / 1000
    columns = {"query_id": QUERIES, "readout": [readout] * 90, "lat": place[:, 0], "lon": place[:, 1]}
    columns |= {"true_lat": truth[:, 0], "true_lon": truth[:, 1], "error_km": error_km}
    radius = np.full(90, 5.0 if has_regions else np.nan)
    return as_table(ESTIMATES, columns | {"region_50_km": radius, "region_90_km": radius * 3})


def evidence(answers: pd.DataFrame, estimated: dict[str, str | None]) -> Evidence:
    """The answers with a gallery of as many pictures half a kilometre away, which the search has found."""
    mode = answers[answers["readout"] == "mode"]
    asked = pd.DataFrame({"image_id": QUERIES, "split": "test", "lat": mode["true_lat"], "lon": mode["true_lon"]})
    asked["source"], asked["capture_group"], asked["day"] = "mapillary", "mine", "2024-05-01"
    asked["prefecture_code"] = list(CODES.values())
    asked["municipality_code"], asked["town_code"] = asked["prefecture_code"] + "101", asked["prefecture_code"] + "101001"
    held = asked.assign(image_id="g" + asked["image_id"], split="train", lat=asked["lat"] + 0.005, capture_group="other")
    return Evidence(
        estimates=answers,
        default="mode",
        pictures=pd.concat([asked, held]),
        query_id=QUERIES,
        found_lat=held["lat"].to_numpy()[:, None],
        found_lon=held["lon"].to_numpy()[:, None],
        found_score=np.full((90, 1), 0.97),
        gate=np.zeros((90, 1)),
        estimated_code=estimated,
        town_kind={"13101001": "urban", "01101001": "rural"},
        one_view=mode,
        confidence=pd.DataFrame({"kind": "whole", "error_km": mode["error_km"], "top_score": np.linspace(0.1, 0.9, 90)}),
    )


def report_data(**changes: object) -> ReportData:
    mode = estimates("mode", 0.02)
    baseline = mean_position_table(
        train_lat=mode["true_lat"],
        train_lon=mode["true_lon"],
        query_id=QUERIES,
        true_lat=mode["true_lat"],
        true_lon=mode["true_lon"],
    )
    answers = pd.concat([mode, estimates("centroid", 0.3), baseline])
    estimated = {**CODES, "q0": None}
    findings = find(evidence(answers, estimated))
    figures = findings.results.set_index("readout").loc["mode"].to_dict()
    data = ReportData(
        title="A world",
        summary="90 pictures",
        estimates=answers,
        default_readout="mode",
        findings=findings,
        pictures=pd.DataFrame({"lat": mode["true_lat"], "lon": mode["true_lon"], "prefecture_code": list(CODES.values())}),
        counts={"roads": 1830, "classes: 市区町村": 24},
        seconds={"osm_dump": 1.2, "geolocation_model": 95.0},
        losses=pd.DataFrame({"epoch": [1, 2, 3], "training": [3.0, 2.0, 1.5], "validation": [3.1, 2.4, np.nan]}),
        true_code=CODES,
        estimated_code=estimated,
        regions_text="Calibrated on 300 validation pictures.",
        leaks={"shared sequences": 0},
        latency=latency_table([{"decode": 0.01, "search": 0.02}] * 3, cold={"decode": 1.0, "search": 2.5}),
        heads=head_table(
            {"road": np.zeros((3, 1), dtype=int)}, truth={"road": np.array([0, 0, -1])}, n_classes={"road": 7}, place=[1, 2, 3]
        ),
        splits=[SplitFigures("grouped", True, "mode", figures), SplitFigures("paper", False, "centroid", figures)],
        test_sets=[PhotoTrialFigures("Im2GPS3k", "2,997 photos", 12, {"file_missing": 3, "abroad": 0}, mode)],
        provenance={"dump": "2026-11-20"},
        notes=["Drawn, not photographed."],
    )
    return replace(data, **changes)


class Page(HTMLParser):
    """Every tag and every attribute of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_loads_nothing_from_anywhere():
    page = Page(report_html(report_data()))
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "script"}
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:") or tag == "a"
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "url(" not in report_html(report_data())


def test_same_data_same_bytes(tmp_path: Path):
    write_report(report_data(), tmp_path / "a.html")
    write_report(report_data(), tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_headline_is_the_default_read_outs():
    data = report_data()
    page = Page(report_html(data))
    median = data.estimates.loc[data.estimates["readout"] == "mode", "error_km"].median()
    assert f"{median:.1f} km" in page.text
    assert "東京都" in page.text
    assert "Answers in no known prefecture (sea or abroad): 1" in page.text
    for words in (
        "Mean position",
        "Density mode",
        "Where the pictures are",
        "1,830",
        "1 min 35 s",
        "Calibrated on 300",
        "Known place",
        "Where right answers get lost",
        "urban",
        "near-duplicates",
        "If only the surest",
        "similarity of the best neighbour",
        "one view",
        "Im2GPS3k",
        "3 file missing",
        "Split by group, and split by picture",
        "1012 ± 1026 ms",
        "3500 ms",
        "Drawn, not photographed.",
    ):
        assert words in page.text


def test_what_was_not_measured_is_not_on_the_page():
    answers, empty = estimates("mode", 0.1, has_regions=False), np.empty((0, 0))
    nothing = Evidence(answers, "mode", pd.DataFrame({"image_id": []}), [], empty, empty, empty)
    bare = ReportData(title="t", summary="s", estimates=answers, default_readout="mode", findings=find(nothing))
    text = Page(report_html(bare)).text
    for words in (
        "Loss by epoch",
        "Prefectures and bias",
        "Leaks",
        "Where the time went",
        "What the heads know",
        "What limits",
        "Table 4",
        "Time for one answer",
        "Public test sets",
        "Split by group",
        "regions be trusted",
        "Made of",
        "Where the pic",
    ):
        assert words not in text
    assert "nan" not in text.lower()


def test_names_from_strangers_are_escaped():
    evil = "<script>alert(1)</script>"
    data = report_data(title=evil, summary=evil, notes=[evil], provenance={evil: evil}, counts={evil: 1}, leaks={evil: evil})
    html = report_html(data)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 7


def test_a_report_without_answers_of_the_default_is_refused(tmp_path: Path):
    with pytest.raises(SettingError, match="gated"):
        write_report(report_data(default_readout="gated"), tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []
