"""What every loss in conf/loss keeps to."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from segexp.losses import scales_loss

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "loss"
FILES = {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}
every_loss = pytest.mark.parametrize("name", FILES)
LEAVES_PIXELS_OUT = {"ohem": "easy pixels get no gradient: that is what the loss is"}
"""Losses that need not give every pixel a gradient, and why. There is no other exception to what is below."""

every_k = pytest.mark.parametrize("classes", [2, 5])


def make(name):
    return instantiate(OmegaConf.load(FILES[name]), _convert_="all")


def example(classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, classes, 8, 9, generator=generator)
    return logits, torch.randint(0, classes, (3, 8, 9), generator=generator)


def test_all_files_are_found():
    first = {"bce", "ce", "dice", "focal", "bce_dice", "ce_dice", "focal_dice"}
    regions = {"tversky", "focal_tversky", "lovasz", "jaccard", "mcc", "unified_focal"}
    assert set(FILES) >= first | regions | {"boundary", "hausdorff_dt", "cldice", "ohem", "border_ce"}
    assert set(LEAVES_PIXELS_OUT) <= set(FILES)


@every_loss
@every_k
def test_scalar_float32_with_gradients(name, classes):
    logits, mask = example(classes)
    logits.requires_grad_()
    loss = make(name)(logits, mask)
    loss.backward()
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss > 0
    assert logits.grad.isfinite().all()
    moved = logits.grad.abs().sum(1) > 0
    assert moved.any() if name in LEAVES_PIXELS_OUT else moved.all()


@every_loss
@every_k
def test_better_logits_cost_less(name, classes):
    logits, mask = example(classes)
    truth = torch.nn.functional.one_hot(mask, classes).permute(0, 3, 1, 2)
    losses = [make(name)(logits + step * truth, mask).item() for step in (0, 2, 4, 20)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.01


@every_loss
@every_k
def test_ignored_pixels_count_for_nothing(name, classes):
    logits, mask = example(classes)
    mask[:, :3] = 255
    loss = make(name)
    whole = logits.clone().requires_grad_()
    value = loss(whole, mask)
    value.backward()
    torch.testing.assert_close(value, loss(logits[:, :, 3:], mask[:, 3:]))
    assert torch.equal(whole.grad[:, :, :3], torch.zeros_like(whole.grad[:, :, :3]))


@every_loss
@every_k
def test_all_ignored_is_zero_with_a_graph(name, classes):
    logits = torch.randn(2, classes, 4, 4, requires_grad=True)
    loss = make(name)(logits, torch.full((2, 4, 4), 255))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits(name, dtype):
    logits = torch.full((4, 2, 256, 256), 300.0, dtype=dtype)  # sums and squares leave the range of float16
    logits[:, 0] = -300
    logits.requires_grad_()
    mask = torch.zeros(4, 256, 256, dtype=torch.long)
    mask[:, :128] = 1
    loss = make(name)(logits, mask)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
    torch.testing.assert_close(loss, make(name)(logits.detach().float(), mask))


@every_loss
def test_float32_inside_autocast(name):
    logits, mask = example(3)
    with torch.autocast("cpu", torch.bfloat16):
        inside = make(name)(logits, mask)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, make(name)(logits, mask))


@every_loss
def test_order_of_images_and_pixels_is_of_no_account(name):
    logits, mask = example(3)
    loss = make(name)
    value = loss(logits, mask)
    torch.testing.assert_close(loss(logits.flip(0), mask.flip(0)), value)
    torch.testing.assert_close(loss(logits.flip(3).mT, mask.flip(2).mT), value)


@every_loss
def test_names_of_foreground_classes_are_of_no_account(name):
    logits, mask = example(4)
    order = torch.tensor([0, 3, 1, 2])
    torch.testing.assert_close(make(name)(logits[:, order], order.argsort()[mask]), make(name)(logits, mask))


@every_loss
def test_constant_added_to_all_logits_is_of_no_account(name):
    logits, mask = example(3)
    torch.testing.assert_close(make(name)(logits + 7, mask), make(name)(logits, mask), rtol=1e-4, atol=1e-5)


@every_loss
def test_shapes_that_do_not_belong_together(name):
    logits, mask = example(2)
    loss = make(name)
    for wrong in (mask[:, None], mask[:2], mask[:, :4]):
        with pytest.raises(ValueError, match=r"logits \(3, 2, 8, 9\) and mask \(.*\): need \(B, K, H, W\) and \(B, H, W\)"):
            loss(logits, wrong)


@every_loss
def test_deep_supervision_of_equal_heads_is_the_loss(name):
    logits, mask = example(2)
    loss = make(name)
    torch.testing.assert_close(scales_loss(loss, [logits] * 3, mask), loss(logits, mask))
