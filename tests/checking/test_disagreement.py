"""How far a mask and a prediction are apart: by hand, and the order of wrong masks."""

import numpy as np
import pytest
import torch

from segexp.checking.disagreement import class_qualities, disagreement, ranked
from segexp.labelling import EXCLUSIVE, OVERLAPPING
from segexp.types import Case, Source


def case(name):
    return Case(name, Source(name), (Source(name),))


def test_the_quality_of_each_class_by_hand():
    probabilities = torch.tensor([[[0.7, 0.2, 0.1, 0.5]], [[0.2, 0.5, 0.1, 0.5]], [[0.1, 0.3, 0.8, 0.0]]])
    mask, guess = np.array([[0, 2, 255, 1]], np.uint8), np.array([[0, 1, 2, 0]], np.uint8)
    slack = 3e-3
    first, own_first = (2 * 0.5 + slack) / (1.2 + 1 + slack), (2 * 0.5 + slack) / (1.2 + 1 + slack)
    second, own_second = (2 * 0.3 + slack) / (0.4 + 1 + slack), slack / (0.4 + slack)
    found = class_qualities(probabilities, mask, guess, EXCLUSIVE)
    assert found.tolist() == pytest.approx([first / own_first, min(1, second / own_second)], abs=1e-6)
    bits, guess = np.array([[0, 3, 255, 1]], np.uint8), np.array([[0, 1, 2, 0]], np.uint8)  # both classes; the first; ignored
    first = (2 * 1.0 + slack) / (1.2 + 2 + slack)
    found = class_qualities(probabilities, bits, guess, OVERLAPPING)
    assert found.tolist() == pytest.approx([min(1, first / own_first), 1], abs=1e-6)
    wrong = class_qualities(probabilities, np.array([[1, 0, 0, 0]], np.uint8), guess, OVERLAPPING)
    total = 1.3 + 4e-3
    assert wrong[0] == pytest.approx((2 * 0.2 + 4e-3) / (total + 1) / ((2 * 0.5 + 4e-3) / (total + 1)), abs=1e-6)


def test_a_network_that_is_sure_of_nothing_does_not_blame_every_mask():
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    for sure in (0.55, 0.99):
        chance = torch.from_numpy(np.where(mask, sure, 1 - sure).astype(np.float32))
        found = disagreement(case("a"), mask, torch.stack([1 - chance, chance]), mask, EXCLUSIVE)
        assert found.quality == 1


def test_a_few_doubtful_pixels_do_not_make_an_empty_mask_wrong():
    chance = torch.zeros(100, 100)
    chance[0, :2] = 0.6
    empty, both = np.zeros((100, 100), np.uint8), torch.stack([1 - chance, chance])
    guess = (chance > 0.5).numpy().astype(np.uint8)
    found = disagreement(case("a"), empty, both, guess, EXCLUSIVE)
    assert (found.dice, found.only_predicted) == (0, 2)
    assert found.quality > 0.85
    assert np.isnan(disagreement(case("b"), empty + np.uint8(255), both, guess, EXCLUSIVE).quality)


def test_counts_and_dice():
    mask, guess = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    mask[:2], guess[1:3] = 1, 1
    chance = torch.from_numpy(np.where(guess, 0.9, 0.1).astype(np.float32))
    found = disagreement(case("a"), mask, torch.stack([1 - chance, chance]), guess, EXCLUSIVE)
    assert (found.only_given, found.only_predicted, found.dice) == (4, 4, 0.5)
    own = 2 * 8 * 0.9 + 0.016
    assert found.quality == pytest.approx((2 * (4 * 0.9 + 4 * 0.1) + 0.016) / own, abs=1e-6)
    nothing = np.zeros((4, 4), np.uint8)
    assert disagreement(case("b"), nothing, torch.stack([1 - chance, chance]), nothing, EXCLUSIVE).dice == 1


def test_emptied_shifted_and_eroded_masks_come_first():
    y, x = np.mgrid[:64, :64]
    inside = (y - 32.0) ** 2 + (x - 32.0) ** 2 - 15**2
    chance = torch.from_numpy((1 / (1 + np.exp(inside / 40))).astype(np.float32))
    true = (inside < 0).astype(np.uint8)
    masks = {
        "good": true,
        "sloppy": (inside < 30).astype(np.uint8),
        "shifted": np.roll(true, 8, 1),
        "eroded": (inside < -150).astype(np.uint8),
        "empty": 0 * true,
        "ignored": np.full_like(true, 255),
    }
    both = torch.stack([1 - chance, chance])
    order = [each.case.id for each in ranked(disagreement(case(n), m, both, true, EXCLUSIVE) for n, m in masks.items())]
    assert set(order[:3]) == {"shifted", "eroded", "empty"}
    assert order[3:] == ["sloppy", "good", "ignored"]
