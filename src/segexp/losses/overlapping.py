"""Adapter of binary losses to overlapping classes.

Shapes: B batch, K classes, H W pixels.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from segexp.types import IGNORE


class Overlapping(nn.Module):
    """The mean of a binary loss over the foreground classes, each against the background.

    Class k uses the logits (l_0, l_k), whose softmax is sigmoid(l_k - l_0), and its own bit of the mask. Each class is computed
    by a separate call: in a joint call, a loss that sums over its batch, such as Dice, would let large classes dominate.
    """

    def __init__(self, loss: nn.Module) -> None:
        """Wrap a loss (logits (B, 2, H, W), mask (B, H, W) of 0, 1 and 255) to a scalar."""
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            logits: (B, K, H, W), K at least 2.
            mask: (B, H, W) bit sets, see `segexp.data.labels.modes`; 255 = ignore.
        """
        return torch.stack([self.loss(two, here) for two, here in split_classes(logits, mask)]).mean()

    def parts(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return the contribution of each term of a sum; empty for other losses."""
        terms = getattr(self.loss, "parts", None)
        if terms is None:
            return {}
        found: list[dict[str, Tensor]] = [terms(two, here) for two, here in split_classes(logits, mask)]
        return {name: torch.stack([each[name] for each in found]).mean() for name in found[0]}


def presence_shares(shares: Sequence[float]) -> list[float]:
    """Return the mean shares of absence and presence over the foreground classes, for binary class weights.

    Args:
        shares: of the training pixels without a class, and of each of the K - 1 foreground classes.
    """
    present = sum(shares[1:]) / (len(shares) - 1)
    return [1 - present, present]


def split_classes(logits: Tensor, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for each foreground class its logits (B, 2, H, W) and its mask (B, H, W) of 0 and 1, 255 = ignore."""
    for k in range(1, logits.shape[1]):
        present = mask.long() >> (k - 1) & 1
        yield torch.stack([logits[:, 0], logits[:, k]], dim=1), present.where(mask != IGNORE, IGNORE)
