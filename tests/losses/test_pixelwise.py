import math

import pytest
import torch
import torch.nn.functional as F

from segexp.errors import ConfigError
from segexp.losses import BCE, OHEM, CrossEntropy, Focal

LOG3 = math.log(3.0)


def example(classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 5, 7, generator=generator)
    mask = torch.randint(0, classes, (2, 5, 7), generator=generator)
    return logits, mask


def two_pixels():
    """Two pixels with foreground probabilities 3/4 and 1/4; the truth is foreground in both."""
    logits = torch.tensor([[[[0.0, 0.0]], [[LOG3, -LOG3]]]])
    return logits, torch.ones(1, 1, 2, dtype=torch.long)


@pytest.mark.parametrize("loss", [CrossEntropy(), BCE(), Focal(gamma=0)])
def test_by_hand(loss):
    logits, mask = two_pixels()
    expected = (-math.log(0.75) - math.log(0.25)) / 2
    assert loss(logits, mask).item() == pytest.approx(expected, rel=1e-6)


def test_class_weights_by_hand():
    logits, mask = two_pixels()
    mask[0, 0, 1] = 0  # background with probability 3/4
    for loss in (CrossEntropy([1, 3]), BCE([1, 3]), Focal(gamma=0, class_weights=[1, 3])):
        assert loss(logits, mask).item() == pytest.approx(-math.log(0.75), rel=1e-6)
        flipped = 1 - mask
        assert loss(logits, flipped).item() == pytest.approx(-math.log(0.25), rel=1e-6)
    mask = torch.tensor([[[1, 1]]])
    mask[0, 0, 0] = 0  # background with probability 1/4, foreground with 1/4
    mask[0, 0, 1] = 1
    logits[0, 1, 0, 1] = LOG3  # foreground with probability 3/4
    expected = (-math.log(0.25) - 3 * math.log(0.75)) / 4
    for loss in (CrossEntropy([1, 3]), BCE([1, 3]), Focal(gamma=0, class_weights=[1, 3])):
        assert loss(logits, mask).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("weights", [None, [0.2, 1.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_agrees_with_torch(weights, smoothing):
    logits, mask = example()
    mask[0, :2] = 255
    theirs = torch.nn.CrossEntropyLoss(
        None if weights is None else torch.tensor(weights), ignore_index=255, label_smoothing=smoothing
    )
    torch.testing.assert_close(CrossEntropy(weights, smoothing)(logits, mask), theirs(logits, mask))


def test_bce_is_that_of_a_network_with_one_output():
    logits, mask = example(classes=2)
    single = logits[:, 1] - logits[:, 0]
    torch.testing.assert_close(BCE()(logits, mask), F.binary_cross_entropy_with_logits(single, mask.float()))
    weighted = F.binary_cross_entropy_with_logits(single, mask.float(), reduction="none", weight=mask * 4.0 + 1)
    torch.testing.assert_close(BCE([1, 5])(logits, mask), weighted.sum() / (mask * 4.0 + 1).sum())
    torch.testing.assert_close(BCE()(logits, mask), CrossEntropy()(logits, mask))


def test_bce_of_many_classes_is_one_against_the_rest():
    logits, mask = example(classes=4)
    probability = logits.double().softmax(1)
    terms = [F.binary_cross_entropy(probability[:, k], (mask == k).double()) for k in (1, 2, 3)]
    torch.testing.assert_close(BCE()(logits, mask).double(), torch.stack(terms).mean(), rtol=1e-6, atol=1e-6)


def test_bce_does_not_saturate():
    logits = torch.tensor([200.0, -200.0, 0.0]).view(1, 3, 1, 1).requires_grad_()
    loss = BCE()(logits, torch.full((1, 1, 1), 1))
    loss.backward()
    assert loss.item() == pytest.approx((400 + 0) / 2)
    assert logits.grad[0, 1].item() < -0.4


def test_focal_by_hand():
    logits, mask = two_pixels()
    easy, hard = 0.25**2 * -math.log(0.75), 0.75**2 * -math.log(0.25)
    assert Focal()(logits, mask).item() == pytest.approx((easy + hard) / 2, rel=1e-6)
    mask[0, 0, 1] = 0
    expected = (0.25 * easy + 0.75 * easy) / 2
    assert Focal(alpha=0.25)(logits, mask).item() == pytest.approx(expected, rel=1e-6)


def test_focal_counts_ignored_pixels_out():
    logits, mask = two_pixels()
    mask[0, 0, 1] = 255
    assert Focal(alpha=0.5)(logits, mask).item() == pytest.approx(0.5 * 0.25**2 * -math.log(0.75), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_has_finite_slopes_where_the_answer_is_certain(gamma):
    logits = torch.tensor([[100.0, -100.0], [-100.0, 100.0]]).view(1, 2, 1, 2).requires_grad_()
    Focal(gamma)(logits, torch.tensor([[[0, 0]]])).backward()
    assert logits.grad.isfinite().all()


def test_focal_gradient_is_right():
    logits, mask = example()
    logits = logits.double().requires_grad_()
    focal = Focal(gamma=1.5, class_weights=[1, 2, 3])
    focal.class_weights = focal.class_weights.double()
    assert torch.autograd.gradcheck(lambda x: focal.compute(x, mask), logits)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: CrossEntropy([1, -1]), "class_weights of the loss is [1.0, -1.0]"),
        (lambda: BCE([0, 0]), "class_weights of the loss is [0.0, 0.0]"),
        (lambda: BCE([1, math.nan]), "class_weights of the loss is [1.0, nan]"),
        (lambda: CrossEntropy(label_smoothing=1.5), "label_smoothing of the loss is 1.5"),
        (lambda: BCE(label_smoothing=-0.1), "label_smoothing of the loss is -0.1"),
        (lambda: OHEM(keep=1.5), "keep of the loss is 1.5"),
        (lambda: OHEM(threshold=-1), "threshold of the loss is -1"),
        (lambda: OHEM(label_smoothing=2), "label_smoothing of the loss is 2"),
        (lambda: Focal(gamma=-1), "gamma of the loss is -1"),
        (lambda: Focal(alpha=2), "alpha of the loss is 2"),
        (lambda: Focal(alpha=0.5, class_weights=[1, 1]), "both alpha and class_weights"),
    ],
)
def test_nonsense_is_refused(make, found):
    with pytest.raises(ConfigError) as error:
        make()
    assert found in error.value.found
    assert error.value.expected
    assert error.value.do


@pytest.mark.parametrize("make", [CrossEntropy, BCE, lambda w: Focal(class_weights=w), lambda w: OHEM(class_weights=w)])
def test_a_weight_for_each_class(make):
    logits, mask = example(classes=3)
    with pytest.raises(ConfigError) as error:
        make([1, 2])(logits, mask)
    assert "class_weights of the loss has 2 entries, the network gives 3 classes" in str(error.value)
    assert "Give 3 weights, or class_weights=null" in str(error.value)


def test_class_weights_stay_out_of_the_state():
    assert CrossEntropy([1, 2]).state_dict() == {}


def test_smoothed_bce_of_two_classes_is_smoothed_cross_entropy():
    logits, mask = example(classes=2)
    torch.testing.assert_close(BCE(label_smoothing=0.1)(logits, mask), CrossEntropy(label_smoothing=0.1)(logits, mask))


def test_smoothed_bce_is_least_at_the_smoothed_target():
    mask = torch.ones(1, 1, 1, dtype=torch.long)
    at = {
        p: BCE(label_smoothing=0.1)(torch.tensor([0, math.log(p / (1 - p))]).view(1, 2, 1, 1), mask) for p in (0.9, 0.95, 0.99)
    }
    assert at[0.95] < min(at[0.9], at[0.99])


def ten_pixels():
    """Ten pixels whose true class has the probabilities 0.05, 0.15, ... 0.95, in disorder; the last is ignored."""
    p = torch.tensor([0.55, 0.05, 0.35, 0.95, 0.15, 0.85, 0.25, 0.75, 0.45, 0.65])
    logits = torch.stack([torch.zeros(10), torch.log(p / (1 - p))]).view(1, 2, 2, 5)
    mask = torch.ones(1, 2, 5, dtype=torch.long)
    mask[0, 1, 4] = 255
    return logits, mask


@pytest.mark.parametrize(
    ("keep", "threshold", "kept"),
    [
        (0.2, None, [0.05, 0.15]),  # 1.8 of 9 known pixels, rounded up
        (0.0, None, [0.05]),
        (1.0, None, [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.75, 0.85, 0.95]),
        (0.2, 0.5, [0.05, 0.15, 0.25, 0.35, 0.45]),
        (0.2, 0.1, [0.05, 0.15]),
        (0.0, 0.0, [0.05]),
    ],
)
def test_ohem_keeps_the_hardest(keep, threshold, kept):
    logits, mask = ten_pixels()
    logits.requires_grad_()
    loss = OHEM(keep, threshold)(logits, mask)
    loss.backward()
    assert loss.item() == pytest.approx(-sum(math.log(p) for p in kept) / len(kept), rel=1e-5)
    assert int((logits.grad.abs().sum(1) > 0).sum()) == len(kept)


def test_ohem_of_all_pixels_is_cross_entropy():
    logits, mask = example()
    mask[0, :2] = 255
    weights = [0.2, 1.0, 3.0]
    torch.testing.assert_close(OHEM(keep=1, class_weights=weights)(logits, mask), CrossEntropy(weights)(logits, mask))
    smoothed = OHEM(keep=1, label_smoothing=0.1)(logits, mask)
    torch.testing.assert_close(smoothed, CrossEntropy(label_smoothing=0.1)(logits, mask))


def test_ohem_keeps_equally_hard_pixels_together():
    logits = torch.zeros(1, 2, 2, 3, requires_grad=True)
    OHEM(keep=0.5, threshold=None)(logits, torch.ones(1, 2, 3, dtype=torch.long)).backward()
    assert len(logits.grad[0, 1].unique()) == 1


def test_ohem_gradient_is_right():
    logits, mask = example()
    mask[0, 0] = 255
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: OHEM(keep=0.3, threshold=0.3).compute(x, mask), logits)


def test_with_the_background_it_is_a_class_like_the_others():
    logits, mask = torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 2]]])
    two, three = BCE()(logits, mask), BCE(include_background=True)(logits, mask)
    hit, miss = -math.log(1 / 3), -math.log(2 / 3)  # each probability is a third
    assert two.item() == pytest.approx(((miss + miss) + (miss + hit)) / 2 / 2)
    assert three.item() == pytest.approx(hit / 3 + 2 * miss / 3)
    focal, plain = Focal(2.0, 0.25, include_background=True)(logits, mask), Focal(2.0)(logits, mask)
    assert focal.item() == pytest.approx(0.25 * plain.item()), "alpha applies to every pixel"
