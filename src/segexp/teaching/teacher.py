"""What a trained network says about the images that another one is trained on.

Legend: B batch, C channels, K classes, H W pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segexp.errors import ConfigError
from segexp.losses.distillation import LossFunction, SoftTargets
from segexp.preprocessing import Preprocessing
from segexp.segmenter import Segmenter

EIGHT_BIT = (0.0, 255.0)
"""The range of values of 8-bit images."""


class Teacher:
    """A trained network and how much the student listens to it; it is never trained, and no part of any checkpoint.

    The loss of a step is (1 - weight) * loss + weight * soft, where `soft` is the `SoftTargets` of `teacher(image)`.
    """

    def __init__(self, segmenter: Segmenter, student: Preprocessing, soft: SoftTargets, weight: float) -> None:
        """Take a teacher; its weights are frozen.

        Args:
            segmenter: the trained network.
            student: how the images of a batch were prepared.
            soft: (student's logits, teacher's logits, mask) to a scalar.
            weight: 0 to 1.

        Raises:
            ConfigError: what the teacher sees cannot be made of what the student sees.
        """
        check_preprocessing(segmenter.preprocessing, student)
        segmenter.network.eval().requires_grad_(False)
        self.segmenter, self.student, self.soft, self.weight = segmenter, student, soft, weight

    def __deepcopy__(self, memo: dict[int, Any]) -> "Teacher":
        """Return itself: it never changes, so a copy of the module, as averages of weights make it, needs no second one."""
        return self

    def __call__(self, image: Tensor) -> LossFunction:
        """Return the loss (student's logits (B, K, H, W), mask (B, H, W)) to a scalar that teaches what is seen in a batch."""
        said = self.logits(image)
        return lambda logits, mask: self.soft(logits, said, mask)

    def logits(self, image: Tensor) -> Tensor:
        """Return the teacher's logits (B, K, H, W) of images (B, C, H, W) that were prepared for the student."""
        if self.segmenter.device != image.device:
            self.segmenter.to(image.device)
        with torch.no_grad(), self.segmenter.autocast():
            return self.segmenter.forward(renormalized(image, self.student, self.segmenter.preprocessing))


def renormalized(image: Tensor, was: Preprocessing, wanted: Preprocessing) -> Tensor:
    """Return images (B, C, H, W) that were normalised one way, normalised another way; augmentation stays as it is.

    What was clipped stays clipped.
    """
    same = ("value_range", "low", "high", "mean", "std")
    if all(getattr(was, name) == getattr(wanted, name) for name in same):
        return image
    mean, std = (_per_channel(values, image) for values in (was.mean, was.std))
    unit = image * std + mean
    if was.value_range != wanted.value_range:
        (low, high), (its_low, its_high) = was.value_range, wanted.value_range
        unit = (unit * (high - low) + low - its_low) / max(its_high - its_low, 1e-12)
    if wanted.low is not None and wanted.high is not None:
        unit = unit.clamp(_per_channel(wanted.low, image), _per_channel(wanted.high, image))
    return (unit - _per_channel(wanted.mean, image)) / _per_channel(wanted.std, image)


def _per_channel(values: Sequence[float], image: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=image.device).view(1, -1, 1, 1)


def check_preprocessing(teacher: Preprocessing, student: Preprocessing) -> None:
    """Refuse a teacher for other kinds of values.

    Raises:
        ConfigError: one learned from 8-bit images and the other does not.
    """
    kinds = ["8-bit" if each.value_range == EIGHT_BIT else "other than 8-bit" for each in (teacher, student)]
    if kinds[0] != kinds[1]:
        raise ConfigError(
            f"The teacher was trained on images that are {kinds[0]}, and the training images here are {kinds[1]}",
            "Values of one kind were expected: their scales cannot be told from each other",
            "Name a distill.teacher that was trained on such images",
        )
