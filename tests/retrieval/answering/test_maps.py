"""The two maps of an evidence page show what they must, whatever the answer is like."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
import shapely

from geoloc_pipeline.evaluation.cartography import MapFrame, Outline
from geoloc_pipeline.retrieval.answering.locate import Answer, AnswerNeighbour
from geoloc_pipeline.retrieval.answering.maps import detail_frame, draw_map, wide_frame

HREF = "href"


def answer(places: list[tuple[float, float, float]], **changes: object) -> Answer:
    neighbours = tuple(AnswerNeighbour(i, f"i{i}", lat, lon, 0.9, away) for i, (lat, lon, away) in enumerate(places, start=1))
    values = {"lat": 35.68, "lon": 139.70, "readout": "mode", "region_50_km": 2.0, "region_90_km": 5.0, "spread_km": 1.0}
    return Answer(**(values | {"neighbours": neighbours} | changes))


NEAR = answer([(35.68 + i / 100, 139.70, 1.1 * i) for i in range(5)])


def drawn(frame: MapFrame, given: Answer, **changes: object) -> ElementTree.Element:
    return ElementTree.fromstring(draw_map(frame, given, label="a map", **changes))


def marks(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [element for element in svg.iter() if element.get("class") == kind]


def test_the_wide_map_shows_all_of_japan_and_every_neighbour():
    given = answer([(35.7, 139.7, 1.0), (48.9, 2.4, 9700.0)])
    frame = wide_frame(given, truth=(26.2, 127.7))
    for lat, lon in ((45.5, 141.9), (26.2, 127.7), (48.9, 2.4), (35.7, 139.7)):
        x, y = frame.xy(lat=lat, lon=lon)
        assert 0 < x < frame.width_px
        assert 0 < y < frame.height_px


def test_far_from_japan_the_wide_map_is_of_where_the_neighbours_are():
    west, _, east, _ = wide_frame(answer([(48.9, 2.4, 1.0)], lat=48.9, lon=2.4)).bounds()
    assert east - west < 1.0


@pytest.mark.parametrize("away_km", [0.0, 3.0, 40.0, 900.0])
def test_the_detail_map_stays_between_a_street_and_a_prefecture(away_km: float):
    given = answer([(35.68, 139.70, away_km)] * 9, region_50_km=None, region_90_km=None)
    frame = detail_frame(given)
    across_km = min(frame.width_px, frame.height_px) / frame.px_per_km()
    assert 1.5 < across_km < 250


def test_a_truth_not_far_beyond_is_on_the_detail_map():
    frame = detail_frame(NEAR, truth_km=8.0)
    assert frame.height_px / 2 / frame.px_per_km() > 8.0
    assert detail_frame(NEAR, truth_km=800.0) == detail_frame(NEAR)


def test_every_neighbour_answer_region_and_truth_is_marked():
    svg = drawn(detail_frame(NEAR, truth_km=4.0), NEAR, truth=(35.7, 139.72))
    assert [mark.get("data-n") for mark in marks(svg, "dot")] == ["5", "4", "3", "2", "1"]
    assert len(marks(svg, "answer")) == 2
    assert len(marks(svg, "region r50")) == len(marks(svg, "region r90")) == 1
    assert len(marks(svg, "truth")) == 1
    assert marks(drawn(detail_frame(NEAR), NEAR), "truth") == []


def test_the_only_picture_in_a_map_is_inside_the_file():
    svg = drawn(wide_frame(NEAR), NEAR)
    links = [element.get(HREF) for element in svg.iter() if element.get(HREF)]
    assert len(links) == 1
    assert links[0].startswith("data:image/png;base64,")


def test_an_answer_without_neighbours_or_regions_is_still_drawn():
    lone = answer([], region_50_km=None, region_90_km=None)
    svg = drawn(detail_frame(lone), lone)
    assert len(marks(svg, "answer")) == 2
    assert not list(svg.iter("image"))


def test_names_of_areas_are_escaped_and_do_not_run_into_each_other():
    frame = detail_frame(NEAR)
    boxes = [
        Outline("<script>x</script>", shapely.box(139.65, 35.64, 139.75, 35.72)),
        Outline("下", shapely.box(139.65, 35.64, 139.75, 35.72)),
    ]
    text = draw_map(frame, NEAR, outlines=boxes, label='"><script>')
    assert "<script" not in text
    assert len(marks(ElementTree.fromstring(text), "place")) == 1


def test_the_schematic_coast_is_left_out_where_it_would_mislead():
    assert marks(drawn(detail_frame(NEAR), NEAR), "coast") == []
    assert len(marks(drawn(wide_frame(NEAR), NEAR), "coast")) == 1


def test_same_answer_same_picture():
    assert draw_map(wide_frame(NEAR), NEAR, label="a") == draw_map(wide_frame(NEAR), NEAR, label="a")
    assert np.isfinite(wide_frame(NEAR).px_per_deg)
