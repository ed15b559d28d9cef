"""Losses on the overlap of regions: soft Dice and focal Tversky.

Shapes: B batch, K classes, C counted classes, H W pixels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from segexp.losses.base import Loss, check_range
from segexp.types import IGNORE


class Dice(Loss):
    """One minus the soft Dice score of the softmax probabilities (Milletari et al., "V-Net", 3DV 2016; plain sums here).

    The mean is over the classes present in the mask: an absent class has no overlap to improve, and false positives for it are
    left to a pixel-wise loss. If no class is present (only background, or all ignored) the loss is 0.
    """

    def __init__(self, include_background: bool = False, per_image: bool = False, smooth: float = 1.0) -> None:
        """Build the loss.

        Args:
            include_background: whether class 0 counts as a class.
            per_image: False sums each class over the batch before the ratio is computed, which is more stable for small
                objects; True computes it per image.
            smooth: pixels added to numerator and denominator; keeps the slope finite for small objects.

        Raises:
            ConfigError: `smooth` is negative.
        """
        super().__init__()
        check_range("smooth", smooth, 0)
        self.first, self.per_image, self.smooth = int(not include_background), per_image, smooth

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return 1 - (2 overlap + smooth) / (predicted + true + smooth), averaged over the classes present."""
        sums = soft_sums(logits, mask, self.first, self.per_image)
        score = (2 * sums.overlap + self.smooth) / (sums.predicted + sums.true + self.smooth).clamp_min(1e-7)
        return mean_present(1 - score, sums.true)


class FocalTversky(Loss):
    """Focal Tversky loss: (1 - Tversky index)^(1 / gamma) of each class (Abraham and Khan, ISBI 2019).

    The mean is over the classes present in the mask, as in `Dice`; the paper uses the sum.
    """

    def __init__(
        self,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 4 / 3,
        include_background: bool = False,
        per_image: bool = False,
        smooth: float = 1.0,
    ) -> None:
        """Build the loss.

        Args:
            alpha: factor of the false positives, 0 or more, as in Salehi et al. 2017 (this paper swaps the names).
            beta: factor of the false negatives, 0 or more. 0.5 and 0.5 are the Dice score.
            gamma: above 0; above 1 the slope increases with good overlap, below 1 well-segmented classes are down-weighted.
                1 is the Tversky loss; 4/3 in the paper.
            include_background: whether class 0 counts as a class.
            per_image: False sums each class over the batch before the index is computed, True computes it per image.
            smooth: pixels added to numerator and denominator.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        for name, value, least in (("alpha", alpha, 0), ("beta", beta, 0), ("gamma", gamma, 0.1), ("smooth", smooth, 0)):
            check_range(name, value, least)
        self.alpha, self.beta, self.gamma, self.smooth = alpha, beta, gamma, smooth
        self.first, self.per_image = int(not include_background), per_image

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return (1 - index)^(1 / gamma), averaged over the classes present."""
        sums = soft_sums(logits, mask, self.first, self.per_image)
        missing = 1 - tversky_index(sums, self.alpha, self.beta, self.smooth)
        # For gamma above 1 the slope of the power is infinite at 0 (correct prediction or absent class).
        return mean_present(missing.clamp_min(1e-7) ** (1 / self.gamma), sums.true)


class Sums(NamedTuple):
    """Pixels of each class, (C,) or (B, C): overlap of prediction and ground truth, predicted (both soft), true."""

    overlap: Tensor
    predicted: Tensor
    true: Tensor


def soft_sums(logits: Tensor, mask: Tensor, first: int, per_image: bool) -> Sums:
    """Return the sums over known pixels of the classes from `first` on: (B, C) per image, else (C,) over the batch."""
    over = (2, 3) if per_image else (0, 2, 3)
    classes = torch.arange(first, logits.shape[1], device=logits.device).view(-1, 1, 1)
    truth = mask.unsqueeze(1) == classes
    probability = logits.softmax(dim=1)[:, first:] * (mask != IGNORE).unsqueeze(1)
    return Sums((probability * truth).sum(over), probability.sum(over), truth.sum(over))


def tversky_index(sums: Sums, alpha: float, beta: float, smooth: float) -> Tensor:
    """Return (overlap + smooth) / (overlap + alpha false positives + beta false negatives + smooth)."""
    wrong = alpha * (sums.predicted - sums.overlap) + beta * (sums.true - sums.overlap)
    return (sums.overlap + smooth) / (sums.overlap + wrong + smooth).clamp_min(1e-7)


def mean_present(values: Tensor, true: Tensor) -> Tensor:
    """Return the mean of the values of present classes (`true` above 0); 0 with a graph if there are none."""
    present = true > 0
    return (values * present).sum() / present.sum().clamp_min(1)
