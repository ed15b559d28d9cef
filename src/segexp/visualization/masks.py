"""Masks and errors in colour, on the image or alone.

The colours of errors are from Okabe and Ito's set, which colour-blind readers can tell apart.

Legend: C channels, H W pixels; a mask (H, W) holds class indices, of overlapping labels bit sets (`data.labels.modes`), 255 =
ignore; class 0 is the background.
"""

import cv2
import numpy as np

from segexp.data.labels.modes import has_label
from segexp.types import IGNORE
from segexp.visualization.images import Array, Colour, Palette, strips, to_display

CORRECT: Colour = (0, 158, 115)
MISSED: Colour = (240, 228, 66)
FALSE_ALARM: Colour = (213, 94, 0)
WRONG_CLASS: Colour = (204, 121, 167)
IGNORED: tuple[Colour, Colour] = ((128, 128, 128), (96, 96, 96))


def colour_mask(mask: Array, palette: Palette) -> Array:
    """Return each class in its colour, and ignored pixels hatched, as (H, W, 3) uint8."""
    table = _table(palette)
    result = np.empty((*mask.shape, 3), np.uint8)
    for rows in strips(mask.shape):
        result[rows] = _coloured(mask[rows], table, rows.start)
    return result


def overlay(image: Array, mask: Array, palette: Palette, alpha: float = 0.4) -> Array:
    """Return the image (H, W, 3) tinted where the mask is no background, with a full-coloured line along each border."""
    result, table = to_display(image), _table(palette)
    for rows in strips(mask.shape):
        inside = mask[rows] != 0
        if not inside.any():
            continue
        colours = _coloured(mask[rows], table, rows.start)
        tinted = cv2.addWeighted(result[rows], 1 - alpha, colours, alpha, 0)
        np.copyto(result[rows], tinted, where=inside[..., None])
        np.copyto(result[rows], colours, where=_border(mask, rows)[..., None])
    return result


def layered(image: Array, mask: Array, palette: Palette, alpha: float = 0.4) -> Array:
    """Return the image (H, W, 3) with each class of a mask of bit sets laid over it in turn.

    So where classes overlap their tints mix, and every class keeps its own line along its border.
    """
    result = to_display(image)
    for k in range(1, len(palette)):
        result = overlay(result, has_label(mask, k).astype(np.uint8), (palette[0], palette[k]), alpha)
    return overlay(result, np.where(mask == IGNORE, np.uint8(IGNORE), np.uint8(0)), palette, alpha)


def errors(truth: Array, prediction: Array, image: Array | None = None, overlapping: bool = False) -> Array:
    """Return (H, W, 3) uint8: what is right, missed, a false alarm or of the wrong class, each in its colour.

    Of overlapping labels a pixel is right with just the classes that are there; it is missed where some of them lack, a false
    alarm where there are others besides, of the wrong class where both is true.

    Args:
        truth: (H, W); where it is 255 the picture is hatched, whatever was predicted.
        prediction: (H, W).
        image: shown dark below the background that both leave free; black when None.
        overlapping: the masks hold bit sets.
    """
    result = to_display(image) if image is not None else np.zeros((*truth.shape, 3), np.uint8)
    result //= 2
    for rows in strips(truth.shape):
        here, real, guess = result[rows], truth[rows], prediction[rows]
        differ = real != guess
        lacking = (real & ~guess if overlapping else real) != 0
        beyond = (guess & ~real if overlapping else guess) != 0
        here[~differ & (real != 0)] = CORRECT
        here[differ & lacking & beyond] = WRONG_CLASS
        here[differ & lacking & ~beyond] = MISSED
        here[differ & ~lacking & beyond] = FALSE_ALARM
        _hatch(here, real == IGNORE, rows.start)
    return result


def _table(palette: Palette) -> Array:
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return table


def _coloured(mask: Array, table: Array, top: int) -> Array:
    """Return rows of a mask in colour; `top` is the first of them, so that the hatching goes on."""
    return _hatch(np.take(table, mask.astype(np.uint8), axis=0), mask == IGNORE, top)


def _border(mask: Array, rows: slice) -> Array:
    """Return where pixels in these rows, neither background nor ignored, have a neighbour of another class."""
    first = max(0, rows.start - 1)
    around = mask[first : rows.stop + 1].astype(np.uint8)
    square = np.ones((3, 3), np.uint8)
    differs = (cv2.erode(around, square) != cv2.dilate(around, square))[rows.start - first :][: rows.stop - rows.start]
    here = mask[rows]
    line: Array = differs & (here != 0) & (here != IGNORE)
    return line


def _hatch(picture: Array, where: Array, top: int) -> Array:
    """Return the picture with slanted gray stripes where pixels are ignored."""
    if where.any():
        y, x = np.nonzero(where)
        picture[y, x] = np.array(IGNORED, np.uint8)[(x + y + top) // 4 % 2]
    return picture
