"""Losses on the overlap of regions: soft Dice."""

import torch
from torch import Tensor

from segexp.losses.base import Loss, check_range
from segexp.types import IGNORE


class Dice(Loss):
    """One minus the soft Dice score of the softmax probabilities (Milletari et al., "V-Net", 3DV 2016; plain sums here).

    The mean is over the classes that are present in the mask. A class without a single pixel there has no overlap to
    improve; what is wrongly predicted for it is the affair of the pixel-wise loss beside this one. When no class is
    present (only background, or all ignored) the loss is 0.
    """

    def __init__(self, include_background: bool = False, per_image: bool = False, smooth: float = 1.0) -> None:
        """Make the loss.

        Args:
            include_background: whether class 0 counts as a class.
            per_image: False sums each class over the batch before the ratio is taken, which is steadier for small
                objects; True takes it in each image.
            smooth: pixels added above and below the fraction; keeps the slope finite for objects of few pixels.

        Raises:
            ConfigError: `smooth` is negative.
        """
        super().__init__()
        check_range("smooth", smooth, 0)
        self.first, self.per_image, self.smooth = int(not include_background), per_image, smooth

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return 1 - (2 overlap + smooth) / (predicted + true + smooth), averaged over the classes present."""
        over = (2, 3) if self.per_image else (0, 2, 3)
        classes = torch.arange(self.first, logits.shape[1], device=logits.device).view(-1, 1, 1)
        truth = mask.unsqueeze(1) == classes
        probability = logits.softmax(dim=1)[:, self.first :] * (mask != IGNORE).unsqueeze(1)
        overlap = (probability * truth).sum(over)
        true = truth.sum(over)
        score = (2 * overlap + self.smooth) / (probability.sum(over) + true + self.smooth).clamp_min(1e-7)
        present = true > 0
        return ((1 - score) * present).sum() / present.sum().clamp_min(1)
