"""Class weights from the class shares of the training pixels."""

import math
from collections.abc import Sequence

BOUND = 1.02


def balanced_weights(shares: Sequence[float]) -> list[float]:
    """Return a weight per class that increases with its rarity: 1 / ln(1.02 + share), after Paszke et al. ("ENet", 2016).

    Unlike the inverse share it is bounded: the rarest class weighs at most 50 times as much as one that fills the image. The
    weights are scaled so that their mean over the training pixels is 1, to four digits. Classes without training pixels get 0,
    since they cannot be learned and must not dominate the validation loss.

    Args:
        shares: of the training pixels that are not ignored, 0 to 1 per class, the background first.
    """
    raw = [1 / math.log(BOUND + share) if share > 0 else 0.0 for share in shares]
    mean = sum(weight * share for weight, share in zip(raw, shares, strict=True)) / sum(shares)
    return [float(f"{weight / mean:.4g}") for weight in raw]
