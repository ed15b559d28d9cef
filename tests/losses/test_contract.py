"""Losses that do not keep the contract: the message names the part."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segexp.errors import ConfigError
from segexp.losses import BCE, CrossEntropy, Dice, WeightedSum
from segexp.losses.contract import check_loss, check_losses


def loss(function):
    """A loss out of its arithmetic."""

    class Made(nn.Module):
        def forward(self, logits, mask):
            return function(logits, mask)

    return Made()


def sound(logits, mask):
    return F.cross_entropy(logits, mask, ignore_index=255, reduction="sum") / (mask != 255).sum().clamp_min(1)


def in_place(logits, mask):
    valid = mask != 255
    mask[~valid] = 0
    return (F.cross_entropy(logits, mask, reduction="none") * valid).mean()


def infinite_slope(logits, mask):
    valid = mask != 255
    return ((logits.sum(1) * valid).square().sum() / valid.sum().clamp_min(1)).sqrt()


BROKEN = {
    "tuple": (lambda logits, mask: (sound(logits, mask), {}), "returns tuple. Expected one number as a tensor without axes."),
    "no_mean": (
        lambda logits, mask: F.cross_entropy(logits, mask, ignore_index=255, reduction="none"),
        "returns a tensor (2, 16, 16). Expected one number as a tensor without axes. Return its mean",
    ),
    "number": (lambda logits, mask: sound(logits, mask).item(), "returns float. Expected one number as a tensor"),
    "detached": (lambda logits, mask: sound(logits.detach(), mask), "has no gradient on a mask of class indices."),
    "constant": (lambda logits, mask: logits.sum() * 0 + 1, "has no gradient: the logits make no difference."),
    "not_finite": (
        lambda logits, mask: sound(logits, mask) * torch.inf,
        "is inf on a mask of class indices. Expected a finite",
    ),
    "fails": (lambda logits, mask: sound(logits[:, 0], mask), "fails on a mask of class indices: "),
    "no_ignore": (
        lambda logits, mask: F.cross_entropy(logits, mask),
        "fails on a mask in which some pixels are ignored (255): IndexError: Target 255 is out of bounds.",
    ),
    "one_hot": (
        lambda logits, mask: (logits.softmax(1) - F.one_hot(mask, logits.shape[1]).movedim(-1, 1)).square().mean(),
        "Class 255 is none: leave such pixels out, as ignore_index=255 does.",
    ),
    "counts_ignored": (
        lambda logits, mask: F.cross_entropy(logits, mask.clamp_max(1)),
        "does not ignore the pixels of 255: other logits there turn ",
    ),
    "all_ignored": (
        lambda logits, mask: F.cross_entropy(logits, mask, ignore_index=255),
        "is nan on a mask in which every pixel is ignored (255). Expected a finite number. Divide by a number of pixels that "
        "is at least 1, as in total / valid.sum().clamp_min(1).",
    ),
    "slope": (infinite_slope, "has a gradient that is not finite on a mask in which every pixel is ignored (255)."),
    "in_place": (in_place, "changes the mask in place. Expected the mask untouched"),
}


@pytest.mark.parametrize("part", BROKEN)
def test_the_broken_part_is_named(part):
    function, text = BROKEN[part]
    with pytest.raises(ConfigError) as caught:
        check_loss(loss(function), "loss=mine.Made", 2)
    assert str(caught.value).startswith("The loss loss=mine.Made ")
    assert text in str(caught.value)
    assert caught.value.do


def test_what_is_no_module_is_named():
    with pytest.raises(ConfigError, match=r"is no torch\.nn\.Module\. .* Derive the class from nn\.Module\."):
        check_loss(F.cross_entropy, "loss=x", 2)


@pytest.mark.parametrize("classes", [2, 5])
def test_sound_losses_pass_and_are_left_as_they_are(classes):
    state = torch.get_rng_state()

    class Counting(nn.Module):
        calls = 0

        def forward(self, logits, mask):
            self.calls += 1
            return sound(logits, mask)

    made = Counting()
    check_loss(made, "mine", classes)
    assert made.calls == 0
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("own", [CrossEntropy(), CrossEntropy([1, 3]), BCE(), Dice()])
def test_losses_of_segexp_keep_their_own_contract(own):
    check_loss(own, "own", 2)


def test_terms_of_a_sum_are_named_and_those_of_segexp_are_not_tried():
    inner = WeightedSum({"mine": {"weight": 1, "loss": loss(BROKEN["no_mean"][0])}})
    with pytest.raises(ConfigError, match=r"^The loss loss\.terms\.inner\.loss\.terms\.mine\.loss=.*Made returns a tensor"):
        check_losses(
            WeightedSum({"ce": {"weight": 1, "loss": CrossEntropy()}, "inner": {"weight": 1, "loss": inner}}), "loss", 2
        )

    class Ours(nn.Module):
        __module__ = "segexp.losses.somewhere"

        def forward(self, logits, mask):
            raise AssertionError("tried")

    check_losses(WeightedSum({"ours": {"weight": 1, "loss": Ours()}}), "loss", 2)


def test_the_recipe_is_sound():
    text = (Path(__file__).resolve().parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    code = text.partition("# my_losses.py\n")[2].partition("```")[0]
    space = {}
    exec(code, space)
    check_loss(space["Plain"](), "recipe", 3)
