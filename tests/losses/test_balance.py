"""Class weights from the shares of the classes."""

import math

import pytest

from segexp.losses.balance import balanced_weights


def test_the_formula_of_the_paper_up_to_a_factor():
    background, organ = balanced_weights([0.97, 0.03])
    assert organ / background == pytest.approx(math.log(1.99) / math.log(1.05), rel=1e-3)


@pytest.mark.parametrize("shares", [[0.97, 0.03], [0.5, 0.3, 0.2], [0.999999, 0.000001], [0.25, 0.75, 0.0]])
def test_the_mean_over_the_training_pixels_is_one(shares):
    weights = balanced_weights(shares)
    assert sum(weight * share for weight, share in zip(weights, shares, strict=True)) == pytest.approx(1, rel=1e-3)


def test_equal_classes_weigh_alike():
    assert balanced_weights([0.25] * 4) == [1.0] * 4


def test_the_rarest_class_is_bounded():
    common, rare = balanced_weights([1 - 1e-9, 1e-9])
    assert 30 < rare / common < 51


def test_a_class_that_is_not_there_gets_nothing():
    weights = balanced_weights([0.9, 0.0, 0.1])
    assert weights[1] == 0
    assert weights[2] > weights[0] > 0


def test_four_digits():
    assert all(weight == float(f"{weight:.4g}") for weight in balanced_weights([0.7, 0.2, 0.1]))
