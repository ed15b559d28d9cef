"""What speaks for a class, over the image, beside truth and prediction.

Legend: C channels, H W pixels, K classes; a mask (H, W) holds class indices, of overlapping labels bit sets, 255 = ignore.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from segexp.pictures.display import PAPER, Array, Colour, Palette
from segexp.pictures.heat import colour_bar, heat_over
from segexp.pictures.masks import layered, overlay
from segexp.pictures.sheets import GAP, fitted, header, legend, strip

OUTLINE: Colour = (0, 220, 255)
"""Of the region: none of the colours of heat, and none of the usual classes."""
CLIPPED = 99.5
"""Percentile of a signed map at which its colours end: single pixels go far beyond."""
HEIGHT = 320


@dataclass(frozen=True)
class Explained:
    """One image with what speaks for a class in it.

    Attributes:
        image: (H, W, C).
        truth: (H, W); None where it is not known.
        prediction: (H, W).
        values: (H, W) float32, the map.
        region: (H, W) bool, whose outline is drawn; no pixel of it where there is none.
        title: above the pictures.
    """

    image: Array
    truth: Array | None
    prediction: Array
    values: Array
    region: Array
    title: str


def ends(values: Array, signed: bool) -> tuple[float, float]:
    """Return the ends of the colours for a map: 0 and its highest value, or of a signed one a number and its negative."""
    top = float(np.percentile(np.abs(values), CLIPPED)) if signed else float(values.max(initial=0))
    top = top or float(np.abs(values).max(initial=0)) or 1.0
    return (-top if signed else 0.0), top


def heat_view(image: Array, values: Array, region: Array, signed: bool) -> Array:
    """Return the map over the image (H, W, 3) uint8 with the outline of the region.

    Args:
        image: (H, W, 3) uint8.
        values: (H, W).
        region: (H, W), not 0 inside.
        signed: values below 0 have a meaning.
    """
    drawn = heat_over(image, values, *ends(values, signed), signed)
    around = cv2.copyMakeBorder((region != 0).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    lines, _ = cv2.findContours(around, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(-1, -1))
    cv2.drawContours(drawn, lines, -1, OUTLINE, max(1, round(max(drawn.shape[:2]) / 400)))
    return drawn


def explanation(
    cases: Sequence[Explained],
    palette: Palette,
    classes: Sequence[str],
    target: str,
    unit: str,
    outline: str,
    signed: bool = False,
    overlapping: bool = False,
    height: int = HEIGHT,
) -> Array:
    """Return one sheet (H, W, 3) uint8: a row per image with input, truth where it is known, prediction, and heat with its bar.

    Args:
        cases: at least one; the sizes may differ.
        palette: a colour per class.
        classes: a name per class.
        target: the name of the class that is explained.
        unit: what the numbers of the bar are; of maps without a sign they are shares of the highest value.
        outline: what the outlined pixels are; empty where nothing is outlined.
        signed: values below 0 have a meaning.
        overlapping: the masks hold bit sets.
        height: of a picture, in pixels, or lower where it is very wide.
    """
    truth = any(case.truth is not None for case in cases)
    rows = [_cells(case, truth, palette, signed, overlapping, height) for case in cases]
    column = max(cell.shape[1] for cells, _ in rows for cell in cells)
    column = max(column, 130)
    names = ("input", *(["truth"] if truth else []), "prediction", f"for and against {target}" if signed else f"for {target}")
    width = len(names) * (column + GAP) + GAP
    bars = [_bar(cells[0].shape[0], top, unit, signed) for cells, top in rows]
    wide = max(bar.shape[1] for bar in bars)
    sheets = [_beside(header(names, column), wide)]
    for case, (cells, _), bar in zip(cases, rows, bars, strict=True):
        own = strip(cells, case.title, width, column)
        own = np.concatenate([own, _blank(max(0, bar.shape[0] + 24 + GAP - own.shape[0]), width)])
        side = _blank(own.shape[0], wide)
        side[24 : 24 + bar.shape[0], : bar.shape[1]] = bar
        sheets.append(np.concatenate([own, side], axis=1))
    colours = [(outline, OUTLINE)] if outline else []
    below = legend(width + wide, [*list(zip(classes, palette, strict=True))[1:], *colours])
    return np.concatenate([*sheets, below])


def _cells(
    case: Explained, truth: bool, palette: Palette, signed: bool, overlapping: bool, height: int
) -> tuple[list[Array], float]:
    """Return the pictures of one row, and the end of its colours."""
    lay = layered if overlapping else overlay
    masks = [case.prediction, case.region, *([case.truth] if case.truth is not None else [])]
    shown, guess, region, *real = fitted(height, case.image, *masks)
    method = cv2.INTER_AREA if shown.shape[1] < case.values.shape[1] else cv2.INTER_LINEAR
    values = cv2.resize(case.values, (shown.shape[1], shown.shape[0]), interpolation=method)
    unknown = [np.full_like(shown, 235)] if truth else []
    truths = [lay(shown, mask, palette) for mask in real] or unknown
    _, top = ends(values, signed)
    return [shown, *truths, lay(shown, guess, palette), heat_view(shown, values, region, signed)], top


def _bar(height: int, top: float, unit: str, signed: bool) -> Array:
    return colour_bar(max(height, 160), -top, top, unit, signed) if signed else colour_bar(max(height, 160), 0.0, 1.0, unit)


def _beside(sheet: Array, wide: int) -> Array:
    return np.concatenate([sheet, _blank(sheet.shape[0], wide)], axis=1)


def _blank(height: int, width: int) -> Array:
    paper = np.empty((height, width, 3), np.uint8)
    paper[...] = PAPER
    return paper
