"""Weights that follow the training: what a config may say, and where its points lead."""

import pytest

from segexp.errors import ConfigError
from segexp.losses.course import weight_schedule


def values(given, epochs):
    found = weight_schedule("terms.dice.weight", given)
    return [found(epoch, 0.0) for epoch in epochs]


def test_a_number_stays():
    assert values(0.5, [0, 7, 1000]) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("given", [{10: 1.0, 0: 0.0}, [[0, 0], [10, 1]], [(10, 1.0), (0, 0.0)]])
def test_points_are_joined_by_lines_and_ends_stay(given):
    assert values(given, [0, 1, 5, 10, 11, 500]) == pytest.approx([0, 0.1, 0.5, 1, 1, 1])


def test_what_comes_before_the_first_point_is_its_value():
    assert values({5: 2.0, 6: 4.0}, [0, 5, 6]) == [2.0, 2.0, 4.0]


def test_the_rebalancing_of_kervadec():
    region, boundary = values({0: 1.0, 99: 0.01}, range(120)), values({0: 0.0, 99: 0.99}, range(120))
    for epoch in range(120):
        alpha = max(1 - 0.01 * epoch, 0.01)
        assert region[epoch] == pytest.approx(alpha)
        assert boundary[epoch] == pytest.approx(1 - alpha)


def test_shares_of_the_training_do_not_look_at_the_epoch():
    found = weight_schedule("w", {"0%": 1.0, "50%": 0.0, "62.5%": 4})
    assert [found(epoch, share) for epoch, share in ((99, 0.0), (0, 0.25), (3, 0.5), (0, 0.625), (0, 1.0))] == [1, 0.5, 0, 4, 4]


def test_it_keeps_no_state():
    found = weight_schedule("w", {0: 0.0, 7: 1.0})
    forward = [found(epoch, 0.0) for epoch in range(9)]
    assert [found(epoch, 0.0) for epoch in reversed(range(9))] == forward[::-1]


SHAPE = (
    "a number, or points of an epoch and a weight. Set 'loss.w={0: 0.0, 50: 1.0}' to rise from 0 to 1 over the first 50 epochs."
)
PLACE = "an epoch (a whole number from 0 on) or a share of the training (0% to 100%)."
ONCE = "each place once, and all of them epochs or all of them shares of the training."


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (-1, "w of the loss is -1. a number of at least 0. Set w=0 or more."),
        (float("nan"), "w of the loss is nan."),
        ("auto", f"loss.w is 'auto'. {SHAPE}"),
        (None, f"loss.w is None. {SHAPE}"),
        ({}, f"loss.w is {{}}. {SHAPE}"),
        ([], f"loss.w is []. {SHAPE}"),
        ([1, 2], f"loss.w is [1, 2]. {SHAPE}"),
        ([[1, 2, 3]], f"loss.w is [[1, 2, 3]]. {SHAPE}"),
        (["ab"], f"loss.w is ['ab']. {SHAPE}"),
        ({0: -1.0}, "w of the loss is -1.0."),
        ({0: "high"}, "w of the loss is 'high'."),
        ({-1: 0.0}, f"loss.w has a point at -1. {PLACE}"),
        ({1.5: 0.0}, f"loss.w has a point at 1.5. {PLACE}"),
        ({"half": 0.0}, f"loss.w has a point at 'half'. {PLACE}"),
        ({"x%": 0.0}, f"loss.w has a point at 'x%'. {PLACE}"),
        ({"150%": 0.0}, f"loss.w has a point at '150%'. {PLACE}"),
        ({0: 1.0, "50%": 0.0}, f"loss.w is {{0: 1.0, '50%': 0.0}}. {ONCE}"),
        ([[3, 1.0], [3, 0.0]], f"loss.w is [[3, 1.0], [3, 0.0]]. {ONCE}"),
    ],
)
def test_nonsense_is_named(given, text):
    with pytest.raises(ConfigError) as caught:
        weight_schedule("w", given)
    assert text in str(caught.value)
