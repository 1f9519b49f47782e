"""Everything that is found out of answers and pictures, and that a poor world is no accident."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from geoloc_pipeline.evaluation.findings import CONFIDENCES, PICTURE_COLUMNS, Evidence, find
from geoloc_pipeline.evaluation.metrics import place_table

N = 40


def evidence(*, gallery: int = 200, prefectures: tuple[str, ...] = ("01", "13"), **more: object) -> Evidence:
    chance = np.random.default_rng(2)
    rows = []
    for number in range(N + gallery):
        side = "test" if number < N else "train" if number % 4 else "val"
        code = prefectures[number % len(prefectures)]
        lat, lon = (43.0, 141.0) if code == "01" else (35.6, 139.7)
        place = lat + chance.normal(0, 0.05), lon + chance.normal(0, 0.05)
        source, group = ("mapillary", "panoramax")[number % 2], f"s{number // 3}"
        rows.append((f"q{number}", side, *place, source, group, "2024-05-01", code, f"{code}101", f"{code}101001"))
    pictures = pd.DataFrame(rows, columns=list(PICTURE_COLUMNS))
    asked, held = pictures[pictures["split"] == "test"], pictures[pictures["split"] != "test"]
    found = held.iloc[chance.integers(0, max(len(held), 1), (N, 5)).ravel() % max(len(held), 1)] if len(held) else None
    lat, lon = (np.full((N, 5), np.nan) if found is None else found[name].to_numpy().reshape(N, 5) for name in ("lat", "lon"))
    truth = {"query_id": asked["image_id"].tolist(), "true_lat": asked["lat"], "true_lon": asked["lon"]}
    readouts = [
        place_table(**truth, lat=asked["lat"] + off, lon=asked["lon"], readout=name)
        for name, off in (("mode", 0.1), ("prior", 3))
    ]
    return Evidence(
        estimates=pd.concat(readouts, ignore_index=True),
        default="mode",
        pictures=pictures,
        query_id=asked["image_id"].tolist(),
        found_lat=lat,
        found_lon=lon,
        found_score=chance.uniform(0.5, 1, (N, 5)),
        estimated_code=dict(zip(asked["image_id"], asked["prefecture_code"], strict=True)),
        **more,
    )


def test_parts_of_the_pictures_add_up_to_all_of_them():
    found = find(evidence())
    for table in (found.tracks, found.by_source, found.by_kind, found.duplicates):
        assert table["n"].sum() == N
    assert found.ceilings["n"].tolist() == [N, N, N]
    assert found.prefectures["n"].sum() == N
    assert found.bias.std_pct == pytest.approx(0.0)
    assert found.results["readout"].tolist() == ["prior", "mode"]


def test_every_answer_of_one_error_has_that_error_in_every_part():
    found = find(evidence())
    whole = found.results.set_index("readout").loc["mode", "median_km"]
    for table in (found.tracks, found.by_source, found.by_kind, found.macro[found.macro["readout"] == "mode"]):
        assert table["median_km"].to_numpy() == pytest.approx(whole, rel=0.01)


def test_a_confidence_is_judged_where_it_is_known_of_all():
    told = pd.DataFrame({"kind": ["whole", "whole", "one_view"], "error_km": [1.0, 90.0, 5.0], "top_score": [0.9, 0.2, np.nan]})
    told["region_90_km"] = [3.0, np.nan, 3.0]
    found = find(evidence(confidence=told))
    assert list(found.risk) == ["similarity of the best neighbour"]
    assert found.to_json()["risk"] == {
        "similarity of the best neighbour": {"mean": 0.25, "answering_half": 0.0, "answering_all": 0.5}
    }
    assert set(found.risk) <= set(CONFIDENCES)


def test_what_was_found_is_plain_json_without_nan():
    told = json.dumps(find(evidence()).to_json(), allow_nan=False)
    assert set(json.loads(told)) >= {
        "intervals",
        "macro",
        "tracks",
        "ceilings",
        "floors",
        "bias",
        "risk",
        "by_source",
        "by_kind",
    }


@pytest.mark.parametrize("poor", [{"prefectures": ("13",)}, {"gallery": 0}], ids=["one prefecture", "no gallery"])
def test_a_poor_world_is_judged_as_far_as_it_goes(poor: dict[str, object]):
    found = find(evidence(**poor))
    assert found.tracks["n"].sum() == N
    if "gallery" in poor:
        assert found.tracks["track"].tolist() == ["new_place"]
        assert found.ceilings["gallery_pct"].tolist() == [0.0] * 3
        assert found.floors.empty
    else:
        assert len(found.bias.shares) == 1


def test_pictures_without_a_census_are_of_an_unknown_kind():
    assert find(evidence(town_kind={})).by_kind["kind"].tolist() == ["unknown"]


def test_without_test_pictures_there_is_nothing_to_find():
    full = evidence()
    none = find(Evidence(full.estimates.iloc[:0], "mode", full.pictures, [], *[np.empty((0, 0))] * 3))
    assert none.results.empty
    assert none.to_json()["tracks"] == []
