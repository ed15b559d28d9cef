"""An ensemble beside its members: by hand."""

import json
import math

import numpy as np
import pytest

from segexp.metrics.cases import case_rows
from segexp.prediction.singles import singles
from segexp.types import Case, Source


def matrix(dice, size=1000):
    """Counts (2, 2) of a case with this Dice; None: the truth is empty."""
    if dice is None:
        return np.array([[size, 3], [0, 0]])
    hits = round(dice * size)
    return np.array([[size, size - hits], [size - hits, hits]])


def asked(together, alone):
    """Dice of the ensemble by case; of each case those of the members."""
    cases = [Case(str(n), Source(f"{n}.png"), ()) for n in range(len(together))]
    rows = case_rows("test", cases, np.stack([matrix(dice) for dice in together]), ("background", "cell"))
    return singles("test", rows, [np.stack([matrix(dice) for dice in each]) for each in alone])


def test_the_gain_is_over_the_mean_of_the_members_case_by_case():
    found = asked([0.9, 0.7, 0.8], [[0.8, 0.7], [0.6, 0.7], [0.9, 0.7]])
    assert found.dice == pytest.approx(((0.8 + 0.6 + 0.9) / 3, 0.7))
    assert found.gain.mean == pytest.approx((0.15 + 0.05 + 0.0) / 3)
    assert found.gain.cases == 3
    assert found.facts["gain"] == found.gain.mean
    assert found.facts["interval"] == [found.gain.low, found.gain.high]


def test_in_words():
    better = asked([0.9] * 8, [[0.8, 0.7 + 0.01 * n] for n in range(8)])
    assert str(better).startswith("the 2 networks alone have Dice 0.7350 to 0.8000, 0.7675 on average; the ensemble is better ")
    assert f"than that: +0.1325 (95 % interval {better.gain.low:+.4f} to {better.gain.high:+.4f}, 8 cases)" in str(better)
    worse = asked([0.6] * 8, [[0.8, 0.7 + 0.01 * n] for n in range(8)])
    assert "the ensemble is worse than that: -0.1675 (" in str(worse)
    nothing = asked([0.8, 0.7] * 4, [[0.7, 0.7], [0.8, 0.8]] * 4)
    assert "0.7500 to 0.7500, 0.7500 on average; the ensemble's 0.0000 (95 % interval -0." in str(nothing)
    assert str(nothing).endswith(", 8 cases) shows no difference")


def test_a_case_without_the_class_is_left_out():
    found = asked([0.9, None], [[0.8, 0.8], [None, None]])
    assert (found.dice, found.gain.cases) == ((0.8, 0.8), 1)
    none = asked([None], [[None, None]])
    assert math.isnan(none.gain.mean)
    assert json.loads(json.dumps(none.facts)) == {"dice": [None, None], "cases": 0}


def test_nothing_is_known_where_members_differ():
    assert singles("test", [], []) is None
