"""Pixel-wise losses: cross-entropy, online hard example mining, binary cross-entropy, focal loss."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from segexp.errors import ConfigError
from segexp.losses.base import PixelLoss, check_range, mean_by_weight
from segexp.types import IGNORE


class CrossEntropy(PixelLoss):
    """Cross-entropy of the softmax."""

    def __init__(self, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        """Build the loss.

        Args:
            class_weights: one weight per class, or None.
            label_smoothing: share of the target spread evenly over all classes, 0 to 1 (Szegedy et al. 2016).

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__(class_weights)
        check_range("label_smoothing", label_smoothing, 0, 1)
        self.label_smoothing = label_smoothing

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted mean over pixels, as `torch.nn.CrossEntropyLoss` defines it."""
        total = F.cross_entropy(
            logits,
            mask,
            self.class_weights_for(logits),
            ignore_index=IGNORE,
            # torch's mean is NaN if every pixel is ignored, and its sum is not deterministic on a GPU.
            reduction="none" if torch.are_deterministic_algorithms_enabled() else "sum",
            label_smoothing=self.label_smoothing,
        ).sum()
        return mean_by_weight(total, self.pixel_weights(logits, mask))


class OHEM(PixelLoss):
    """Cross-entropy of the hardest pixels: online hard example mining (Shrivastava et al., CVPR 2016).

    Pixels are selected at every call over the batch, as in Wu et al. 2016 for segmentation; the others get no gradient.
    """

    def __init__(
        self,
        keep: float = 0.25,
        threshold: float | None = 0.7,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        """Build the loss.

        Args:
            keep: minimum share of the known pixels of a batch, 0 to 1: those with the lowest probability of their true class.
                At least one pixel is kept.
            threshold: pixels with a lower probability of the true class (0 to 1) are kept as well; None for the share only.
            class_weights: one weight per class, or None; does not affect the selection.
            label_smoothing: share of the target spread evenly over all classes, 0 to 1; likewise.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__(class_weights)
        check_range("keep", keep, 0, 1)
        if threshold is not None:
            check_range("threshold", threshold, 0, 1)
        check_range("label_smoothing", label_smoothing, 0, 1)
        self.keep, self.threshold, self.label_smoothing = keep, threshold, label_smoothing

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted mean over the pixels kept."""
        entropy = F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="none", label_smoothing=self.label_smoothing)
        weights = self.pixel_weights(logits, mask) * self.hard(logits.detach(), mask)
        return mean_by_weight((entropy * weights).sum(), weights)

    def hard(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the selected pixels (B, H, W) bool; of equally hard ones, all or none."""
        hardness = F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="none").where(mask != IGNORE, -1)
        kept = max(1, math.ceil(int((mask != IGNORE).sum()) * self.keep))
        least = hardness.flatten().kthvalue(hardness.numel() - kept + 1).values  # six times as fast as sorting
        if self.threshold is not None:
            least = least.clamp_max(-math.log(max(self.threshold, 1e-38)))
        return hardness >= least


class BCE(PixelLoss):
    """Binary cross-entropy of each counted class against the rest.

    The logit of class k is the log-odds of its softmax probability, l_k - logsumexp of the others. With two classes this is
    l_1 - l_0, so the loss equals `BCEWithLogitsLoss` of a network with one output; with more, it is the mean over the
    counted classes: K - 1, or K with `include_background`. Predictions are those of the softmax.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        include_background: bool = False,
    ) -> None:
        """Build the loss.

        Args:
            class_weights: one weight per class, or None.
            label_smoothing: targets are moved by this share from 0 and 1 towards 0.5, 0 to 1; with two classes the same as in
                `CrossEntropy`.
            include_background: whether class 0 counts as a class.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__(class_weights)
        check_range("label_smoothing", label_smoothing, 0, 1)
        self.label_smoothing, self.first = label_smoothing, int(not include_background)

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted mean over pixels of the mean over the counted classes."""
        classes = logits.shape[1]
        values = torch.zeros_like(logits[:, 0])
        for k in range(self.first, classes):
            rest = torch.cat([logits[:, :k], logits[:, k + 1 :]], dim=1).logsumexp(dim=1)
            target = (mask == k).to(logits.dtype).lerp(torch.full_like(rest, 0.5), self.label_smoothing)
            values = values + F.binary_cross_entropy_with_logits(logits[:, k] - rest, target, reduction="none")
        weights = self.pixel_weights(logits, mask)
        return mean_by_weight((values * weights).sum() / (classes - self.first), weights)


class Focal(PixelLoss):
    """Focal loss: cross-entropy times (1 - p)^gamma, p the probability of the true class (Lin et al., ICCV 2017)."""

    def __init__(
        self,
        gamma: float = 2.0,
        alpha: float | None = None,
        class_weights: Sequence[float] | None = None,
        include_background: bool = False,
    ) -> None:
        """Build the loss.

        Args:
            gamma: 0 or more; down-weights well-classified pixels. 0 is plain cross-entropy.
            alpha: factor of foreground pixels, 0 to 1; background pixels get 1 - alpha. 0.25 in the paper.
            class_weights: one weight per class, instead of `alpha`; in contrast to it, they are normalised by their sum.
            include_background: whether class 0 is a class like the others, to which `alpha` applies as well.

        Raises:
            ConfigError: an argument is out of its range, or both `alpha` and `class_weights` are given.
        """
        super().__init__(class_weights)
        check_range("gamma", gamma, 0)
        if alpha is not None:
            check_range("alpha", alpha, 0, 1)
            if class_weights is not None:
                raise ConfigError(
                    "the focal loss has both alpha and class_weights", "one of them", "Set alpha=null or class_weights=null"
                )
        self.gamma, self.alpha, self.first = gamma, alpha, int(not include_background)

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted mean over pixels."""
        entropy = F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="none")
        # For gamma below 1 the slope of the power is infinite at 0.
        wrong = (1 - torch.exp(-entropy)).clamp_min(1e-7)
        values = wrong**self.gamma * entropy
        if self.alpha is not None:
            values = values * torch.where(mask < self.first, 1 - self.alpha, self.alpha)
        weights = self.pixel_weights(logits, mask)
        return mean_by_weight((values * weights).sum(), weights)
