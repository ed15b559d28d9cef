"""Random windows of an image and its mask, mirrored and ignored where they reach outside.

Legend: C channels, H W pixels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segexp.errors import ConfigError
from segexp.types import IGNORE

Array = np.ndarray[Any, np.dtype[Any]]


def cut(image: Array, mask: Array, size: Sequence[int], margin: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Cut a random window, and a margin around it, out of an image and its mask.

    Args:
        image: (H, W, C) of any type.
        mask: (H, W) uint8 class index.
        size: height and width of the window; a larger one than the image holds the whole image at a random place.
        margin: pixels taken around the window on each side.
        rng: draws the place.

    Returns:
        New arrays of `size` + 2 `margin`. What lies outside of the image is mirrored, and 255 in the mask.
    """
    picks: list[slice | Array] = []
    outside: list[Array] = []
    for side, wanted in zip(image.shape[:2], size, strict=True):
        start = int(rng.integers(min(0, side - wanted), max(0, side - wanted) + 1)) - margin
        places = np.arange(start, start + wanted + 2 * margin)
        outside.append((places < 0) | (places >= side))
        folded = np.abs(places) % max(1, 2 * (side - 1))
        mirrored = np.minimum(folded, 2 * (side - 1) - folded) if side > 1 else np.zeros_like(places)
        picks.append(mirrored if outside[-1].any() else slice(start, start + len(places)))  # a slice is faster
    rows, columns = picks
    image, mask = image[rows][:, columns].copy(), mask[rows][:, columns].copy()
    mask[outside[0]] = IGNORE
    mask[:, outside[1]] = IGNORE
    return image, mask


def sides(crop: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Return height and width of `data.crop`: one side, a pair, or None.

    Raises:
        ConfigError: it is none of these.
    """
    if crop is None:
        return None
    sides = (crop, crop) if isinstance(crop, int) else tuple(crop)
    if len(sides) != 2 or min(sides) < 1:
        raise ConfigError(f"data.crop={crop}", "one side, or height and width, in pixels", "Write for example data.crop=256")
    return sides[0], sides[1]
