"""Losses of segmentation_models_pytorch, kept to the laws of this package: ignored pixels, empty classes, no class at all.

The library takes 2.7 seconds to import, so it is imported where one of its losses is made.

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

    One minus overlap / (overlap + alpha false positives + beta false negatives), each class summed over the batch. The mean
    is over the classes that are present in the mask, as in `Dice`; the library counts an absent class as a perfect one.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, include_background: bool = False, smooth: float = 1.0) -> None:
        """Make the loss.

        Args:
            alpha: factor of the false positives, 0 or more.
            beta: factor of the false negatives, 0 or more; larger than `alpha` it favours recall.
            include_background: whether class 0 counts as a class.
            smooth: pixels added above and below the fraction.

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
        return over_classes_present(self.make, self.first, logits, mask)


class Jaccard(Loss):
    """One minus the soft Jaccard index, also called IoU: the library's `JaccardLoss`.

    Each class is summed over the batch; the mean is over the classes that are present in the mask, as in `Dice`.
    """

    def __init__(self, include_background: bool = False, smooth: float = 1.0) -> None:
        """Make the loss.

        Args:
            include_background: whether class 0 counts as a class.
            smooth: pixels added above and below the fraction.

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
        return over_classes_present(self.make, self.first, logits, mask)


class Lovasz(Loss):
    """Lovász-Softmax loss, a convex surrogate of the Jaccard index (Berman et al., CVPR 2018): the library's `LovaszLoss`.

    The mean is over the classes present in the mask, the background among them, as in the paper.
    """

    def __init__(self, per_image: bool = False) -> None:
        """Make the loss.

        Args:
            per_image: False takes the index over the batch; True in each image, and the mean over the images that have a
                pixel that is not ignored.
        """
        from segmentation_models_pytorch.losses import LovaszLoss

        super().__init__()
        self.per_image = per_image
        self.library = LovaszLoss("multiclass", ignore_index=IGNORE)

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the classes present, and over images if `per_image`."""
        # Without a known pixel the library gives an empty tensor.
        size = 1 if self.per_image else len(logits)
        parts = [slice(start, start + size) for start in range(0, len(logits), size)]
        values = [self.library(logits[part], mask[part]) for part in parts if (mask[part] != IGNORE).any()]
        return torch.stack(values).mean() if values else nothing(logits)


class MCC(Loss):
    """One minus the Matthews correlation of prediction and truth (Abhishek and Hamarneh, ISBI 2021): the library's `MCCLoss`.

    From 0 for a right answer over 1 for one that has nothing to do with the truth to 2. The library's is for two classes;
    here it is taken for each foreground class against the rest, over the known pixels of the batch, and averaged over those
    that are present somewhere and absent somewhere: the others have no correlation with anything.
    """

    def __init__(self) -> None:
        """Make the loss."""
        from segmentation_models_pytorch.losses import MCCLoss

        super().__init__()
        self.library = MCCLoss()

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the foreground classes that have pixels, but not all of them."""
        known = mask != IGNORE
        probability, truth = logits.softmax(dim=1).movedim(1, -1)[known], mask[known]
        values = []
        for k in range(1, logits.shape[1]):
            here = truth == k
            if here.any() and not here.all():
                values.append(self.library(probability[:, k].unsqueeze(0), here.unsqueeze(0).to(logits.dtype)))
        return torch.stack(values).mean() if values else nothing(logits)


def over_classes_present(make: Callable[..., Any], first: int, logits: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the classes present of a library's loss whose mean counts the absent ones as 0.

    Args:
        make: called with `classes`, the classes to look at; gives the loss.
        first: the first of these classes; the others follow to K - 1.
        logits: (B, K, H, W).
        mask: (B, H, W) class index, 255 = ignore.
    """
    classes = range(first, logits.shape[1])
    value: Tensor = make(classes=list(classes))(logits, mask)
    present = sum((mask == k).any().to(logits.dtype) for k in classes)
    return value * len(classes) / torch.as_tensor(present).clamp_min(1)


def nothing(logits: Tensor) -> Tensor:
    """Return 0 with a graph, whose gradients are 0."""
    return logits.sum() * 0
