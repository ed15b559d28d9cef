"""Losses for two classes, applied to classes that may overlap."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from segexp.losses import CrossEntropy, Dice, WeightedSum
from segexp.losses.overlapping import Overlapping, presence_shares, split_classes

FILES = {path.stem: path for path in sorted((Path(__file__).resolve().parents[2] / "conf" / "loss").glob("*.yaml"))}


def example(classes=3, size=24):
    generator = torch.Generator().manual_seed(1)
    mask = torch.zeros(2, size, size, dtype=torch.long)
    mask[:, 3:15, 3:15] = 1
    mask[0, 6:11, 6:11] |= 2
    mask[:, :2] = 255
    return torch.randn(2, classes, size, size, generator=generator), mask


def test_each_class_meets_the_background_alone():
    logits, mask = example()
    (cell, where_cell), (nucleus, where_nucleus) = split_classes(logits, mask)
    assert cell.equal(logits[:, :2])
    assert nucleus.equal(logits[:, [0, 2]])
    assert where_cell.unique().tolist() == where_nucleus.unique().tolist() == [0, 1, 255]
    assert (where_cell == 1).equal((mask & 1 == 1) & (mask != 255))
    assert (where_nucleus == 1).equal((mask & 2 == 2) & (mask != 255))
    assert (where_cell[:, :2] == 255).all()


def test_cross_entropy_becomes_that_of_the_sigmoids():
    logits, mask = example()
    known = mask != 255
    expected = torch.stack(
        [
            torch.nn.functional.binary_cross_entropy_with_logits(
                (logits[:, k] - logits[:, 0])[known], (mask[known] >> (k - 1) & 1).float()
            )
            for k in (1, 2)
        ]
    ).mean()
    torch.testing.assert_close(Overlapping(CrossEntropy())(logits, mask), expected)


def test_a_small_class_weighs_as_much_as_the_large_one_around_it():
    logits, mask = example()
    each = [Dice()(two, here) for two, here in split_classes(logits, mask)]
    torch.testing.assert_close(Overlapping(Dice())(logits, mask), torch.stack(each).mean())


def test_with_one_foreground_class_nothing_changes():
    logits, mask = example(2)
    mask[mask == 3] = 1
    assert Overlapping(Dice())(logits, mask).equal(Dice()(logits, mask))


@pytest.mark.parametrize("name", FILES)
def test_every_loss_trains(name):
    loss = Overlapping(instantiate(OmegaConf.load(FILES[name]), _convert_="all"))
    logits, mask = example()
    logits.requires_grad_()
    value = loss(logits, mask)
    value.backward()
    assert value.shape == ()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
    assert all(logits.grad[:, k].abs().sum() > 0 for k in range(3)), "every logit learns"
    assert loss(logits, torch.full_like(mask, 255)) == 0


def test_parts_of_a_sum():
    terms = {"ce": {"weight": 1.0, "loss": CrossEntropy()}, "dice": {"weight": 0.5, "loss": Dice()}}
    loss, (logits, mask) = Overlapping(WeightedSum(terms)), example()
    parts = loss.parts(logits, mask)
    assert set(parts) == {"ce", "dice"}
    torch.testing.assert_close(torch.stack(list(parts.values())).sum(), loss(logits, mask))
    assert Overlapping(Dice()).parts(logits, mask) == {}


def test_a_byte_mask_will_do():
    logits, mask = example()
    assert Overlapping(CrossEntropy())(logits, mask.byte()).equal(Overlapping(CrossEntropy())(logits, mask))


def test_class_weights_are_of_absence_and_presence():
    assert presence_shares([0.7, 0.3, 0.1]) == pytest.approx([0.8, 0.2])
