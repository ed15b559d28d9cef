"""Random windows of an image and its mask, mirrored and ignored where they reach outside.

Legend: C channels, H W pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from segexp.errors import ConfigError
from segexp.labelling import EXCLUSIVE, Labelling
from segexp.types import IGNORE

Array = np.ndarray[Any, np.dtype[Any]]
Place = tuple[int, int]
"""Row and column of a pixel."""
Draw = Callable[[np.random.Generator], Place | None]
"""Draws the pixel that the next window lies around, or None for a window anywhere."""


class Foreground:
    """Where the classes of one mask are, so that a random pixel of one is found without looking at the whole mask again.

    Kept are the pixels of each class above each row: a few kilobytes however large the mask is.
    """

    def __init__(self, mask: Array, labelling: Labelling = EXCLUSIVE) -> None:
        """Count the pixels of each class, row by row; class 0 is the background and 255 ignored.

        Args:
            mask: (H, W) uint8 class index.
            labelling: what its values mean.
        """
        self.labelling = labelling
        present = np.flatnonzero(labelling.pixels(mask, IGNORE)[1:]) + 1
        self.until = {int(k): np.cumsum(np.count_nonzero(labelling.has(mask, int(k)), axis=1)) for k in present}

    def draw(self, mask: Array, share: float, rng: np.random.Generator) -> Place | None:
        """Return, with the probability `share`, a random pixel of a random class; None otherwise, or without foreground.

        Args:
            mask: the mask that was counted.
            share: from 0 to 1.
            rng: draws whether, the class (each that is there as likely as another), and the pixel.
        """
        if rng.random() >= share or not self.until:
            return None
        index, until = list(self.until.items())[int(rng.integers(len(self.until)))]
        number = int(rng.integers(until[-1]))
        row = int(np.searchsorted(until, number, side="right"))
        columns = np.flatnonzero(self.labelling.has(mask[row], index))
        return row, int(columns[number - int(until[row])])  # counted from the row's end


def cut(
    image: Array, mask: Array, size: Sequence[int], margin: int, rng: np.random.Generator, around: Place | None = None
) -> tuple[Array, Array]:
    """Cut a random window, and a margin around it, out of an image and its mask.

    Args:
        image: (H, W, C) of any type.
        mask: (H, W) uint8 class index.
        size: height and width of the window; a larger one than the image holds the whole image at a random place.
        margin: pixels taken around the window on each side.
        rng: draws the place.
        around: the window lies around this pixel, as far as it can without leaving the image; None draws the place.

    Returns:
        New arrays of `size` + 2 `margin`. What lies outside of the image is mirrored, and 255 in the mask.
    """
    picks: list[slice | Array] = []
    outside: list[Array] = []
    for axis, (side, wanted) in enumerate(zip(image.shape[:2], size, strict=True)):
        if around is None or wanted >= side:
            start = int(rng.integers(min(0, side - wanted), max(0, side - wanted) + 1)) - margin
        else:
            start = min(max(0, around[axis] - wanted // 2), side - wanted) - margin
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
