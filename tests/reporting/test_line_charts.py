"""Line drawings: scales, gaps, many points."""

import re

import pytest

from segexp.reporting.line_charts import MOST, POINTS, Frame, Line, curves, ticks


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


def test_a_point_lies_where_its_values_are():
    frame = Frame(0, 10, 0, 1)
    assert frame.x(5) == pytest.approx((frame.x(0) + frame.x(10)) / 2)
    assert frame.y(0) > frame.y(1)
    assert frame.y(0.5) == pytest.approx((frame.y(0) + frame.y(1)) / 2)


def points(markup):
    return [line.split() for line in re.findall(r'<polyline[^>]* points="([^"]*)"', markup)]


def test_lines_share_one_scale_and_have_names():
    drawn = curves([Line("training", [0, 1], [1.0, 0.5]), Line("validation <x>", [0, 1], [1.0, 0.5])], "Loss", "epoch")
    first, second = points(drawn)
    assert first == second
    assert "validation &lt;x&gt;" in drawn
    assert 'aria-label="Loss over epoch: training, validation &lt;x&gt;"' in drawn


def test_what_is_not_finite_is_left_out():
    drawn = curves([Line("a", [0, 1, 2], [1.0, float("nan"), 0.5]), Line("b", [0, 1], [float("inf")] * 2)], "Loss", "epoch")
    assert [len(line) for line in points(drawn)] == [2]
    assert curves([Line("a", [], [])], "Loss", "epoch") == ""
    assert curves([], "Loss", "epoch") == ""


def test_few_points_tell_their_values_and_many_are_thinned_out():
    few = curves([Line("a", range(10), [0.25] * 10)], "Loss", "epoch")
    assert few.count("<circle") == 10
    assert "<title>a, 3: 0.25</title>" in few
    many = curves([Line("a", range(10 * MOST + 5), [n / 7 for n in range(10 * MOST + 5)])], "Loss", "epoch")
    assert POINTS < len(points(many)[0]) <= MOST + 1
    assert "<circle" not in many
    last = float(points(many)[0][-1].split(",")[0])
    assert last == pytest.approx(Frame(0, 10 * MOST + 4, 0, 1).x(10 * MOST + 4), abs=0.1)


def test_epochs_are_whole_numbers():
    drawn = curves([Line("a", [0, 1, 2, 3], [1, 2, 3, 4])], "Loss", "epoch")
    assert re.findall(r'text-anchor="middle">([^<]+)', drawn) == ["0", "1", "2", "3", "epoch"]


def test_a_guide_is_drawn_where_it_is_in_sight():
    line = Line("a", [0, 10], [0, 1])
    assert "best: epoch 4" in curves([line], "Dice", "epoch", guide=(4, "best: epoch 4"))
    assert "best" not in curves([line], "Dice", "epoch", guide=(11, "best: epoch 11"))


def test_a_diagonal_leads_from_corner_to_corner():
    drawn = curves([Line("a", [0.2, 0.8], [0.1, 0.9])], "Hits", "probability", span=(0, 1), diagonal=True)
    x1, y1, x2, y2 = map(float, re.search(r'class="guide" x1="(.*?)" y1="(.*?)" x2="(.*?)" y2="(.*?)"', drawn).groups())
    assert x2 - x1 > 300
    assert y1 - y2 > 300
    assert abs((x2 - x1) - (y1 - y2)) < 20
