"""How much of a map lies where it should.

Legend: H W pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Pointing:
    """A map against a region.

    Attributes:
        share: of the pixels of the image that are in the region: what a map without knowledge would give.
        inside: share of the positive values that lies in it, 0 to 1 (the energy-based pointing game of Wang et al.,
            "Score-CAM", CVPR Workshops 2020; over the pixels of the region instead of a box around it); NaN where no value is
            positive, or the region is empty.
        peak: row and column of the highest value; None where no value is positive.
        hit: whether that is in the region (the pointing game of Zhang et al., ECCV 2016); None where `inside` is NaN.
        highest: the highest value.
    """

    share: float
    inside: float
    peak: tuple[int, int] | None
    hit: bool | None
    highest: float

    def __str__(self) -> str:
        return "" if np.isnan(self.inside) else f"{self.inside:.0%} of it in the outline ({self.share:.0%} of the image)"


def point(values: Array, region: Array) -> Pointing:
    """Return how a map (H, W) lies to a region (H, W) bool."""
    positive = np.clip(values, 0, None, dtype=np.float64)
    total, known = float(positive.sum()), bool(region.any())
    share = float(region.mean())
    if total <= 0:
        return Pointing(share, float("nan"), None, None, float(values.max()))
    row, column = (int(n) for n in np.unravel_index(int(np.argmax(values)), values.shape))
    inside = float(positive[region].sum()) / total if known else float("nan")
    return Pointing(share, inside, (row, column), bool(region[row, column]) if known else None, float(values[row, column]))
