"""Which charts the report draws, and of what it draws none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from geoloc_pipeline.evaluation.findings import Evidence, find
from geoloc_pipeline.evaluation.metrics import place_table
from geoloc_pipeline.evaluation.report import ReportData
from geoloc_pipeline.evaluation.report_charts import charts_of


def answers(*readouts: str) -> pd.DataFrame:
    lat, lon, ids = np.linspace(35, 36, 8), np.linspace(139, 140, 8), [f"q{i}" for i in range(8)]
    tables = [place_table(query_id=ids, true_lat=lat, true_lon=lon, lat=lat + 0.1, lon=lon, readout=name) for name in readouts]
    return pd.concat(tables, ignore_index=True)


def drawn(*readouts: str, risk: dict[str, pd.DataFrame] | None = None) -> dict[str, object]:
    empty = np.empty((0, 0))
    estimates = answers(*readouts)
    findings = find(Evidence(estimates, "mode", pd.DataFrame({"image_id": []}), [], empty, empty, empty))
    findings = replace(findings, risk=risk or {})
    data = ReportData(title="", summary="", estimates=estimates, default_readout="mode", findings=findings)
    return charts_of(data, estimates[estimates["readout"] == "mode"])


def test_the_curve_shows_every_read_out_and_few_of_the_baselines():
    curve = str(drawn("mode", "centroid", "mean_position", "prior", "geoclip")["curve"])
    assert curve.count("<polyline") == 3
    assert curve.count("stroke-dasharray") == 1
    assert "Density mode" in curve
    assert "Densest place" not in curve


def test_what_was_not_measured_is_not_drawn():
    charts = drawn("mode")
    assert not any(charts[name] for name in ("losses", "risk_chart", "map", "picture_counts"))


def test_a_risk_curve_ends_at_the_share_of_all_wrong_answers():
    risk = {"by region": pd.DataFrame({"coverage": [0.5, 1.0], "risk": [0.1, 0.4]}), "empty": pd.DataFrame()}
    chart = str(drawn("mode", risk=risk)["risk_chart"])
    assert chart.count("<polyline") == 1
    assert "by region" in chart
