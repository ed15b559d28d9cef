"""Unified focal loss: a focal cross-entropy combined with a focal Tversky loss.

Shapes: B batch, K classes, H W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from segexp.errors import ConfigError
from segexp.losses.base import Loss, check_range, mean_by_weight
from segexp.losses.overlap import mean_present, soft_sums, tversky_index
from segexp.types import IGNORE


class UnifiedFocal(Loss):
    """Asymmetric unified focal loss (Yeung et al., Computerized Medical Imaging and Graphics 2022).

    Foreground classes are the paper's rare classes. Small values of the cross-entropy are suppressed for the background only,
    and small values of the Tversky loss are enhanced for the foreground only. The Tversky part is averaged over the classes
    present in the mask, including the background. With `include_background` class 0 is one more of the rare classes.
    """

    def __init__(
        self,
        weight: float = 0.5,
        delta: float = 0.6,
        gamma: float = 0.5,
        include_background: bool = False,
        per_image: bool = False,
    ) -> None:
        """Build the loss.

        Args:
            weight: the paper's lambda, 0 to 1: share of the cross-entropy; the rest is the Tversky loss.
            delta: 0 to 1: factor of the foreground's cross-entropy and of the false negatives; the background's
                cross-entropy and the false positives get 1 - delta.
            gamma: 0 or more, below 1: strength of suppression and enhancement.
            include_background: whether class 0 is a class like the others.
            per_image: False sums each class over the batch before the Tversky index is computed; True computes it per image, as
                in the paper's code.

        Raises:
            ConfigError: an argument is out of its range.
        """
        super().__init__()
        check_range("weight", weight, 0, 1)
        check_range("delta", delta, 0, 1)
        check_range("gamma", gamma, 0, 1)
        if gamma == 1:
            raise ConfigError("gamma of the unified focal loss is 1", "0 or more, below 1", "Set gamma=0.5")
        self.weight, self.delta, self.gamma = weight, delta, gamma
        self.first, self.per_image = int(not include_background), per_image

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return weight * `focal` + (1 - weight) * `tversky`."""
        return self.weight * self.focal(logits, mask) + (1 - self.weight) * self.tversky(logits, mask)

    def focal(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over known pixels of the asymmetric focal cross-entropy."""
        entropy = F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="none")
        # The slope of the power is infinite at 0.
        wrong = (1 - torch.exp(-entropy)).clamp_min(1e-7)
        factor = torch.where(mask < self.first, (1 - self.delta) * wrong**self.gamma, self.delta)
        return mean_by_weight((factor * entropy).sum(), (mask != IGNORE).to(logits.dtype))

    def tversky(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over the classes present of the asymmetric focal Tversky loss."""
        sums = soft_sums(logits, mask, 0, self.per_image)
        missing = (1 - tversky_index(sums, 1 - self.delta, self.delta, 1e-7)).clamp_min(1e-7)
        power = torch.full_like(missing, 1 - self.gamma)
        power[..., : self.first] = 1
        return mean_present(missing**power, sums.true)
