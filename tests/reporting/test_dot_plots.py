"""Dot plots of a study."""

import re
from itertools import pairwise

import pytest

from segexp.reporting.dot_plots import Dot, dot_plot


def drawn_x(markup):
    return [float(x) for x in re.findall(r'cx="([\d.]+)"', markup)]


def dots(values, scores=None):
    return [
        Dot(value, score, f"job {n}")
        for n, (value, score) in enumerate(zip(values, scores or [0.5] * len(values), strict=True))
    ]


def test_each_job_is_a_dot_that_tells_its_name():
    drawn = dot_plot("model", dots(["unet", "unetpp"], [0.7, 0.8]), "val Dice")
    assert drawn.count("<circle") == 2
    assert "<title>job 1: val Dice 0.8000</title>" in drawn
    assert "mean-mark" not in drawn, "a single job is no mean"
    assert re.findall(r'text-anchor="middle">([^<]+)', drawn) == ["unet", "unetpp"]


def test_jobs_with_one_value_lie_side_by_side_around_it_with_their_mean():
    drawn = dot_plot("model", dots(["unet"] * 3 + ["dilated"], [0.5, 0.6, 0.7, 0.4]), "val Dice")
    x = drawn_x(drawn)
    dilated, *unet = x
    assert dilated < unet[0] < unet[1] < unet[2]
    assert drawn.count("mean-mark") == 1
    row = re.search(r"<td>unet</td>(.*?)</tr>", drawn).group(1)
    assert re.findall(r">([\d.]+)<", row) == ["3", "0.6000", "0.5000", "0.7000"]


def test_few_numbers_are_in_order_side_by_side():
    drawn = dot_plot("seed", dots(["10", "9", "2"]), "val Dice")
    assert re.findall(r'text-anchor="middle">([^<]+)', drawn) == ["2", "9", "10"]
    x = drawn_x(drawn)
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)


def test_many_numbers_lie_on_a_scale():
    x = drawn_x(dot_plot("width", dots(["1", "2", "3", "4", "5", "6", "16"]), "val Dice"))
    assert x[6] - x[5] == pytest.approx(10 * (x[1] - x[0]), rel=0.02)


def test_numbers_over_decades_lie_on_a_logarithmic_scale():
    x = drawn_x(dot_plot("lr", dots(["1e-5", "1e-4", "1e-3", "1e-2", "0.1", "1", "10"]), "val Dice"))
    steps = [b - a for a, b in pairwise(x)]
    assert steps == pytest.approx([steps[0]] * 6, abs=0.2)


def test_jobs_without_a_score_are_left_out():
    assert dot_plot("model", dots(["unet"], [float("nan")]), "val Dice") == ""
    assert dot_plot("model", dots(["unet", "dilated"], [float("nan"), 0.5]), "val Dice").count("<circle") == 1


def test_long_values_are_shortened_below_and_whole_in_the_table():
    values = [f"a very long value indeed, number {n}" for n in range(8)]
    drawn = dot_plot("loss", dots(values), "val Dice")
    labels = re.findall(r'text-anchor="middle">([^<]+)', drawn)
    assert all(len(label) <= 8 and label.endswith("…") for label in labels)
    assert f"<td>{values[3]}</td>" in drawn
