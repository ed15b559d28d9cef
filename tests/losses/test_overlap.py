import pytest
import torch

from segexp.errors import ConfigError
from segexp.losses import Dice, FocalTversky


def sure(mask, classes, strength=60.0):
    """Logits that are certain of the classes in `mask`."""
    return strength * torch.nn.functional.one_hot(mask, classes).permute(0, 3, 1, 2).float()


def test_by_hand():
    logits = torch.zeros(1, 2, 2, 2)  # foreground probability one half everywhere
    mask = torch.tensor([[[1, 0], [0, 0]]])
    # overlap 0.5, predicted 2, true 1
    assert Dice(smooth=0)(logits, mask).item() == pytest.approx(1 - 1 / 3)
    assert Dice(smooth=1)(logits, mask).item() == pytest.approx(1 - 2 / 4)
    # background: overlap 1.5, predicted 2, true 3
    expected = 1 - (1 / 3 + 3 / 5) / 2
    assert Dice(include_background=True, smooth=0)(logits, mask).item() == pytest.approx(expected)


def test_of_certain_predictions():
    truth = torch.tensor([[[0, 1, 1], [2, 2, 0]]])
    assert Dice()(sure(truth, 3), truth).item() == pytest.approx(0, abs=1e-6)
    wrong = torch.tensor([[[0, 2, 2], [1, 1, 0]]])
    assert Dice(smooth=0)(sure(wrong, 3), truth).item() == pytest.approx(1)
    half = torch.tensor([[[0, 1, 0], [2, 2, 0]]])  # class 1: overlap 1, predicted 1, true 2
    assert Dice(smooth=0)(sure(half, 3), truth).item() == pytest.approx((1 / 3 + 0) / 2, abs=1e-6)


def test_over_the_batch_or_per_image():
    truth = torch.tensor([[[1, 1, 1, 1]], [[1, 0, 0, 0]]])
    found = torch.tensor([[[1, 1, 1, 1]], [[0, 1, 0, 0]]])
    assert Dice(smooth=0)(sure(found, 2), truth).item() == pytest.approx(1 - 8 / 10, abs=1e-6)
    assert Dice(smooth=0, per_image=True)(sure(found, 2), truth).item() == pytest.approx((0 + 1) / 2, abs=1e-6)


@pytest.mark.parametrize("per_image", [False, True])
def test_absent_classes_are_left_out(per_image):
    truth = torch.tensor([[[0, 1, 1, 0]], [[0, 0, 0, 0]]])
    found = torch.tensor([[[0, 1, 1, 2]], [[2, 2, 0, 0]]])  # class 2 is nowhere in the truth
    assert Dice(per_image=per_image)(sure(found, 3), truth).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("per_image", [False, True])
def test_only_background_costs_nothing(per_image):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = Dice(per_image=per_image)(logits, torch.zeros(2, 4, 4, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_gradient_raises_the_overlap():
    logits = torch.zeros(1, 2, 1, 2, requires_grad=True)
    Dice()(logits, torch.tensor([[[1, 0]]])).backward()
    assert logits.grad[0, 1, 0, 0] < 0 < logits.grad[0, 1, 0, 1]


def test_gradient_is_right():
    logits = torch.randn(2, 3, 3, 3, dtype=torch.double, requires_grad=True)
    mask = torch.randint(0, 3, (2, 3, 3))
    mask[0, 0] = 255
    assert torch.autograd.gradcheck(lambda x: Dice(include_background=True).compute(x, mask), logits)


def test_negative_smoothing_is_refused():
    with pytest.raises(ConfigError, match=r"smooth of the loss is -1.*at least 0"):
        Dice(smooth=-1)


def test_focal_tversky_by_hand():
    logits = torch.zeros(1, 2, 2, 2)  # foreground probability one half everywhere
    mask = torch.tensor([[[1, 0], [0, 0]]])
    # overlap 0.5, false positives 1.5, false negatives 0.5
    index = 0.5 / (0.5 + 0.2 * 1.5 + 0.9 * 0.5)
    assert FocalTversky(0.2, 0.9, gamma=1, smooth=0)(logits, mask).item() == pytest.approx(1 - index)
    assert FocalTversky(0.2, 0.9, gamma=4 / 3, smooth=0)(logits, mask).item() == pytest.approx((1 - index) ** 0.75)
    smoothed = 1.5 / (1.5 + 0.2 * 1.5 + 0.9 * 0.5)
    assert FocalTversky(0.2, 0.9, gamma=2)(logits, mask).item() == pytest.approx((1 - smoothed) ** 0.5)


def test_focal_tversky_of_halves_is_dice():
    generator = torch.Generator().manual_seed(0)
    logits, mask = torch.randn(3, 4, 5, 5, generator=generator), torch.randint(0, 4, (3, 5, 5), generator=generator)
    for per_image in (False, True):
        ours = FocalTversky(0.5, 0.5, gamma=1, smooth=0.5, per_image=per_image, include_background=True)(logits, mask)
        torch.testing.assert_close(ours, Dice(per_image=per_image, include_background=True)(logits, mask))


def test_focal_tversky_raises_each_class_to_the_power():
    truth = torch.tensor([[[1, 1, 2, 2]]])
    found = torch.tensor([[[1, 1, 2, 0]]])  # class 1 perfect, class 2: overlap 1, false negatives 1
    expected = (0 + (1 - 1 / 1.7) ** 0.5) / 2
    loss = FocalTversky(gamma=2, smooth=0)(sure(found, 3), truth)
    assert loss.item() == pytest.approx(expected, abs=3e-4)  # the power of 0 is kept at that of 1e-7


@pytest.mark.parametrize("gamma", [0.5, 1.0, 4 / 3, 3.0])
def test_focal_tversky_has_finite_slopes_where_the_answer_is_certain(gamma):
    truth = torch.tensor([[[0, 1, 1], [2, 2, 0]]])
    for found in (truth, truth.flip(2), torch.zeros_like(truth)):
        logits = sure(found, 3).requires_grad_()
        FocalTversky(gamma=gamma, smooth=0)(logits, truth).backward()
        assert logits.grad.isfinite().all()


def test_focal_tversky_gradient_is_right():
    logits = torch.randn(2, 3, 3, 3, dtype=torch.double, requires_grad=True)
    mask = torch.randint(0, 3, (2, 3, 3))
    mask[0, 0] = 255
    for per_image in (False, True):
        loss = FocalTversky(per_image=per_image)
        assert torch.autograd.gradcheck(lambda x, loss=loss: loss.compute(x, mask), logits)


@pytest.mark.parametrize(("name", "least"), [("alpha", 0), ("beta", 0), ("gamma", 0.1), ("smooth", 0)])
def test_nonsense_in_focal_tversky_is_refused(name, least):
    with pytest.raises(ConfigError, match=rf"{name} of the loss is -1.*at least {least}"):
        FocalTversky(**{name: -1})
