"""Charts show the numbers that they are given, and are valid SVG."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from geoloc_pipeline.evaluation.charts import (
    ERROR_COLOURS,
    GREY,
    Bubble,
    Line,
    cumulative_lines,
    error_colour,
    error_histogram,
    error_map,
    legend,
    line_chart,
)


def test_a_line_goes_up_when_its_values_do():
    svg = ElementTree.fromstring(line_chart([Line("a", [0, 1, 2], [0, 5, 10])], label="l", x_label="x", y_label="y"))
    (line,) = svg.iter("polyline")
    points = np.array([pair.split(",") for pair in line.get("points").split()], dtype=float)
    assert (np.diff(points[:, 0]) > 0).all()
    assert (np.diff(points[:, 1]) < 0).all()  # y goes down in pictures


def test_gaps_and_lone_points_are_drawn_and_nothing_at_all_is_empty():
    assert line_chart([Line("a", [0, 1], [np.nan, np.inf])], label="l", x_label="x", y_label="y") == ""
    lone = line_chart([Line("a", [0, 1, 2], [np.nan, 3, np.nan])], label="l", x_label="x", y_label="y")
    assert lone.count("<circle") == 1


def test_values_that_never_change_still_make_a_chart():
    svg = line_chart([Line("a", [1, 2], [0, 0])], label="l", x_label="x", y_label="y")
    assert "nan" not in svg
    assert "inf" not in svg


def test_the_cumulative_curve_is_the_share_below_each_distance():
    (line,) = cumulative_lines([("a", [1.0, 10.0, 100.0, 1000.0], "#000", False)], x_range=(0.1, 2000.0))
    x, y = np.asarray(line.x), np.asarray(line.y)
    for at in (0.5, 5.0, 50.0, 500.0, 1900.0):
        here = int(np.searchsorted(x, at))
        assert y[here] == pytest.approx(25 * np.sum(np.array([1, 10, 100, 1000]) <= x[here]))


def test_every_error_is_in_the_histogram_even_beyond_its_ends():
    svg = ElementTree.fromstring(error_histogram([1e-9, 0.5, 30.0, 30.0, 30.0, 1e6], label="h"))
    heights = [float(bar.get("height")) for bar in svg.iter("rect")]
    assert len(heights) == 4
    assert sum(height / max(heights) * 3 for height in heights) == pytest.approx(6, abs=0.05)
    assert error_histogram([], label="h") == ""


def test_colours_follow_the_papers_thresholds():
    assert [error_colour(km) for km in (0.0, 1.0, 25.0, 100.0, 100.1)] == [ERROR_COLOURS[i] for i in (0, 0, 1, 2, 3)]
    assert error_colour(math.nan) == GREY


def test_a_map_of_errors_has_one_disc_a_prefecture_and_escapes_names():
    bubbles = [Bubble("<b>東京</b>", 35.7, 139.7, 40, 3.0), Bubble("沖縄県", 26.3, 127.8, 10, 300.0)]
    svg = error_map(bubbles, [], label='"quoted"')
    circles = list(ElementTree.fromstring(svg).iter("circle"))
    assert len(circles) == 2
    area = [float(circle.get("r")) for circle in circles]
    assert area[0] > area[1]
    assert "<b>" not in svg
    assert error_map([], [], label="m") == ""


def test_a_legend_escapes_its_words():
    assert "<script" not in legend([("<script>alert(1)</script>", "#fff")])
    assert re.search(r"background:#fff", legend([("a", "#fff")]))
