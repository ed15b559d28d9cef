"""Maps of one number per pixel in colour, with a bar that says what the colours mean.

Legend: H W pixels.
"""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from segexp.pictures.display import INK, PAPER, Array, strips
from segexp.pictures.sheets import GAP, font

TICKS = 5
LOWEST = 160
"""Height of the lowest bar: smaller pictures stand in the middle beside it."""


def heat(values: Array, low: float, high: float) -> Array:
    """Return numbers (H, W) as RGB (H, W, 3) uint8, black over red to pale yellow; what is beyond an end has that end's colour.

    The colours are matplotlib's "inferno" (Smith and van der Walt, 2015): brightness grows evenly with the number, which also
    colour-blind readers and gray prints tell. NaN is the lowest.
    """
    result = np.empty((*values.shape, 3), np.uint8)
    for rows in strips(values.shape):
        share = np.clip(values[rows], low, high, dtype=np.float32)
        share = np.nan_to_num(share, copy=False, nan=low)
        share -= low
        share *= 255 / max(high - low, 1e-12)
        step = np.rint(np.clip(share, 0, 255, out=share), out=share).astype(np.uint8)
        result[rows] = cv2.LUT(cv2.merge([step] * 3), _TABLE[None])
    return result


def colour_bar(height: int, low: float, high: float, title: str = "") -> Array:
    """Return the bar (height, w, 3) uint8 for `heat` from `low` (bottom) to `high` (top), with numbers and a title."""
    size = int(np.clip(height / 24, 11, 48))
    letters, texts = font(size), [f"{value:.3g}" for value in np.linspace(high, low, TICKS)]
    wide = max(letters.getlength(text) for text in texts)
    line = round(1.3 * size) if title else 0
    paper = Image.new("RGB", (round(3.2 * size + wide + line), height), PAPER)
    draw, top, bottom = ImageDraw.Draw(paper), size, height - 1 - size
    column = heat(np.linspace(high, low, bottom - top + 1)[:, None].repeat(size, axis=1), low, high)
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
