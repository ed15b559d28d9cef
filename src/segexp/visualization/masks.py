"""Masks and errors in colour, on the image or alone.

Error colours are from Okabe and Ito's colour-blind safe palette. A mask (H, W) holds class indices, or bit sets for overlapping
labels (`data.labels.modes`); 255 = ignore, 0 = background, or with `background=False` a class like the others.
"""

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from segexp.data.labels.modes import has_label, shift_classes
from segexp.types import IGNORE
from segexp.visualization.images import Array, Colour, Palette, row_strips, to_display

CORRECT: Colour = (0, 158, 115)
MISSED: Colour = (240, 228, 66)
FALSE_ALARM: Colour = (213, 94, 0)
WRONG_CLASS: Colour = (204, 121, 167)
IGNORED: tuple[Colour, Colour] = ((128, 128, 128), (96, 96, 96))


def error_kinds(classes: int, background: bool = True) -> dict[str, Colour]:
    """Return the colours of an error map by name; without a background every error is a wrong class."""
    if not background:
        return {"correct": CORRECT, "wrong class": WRONG_CLASS}
    wrong = {"wrong class": WRONG_CLASS} if classes > 2 else {}
    return {"correct": CORRECT, "missed": MISSED, "false alarm": FALSE_ALARM, **wrong}


def overlay(image: Array, mask: Array, palette: Palette, alpha: float = 0.4, background: bool = True) -> Array:
    """Return the image (H, W, 3) tinted by class, with a solid line along class borders."""
    if not background:
        mask, palette = shift_classes(mask), (palette[0], *palette)
    result, table = to_display(image), _table(palette)
    for rows in row_strips(mask.shape):
        inside = mask[rows] != 0
        if not inside.any():
            continue
        colours = _coloured(mask[rows], table, rows.start)
        tinted = cv2.addWeighted(result[rows], 1 - alpha, colours, alpha, 0)
        np.copyto(result[rows], tinted, where=inside[..., None])
        np.copyto(result[rows], colours, where=_border(mask, rows)[..., None])
    return result


def overlay_bits(image: Array, mask: Array, palette: Palette, alpha: float = 0.4) -> Array:
    """Overlay the classes of a bit-set mask one after another, so that tints mix and each class keeps its border line."""
    result = to_display(image)
    for k in range(1, len(palette)):
        result = overlay(result, has_label(mask, k).astype(np.uint8), (palette[0], palette[k]), alpha)
    return overlay(result, np.where(mask == IGNORE, np.uint8(IGNORE), np.uint8(0)), palette, alpha)


def error_map(
    truth: Array, prediction: Array, image: Array | None = None, overlapping: bool = False, background: bool = True
) -> Array:
    """Return a map (H, W, 3) uint8 of correct, missed, false alarm and wrong class pixels; ignored pixels are hatched.

    The image is shown darkened where both masks (H, W) are background; without image, black. For overlapping labels a pixel is
    missed where it lacks true classes, a false alarm where it has extra ones, and of the wrong class where both apply.
    """
    if not background:
        truth, prediction = shift_classes(truth), shift_classes(prediction)
    result = to_display(image) if image is not None else np.zeros((*truth.shape, 3), np.uint8)
    result //= 2
    for rows in row_strips(truth.shape):
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


def layer_mask(overlapping: bool, background: bool = True) -> Callable[[Array, Array, Palette], Array]:
    """Return the function that lays a mask over an image: `overlay_bits` or `overlay`."""
    return overlay_bits if overlapping else partial(overlay, background=background)


def _table(palette: Palette) -> Array:
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return table


def _coloured(mask: Array, table: Array, top: int) -> Array:
    """Return rows of a mask in colour; `top` is the first row, to align the hatching across strips."""
    return _hatch(np.take(table, mask.astype(np.uint8), axis=0), mask == IGNORE, top)


def _border(mask: Array, rows: slice) -> Array:
    """Return the labelled foreground pixels of these rows that have a neighbour of another class."""
    first = max(0, rows.start - 1)
    around = mask[first : rows.stop + 1].astype(np.uint8)
    square = np.ones((3, 3), np.uint8)
    differs = (cv2.erode(around, square) != cv2.dilate(around, square))[rows.start - first :][: rows.stop - rows.start]
    here = mask[rows]
    line: Array = differs & (here != 0) & (here != IGNORE)
    return line


def _hatch(picture: Array, where: Array, top: int) -> Array:
    """Hatch ignored pixels in place with diagonal gray stripes."""
    if where.any():
        y, x = np.nonzero(where)
        picture[y, x] = np.array(IGNORED, np.uint8)[(x + y + top) // 4 % 2]
    return picture
