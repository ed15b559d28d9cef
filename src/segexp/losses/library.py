"""Losses of segmentation_models_pytorch, adapted to ignored pixels, empty classes and empty masks.

The library takes 2.7 seconds to import and is imported on construction.

Shapes: B batch, K classes, H W pixels.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from segexp.losses.base import Loss, check_range
from segexp.types import IGNORE


class Tversky(Loss):
    """Tversky loss (Salehi et al., MLMI 2017), the library's `TverskyLoss`.

    One minus overlap / (overlap + alpha false positives + beta false negatives), each class summed over the batch. The mean is
    over the classes present in the mask, as in `Dice`; the library counts absent classes as perfect.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, include_background: bool = False, smooth: float = 1.0) -> None:
        """Build the loss.

        Args:
            alpha: factor of the false positives, 0 or more.
            beta: factor of the false negatives, 0 or more; larger than `alpha` it favours recall.
            include_background: whether class 0 counts as a class.
            smooth: pixels added to numerator and denominator.

        Raises:
            ConfigError: an argument is negative.
        """
        from segmentation_models_pytorch.losses import TverskyLoss

        super().__init__()
        for name, value in (("alpha", alpha), ("beta", beta), ("smooth", smooth)):
            check_range(name, value, 0)
        self.first = int(not include_background)
        self.make = partial(TverskyLoss, "multiclass", ignore_index=IGNORE, alpha=alpha, beta=beta, smooth=smooth)

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the classes present."""
        return mean_over_present(self.make, self.first, logits, mask)


class Jaccard(Loss):
    """One minus the soft Jaccard index (IoU): the library's `JaccardLoss`.

    Each class is summed over the batch; the mean is over the classes present in the mask, as in `Dice`.
    """

    def __init__(self, include_background: bool = False, smooth: float = 1.0) -> None:
        """Build the loss.

        Args:
            include_background: whether class 0 counts as a class.
            smooth: pixels added to numerator and denominator.

        Raises:
            ConfigError: `smooth` is negative.
        """
        from segmentation_models_pytorch.losses import JaccardLoss

        super().__init__()
        check_range("smooth", smooth, 0)
        self.first = int(not include_background)
        self.make = partial(JaccardLoss, "multiclass", ignore_index=IGNORE, smooth=smooth)

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the classes present."""
        return mean_over_present(self.make, self.first, logits, mask)


class Lovasz(Loss):
    """Lovász-Softmax loss, a convex surrogate of the Jaccard index (Berman et al., CVPR 2018): the library's `LovaszLoss`.

    The mean is over the classes present in the mask, including the background, as in the paper.
    """

    def __init__(self, per_image: bool = False) -> None:
        """Build the loss; `per_image` computes the index per image (with known pixels) instead of over the batch."""
        from segmentation_models_pytorch.losses import LovaszLoss

        super().__init__()
        self.per_image = per_image
        self.library = LovaszLoss("multiclass", ignore_index=IGNORE)

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the classes present, and over images if `per_image`."""
        # Without known pixels the library returns an empty tensor.
        size = 1 if self.per_image else len(logits)
        parts = [slice(start, start + size) for start in range(0, len(logits), size)]
        values = [self.library(logits[part], mask[part]) for part in parts if (mask[part] != IGNORE).any()]
        return torch.stack(values).mean() if values else zero_loss(logits)


class MCC(Loss):
    """One minus the Matthews correlation coefficient (Abhishek and Hamarneh, ISBI 2021): the library's `MCCLoss`.

    It ranges from 0 (correct) over 1 (uncorrelated) to 2. The library's loss is binary; here it is applied to each counted
    class against the rest, over the known pixels of the batch, and averaged over the classes that are neither absent nor
    everywhere.
    """

    def __init__(self, include_background: bool = False) -> None:
        """Build the loss.

        Args:
            include_background: whether class 0 counts as a class.
        """
        from segmentation_models_pytorch.losses import MCCLoss

        super().__init__()
        self.library, self.first = MCCLoss(), int(not include_background)

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the counted classes that are neither absent nor everywhere."""
        known = mask != IGNORE
        probability, truth = logits.softmax(dim=1).movedim(1, -1)[known], mask[known]
        values = []
        for k in range(self.first, logits.shape[1]):
            here = truth == k
            if here.any() and not here.all():
                values.append(self.library(probability[:, k].unsqueeze(0), here.unsqueeze(0).to(logits.dtype)))
        return torch.stack(values).mean() if values else zero_loss(logits)


def mean_over_present(make: Callable[..., Any], first: int, logits: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the classes present of a library loss whose mean counts absent classes as 0.

    Args:
        make: called with `classes`; returns the loss.
        first: the first class; the others follow up to K - 1.
        logits: (B, K, H, W).
        mask: (B, H, W) class index, 255 = ignore.
    """
    classes = range(first, logits.shape[1])
    value: Tensor = make(classes=list(classes))(logits, mask)
    present = sum((mask == k).any().to(logits.dtype) for k in classes)
    return value * len(classes) / torch.as_tensor(present).clamp_min(1)


def zero_loss(logits: Tensor) -> Tensor:
    """Return 0 with a graph, whose gradients are 0."""
    return logits.sum() * 0
