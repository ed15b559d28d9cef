"""Maps of one number per pixel in colour, with a bar that says what the colours mean.

Legend: H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from segexp.visualization.grids import GAP, fitted, font, header, legend, strip
from segexp.visualization.images import INK, PAPER, Array, Colour, Palette, strips
from segexp.visualization.masks import layered, overlay

TICKS = 5
FAINT, OPAQUE = 0.25, 0.85
"""How much of an image heat covers where it is 0 and where it is highest; signed numbers cover nothing where they are 0."""
LOWEST = 160
"""Height of the lowest bar: smaller pictures stand in the middle beside it."""


def heat(values: Array, low: float, high: float, signed: bool = False) -> Array:
    """Return numbers (H, W) as RGB (H, W, 3) uint8, black over red to pale yellow; what is beyond an end has that end's colour.

    The colours are matplotlib's "inferno" (Smith and van der Walt, 2015): brightness grows evenly with the number, which also
    colour-blind readers and gray prints tell. NaN is the lowest. Signed numbers go from blue over white to vermilion (of Okabe
    and Ito's set), with white in the middle of both ends.
    """
    table = _SIGNED if signed else _TABLE
    result = np.empty((*values.shape, 3), np.uint8)
    for rows in strips(values.shape):
        share = np.clip(values[rows], low, high, dtype=np.float32)
        share = np.nan_to_num(share, copy=False, nan=low)
        share -= low
        share *= 255 / max(high - low, 1e-12)
        step = np.rint(np.clip(share, 0, 255, out=share), out=share).astype(np.uint8)
        result[rows] = cv2.LUT(cv2.merge([step] * 3), table[None])
    return result


def heat_over(image: Array, values: Array, low: float, high: float, signed: bool = False) -> Array:
    """Return `heat` of (H, W) laid over the image (H, W, 3) uint8 in gray: the further from 0, the less is seen of it."""
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    result = np.empty_like(image)
    for rows in strips(values.shape):
        here = np.nan_to_num(values[rows].astype(np.float32))
        share = np.sqrt(np.clip(np.abs(here) / max(abs(low), abs(high), 1e-12), 0, 1))[..., None]
        cover = share * OPAQUE if signed else FAINT + share * (OPAQUE - FAINT)
        result[rows] = np.rint(heat(here, low, high, signed) * cover + gray[rows] * (1 - cover))
    return result


def colour_bar(height: int, low: float, high: float, title: str = "", signed: bool = False) -> Array:
    """Return the bar (height, w, 3) uint8 for `heat` from `low` (bottom) to `high` (top), with numbers and a title."""
    size = int(np.clip(height / 24, 11, 48))
    letters, texts = font(size), [f"{value:.3g}" for value in np.linspace(high, low, TICKS)]
    wide = max(letters.getlength(text) for text in texts)
    line = round(1.3 * size) if title else 0
    paper = Image.new("RGB", (round(3.2 * size + wide + line), height), PAPER)
    draw, top, bottom = ImageDraw.Draw(paper), size, height - 1 - size
    column = heat(np.linspace(high, low, bottom - top + 1)[:, None].repeat(size, axis=1), low, high, signed)
    paper.paste(Image.fromarray(column), (size, top))
    draw.rectangle((size, top, 2 * size, bottom), outline=INK)
    for text, y in zip(texts, np.linspace(top, bottom, TICKS), strict=True):
        draw.line((2 * size, y, 2.4 * size, y), fill=INK)
        draw.text((2.7 * size, y), text, INK, letters, anchor="lm")
    if title:
        side = Image.new("RGB", (height, line), PAPER)
        ImageDraw.Draw(side).text((height / 2, line / 2), title, INK, letters, anchor="mm")
        paper.paste(side.rotate(90, expand=True), (paper.width - line, 0))
    return np.asarray(paper)


def heat_map(values: Array, low: float, high: float, title: str = "") -> Array:
    """Return `heat` of (H, W) with its bar to the right; low pictures stand in the middle of the sheet."""
    height = max(values.shape[0], LOWEST)
    bar = colour_bar(height, low, high, title)
    sheet = np.empty((height, values.shape[1] + GAP + bar.shape[1], 3), np.uint8)
    sheet[...] = PAPER
    top = (height - values.shape[0]) // 2
    sheet[top : top + values.shape[0], : values.shape[1]] = heat(values, low, high)
    sheet[:, -bar.shape[1] :] = bar
    return sheet


_TABLE = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO).reshape(256, 3)[:, ::-1].copy()
"""The colour of each of 256 steps, (256, 3)."""

_BLUE, _MIDDLE, _VERMILION = ((0, 114, 178), (247, 247, 247), (213, 94, 0))
_SIGNED = np.stack(
    [np.interp(np.linspace(-1, 1, 256), (-1, 0, 1), ends) for ends in zip(_BLUE, _MIDDLE, _VERMILION, strict=True)], axis=1
)
_SIGNED = np.rint(_SIGNED).astype(np.uint8)
"""Likewise of signed numbers."""


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
