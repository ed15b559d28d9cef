import math

import pytest
import torch

from segexp.errors import ConfigError
from segexp.losses import BorderCrossEntropy, CrossEntropy


def cells():
    """Two cells of class 1, three pixels apart, and a third of class 2 below, in a picture of 10 x 11."""
    mask = torch.zeros(1, 10, 11, dtype=torch.long)
    mask[0, :4, :4] = mask[0, :4, 7:] = 1
    mask[0, 7:, :4] = 2
    return mask


def logits_of(mask, classes=3):
    return torch.randn(*mask.shape[:1], classes, *mask.shape[1:], generator=torch.Generator().manual_seed(0))


def test_weights_by_hand():
    mask = cells()
    weights = BorderCrossEntropy(sigma=3).weight_map(logits_of(mask), mask)
    assert weights[0, 1, 5].item() == pytest.approx(1 + 10 * math.exp(-((2 + 2) ** 2) / 18), rel=1e-6)
    assert weights[0, 5, 1].item() == pytest.approx(1 + 10 * math.exp(-((2 + 2) ** 2) / 18), rel=1e-6)  # to class 2
    assert torch.equal(weights[mask > 0], torch.ones(int((mask > 0).sum())))
    mask[0, 1, 5] = 255
    assert BorderCrossEntropy().weight_map(logits_of(mask), mask)[0, 1, 5] == 0


def test_class_weights_are_the_first_summand():
    mask = cells()
    plain, weighted = BorderCrossEntropy(), BorderCrossEntropy(class_weights=[2, 3, 4])
    extra = weighted.weight_map(logits_of(mask), mask) - plain.weight_map(logits_of(mask), mask)
    torch.testing.assert_close(extra, mask + 1.0)


def test_mean_with_weights():
    mask = cells()
    logits = logits_of(mask)
    loss = BorderCrossEntropy()
    weights = loss.weight_map(logits, mask)
    entropy = torch.nn.functional.cross_entropy(logits, mask, reduction="none")
    torch.testing.assert_close(loss(logits, mask), (entropy * weights).sum() / weights.sum())


@pytest.mark.parametrize("arguments", [{}, {"label_smoothing": 0.1}])
def test_without_gaps_it_is_cross_entropy(arguments):
    mask = cells()
    torch.testing.assert_close(
        BorderCrossEntropy(w0=0, **arguments)(logits_of(mask), mask), CrossEntropy(**arguments)(logits_of(mask), mask)
    )
    alone = mask * 0
    alone[0, 2:5, 2:5] = 1
    torch.testing.assert_close(
        BorderCrossEntropy(**arguments)(logits_of(alone), alone), CrossEntropy(**arguments)(logits_of(alone), alone)
    )


def test_membranes_are_the_gaps_of_the_background():
    mask = torch.zeros(1, 9, 9, dtype=torch.long)
    mask[0, range(9), range(9)] = 1  # connected over corners only, and parts the two cells
    weights = BorderCrossEntropy(objects="background").weight_map(logits_of(mask, 2), mask)
    line = torch.eye(9, dtype=torch.bool)
    assert weights[0][line].min().item() == pytest.approx(1 + 10 * math.exp(-((1 + 1) ** 2) / 50), rel=1e-6)
    assert torch.equal(weights[0][~line], torch.ones(72))
    assert BorderCrossEntropy().weight_map(logits_of(mask, 2), mask)[0, 0, 1] > 1  # nine objects of one pixel each


def test_a_gap_filled_wrongly_costs_most():
    mask = cells()
    right = 20.0 * torch.nn.functional.one_hot(mask, 3).movedim(-1, 1)
    costs = []
    for row, column in ((1, 5), (9, 10)):
        wrong = right.clone()
        wrong[0, :, row, column] = torch.tensor([0.0, 20.0, 0.0])
        costs.append(BorderCrossEntropy()(wrong, mask).item())
    between, beside = (1 + 10 * math.exp(-(d**2) / 50) for d in (2 + 2, 6 + 7))
    assert costs[0] / costs[1] == pytest.approx(between / beside, rel=1e-3)


def test_gradient_is_right():
    mask = cells()
    mask[0, 0] = 255
    logits = logits_of(mask).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: BorderCrossEntropy().compute(x, mask), logits)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"w0": -1}, "w0 of the loss is -1"),
        ({"sigma": 0}, "sigma of the loss is 0"),
        ({"objects": "cells"}, "objects of the loss is 'cells'"),
        ({"label_smoothing": 2}, "label_smoothing of the loss is 2"),
        ({"class_weights": [-1, 1]}, "class_weights of the loss is [-1.0, 1.0]"),
    ],
)
def test_nonsense_is_refused(arguments, found):
    with pytest.raises(ConfigError) as error:
        BorderCrossEntropy(**arguments)
    assert found in error.value.found
    assert error.value.expected
    assert error.value.do


def test_there_are_no_gaps_without_a_background():
    with pytest.raises(ConfigError, match=r"no class is the background .*Type loss=ce_dice"):
        BorderCrossEntropy(include_background=True)
