"""What a network learns from another one's probabilities, pixel by pixel.

Shapes: B batch, K classes, H W pixels.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segexp.losses.base import check_range, mean_by_weight
from segexp.losses.overlapping import of_each_class
from segexp.types import IGNORE

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, K, H, W), mask (B, H, W)) to a scalar."""

REACH = 3
"""Pixels to each side of a pixel, along rows and columns, among which a border is looked for."""


class Teaching(Protocol):
    """A teacher's part in the loss of a step, which is then (1 - weight) * loss + weight * the teacher's."""

    weight: float

    def __call__(self, image: Tensor) -> LossFunction:
        """Return the loss that teaches what the teacher sees in images (B, C, H, W), prepared for the student."""


class SoftTargets(nn.Module):
    """T^2 KL(teacher || student) of the probabilities softmax(logits / T), the mean over the pixels that are not ignored.

    Soft targets with a temperature are of Hinton, Vinyals and Dean 2015; their factor T^2 keeps the size of the gradient
    about the same whatever T is. Taking each pixel as an example of its own is the pixel-wise distillation of Liu et al. 2019
    (Structured Knowledge Distillation for Semantic Segmentation, CVPR), which has T = 1 and no further factor.
    """

    def __init__(self, temperature: float = 2.0, boundary: float = 0.0, overlapping: bool = False) -> None:
        """Make the loss.

        Args:
            temperature: T, 0.1 or more.
            boundary: weight that pixels near a border of the teacher's mask get on top of 1, 0 or more; see `REACH`.
            overlapping: each foreground class is a question of its own, sigmoid((logit_k - logit_0) / T); the mean over them.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        check_range("temperature", temperature, 0.1)
        check_range("boundary", boundary, 0)
        self.temperature, self.boundary, self.overlapping = float(temperature), float(boundary), overlapping

    def forward(self, logits: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Compute the loss in float32, inside autocast too.

        Args:
            logits: (B, K, H, W) of the student.
            teacher: (B, K, h, w) logits; of another size than the student's they are resized, linearly. They get no gradient.
            mask: (B, H, W), of which only 255 = ignore is looked at.

        Returns:
            A scalar, 0 or more; exactly 0, with a graph, when every pixel is ignored.

        Raises:
            ValueError: the shapes do not belong together.
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
            pairs = zip(of_each_class(logits.float(), mask), of_each_class(guide, mask), strict=True)
            return torch.stack([self._one(two, its_two, here) for (two, here), (its_two, _) in pairs]).mean()

    def _one(self, logits: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        """Return the loss of classes that exclude each other."""
        temperature = self.temperature
        own, its = (F.log_softmax(each / temperature, dim=1) for each in (logits, teacher))
        divergence = F.kl_div(own, its, reduction="none", log_target=True).sum(dim=1)
        weights = (mask != IGNORE).float()
        if self.boundary:
            weights = weights * (1 + self.boundary * near_border(teacher.argmax(dim=1)))
        return temperature**2 * mean_by_weight((divergence * weights).sum(), weights)


def resized_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return logits (B, K, h, w) at another size (H, W): averaged where they shrink, as a coarse head sees the image."""
    if tuple(logits.shape[2:]) == size:
        return logits
    return F.interpolate(logits, size=size, mode="bilinear", antialias=True)


def near_border(classes: Tensor) -> Tensor:
    """Return (B, H, W) float32: 1 where pixels of more than one class are within `REACH`, given classes (B, H, W), else 0."""
    index = classes.unsqueeze(1).float()
    highest, lowest = (sign * F.max_pool2d(sign * index, 2 * REACH + 1, stride=1, padding=REACH) for sign in (1, -1))
    return (highest != lowest).squeeze(1).float()
