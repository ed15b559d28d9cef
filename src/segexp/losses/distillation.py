"""Pixel-wise distillation loss.

Shapes: B batch, K classes, H W pixels.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segexp.losses.base import check_range, mean_by_weight
from segexp.losses.overlapping import split_classes
from segexp.types import IGNORE

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, K, H, W), mask (B, H, W)) to a scalar."""

REACH = 3
"""Half size of the window in which borders are detected, in pixels."""


class Teaching(Protocol):
    """A teacher in the loss of a step: (1 - weight) * loss + weight * teacher's loss."""

    weight: float

    def __call__(self, image: Tensor) -> LossFunction:
        """Return the teacher's loss for images (B, C, H, W) prepared for the student."""


class SoftTargets(nn.Module):
    """T^2 KL(teacher || student) of the probabilities softmax(logits / T), averaged over the pixels that are not ignored.

    Soft targets with a temperature are from Hinton, Vinyals and Dean 2015; the factor T^2 makes the gradient's scale roughly
    independent of T. The pixel-wise loss is from Liu et al. 2019 (Structured Knowledge Distillation for Semantic Segmentation,
    CVPR), who use T = 1.
    """

    def __init__(self, temperature: float = 2.0, boundary: float = 0.0, overlapping: bool = False) -> None:
        """Build the loss.

        Args:
            temperature: T, 0.1 or more.
            boundary: additional weight of pixels near a border of the teacher's mask, 0 or more; see `REACH`.
            overlapping: treat each foreground class separately with sigmoid((logit_k - logit_0) / T), and average.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        check_range("temperature", temperature, 0.1)
        check_range("boundary", boundary, 0)
        self.temperature, self.boundary, self.overlapping = float(temperature), float(boundary), overlapping

    def forward(self, logits: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Compute the loss in float32, regardless of autocast.

        Args:
            logits: (B, K, H, W) of the student.
            teacher: (B, K, h, w) logits, resized linearly to the student's if necessary; they get no gradient.
            mask: (B, H, W), used for 255 = ignore only.

        Returns:
            A scalar, 0 or more; exactly 0, with a graph, if every pixel is ignored.

        Raises:
            ValueError: the shapes do not match.
        """
        if logits.shape[:2] != teacher.shape[:2] or mask.shape != (logits.shape[0], *logits.shape[2:]):
            raise ValueError(
                f"logits {tuple(logits.shape)}, teacher {tuple(teacher.shape)} and mask {tuple(mask.shape)}: "
                "need (B, K, H, W), (B, K, h, w) and (B, H, W)"
            )
        with torch.autocast(logits.device.type, enabled=False):
            guide = resized_logits(teacher.detach().float(), (logits.shape[2], logits.shape[3]))
            if not self.overlapping:
                return self._one(logits.float(), guide, mask)
            pairs = zip(split_classes(logits.float(), mask), split_classes(guide, mask), strict=True)
            return torch.stack([self._one(two, its_two, here) for (two, here), (its_two, _) in pairs]).mean()

    def _one(self, logits: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of exclusive classes."""
        temperature = self.temperature
        own, its = (F.log_softmax(each / temperature, dim=1) for each in (logits, teacher))
        divergence = F.kl_div(own, its, reduction="none", log_target=True).sum(dim=1)
        weights = (mask != IGNORE).float()
        if self.boundary:
            weights = weights * (1 + self.boundary * near_border(teacher.argmax(dim=1)))
        return temperature**2 * mean_by_weight((divergence * weights).sum(), weights)


def resized_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize logits (B, K, h, w) to (H, W), with averaging when they shrink."""
    if tuple(logits.shape[2:]) == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", antialias=True)


def near_border(classes: Tensor) -> Tensor:
    """Return (B, H, W) float32: 1 where pixels of several classes (B, H, W) are within `REACH`, else 0."""
    index = classes.unsqueeze(1).float()
    highest, lowest = (sign * F.max_pool2d(sign * index, 2 * REACH + 1, stride=1, padding=REACH) for sign in (1, -1))
    return (highest != lowest).squeeze(1).float()
