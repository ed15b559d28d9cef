"""Counts of classes that may overlap: the usual formulas have to give each class's own scores."""

import numpy as np
import pytest
import torch

from segexp import bits
from segexp.metrics.confusion import confusion, of_each_class, overlapping_confusion
from segexp.metrics.counts import CaseCounts
from segexp.metrics.scores import class_scores, summary


def sets(seed, classes, shape=(13, 17), ignored=True):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 1 << (classes - 1), shape, dtype=np.uint8)
    if ignored:
        mask[:3, :5] = 255
    return torch.from_numpy(mask)


@pytest.mark.parametrize("classes", [2, 3, 5, 8])
def test_each_class_is_counted_as_by_itself(classes):
    truth, prediction = sets(0, classes), sets(1, classes, ignored=False)
    matrix = overlapping_confusion(prediction, truth, classes)
    alone = [
        confusion(*(torch.from_numpy(bits.layer(mask.numpy(), k)) for mask in (prediction, truth)), 2).numpy()
        for k in range(1, classes)
    ]
    np.testing.assert_array_equal(of_each_class(matrix.numpy()), alone)
    scores, single = class_scores(matrix.numpy()[None]), class_scores(np.stack(alone))
    for name in ("tp", "fp", "fn", "dice", "iou", "precision", "recall"):
        np.testing.assert_array_equal(getattr(scores, name)[0, 1:], getattr(single, name)[:, 1])


def test_one_foreground_class_is_the_matrix_of_two_exclusive_classes():
    truth, prediction = sets(2, 2), sets(3, 2, ignored=False)
    assert overlapping_confusion(prediction, truth, 2).equal(confusion(prediction, truth, 2))


def test_the_accuracy_is_the_share_of_right_answers():
    truth, prediction = torch.tensor([[0, 1, 3, 255]]).byte(), torch.tensor([[0, 3, 3, 1]]).byte()
    found = summary(overlapping_confusion(prediction, truth, 3).numpy()[None], ("none", "cell", "nucleus"))
    assert found["accuracy"] == pytest.approx(5 / 6), "six questions about three known pixels, one answer is wrong"
    assert found["dice/cell"] == 1
    assert found["dice/nucleus"] == pytest.approx(2 / 3)


def test_matrices_add_up_over_cases():
    pairs = [(sets(n, 4, ignored=n % 2 > 0), sets(n + 9, 4, ignored=False)) for n in range(3)]
    each = [overlapping_confusion(prediction, truth, 4).numpy() for truth, prediction in pairs]
    np.testing.assert_array_equal(of_each_class(sum(each)), sum(of_each_class(one) for one in each))


def test_the_counts_of_cases_take_either():
    counts = CaseCounts(3, overlapping_confusion)
    truth, prediction = sets(4, 3), sets(5, 3, ignored=False)
    counts.update(7, prediction, truth)
    positions, matrices = counts.compute()
    assert positions == [7]
    assert matrices[0].equal(overlapping_confusion(prediction, truth, 3))
