"""Drawings: well-formed SVG whose shapes are as large as the numbers say."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from segexp.reporting import charts


def shapes(drawing, tag):
    return [shape.attrib for shape in ElementTree.fromstring(drawing).iter(tag)]


def texts(drawing):
    return [shape.text for shape in ElementTree.fromstring(drawing).iter("text")]


def test_columns_are_as_high_as_their_counts():
    drawing = charts.histogram([1] * 8 + [2] * 4 + [10] * 2, "sides & more", "a < b", bins=9)
    heights = [float(bar["height"]) for bar in shapes(drawing, "rect")]
    assert len(heights) == 3  # empty columns are not drawn
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[1] == pytest.approx(2 * heights[2], abs=0.2)
    assert {"sides & more", "1", "10", "8", "0", "cases"} <= set(texts(drawing))
    assert ElementTree.fromstring(drawing).attrib["aria-label"] == "a < b"


def test_on_a_root_scale_a_hundred_is_ten_times_as_high_as_one():
    heights = [float(bar["height"]) for bar in shapes(charts.histogram([0] * 100 + [9], "x", "y", root=True), "rect")]
    assert heights[0] == pytest.approx(10 * heights[1], rel=0.02)
    assert "cases, root scale" in texts(charts.histogram([0, 9], "x", "y", root=True))


def test_equal_values_are_one_column_and_what_is_not_finite_none():
    assert len(shapes(charts.histogram([5.0, 5.0, np.nan], "x", "y"), "rect")) == 1
    assert charts.histogram([], "x", "y") == charts.histogram([np.inf, np.nan], "x", "y") == ""


def test_bars_are_as_long_as_the_shares_in_the_colours_of_the_classes():
    drawing = charts.shares(["sky", "a very long name of a class"], [0.8, 0.2], [(1, 2, 3), (255, 0, 16)], "shares")
    bars = shapes(drawing, "rect")
    assert [bar["fill"] for bar in bars] == ["#010203", "#ff0010"]
    assert float(bars[0]["width"]) == pytest.approx(4 * float(bars[1]["width"]), rel=0.01)
    assert "80.0%" in texts(drawing)
    assert "a very long name …" in texts(drawing)


def test_curves_go_from_their_first_to_their_last_value():
    drawing = charts.curves([("Dice", [0, 5, 10], [0.1, 0.5, 0.9]), ("loss", [0, 5, 10], [2.0, 1.0, 0.5])], "steps", "both")
    lines = [[tuple(map(float, p.split(","))) for p in line["points"].split()] for line in shapes(drawing, "polyline")]
    assert [line[0][0] < line[1][0] < line[2][0] for line in lines] == [True, True]
    assert lines[0][0][1] > lines[0][2][1]  # up on the page
    assert lines[1][0][1] < lines[1][2][1]
    assert {"Dice: 0.1 to 0.9", "loss: 2 to 0.5", "steps"} <= set(texts(drawing))
    assert charts.curves([("one", [3], [1.0])], "steps", "a single point")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (256, "256"), (0.034, "0.034"), (12345, "12.3k"), (2.5e6, "2.5M"), (7.0e9, "7G"), (1234.5, "1234")],
)
def test_numbers_are_short(value, text):
    assert charts.short(value) == text


def test_the_colours_are_those_of_the_page():
    drawing = charts.histogram([1, 2, 3], "x", "y")
    assert not re.search(r"fill=|stroke=", drawing)
