import pytest
import torch

from segexp.errors import ConfigError
from segexp.losses import ClDice
from segexp.losses.cldice import soft_skeleton


def sure(mask, classes=2, strength=60.0):
    return strength * torch.nn.functional.one_hot(mask, classes).permute(0, 3, 1, 2).float()


def line(size=20):
    """A bar of 3 x 14 pixels across a picture."""
    mask = torch.zeros(1, size, size, dtype=torch.long)
    mask[0, 8:11, 3:17] = 1
    return mask


def none(image):
    return torch.zeros(len(image), 1, *image.shape[2:], dtype=torch.bool)


@pytest.mark.parametrize("iterations", [1, 3, 6])
def test_like_monai(iterations):
    monai = pytest.importorskip("monai.losses.cldice")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 17, 20, generator=generator)
    mask = torch.randint(0, 2, (1, 17, 20), generator=generator)
    image = logits.softmax(1)[:, 1:]
    torch.testing.assert_close(soft_skeleton(image, none(image), iterations), monai.soft_skel(image, iterations))
    theirs = monai.SoftclDiceLoss(iter_=iterations, smooth=1e-12, include_background=False, softmax=True)
    truth = torch.nn.functional.one_hot(mask, 2).movedim(-1, 1).float()
    torch.testing.assert_close(ClDice(iterations)(logits, mask), theirs(logits, truth))


def test_skeleton_of_a_bar_is_its_middle_row():
    bar = line()[:, None].float()
    skeleton = soft_skeleton(bar, none(bar), 3)
    assert torch.equal(skeleton[0, 0, 9, 4:16], torch.ones(12))
    assert skeleton[0, 0, [8, 10], 5:15].sum() == 0


def test_a_cut_costs_more_than_a_thinner_line():
    truth = line()
    thin, cut = truth.clone(), truth.clone()
    thin[0, [8, 10]] = 0  # 28 of 42 pixels missing
    cut[0, 8:11, 9:12] = 0  # 9 of 42
    loss = ClDice(3)
    assert loss(sure(truth), truth).item() == pytest.approx(0, abs=1e-6)
    assert loss(sure(thin), truth).item() == pytest.approx(0, abs=1e-3)
    assert loss(sure(cut), truth).item() > 0.1


def test_over_the_batch_or_per_image():
    truth = torch.cat([line(), line().mT])
    found = torch.cat([line(), torch.zeros_like(line())])
    each = [ClDice(3)(sure(found[n : n + 1]), truth[n : n + 1]) for n in range(2)]
    torch.testing.assert_close(ClDice(3, per_image=True)(sure(found), truth), torch.stack(each).mean())
    assert ClDice(3)(sure(found), truth) < torch.stack(each).mean()


@pytest.mark.parametrize("per_image", [False, True])
def test_absent_classes_are_left_out(per_image):
    truth = torch.cat([line(), torch.zeros_like(line())])
    found = truth.clone()
    found[1, 4] = 2  # class 2 is nowhere in the truth
    assert ClDice(3, per_image=per_image)(sure(found, 3), truth).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("per_image", [False, True])
def test_only_background_costs_nothing(per_image):
    logits = torch.randn(2, 3, 6, 6, requires_grad=True)
    loss = ClDice(2, per_image=per_image)(logits, torch.zeros(2, 6, 6, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("per_image", [False, True])
def test_gradient_is_right(per_image):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 6, generator=generator, dtype=torch.double, requires_grad=True)
    mask = torch.randint(0, 3, (2, 6, 6), generator=generator)
    mask[0, 0] = 255
    loss = ClDice(2, per_image=per_image)
    assert torch.autograd.gradcheck(lambda x: loss.compute(x, mask), logits)


@pytest.mark.parametrize(
    ("arguments", "found"),
    [({"iterations": 0}, "iterations of the loss is 0"), ({"smooth": 0}, "smooth of the loss is 0")],
)
def test_nonsense_is_refused(arguments, found):
    with pytest.raises(ConfigError) as error:
        ClDice(**arguments)
    assert found in error.value.found
    assert "at least" in str(error.value.expected)
    assert error.value.do


def test_with_the_background_it_is_a_class_like_the_others():
    generator = torch.Generator().manual_seed(1)
    logits, mask = torch.randn(1, 3, 12, 13, generator=generator), torch.randint(0, 3, (1, 12, 13), generator=generator)
    loss = ClDice(2, include_background=True)
    torch.testing.assert_close(loss(logits, mask), loss(logits[:, [2, 0, 1]], (mask + 1) % 3))
    empty = torch.cat([torch.full_like(logits[:, :1], -60.0), logits], dim=1)
    torch.testing.assert_close(loss(logits, mask), ClDice(2)(empty, mask + 1))
