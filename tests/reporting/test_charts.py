"""Charts: marks lie where the numbers say, and the drawing is well-formed SVG that tells them in words too."""

import math
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import numpy as np
import pytest

from fixtures.reporting import draw_macro
from segexp.metrics.significance import Interval
from segexp.reporting.charts import (
    MARKED_POINTS,
    MAX_LINES,
    MAX_POINTS,
    WIDTH,
    Axes,
    JobScore,
    Series,
    bar_chart,
    compact_number,
    dot_plot,
    histogram,
    interval_bar,
    line_chart,
    ticks,
)

HOSTILE = 'a < b & "c" </svg>'


def texts(chart):
    return [text.text for text in chart.texts]


def values(marks):
    return [mark.value for mark in marks]


def svg(chart):
    """The drawing as a tree, with its markup."""
    markup = draw_macro("charts.html.j2", "drawing", chart)
    return ElementTree.fromstring(markup), markup


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.83, 0.87, [0.83, 0.84, 0.85, 0.86, 0.87]),
        (3, 40, [0, 10, 20, 30, 40]),
        (0.0, 0.002, [0, 0.0005, 0.001, 0.0015, 0.002]),
        (-1.2, 1.4, [-2, -1, 0, 1, 2]),
    ],
)
def test_ticks_are_round_and_hold_the_values(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_of_a_single_value_lie_around_it():
    found = ticks(0.5, 0.5)
    assert found[0] <= 0.45
    assert found[-1] >= 0.55
    assert ticks(0, 0)[0] < 0 < ticks(0, 0)[-1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (256, "256"), (0.034, "0.034"), (12345, "12.3k"), (2.5e6, "2.5M"), (7.0e9, "7G"), (1234.5, "1234")],
)
def test_numbers_are_short(value, text):
    assert compact_number(value) == text


def test_a_point_lies_where_its_values_are():
    axes = Axes(0, 10, 0, 1)
    assert axes.x(5) == pytest.approx((axes.x(0) + axes.x(10)) / 2)
    assert axes.y(0) > axes.y(1)
    assert axes.y(0.5) == pytest.approx((axes.y(0) + axes.y(1)) / 2)
    assert axes.y(-9) - axes.y(0) < 5, "what lies beyond the scale stays near it"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([0, 0.25, 1], ["0.00", "0.25", "1.00"]), ([0, 20_000], ["0", "20k"]), ([1e-7, 2e-7], ["1e-07", "2e-07"])],
)
def test_numbers_of_a_scale_have_the_same_digits(rows, expected):
    axes = Axes(0, 1, rows[0], rows[-1])
    axes.add_rows(rows)
    assert [text.text for text in axes.texts] == expected


def test_lines_share_one_scale_and_have_names():
    chart = line_chart([Series("training", [0, 1], [1.0, 0.5]), Series(HOSTILE, [0, 1], [1.0, 0.5])], "Loss", "epoch")
    first, second = chart.curves
    assert first.points == second.points
    assert (first.number, second.number) == (0, 1)
    assert chart.legend == ["training", HOSTILE]
    assert chart.label == f"Loss over epoch: training, {HOSTILE}"
    figure = draw_macro("charts.html.j2", "figure", chart)
    assert '<span class="c1">a &lt; b &amp; &#34;c&#34; &lt;/svg&gt;</span>' in figure
    assert figure.count("</svg>") == 1
    assert line_chart([Series("only", [0, 1], [1.0, 0.5])], "Loss", "epoch").legend == []


def test_a_line_is_told_in_words():
    chart = line_chart([Series("training", [0, 1, 2], [1.0, 0.25, 0.5])], "Loss", "epoch")
    assert chart.description == "training: from 1 at epoch 0 to 0.5 at epoch 2, lowest 0.25, highest 1."
    tree, _ = svg(chart)
    assert tree.attrib["role"] == "img"
    assert tree.attrib["aria-label"] == "Loss over epoch: training"
    assert tree.find("desc").text == chart.description


def test_what_is_not_finite_is_left_out():
    chart = line_chart([Series("a", [0, 1, 2], [1, math.nan, 0.5]), Series("b", [0, 1], [math.inf] * 2)], "Loss", "epoch")
    assert [len(curve.points) for curve in chart.curves] == [2]
    assert line_chart([Series("a", [], [])], "Loss", "epoch") is None
    assert line_chart([], "Loss", "epoch") is None


def test_there_are_no_more_lines_than_colours():
    chart = line_chart([Series(str(n), [0, 1], [0.0, n]) for n in range(MAX_LINES + 3)], "Loss", "epoch")
    assert [curve.number for curve in chart.curves] == list(range(MAX_LINES))


def test_few_points_tell_their_values_and_many_are_thinned_out():
    few = line_chart([Series("a", range(10), [0.25] * 10)], "Loss", "epoch")
    assert values(few.curves[0].dots)[3] == "a, 3: 0.25"
    assert svg(few)[1].count("<title>") == len(few.curves[0].dots) == 10
    count = 10 * MAX_POINTS + 5
    many = line_chart([Series("a", range(count), [n / 7 for n in range(count)])], "Loss", "epoch")
    assert MARKED_POINTS < len(many.curves[0].points) <= MAX_POINTS + 1
    assert many.curves[0].dots == []
    assert many.curves[0].points[-1][0] == pytest.approx(Axes(0, count - 1, 0, 1).x(count - 1), abs=0.1)


def test_epochs_are_whole_numbers():
    chart = line_chart([Series("a", [0, 1, 2, 3], [1, 2, 3, 4])], "Loss", "epoch")
    assert [text.text for text in chart.texts if text.anchor == "middle"] == ["0", "1", "2", "3", "epoch"]


def test_a_marker_is_drawn_where_it_is_in_sight():
    line = Series("a", [0, 10], [0, 1])
    assert "best: epoch 4" in texts(line_chart([line], "Dice", "epoch", marker=(4, "best: epoch 4")))
    outside = line_chart([line], "Dice", "epoch", marker=(11, "best: epoch 11"))
    assert not [text for text in texts(outside) if "best" in text]
    assert not [rule for rule in outside.rules if rule.kind == "guide"]


def test_a_diagonal_leads_from_corner_to_corner():
    chart = line_chart([Series("a", [0.2, 0.8], [0.1, 0.9])], "Hits", "probability", y_range=(0, 1), diagonal=True)
    (guide,) = [rule for rule in chart.rules if rule.kind == "guide"]
    across, up = guide.x2 - guide.x1, guide.y1 - guide.y2
    assert across > 300
    assert up > 300
    assert abs(across - up) < 20


def test_columns_are_as_high_as_their_counts():
    chart = histogram([1] * 8 + [2] * 4 + [10] * 2, "sides & more", HOSTILE, bins=9)
    heights = [bar.height for bar in chart.bars]
    assert len(heights) == 3  # empty columns are not drawn
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert heights[1] == pytest.approx(2 * heights[2], abs=0.2)
    assert {"sides & more", "2", "10", "8", "0", "cases"} <= set(texts(chart))
    assert values(chart.bars) == ["1 to 2: 8 cases", "2 to 3: 4 cases", "9 to 10: 2 cases"]
    assert chart.description == "14 cases from 1 to 10, most in the column from 1 to 2."
    tree, markup = svg(chart)
    assert tree.attrib["aria-label"] == HOSTILE
    assert markup.count("</svg>") == 1
    assert [float(bar.attrib["height"]) for bar in tree.iter("rect")] == heights


def test_on_a_root_scale_a_hundred_is_ten_times_as_high_as_one():
    chart = histogram([0] * 100 + [9], "x", "y", root_scale=True)
    assert chart.bars[0].height == pytest.approx(10 * chart.bars[1].height, rel=0.02)
    assert "cases, root scale" in texts(chart)
    assert values(chart.bars)[1].endswith(": 1 case")


def test_equal_values_are_one_column_and_what_is_not_finite_none():
    assert len(histogram([5.0, 5.0, np.nan], "x", "y").bars) == 1
    assert histogram([], "x", "y") is None
    assert histogram([np.inf, np.nan], "x", "y") is None


def test_a_histogram_can_have_ends_of_its_own():
    chart = histogram([0.81, 0.99, 1.0], "Dice", "y", bins=10, value_range=(0.5, 1.0))
    assert [text for text in texts(chart) if text.startswith("0.") or text == "1"] == [
        "1",
        "0.5",
        "0.6",
        "0.7",
        "0.8",
        "0.9",
        "1",
    ]
    assert sum(bar.height for bar in chart.bars) > 0


def test_the_colours_of_a_histogram_are_those_of_the_page():
    assert not re.search(r"fill=|stroke=", svg(histogram([1, 2, 3], "x", "y"))[1])


def test_bars_are_as_long_as_the_shares_in_the_colours_of_the_classes():
    chart = bar_chart(["sky", "a very long name of a class"], [0.8, 0.2], [(1, 2, 3), (255, 0, 16)], "shares")
    assert [bar.fill for bar in chart.bars] == ["#010203", "#ff0010"]
    assert chart.bars[0].width == pytest.approx(4 * chart.bars[1].width, rel=0.01)
    assert "80.0%" in texts(chart)
    assert "a very long name …" in texts(chart)
    assert chart.description == "sky: 80.0%; a very long name of a class: 20.0%."
    assert all(bar.x + bar.width < WIDTH for bar in chart.bars)
    assert [bar.attrib["fill"] for bar in svg(chart)[0].iter("rect")] == ["#010203", "#ff0010"]
    assert "0.0002" in texts(bar_chart(["a", "b"], [0.9998, 0.0002], [(0, 0, 0)] * 2, "shares"))


def jobs(keys, scores=None):
    found = zip(keys, scores or [0.5] * len(keys), strict=True)
    return [JobScore(value, score, f"job {n}") for n, (value, score) in enumerate(found)]


def places(chart):
    return [dot.x for dot in chart.dots]


def labels(chart):
    return [text.text for text in chart.texts if text.anchor == "middle"]


def means(chart):
    return [rule for rule in chart.rules if rule.kind == "mean-mark"]


def test_each_job_is_a_dot_that_tells_its_name():
    chart = dot_plot("model", jobs(["unet", "unetpp"], [0.7, 0.8]), "val Dice")
    assert values(chart.dots) == ["job 0: val Dice 0.7000", "job 1: val Dice 0.8000"]
    assert means(chart) == [], "a single job is no mean"
    assert labels(chart) == ["unet", "unetpp"]
    assert chart.label == "val Dice of 2 jobs by model"
    assert chart.description == "unet: mean 0.7000 of 1 job. unetpp: mean 0.8000 of 1 job."
    assert svg(chart)[1].count("<circle") == 2


def test_jobs_with_one_value_lie_side_by_side_around_it_with_their_mean():
    chart = dot_plot("model", jobs(["unet"] * 3 + ["dilated"], [0.5, 0.6, 0.7, 0.4]), "val Dice")
    dilated, *unet = places(chart)
    assert dilated < unet[0] < unet[1] < unet[2]
    (mean,) = means(chart)
    assert mean.y1 == mean.y2 == chart.dots[2].y
    assert chart.table.rows[1] == ["unet", "3", "0.6000", "0.5000", "0.7000"]
    assert "<td>unet</td>" in draw_macro("charts.html.j2", "figure", chart)


def test_few_numbers_are_in_order_side_by_side():
    chart = dot_plot("seed", jobs(["10", "9", "2"]), "val Dice")
    assert labels(chart) == ["2", "9", "10"]
    x = places(chart)
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)


def test_many_numbers_lie_on_a_scale():
    x = places(dot_plot("width", jobs(["1", "2", "3", "4", "5", "6", "16"]), "val Dice"))
    assert x[6] - x[5] == pytest.approx(10 * (x[1] - x[0]), rel=0.02)


def test_numbers_over_decades_lie_on_a_logarithmic_scale():
    x = places(dot_plot("lr", jobs(["1e-5", "1e-4", "1e-3", "1e-2", "0.1", "1", "10"]), "val Dice"))
    steps = [b - a for a, b in pairwise(x)]
    assert steps == pytest.approx([steps[0]] * 6, abs=0.2)


def test_jobs_without_a_score_are_left_out():
    assert dot_plot("model", jobs(["unet"], [math.nan]), "val Dice") is None
    assert len(dot_plot("model", jobs(["unet", "dilated"], [math.nan, 0.5]), "val Dice").dots) == 1


def test_long_values_are_shortened_below_and_whole_in_the_table():
    keys = [f"a very long value indeed, number {n}" for n in range(8)]
    chart = dot_plot("loss", jobs(keys), "val Dice")
    assert all(len(label) <= 8 and label.endswith("…") for label in labels(chart))
    assert chart.table.rows[3][0] == keys[3]


def test_an_interval_lies_around_its_mean():
    bar = interval_bar(Interval(0.8, 0.7, 0.85, 9), 0.5, 1.0)
    assert bar.start < bar.mean < bar.start + bar.length
    whole = interval_bar(Interval(0.75, 0.5, 1.0, 9), 0.5, 1.0)
    assert whole.mean == bar.width / 2
    assert (whole.start, whole.length) == (2, bar.width - 4)
    markup = draw_macro("charts.html.j2", "interval", bar)
    assert markup.count('class="span"') == markup.count('class="mean"') == 1
    assert 'aria-hidden="true"' in markup, "the numbers stand beside it"


def test_a_mean_without_an_interval_is_a_mark_and_a_distance_is_nothing():
    bar = interval_bar(Interval(0.8, math.nan, math.nan, 1), 0.5, 1.0)
    assert bar.start is None
    assert 'class="span"' not in draw_macro("charts.html.j2", "interval", bar)
    assert interval_bar(Interval(19.4, 15.9, 22.8, 9), 0.5, 1.0) is None
