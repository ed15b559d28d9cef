"""What is wrapped equals the library; where the library would break a law, what it does instead is held here."""

import pytest
import segmentation_models_pytorch.losses as smp
import torch

from segexp.errors import ConfigError
from segexp.losses import MCC, Jaccard, Lovasz, Tversky


def example(classes=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, classes, 6, 7, generator=generator)
    mask = torch.randint(0, classes, (3, 6, 7), generator=generator)
    mask[0, :2] = 255
    return logits, mask


PAIRS = {
    "tversky": (Tversky(0.2, 0.9, smooth=0), lambda c: smp.TverskyLoss("multiclass", c, ignore_index=255, alpha=0.2, beta=0.9)),
    "tversky smooth": (Tversky(), lambda c: smp.TverskyLoss("multiclass", c, smooth=1, ignore_index=255, alpha=0.3, beta=0.7)),
    "jaccard": (Jaccard(smooth=0), lambda c: smp.JaccardLoss("multiclass", c, ignore_index=255)),
    "lovasz": (Lovasz(), lambda _: smp.LovaszLoss("multiclass", ignore_index=255)),
    "lovasz per image": (Lovasz(per_image=True), lambda _: smp.LovaszLoss("multiclass", per_image=True, ignore_index=255)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("classes", [2, 4])
def test_equal_to_the_library(name, classes):
    logits, mask = example(classes)
    ours, make = PAIRS[name]
    mine, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value, expected = ours(mine, mask), make(list(range(1, classes)))(theirs, mask)
    value.backward()
    expected.backward()
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize(
    ("ours", "make"),
    [
        (
            Tversky(include_background=True),
            lambda: smp.TverskyLoss("multiclass", smooth=1, alpha=0.3, beta=0.7, ignore_index=255),
        ),
        (Jaccard(include_background=True), lambda: smp.JaccardLoss("multiclass", smooth=1, ignore_index=255)),
    ],
)
def test_equal_with_the_background(ours, make):
    logits, mask = example()
    torch.testing.assert_close(ours(logits, mask), make()(logits, mask))


def test_mcc_of_two_classes_is_the_library():
    logits, mask = example(2)
    known = mask != 255
    probability = logits.softmax(1)[:, 1]
    expected = smp.MCCLoss()(probability[known][None], mask[known][None].float())
    torch.testing.assert_close(MCC()(logits, mask), expected)


def test_mcc_by_hand():
    truth = torch.tensor([[[1, 1, 1, 0, 0, 0, 0, 0]]])
    found = torch.tensor([[[1, 1, 0, 1, 0, 0, 0, 0]]])  # tp 2, fp 1, fn 1, tn 4
    logits = 60.0 * torch.nn.functional.one_hot(found, 2).permute(0, 3, 1, 2)
    assert MCC()(logits, truth).item() == pytest.approx(1 - (8 - 1) / 15, abs=1e-4)
    assert MCC()(logits, found).item() == pytest.approx(0, abs=1e-4)
    assert MCC()(logits, 1 - found).item() == pytest.approx(2, abs=1e-4)


@pytest.mark.parametrize("loss", [Tversky(), Jaccard(), MCC()])
def test_absent_classes_are_left_out(loss):
    logits, mask = example(2)
    more = torch.cat([logits, torch.full((3, 2, 6, 7), -50.0)], dim=1)  # classes 2 and 3 are in neither
    torch.testing.assert_close(loss(more, mask), loss(logits, mask))


@pytest.mark.parametrize("loss", [Tversky(), Tversky(smooth=0), Jaccard(), Jaccard(smooth=0), MCC()])
def test_only_background_costs_nothing(loss):
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.zeros(2, 4, 4, dtype=torch.long))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_mcc_of_a_class_that_is_everywhere_costs_nothing():
    logits = torch.randn(2, 2, 4, 4, requires_grad=True)
    MCC()(logits, torch.ones(2, 4, 4, dtype=torch.long)).backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_lovasz_learns_from_background_alone():
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    loss = Lovasz()(logits, torch.zeros(1, 4, 4, dtype=torch.long))
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert logits.grad[:, 0].max() <= 0  # the largest error carries it all, and ties are broken by order
    assert logits.grad[:, 0].sum() < 0


def test_lovasz_per_image_leaves_out_images_without_a_known_pixel():
    logits, mask = example()
    mask[1] = 255
    torch.testing.assert_close(
        Lovasz(per_image=True)(logits, mask), (Lovasz()(logits[:1], mask[:1]) + Lovasz()(logits[2:], mask[2:])) / 2
    )


def test_why_the_library_does_not_stand_alone():
    logits, mask = example(4)
    mask[mask == 3] = 0
    nowhere = torch.full_like(mask, 255)
    # An absent class counts as a perfect one.
    classes = [1, 2, 3]
    theirs = smp.JaccardLoss("multiclass", classes, smooth=1, ignore_index=255)(logits, mask)
    torch.testing.assert_close(theirs, Jaccard()(logits, mask) * 2 / 3)
    # Without a known pixel the Lovász loss is no scalar.
    assert smp.LovaszLoss("multiclass", ignore_index=255)(logits, nowhere).shape != ()
    # The focal Tversky loss has gamma on the mean over classes, not on each, and NaN for its slope where nothing is wrong.
    wanted = logits.clone().requires_grad_()
    smp.TverskyLoss("multiclass", classes, ignore_index=255, gamma=0.75)(wanted, nowhere).backward()
    assert wanted.grad.isnan().any()
    # MCC takes a truth of 255 for a number.
    assert smp.MCCLoss()(logits.softmax(1)[:, 1], mask.float()).isnan()


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda: Tversky(alpha=-1), "alpha of the loss is -1"),
        (lambda: Tversky(beta=-1), "beta of the loss is -1"),
        (lambda: Tversky(smooth=-1), "smooth of the loss is -1"),
        (lambda: Jaccard(smooth=-1), "smooth of the loss is -1"),
    ],
)
def test_nonsense_is_refused(make, found):
    with pytest.raises(ConfigError) as error:
        make()
    assert found in error.value.found
    assert "at least 0" in str(error.value.expected)


def test_with_the_background_it_is_a_class_like_the_others():
    generator = torch.Generator().manual_seed(1)
    logits, mask = torch.randn(2, 3, 6, 7, generator=generator), torch.randint(0, 3, (2, 6, 7), generator=generator)
    empty = torch.cat([torch.full_like(logits[:, :1], -60.0), logits], dim=1)
    for loss in (MCC, Tversky, Jaccard):
        torch.testing.assert_close(loss(include_background=True)(logits, mask), loss()(empty, mask + 1))
