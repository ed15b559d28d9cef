"""Any loss for two classes, for classes that may overlap.

Shapes: B batch, K classes, H W pixels.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from segexp.types import IGNORE


class Overlapping(nn.Module):
    """The mean over the foreground classes of a loss that sees each of them against the background alone.

    Class k is learned from the logits (l_0, l_k), whose softmax is sigmoid(l_k - l_0), and from its own bit of the mask. Each
    class has a call of its own: in one call for all of them, a loss that adds up over its batch, such as Dice, would let a
    large class drown a small one inside it.
    """

    def __init__(self, loss: nn.Module) -> None:
        """Take any loss (logits (B, 2, H, W), mask (B, H, W) of 0, 1 and 255) to a scalar."""
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            logits: (B, K, H, W), K at least 2.
            mask: (B, H, W) bit sets, see `segexp.data.labels.modes`; 255 = ignore.
        """
        return torch.stack([self.loss(two, here) for two, here in of_each_class(logits, mask)]).mean()

    def parts(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return what each term of a sum contributes; nothing where the loss is no sum."""
        terms = getattr(self.loss, "parts", None)
        if terms is None:
            return {}
        found: list[dict[str, Tensor]] = [terms(two, here) for two, here in of_each_class(logits, mask)]
        return {name: torch.stack([each[name] for each in found]).mean() for name in found[0]}


def of_two_classes(shares: Sequence[float]) -> list[float]:
    """Return the shares of a class's absence and presence, the mean over the foreground classes, for weights of the two.

    Args:
        shares: of the training pixels that have none, and each of the K - 1 foreground classes.
    """
    present = sum(shares[1:]) / (len(shares) - 1)
    return [1 - present, present]


def of_each_class(logits: Tensor, mask: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for each foreground class its logits (B, 2, H, W) and its mask (B, H, W) of 0 and 1, 255 = ignore."""
    for k in range(1, logits.shape[1]):
        present = mask.long() >> (k - 1) & 1
        yield torch.stack([logits[:, 0], logits[:, k]], dim=1), present.where(mask != IGNORE, IGNORE)
