"""Losses based on distances to the true border. Combine them with a region loss, since far errors have weak gradients.

Both treat each counted class separately: the foreground classes, or all with `include_background`. A class that is absent from
an image or fills it has no border and contributes nothing. Ignored pixels belong to no set and do not count.

Shapes: B batch, K classes, C counted classes, H W pixels.
"""

import torch
from torch import Tensor

from segexp.losses.base import Loss, check_range
from segexp.losses.distances import border_distance, signed_distance
from segexp.types import IGNORE


class Boundary(Loss):
    """Boundary loss: each pixel's error times its distance from the true border (Kervadec et al., MIDL 2019).

    The mean over known pixels and counted classes of |p - g| |d|, with the signed distance d in pixels, the softmax
    probability p and the ground truth g (0 or 1). It differs from the paper's mean of p d, which can be negative, by the mean
    of g d, which does not depend on the network; so it is 0 for a correct prediction and has the paper's gradients.
    """

    def __init__(self, include_background: bool = False) -> None:
        """Build the loss.

        Args:
            include_background: whether class 0 counts as a class.
        """
        super().__init__()
        self.first = int(not include_background)

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean of (p - g) d, in pixels."""
        probability, truth, known = class_maps(logits, mask, self.first)
        distance = signed_distance(truth, known).to(logits.dtype)
        return mean_known((probability - truth.to(logits.dtype)) * distance, known)


class HausdorffDT(Loss):
    """Hausdorff loss by distance transforms (Karimi and Salcudean, IEEE TMI 2019).

    The mean over known pixels and counted classes of (p - g)^2 (d_p^alpha + d_g^alpha): d_g is each pixel's distance in
    pixels from the true border, d_p from the border of the pixels with p above 0.5, recomputed at every call and without a
    gradient. It grows with the square of the image size and is far above 1 at first.
    """

    def __init__(self, alpha: float = 2.0, include_background: bool = False) -> None:
        """Build the loss.

        Args:
            alpha: exponent of the distances, 0 or more; 2 in the paper.
            include_background: whether class 0 counts as a class.

        Raises:
            ConfigError: `alpha` is negative.
        """
        super().__init__()
        check_range("alpha", alpha, 0)
        self.alpha, self.first = alpha, int(not include_background)

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean of (p - g)^2 (d_p^alpha + d_g^alpha)."""
        probability, truth, known = class_maps(logits, mask, self.first)
        maps = [border_distance(sets, known).to(logits.dtype) for sets in (truth, probability > 0.5)]
        distance = sum(d**self.alpha * (d > 0) for d in maps)  # 0^0 is 1, but 0 is needed without a border
        return mean_known((probability - truth.to(logits.dtype)) ** 2 * distance, known)


def class_maps(logits: Tensor, mask: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return probabilities and truth (bool) of the classes from `first` on, (B, C, H, W), and the known pixels (B, 1, H, W)."""
    classes = torch.arange(first, logits.shape[1], device=logits.device).view(-1, 1, 1)
    truth = mask.unsqueeze(1) == classes
    return logits.softmax(dim=1)[:, first:], truth, (mask != IGNORE).unsqueeze(1)


def mean_known(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean of values (B, C, H, W) over known pixels and channels; 0 with a graph if there is none."""
    return (values * known).sum() / (known.sum() * values.shape[1]).clamp_min(1)
