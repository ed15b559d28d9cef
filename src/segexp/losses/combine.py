"""Weighted sums of several losses, and of one loss over the heads of deep supervision."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segexp.errors import ConfigError
from segexp.losses.course import weight_schedule


class WeightedSum(nn.Module):
    """A weighted sum of named losses, whose weights may change over the epochs.

    Attributes:
        weights: current weights by name.
    """

    def __init__(self, terms: Mapping[str, Mapping[str, Any]]) -> None:
        """Store the terms.

        Args:
            terms: name -> {"weight": a number of 0 or more, or points of it, "loss": the loss}. The points are epochs, from
                0 on, or shares of the training: {0: 1.0, 99: 0.01} falls by 0.01 per epoch, as in Kervadec et al. 2019;
                {"0%": 0.0, "50%": 1.0} rises during the first half of the training.

        Raises:
            ConfigError: there is no term, a term lacks its weight or loss, a weight is negative, or all are always 0.
        """
        super().__init__()
        if not terms:
            raise ConfigError("loss.terms is empty", "at least one term", "Set loss=ce, or name a weight and a loss")
        for name, term in terms.items():
            if set(term) != {"weight", "loss"}:
                raise ConfigError(
                    f"loss.terms.{name} has the keys {sorted(term)}", "the keys loss and weight", "See conf/loss/bce_dice.yaml"
                )
        self.courses = {name: weight_schedule(f"terms.{name}.weight", term["weight"]) for name, term in terms.items()}
        if not any(value > 0 for each in self.courses.values() for _, value in each.points):
            raise ConfigError(
                f"every weight of loss.terms is 0 ({', '.join(terms)})",
                "one above 0",
                f"Set loss.terms.{next(iter(terms))}.weight=1",
            )
        self.losses = nn.ModuleDict({name: term["loss"] for name, term in terms.items()})
        self.weights: dict[str, float] = {}
        self.begin_epoch(0, 0.0)

    def begin_epoch(self, epoch: int, share: float) -> None:
        """Set the weights of an epoch (from 0 on), at whose start `share` of the training (0 to 1) is completed."""
        self.weights = {name: each(epoch, share) for name, each in self.courses.items()}

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the sum of `parts`, a float32 scalar."""
        return torch.stack(list(self.parts(logits, mask).values())).sum()

    def parts(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the weighted contribution of each term; terms of weight 0 are not computed.

        Args:
            logits: (B, K, H, W).
            mask: (B, H, W) class index, 255 = ignore.
        """
        return {
            name: weight * self.losses[name](logits, mask) if weight else 0.0 * logits.float().sum()
            for name, weight in self.weights.items()
        }


def scales_loss(
    loss: Callable[[Tensor, Tensor], Tensor],
    scales: Sequence[Tensor],
    mask: Tensor,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """Return the weighted mean of a loss over the heads of deep supervision.

    Args:
        loss: any loss, called as loss(logits, mask).
        scales: logits of each head, finest first; for smaller heads the mask is reduced by nearest neighbour.
        mask: (B, H, W) class index, 255 = ignore.
        weights: one number of 0 or more per head, of which only the ratios count; None for equal weights, as in UNet++.

    Raises:
        ValueError: the number of weights is not the number of heads, or their sum is 0.
    """
    weights = [1.0] * len(scales) if weights is None else weights
    if len(weights) != len(scales) or sum(weights) <= 0:
        raise ValueError(f"{len(scales)} heads and weights {list(weights)}: need one weight per head and a positive sum")
    values = [w * loss(logits, resize_mask(mask, logits.shape[2:])) for w, logits in zip(weights, scales, strict=True)]
    return torch.stack(values).sum() / sum(weights)


def resize_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a mask (B, H, W) by nearest neighbour."""
    if tuple(mask.shape[1:]) == tuple(size):
        return mask
    small = F.interpolate(mask.unsqueeze(1).float(), size=tuple(size), mode="nearest-exact")
    return small.squeeze(1).to(mask.dtype)
