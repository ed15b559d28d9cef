"""Masks of classes that may overlap: a pixel holds a set of classes, with bit k - 1 set where class k is.

So a mask stays (H, W) uint8 whatever is in it: 0 is the background, 255 ignored as everywhere, and cropping, turning and
resizing by nearest neighbour need not know what it means.

Legend: K classes (0 is the background), H W pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segexp.types import IGNORE

Array = np.ndarray[Any, np.dtype[Any]]

MOST = 7
"""Foreground classes that a byte holds: with eight of them, all together would be 255."""


def has(mask: Array, k: int) -> Array:
    """Return where (H, W) bool class k, 1 or more, is in a mask of bit sets."""
    found: Array = (mask & np.uint8(1 << (k - 1)) != 0) & (mask != IGNORE)
    return found


def layer(mask: Array, k: int) -> Array:
    """Return class k of a mask of bit sets as a mask of two classes: (H, W) uint8, 0 or 1, 255 = ignore."""
    found: Array = (mask >> np.uint8(k - 1)) & np.uint8(1)
    found[mask == IGNORE] = IGNORE
    return found


def joined(layers: Sequence[Array]) -> Array:
    """Return the mask of bit sets of one mask of two classes per foreground class, in their order; what one ignores, all do.

    Args:
        layers: K - 1 masks (H, W) uint8, 0 or 1, 255 = ignore.
    """
    out = np.zeros(layers[0].shape, np.uint8)
    for k, each in enumerate(layers, start=1):
        out |= np.where(each == 1, np.uint8(1 << (k - 1)), np.uint8(0))
    for each in layers:
        out[each == IGNORE] = IGNORE
    return out


def pixels(mask: Array, classes: int) -> Array:
    """Return how many pixels (K,) int64 have each class; the first entry counts those that have none."""
    counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)[: 1 << MOST]
    found, sets = np.zeros(classes, np.int64), np.arange(len(counts))
    found[0] = counts[0]
    for k in range(1, min(classes, MOST + 1)):
        found[k] = counts[sets >> (k - 1) & 1 == 1].sum()
    return found
