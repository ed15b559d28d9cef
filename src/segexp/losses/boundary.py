"""Losses on distances to the border of the truth. They say little where nothing is there yet: sum them with a region loss.

Both go class by class over the foreground. A class that an image lacks, or that fills it, has no border there and costs
nothing there. Ignored pixels are in no set and have no part in the mean.

Shapes: B batch, K classes, H W pixels.
"""

import torch
from torch import Tensor

from segexp.losses.base import Loss, check_range
from segexp.losses.distances import border_distance, signed_distance
from segexp.types import IGNORE


class Boundary(Loss):
    """Boundary loss: each pixel's error times its distance from the true border (Kervadec et al., MIDL 2019).

    The mean over known pixels and foreground classes of |p - g| |d|, d the signed distance in pixels, p the softmax
    probability, g the truth (0 or 1). The paper's own value is the mean of p d, which can be negative; it differs by the mean
    of g d, which does not depend on the network. With that kept the loss is 0 or more and 0 for a right answer, and its
    gradients are the paper's.
    """

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean of (p - g) d, in pixels."""
        probability, truth, known = foreground(logits, mask)
        distance = signed_distance(truth, known).to(logits.dtype)
        return mean_known((probability - truth.to(logits.dtype)) * distance, known)


class HausdorffDT(Loss):
    """Hausdorff loss by distance transforms (Karimi and Salcudean, IEEE TMI 2019).

    The mean over known pixels and foreground classes of (p - g)^2 (d_p^alpha + d_g^alpha): d_g is each pixel's distance in
    pixels from the true border, d_p from that of the pixels with p above one half, taken anew at every call and without a
    gradient. It grows with the square of the image's size, far above 1 at first.
    """

    def __init__(self, alpha: float = 2.0) -> None:
        """Make the loss.

        Args:
            alpha: exponent of the distances, 0 or more; how much large errors are punished. The paper has 2.

        Raises:
            ConfigError: `alpha` is negative.
        """
        super().__init__()
        check_range("alpha", alpha, 0)
        self.alpha = alpha

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean of (p - g)^2 (d_p^alpha + d_g^alpha)."""
        probability, truth, known = foreground(logits, mask)
        maps = [border_distance(sets, known).to(logits.dtype) for sets in (truth, probability > 0.5)]
        distance = sum(d**self.alpha * (d > 0) for d in maps)  # 0^0 is 1, where there is no border at all
        return mean_known((probability - truth.to(logits.dtype)) ** 2 * distance, known)


def foreground(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return probabilities and truth (bool), (B, K - 1, H, W) each, and where the mask is known, (B, 1, H, W) bool."""
    classes = torch.arange(1, logits.shape[1], device=logits.device).view(-1, 1, 1)
    truth = mask.unsqueeze(1) == classes
    return logits.softmax(dim=1)[:, 1:], truth, (mask != IGNORE).unsqueeze(1)


def mean_known(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean of values (B, C, H, W) over known pixels and channels; 0 with a graph when there is no such pixel."""
    return (values * known).sum() / (known.sum() * values.shape[1]).clamp_min(1)
