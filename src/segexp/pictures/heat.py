"""Maps of one number per pixel in colour, with a bar that says what the colours mean.

Legend: H W pixels.
"""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from segexp.pictures.display import INK, PAPER, Array, strips
from segexp.pictures.sheets import GAP, font

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
