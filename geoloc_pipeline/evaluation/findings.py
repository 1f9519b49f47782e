"""Everything that an evaluation finds out, from its answers and from what is known of the pictures.

Belongs here: which table is made of which pictures. How each is counted stands in the module that it comes from.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from geoloc_pipeline.evaluation import areas, audit, ceilings, tracks
from geoloc_pipeline.evaluation.bias import Bias, prefecture_bias
from geoloc_pipeline.evaluation.confidence import area_under_risk, risk_coverage
from geoloc_pipeline.evaluation.metrics import calibration_table, interval_table, result_table
from geoloc_pipeline.evaluation.words import CLASSIFIER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

CONFIDENCES = {
    "size of the 90 % region": ("region_90_km", -1.0),
    "similarity of the best neighbour": ("top_score", 1.0),
    "familiarity": ("familiarity", 1.0),
}
"""What an answer's confidence can be taken from: the column, and whether more is surer (1) or less sure (-1)."""
PICTURE_COLUMNS = (
    "image_id", "split", "lat", "lon", "source", "capture_group", "day", "prefecture_code", "municipality_code", "town_code",
)  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What there is to judge.

    Attributes:
        estimates: `ESTIMATES` of the test pictures: every read-out and baseline.
        default: The read-out that was chosen on validation.
        pictures: One row a picture of the data set, with the columns `PICTURE_COLUMNS`; all but image_id, split, lat and lon
            may be missing values.
        query_id: `[q]` test pictures, in the order of the arrays that follow; empty: the neighbours are not known.
        found_lat: `[q, k]` degrees of their neighbours; NaN where absent.
        found_lon: Like `found_lat`.
        found_score: `[q, k]` cosines, best first.
        gate: `[q, k]` log of how well each neighbour's area agrees with the heads; None without a gate.
        estimated_code: Prefecture code in which the default read-out's answer lies, by `query_id`; None: in the sea.
        town_kind: `urban`, `rural` or `unknown` of each town block, by its code (`areas.urban_towns`).
        one_view: `ESTIMATES` of the default read-out when it is shown one view of each test picture; empty: not asked.
        confidence: What was known of each default answer beforehand: kind, error_km and columns of `CONFIDENCES`.
    """

    estimates: pd.DataFrame
    default: str
    pictures: pd.DataFrame
    query_id: list[str]
    found_lat: NDArray[Any]
    found_lon: NDArray[Any]
    found_score: NDArray[Any]
    gate: NDArray[Any] | None = None
    estimated_code: Mapping[str, str | None] = field(default_factory=dict)
    town_kind: Mapping[str, str] = field(default_factory=dict)
    one_view: pd.DataFrame = field(default_factory=pd.DataFrame)
    confidence: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class Findings:
    """The tables of an evaluation; an empty one was not measured.

    Attributes:
        results: `metrics.result_table`.
        intervals: `metrics.interval_table`.
        macro: `areas.macro_table` by prefecture and municipality.
        by_source: `areas.group_table` of the default read-out.
        by_kind: The same by urban and rural.
        tracks: The same by known and new place.
        duplicates: `audit.duplicate_table`.
        ceilings: `ceilings.ceiling_table`.
        floors: `ceilings.floor_table`.
        prefectures: `areas.prefecture_table`.
        bias: The paper's bias experiment; None without prefectures.
        calibration: `metrics.calibration_table`, with a column kind: `whole` pictures, or `one_view` of them.
        risk: `confidence.risk_coverage` of the default read-out, by what the confidence is taken from.
    """

    results: pd.DataFrame
    intervals: pd.DataFrame
    macro: pd.DataFrame = field(default_factory=pd.DataFrame)
    by_source: pd.DataFrame = field(default_factory=pd.DataFrame)
    by_kind: pd.DataFrame = field(default_factory=pd.DataFrame)
    tracks: pd.DataFrame = field(default_factory=pd.DataFrame)
    duplicates: pd.DataFrame = field(default_factory=pd.DataFrame)
    ceilings: pd.DataFrame = field(default_factory=pd.DataFrame)
    floors: pd.DataFrame = field(default_factory=pd.DataFrame)
    prefectures: pd.DataFrame = field(default_factory=pd.DataFrame)
    bias: Bias | None = None
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    risk: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what was found, without `results` (they stand in the summary by themselves), for programs."""
        intervals: dict[str, dict[str, list[float]]] = {}
        for row in self.intervals.itertuples():
            intervals.setdefault(str(row.readout), {})[str(row.figure)] = [round(row.low, 4), round(row.high, 4)]
        names = ("macro", "by_source", "by_kind", "tracks", "duplicates", "ceilings", "floors", "prefectures", "calibration")
        tables = {name: rows_of(getattr(self, name)) for name in names}
        bias = {}
        if self.bias is not None:
            plain = {name: value for name, value in vars(self.bias).items() if name != "shares"}
            bias = {name: round(value, 4) if math.isfinite(value) else None for name, value in plain.items()} | {
                "shares": rows_of(self.bias.shares)
            }
        risk = {name: _risk_row(table) for name, table in self.risk.items()}
        return {"intervals": intervals, **tables, "bias": bias, "risk": risk}


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table as plain rows, numbers to four digits, what is not known as None."""
    told: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=4)) if len(table) else []
    return told


def find(evidence: Evidence) -> Findings:
    """Return everything that can be found out.

    Args:
        evidence: Answers and pictures.

    Returns:
        The tables; without test pictures all are empty.
    """
    intervals = interval_table(evidence.estimates)
    results = result_table(evidence.estimates, default=evidence.default, intervals=intervals)
    mine = evidence.estimates[evidence.estimates["readout"] == evidence.default].reset_index(drop=True)
    pictures = evidence.pictures.drop_duplicates("image_id").set_index("image_id", drop=False)
    if mine.empty or pictures.empty:
        return Findings(results=results, intervals=intervals)
    asked = pictures.reindex(mine["query_id"])
    label = {name: _labels(asked, name) for name in ("source", "prefecture_code", "municipality_code", "town_code")}
    kinds = {query: evidence.town_kind.get(town, areas.UNKNOWN) for query, town in label["town_code"].items()}
    return Findings(
        results=results,
        intervals=intervals,
        macro=areas.macro_table(
            evidence.estimates,
            areas={"prefecture": label["prefecture_code"], "municipality": label["municipality_code"]},
        ),
        by_source=areas.group_table(mine, label_of=label["source"], column="source"),
        by_kind=areas.group_table(mine, label_of=kinds, column="kind", order=(areas.URBAN, areas.RURAL)),
        tracks=_tracks(mine, asked, _gallery(pictures)),
        prefectures=areas.prefecture_table(mine, true_code=label["prefecture_code"], estimated_code=evidence.estimated_code),
        bias=prefecture_bias(true_code=label["prefecture_code"], estimated_code=evidence.estimated_code),
        calibration=_calibration(evidence),
        risk=_risk(evidence.confidence),
        floors=_floors(mine, asked, pictures[pictures["split"] == "train"]),
        **_searched(evidence, mine, _gallery(pictures)),
    )


def _calibration(evidence: Evidence) -> pd.DataFrame:
    kinds = {"whole": evidence.estimates, "one_view": evidence.one_view}
    tables = [calibration_table(table).assign(kind=kind) for kind, table in kinds.items() if len(table)]
    return pd.concat(tables, ignore_index=True)


def _risk(confidence: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the curves of whole pictures, for every confidence that is known of all of them."""
    if confidence.empty:
        return {}
    told = confidence[confidence["kind"] == "whole"]
    known = {words: name for words, (name, _) in CONFIDENCES.items() if name in told and len(told) and told[name].notna().all()}
    return {
        words: risk_coverage(CONFIDENCES[words][1] * told[name].to_numpy(dtype=float), told["error_km"].to_numpy(dtype=float))
        for words, name in known.items()
    }


def _risk_row(table: pd.DataFrame) -> dict[str, float]:
    """Return what a curve comes to: its mean, and the share of wrong answers when the surest half, or all, are given."""
    half = table[table["coverage"] >= 0.5]
    ends = {"answering_half": float(half["risk"].iloc[0]), "answering_all": float(table["risk"].iloc[-1])}
    return {"mean": round(area_under_risk(table), 4), **{name: round(value, 4) for name, value in ends.items()}}


def _labels(asked: pd.DataFrame, column: str) -> dict[str, str]:
    return asked[column].dropna().astype(str).to_dict() if column in asked else {}


def _gallery(pictures: pd.DataFrame) -> pd.DataFrame:
    return pictures[pictures["split"] != "test"]


def _taken(pictures: pd.DataFrame) -> tracks.Taken:
    lat, lon = (pictures[name].to_numpy(dtype=float) for name in ("lat", "lon"))
    group, day = (pictures[name].fillna("").astype(str).tolist() for name in ("capture_group", "day"))
    return tracks.Taken(lat=lat, lon=lon, capture_group=group, day=day)


def _tracks(mine: pd.DataFrame, asked: pd.DataFrame, gallery: pd.DataFrame) -> pd.DataFrame:
    truth = asked.assign(lat=mine["true_lat"].to_numpy(), lon=mine["true_lon"].to_numpy())
    found = tracks.tracks_of(_taken(truth), _taken(gallery))
    label_of = dict(zip(mine["query_id"], found, strict=True))
    return areas.group_table(mine, label_of=label_of, column="track", order=tracks.TRACKS)


def _floors(mine: pd.DataFrame, asked: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    truths = []
    for level in CLASSIFIER:
        centres = ceilings.class_centres(train[f"{level}_code"].tolist(), lat=train["lat"], lon=train["lon"])
        truths.append((level, asked[f"{level}_code"].tolist(), centres))
    return ceilings.floor_table(truths, true_lat=mine["true_lat"], true_lon=mine["true_lon"])


def _searched(evidence: Evidence, mine: pd.DataFrame, gallery: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what needs the neighbours: ceilings and near-duplicates; nothing when they are not known."""
    if not evidence.query_id:
        return {}
    mine = mine.set_index("query_id").loc[evidence.query_id]
    errors = mine["error_km"].to_numpy(dtype=float)
    table = ceilings.ceiling_table(
        true_lat=mine["true_lat"],
        true_lon=mine["true_lon"],
        gallery_lat=gallery["lat"],
        gallery_lon=gallery["lon"],
        found_lat=evidence.found_lat,
        found_lon=evidence.found_lon,
        gate=evidence.gate,
        error_km=errors,
    )
    return {"ceilings": table, "duplicates": audit.duplicate_table(errors, best_score=evidence.found_score.max(axis=1))}
