import math

import pytest
import torch

from segexp.errors import ConfigError
from segexp.losses import CrossEntropy, Dice, UnifiedFocal


def example(classes=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, 5, 6, generator=generator)
    return logits, torch.randint(0, classes, (2, 5, 6), generator=generator)


def test_by_hand():
    logits = torch.tensor([[0.0, 0.0, 0.0], [math.log(3), 0.0, 0.0]]).view(1, 2, 1, 3)  # foreground 3/4, 1/2, 1/2
    mask = torch.tensor([[[1, 0, 255]]])
    focal = (0.6 * -math.log(0.75) + 0.4 * 0.5**0.5 * -math.log(0.5)) / 2
    background = 1 - 0.5 / (0.5 + 0.4 * 0.25 + 0.6 * 0.5)
    foreground = (1 - 0.75 / (0.75 + 0.4 * 0.5 + 0.6 * 0.25)) ** 0.5
    loss = UnifiedFocal()
    assert loss.focal(logits, mask).item() == pytest.approx(focal, rel=1e-5)
    assert loss.tversky(logits, mask).item() == pytest.approx((background + foreground) / 2, rel=1e-5)
    assert UnifiedFocal(weight=0.3)(logits, mask).item() == pytest.approx(
        0.3 * focal + 0.7 * (background + foreground) / 2, rel=1e-5
    )


def test_like_monai():
    monai = pytest.importorskip("monai.losses.unified_focal_loss")
    logits, mask = example()
    truth = torch.nn.functional.one_hot(mask, 2).movedim(-1, 1)
    ours = UnifiedFocal(delta=0.7, gamma=0.4, per_image=True)
    # It takes the mean over the two channels where the paper has their sum, of which one is 0 at each pixel.
    focal = 2 * monai.AsymmetricFocalLoss(delta=0.7, gamma=0.4)(logits.softmax(1), truth)
    torch.testing.assert_close(ours.focal(logits, mask), focal)
    tversky = monai.AsymmetricFocalTverskyLoss(delta=0.7, gamma=0.4)(logits.softmax(1), truth)
    torch.testing.assert_close(ours.tversky(logits, mask), tversky)


def test_plain_at_the_ends():
    logits, mask = example(4)
    ce = UnifiedFocal(weight=1, delta=0.5, gamma=0)(logits, mask)
    torch.testing.assert_close(ce, CrossEntropy()(logits, mask) / 2)
    dice = UnifiedFocal(weight=0, delta=0.5, gamma=0)(logits, mask)
    torch.testing.assert_close(dice, Dice(include_background=True, smooth=0)(logits, mask))


@pytest.mark.parametrize("per_image", [False, True])
def test_absent_classes_are_left_out_of_the_overlap(per_image):
    logits, mask = example(2)
    mask[1] = 0
    more = torch.cat([logits, torch.full((2, 1, 5, 6), -60.0)], dim=1)
    loss = UnifiedFocal(per_image=per_image)
    torch.testing.assert_close(loss(more, mask), loss(logits, mask))


def test_learns_from_background_alone():
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    UnifiedFocal()(logits, torch.zeros(1, 2, 2, dtype=torch.long)).backward()
    assert (logits.grad[:, 1] > 0).all()


def test_finite_slopes_where_the_answer_is_certain():
    mask = torch.tensor([[[0, 1, 1, 0]]])
    for found in (mask, 1 - mask):
        logits = (100.0 * torch.nn.functional.one_hot(found, 2).permute(0, 3, 1, 2)).requires_grad_()
        UnifiedFocal(gamma=0.9)(logits, mask).backward()
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("per_image", [False, True])
def test_gradient_is_right(per_image):
    logits, mask = example(3)
    mask[0, 0] = 255
    loss = UnifiedFocal(per_image=per_image)
    assert torch.autograd.gradcheck(lambda x: loss.compute(x, mask), logits.double().requires_grad_())


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({"weight": 1.5}, "weight of the loss is 1.5"),
        ({"delta": -1}, "delta of the loss is -1"),
        ({"gamma": 2}, "gamma of the loss is 2"),
        ({"gamma": 1}, "gamma of the unified focal loss is 1"),
    ],
)
def test_nonsense_is_refused(arguments, found):
    with pytest.raises(ConfigError) as error:
        UnifiedFocal(**arguments)
    assert found in error.value.found
    assert error.value.expected
    assert error.value.do


def test_with_the_background_it_is_one_of_the_rare_classes():
    logits, mask = torch.randn(2, 3, 6, 7), torch.randint(0, 3, (2, 6, 7))
    loss = UnifiedFocal(include_background=True)
    torch.testing.assert_close(loss(logits, mask), loss(logits[:, [2, 0, 1]], (mask + 1) % 3))
    assert loss.focal(logits, mask).item() == pytest.approx(0.6 * torch.nn.functional.cross_entropy(logits, mask).item())
