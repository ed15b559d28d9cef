import pytest
import torch

from segexp.errors import ConfigError
from segexp.losses import Boundary, HausdorffDT


def example(classes=2, seed=0, size=(12, 14)):
    """Logits, and a mask of rectangles of each class."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(3, classes, *size, generator=generator)
    mask = torch.zeros(3, *size, dtype=torch.long)
    for k in range(1, classes):
        for n in range(3):
            mask[n, 3 * k - 2 : 3 * k + 1 + n, 2 : 7 + n] = k
    return logits, mask


def one_hot(mask, classes):
    return torch.nn.functional.one_hot(mask, classes).movedim(-1, 1).float()


def test_boundary_by_hand():
    logits = torch.zeros(1, 2, 1, 6)  # foreground probability one half everywhere
    mask = torch.tensor([[[0, 0, 1, 1, 1, 0]]])
    # distances 2 1 0 -1 0 1, errors 1/2 each way
    assert Boundary()(logits, mask).item() == pytest.approx((1 + 0.5 + 0 + 0.5 + 0 + 0.5) / 6)
    mask[0, 0, 0] = 255
    assert Boundary()(logits, mask).item() == pytest.approx((0.5 + 0 + 0.5 + 0 + 0.5) / 5)


@pytest.mark.parametrize("classes", [2, 4])
def test_boundary_is_monais_and_a_constant(classes):
    logits, mask = example(classes)
    theirs = pytest.importorskip("monai.losses").BoundaryLoss(include_background=False)
    mine, other = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    truth = one_hot(mask, classes)
    value, paper = Boundary()(mine, mask), theirs(other.softmax(1), truth)
    torch.testing.assert_close(value, paper - theirs(truth, truth))
    value.backward()
    paper.backward()
    torch.testing.assert_close(mine.grad, other.grad)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_hausdorff_is_monais(classes, alpha):
    logits, mask = example(classes)
    theirs = pytest.importorskip("monai.losses").HausdorffDTLoss(alpha=alpha, softmax=True)
    torch.testing.assert_close(HausdorffDT(alpha)(logits, mask), theirs(logits, one_hot(mask, classes)))


def test_hausdorff_by_hand():
    probability = torch.tensor([0.1, 0.8, 0.8, 0.1])
    logits = torch.stack([torch.zeros(4), torch.logit(probability)]).view(1, 2, 1, 4)
    mask = torch.tensor([[[0, 0, 1, 1]]])
    # distances of the truth 2 1 1 2, of the prediction 1 1 1 1
    errors = [0.01 * (4 + 1), 0.64 * (1 + 1), 0.04 * (1 + 1), 0.81 * (4 + 1)]
    assert HausdorffDT()(logits, mask).item() == pytest.approx(sum(errors) / 4, rel=1e-5)
    assert HausdorffDT(alpha=0)(logits, mask).item() == pytest.approx((0.01 + 0.64 + 0.04 + 0.81) * 2 / 4, rel=1e-5)


@pytest.mark.parametrize("loss", [Boundary(), HausdorffDT(), HausdorffDT(alpha=0)])
def test_pictures_without_a_border_cost_nothing(loss):
    logits = 5.0 * one_hot(torch.zeros(2, 4, 4, dtype=torch.long), 2)
    logits.requires_grad_()
    mask = torch.zeros(2, 4, 4, dtype=torch.long)
    value = loss(logits, mask)
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_a_missed_object_and_a_false_one_cost():
    nothing = torch.zeros(1, 8, 8, dtype=torch.long)
    square = nothing.clone()
    square[0, 2:6, 2:6] = 1
    for loss in (Boundary(), HausdorffDT()):
        assert loss(20 * one_hot(nothing, 2), square) > 0
    assert HausdorffDT()(20 * one_hot(square, 2), nothing) > 0


def test_far_errors_cost_more():
    mask = torch.zeros(1, 9, 20, dtype=torch.long)
    mask[0, 3:6, 3:6] = 1
    for loss in (Boundary(), HausdorffDT()):
        costs = []
        for column in (7, 11, 15):
            found = mask.clone()
            found[0, 4, column] = 1
            costs.append(loss(20 * one_hot(found, 2), mask).item())
        assert costs == sorted(set(costs))


@pytest.mark.parametrize("loss", [Boundary(), HausdorffDT(), HausdorffDT(alpha=0.5)])
@pytest.mark.parametrize("classes", [2, 3])
def test_gradient_is_right(loss, classes):
    logits, mask = example(classes, size=(7, 7))
    mask[0, 0] = 255
    logits = logits.double()
    assert (logits.softmax(1)[:, 1:] - 0.5).abs().min() > 1e-4  # the prediction's border does not move
    assert torch.autograd.gradcheck(lambda x: loss.compute(x, mask), logits.requires_grad_())


def test_negative_exponent_is_refused():
    with pytest.raises(ConfigError, match=r"alpha of the loss is -1.*at least 0"):
        HausdorffDT(alpha=-1)


def test_with_the_background_every_class_has_a_border():
    logits, mask = example(3)
    reversed_classes = logits[:, [2, 1, 0]], 2 - mask
    for loss in (Boundary, HausdorffDT):
        both = loss(include_background=True)
        torch.testing.assert_close(both(logits, mask), both(*reversed_classes), rtol=1e-5, atol=1e-5)
        apart = loss()(logits, mask) * 2 / 3 + loss()(logits[:, [1, 0]], 1 - mask.clamp(max=1)) * 0
        assert both(logits, mask) > apart
    theirs = pytest.importorskip("monai.losses").HausdorffDTLoss(softmax=True, include_background=True)
    torch.testing.assert_close(HausdorffDT(include_background=True)(logits, mask), theirs(logits, one_hot(mask, 3)))
