"""Base classes of the losses: float32 arithmetic, ignore index, class weights.

Shapes: B batch, K classes, H W pixels.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from segexp.errors import ConfigError
from segexp.types import IGNORE


class Loss(nn.Module):
    """A loss called with (logits, mask); subclasses implement `compute`."""

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Compute the loss in float32, regardless of the precision of the logits and of autocast.

        Args:
            logits: (B, K, H, W), K at least 2.
            mask: (B, H, W) class index, 255 = ignore.

        Returns:
            A scalar, 0 or more; exactly 0, with a graph, if every pixel is ignored.

        Raises:
            ValueError: the shapes do not match.
            ConfigError: the number of class weights is not K.
        """
        if logits.ndim != 4 or mask.shape != (logits.shape[0], *logits.shape[2:]):
            raise ValueError(f"logits {tuple(logits.shape)} and mask {tuple(mask.shape)}: need (B, K, H, W) and (B, H, W)")
        # Sums over a batch overflow in float16 (65504) and have three digits in bfloat16.
        with torch.autocast(logits.device.type, enabled=False):
            return self.compute(logits.float(), mask.long())

    def compute(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the scalar for float32 logits (B, K, H, W) and an int64 mask (B, H, W)."""
        raise NotImplementedError


class PixelLoss(Loss):
    """A loss that is a mean over pixels, weighted by their true class."""

    class_weights: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        """Store the weights.

        Args:
            class_weights: one weight per class, 0 or more; None for equal weights. Only their ratios matter.

        Raises:
            ConfigError: a weight is negative or not finite, or all are 0.
        """
        super().__init__()
        weights = None if class_weights is None else torch.tensor(validate_weights(class_weights))
        # Not in the state dict, so that checkpoints load into runs with other class weights.
        self.register_buffer("class_weights", weights, persistent=False)

    def class_weights_for(self, logits: Tensor) -> Tensor | None:
        """Return the class weights (K,) on the device of the logits, or None.

        Raises:
            ConfigError: their number is not K.
        """
        if self.class_weights is None:
            return None
        given, classes = len(self.class_weights), logits.shape[1]
        if given != classes:
            raise ConfigError(
                f"class_weights of the loss has {given} entries, the network gives {classes} classes",
                "one weight per class, the background first",
                f"Give {classes} weights, or class_weights=null",
            )
        return self.class_weights.to(logits.device)

    def pixel_weights(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the weight (B, H, W) float32 of each pixel by its true class, 0 for ignored pixels."""
        valid = mask != IGNORE
        weights = self.class_weights_for(logits)
        return valid.float() if weights is None else weights[mask.where(valid, 0)] * valid


def mean_by_weight(weighted_sum: Tensor, weights: Tensor) -> Tensor:
    """Return `weighted_sum` divided by the sum of `weights`; 0 with a graph if the sum is 0."""
    total = weights.sum()
    return weighted_sum / total.where(total > 0, 1.0)


def validate_weights(class_weights: Sequence[float]) -> list[float]:
    """Validate class weights and return them as floats.

    Raises:
        ConfigError: a weight is negative or not finite, or all are 0.
    """
    weights = [float(weight) for weight in class_weights]
    if not all(math.isfinite(w) and w >= 0 for w in weights) or not any(weights):
        raise ConfigError(
            f"class_weights of the loss is {weights}",
            "finite numbers of 0 or more, not all 0",
            "Give one weight per class, as in 'class_weights=[1,3]', or class_weights=null",
        )
    return weights


def check_range(name: str, value: float, low: float, high: float = math.inf) -> None:
    """Validate a number of a loss's configuration.

    Raises:
        ConfigError: `value` is not finite or outside `low` to `high` (inclusive).
    """
    if not (isinstance(value, int | float) and math.isfinite(value) and low <= value <= high):
        above = f"a number from {low:g} to {high:g}" if math.isfinite(high) else f"a number of at least {low:g}"
        raise ConfigError(f"{name} of the loss is {value!r}", above, f"Set {name}={low:g} or more")
