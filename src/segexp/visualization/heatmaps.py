"""Heat maps (H, W) in colour, with a colour bar."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from segexp.visualization.grids import GAP, class_keys, font, header, legend, resize_all, titled_row
from segexp.visualization.images import INK, PAPER, Array, Colour, Palette, row_strips
from segexp.visualization.masks import layer_mask

TICKS = 5
FAINT, OPAQUE = 0.25, 0.85
"""Opacity of a heat map at 0 and at its maximum; signed maps are transparent at 0."""
LOWEST = 160
"""Minimum height of a colour bar; smaller maps are centred beside it."""


def colour_heat(values: Array, low: float, high: float, signed: bool = False) -> Array:
    """Return values (H, W) as RGB (H, W, 3) uint8, clipped to the range; NaN counts as `low`.

    The colour map is matplotlib's "inferno" (Smith and van der Walt, 2015); for signed values blue - white - vermilion (Okabe
    and Ito).
    """
    table = _SIGNED if signed else _TABLE
    result = np.empty((*values.shape, 3), np.uint8)
    for rows in row_strips(values.shape):
        share = np.clip(values[rows], low, high, dtype=np.float32)
        share = np.nan_to_num(share, copy=False, nan=low)
        share -= low
        share *= 255 / max(high - low, 1e-12)
        step = np.rint(np.clip(share, 0, 255, out=share), out=share).astype(np.uint8)
        result[rows] = cv2.LUT(cv2.merge([step] * 3), table[None])
    return result


def overlay_heat(image: Array, values: Array, low: float, high: float, signed: bool = False) -> Array:
    """Blend the heat map of (H, W) values over the image (H, W, 3) uint8 in gray; opacity grows with the absolute value."""
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    result = np.empty_like(image)
    for rows in row_strips(values.shape):
        here = np.nan_to_num(values[rows].astype(np.float32))
        share = np.sqrt(np.clip(np.abs(here) / max(abs(low), abs(high), 1e-12), 0, 1))[..., None]
        cover = share * OPAQUE if signed else FAINT + share * (OPAQUE - FAINT)
        result[rows] = np.rint(colour_heat(here, low, high, signed) * cover + gray[rows] * (1 - cover))
    return result


def colour_bar(height: int, low: float, high: float, title: str = "", signed: bool = False) -> Array:
    """Return the colour bar (height, w, 3) uint8 from `low` (bottom) to `high` (top), with ticks and a title."""
    size = int(np.clip(height / 24, 11, 48))
    letters, texts = font(size), [f"{value:.3g}" for value in np.linspace(high, low, TICKS)]
    wide = max(letters.getlength(text) for text in texts)
    line = round(1.3 * size) if title else 0
    paper = Image.new("RGB", (round(3.2 * size + wide + line), height), PAPER)
    draw, top, bottom = ImageDraw.Draw(paper), size, height - 1 - size
    column = colour_heat(np.linspace(high, low, bottom - top + 1)[:, None].repeat(size, axis=1), low, high, signed)
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
    """Return the heat map of (H, W) values with its colour bar on the right."""
    height = max(values.shape[0], LOWEST)
    bar = colour_bar(height, low, high, title)
    sheet = _blank(height, values.shape[1] + GAP + bar.shape[1])
    top = (height - values.shape[0]) // 2
    sheet[top : top + values.shape[0], : values.shape[1]] = colour_heat(values, low, high)
    sheet[:, -bar.shape[1] :] = bar
    return sheet


_TABLE = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO).reshape(256, 3)[:, ::-1].copy()
"""Colour map (256, 3)."""

_BLUE, _MIDDLE, _VERMILION = ((0, 114, 178), (247, 247, 247), (213, 94, 0))
_SIGNED = np.stack(
    [np.interp(np.linspace(-1, 1, 256), (-1, 0, 1), ends) for ends in zip(_BLUE, _MIDDLE, _VERMILION, strict=True)], axis=1
)
_SIGNED = np.rint(_SIGNED).astype(np.uint8)
"""Colour map of signed values."""


OUTLINE: Colour = (0, 220, 255)
"""Colour of region outlines; differs from heat colours and the default class colours."""
CLIPPED = 99.5
"""Percentile of the absolute values at which the colours of a signed map end, because of outliers."""
HEIGHT = 320


@dataclass(frozen=True)
class ExplainedCase:
    """One case of an explanation sheet.

    Attributes:
        image: (H, W, C).
        truth: (H, W), or None.
        prediction: (H, W).
        values: (H, W) float32, the heat map.
        region: (H, W) bool, outlined; may be empty.
        title: above the row.
    """

    image: Array
    truth: Array | None
    prediction: Array
    values: Array
    region: Array
    title: str


def colour_range(values: Array, signed: bool) -> tuple[float, float]:
    """Return the colour range of a map: 0 to its maximum, or symmetric for a signed map."""
    top = float(np.percentile(np.abs(values), CLIPPED)) if signed else float(values.max(initial=0))
    top = top or float(np.abs(values).max(initial=0)) or 1.0
    return (-top if signed else 0.0), top


def overlay_explanation(image: Array, values: Array, region: Array, signed: bool) -> Array:
    """Blend the map over the image and outline the region; `signed`: negative values are meaningful."""
    drawn = overlay_heat(image, values, *colour_range(values, signed), signed)
    around = cv2.copyMakeBorder((region != 0).astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    lines, _ = cv2.findContours(around, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE, offset=(-1, -1))
    cv2.drawContours(drawn, lines, -1, OUTLINE, max(1, round(max(drawn.shape[:2]) / 400)))
    return drawn


def explanation_sheet(
    cases: Sequence[ExplainedCase],
    palette: Palette,
    classes: Sequence[str],
    target: str,
    unit: str,
    outline: str,
    signed: bool = False,
    overlapping: bool = False,
    height: int = HEIGHT,
    background: bool = True,
) -> Array:
    """Return a sheet (H, W, 3) uint8: one row per case with input, truth (if known), prediction, heat map and colour bar.

    Args:
        cases: at least one; sizes may differ.
        palette: a colour per class.
        classes: a name per class.
        target: name of the explained class.
        unit: title of the colour bar; unsigned maps are shown as a share of their maximum.
        outline: legend text of the outline; empty for none.
        signed: negative values are meaningful.
        overlapping: the masks hold bit sets.
        height: of each image in pixels; very wide images are lower.
        background: whether the first class is the background.
    """
    truth = any(case.truth is not None for case in cases)
    rows = [_cells(case, truth, palette, signed, layer_mask(overlapping, background), height) for case in cases]
    column = max(130, *(cell.shape[1] for cells, _ in rows for cell in cells))
    names = ("input", *(["truth"] if truth else []), "prediction", f"for and against {target}" if signed else f"for {target}")
    width = len(names) * (column + GAP) + GAP
    ranges = [(-top, top) if signed else (0.0, 1.0) for _, top in rows]
    bars = [colour_bar(max(cells[0].shape[0], LOWEST), *r, unit, signed) for (cells, _), r in zip(rows, ranges, strict=True)]
    wide = max(bar.shape[1] for bar in bars)
    top = header(names, column)
    sheets = [np.concatenate([top, _blank(top.shape[0], wide)], axis=1)]
    for case, (cells, _), bar in zip(cases, rows, bars, strict=True):
        own = titled_row(cells, case.title, width, column)
        own = np.concatenate([own, _blank(max(0, bar.shape[0] + 24 + GAP - own.shape[0]), width)])
        side = _blank(own.shape[0], wide)
        side[24 : 24 + bar.shape[0], : bar.shape[1]] = bar
        sheets.append(np.concatenate([own, side], axis=1))
    colours = [(outline, OUTLINE)] if outline else []
    below = legend(width + wide, [*class_keys(palette, classes, background), *colours])
    return np.concatenate([*sheets, below])


def _cells(
    case: ExplainedCase,
    truth: bool,
    palette: Palette,
    signed: bool,
    lay: Callable[[Array, Array, Palette], Array],
    height: int,
) -> tuple[list[Array], float]:
    """Return the cells of one row and the upper end of its colour range."""
    masks = [case.prediction, case.region, *([case.truth] if case.truth is not None else [])]
    shown, guess, region, *real = resize_all(height, case.image, *masks)
    method = cv2.INTER_AREA if shown.shape[1] < case.values.shape[1] else cv2.INTER_LINEAR
    values = cv2.resize(case.values, (shown.shape[1], shown.shape[0]), interpolation=method)
    unknown = [np.full_like(shown, 235)] if truth else []
    truths = [lay(shown, mask, palette) for mask in real] or unknown
    _, top = colour_range(values, signed)
    return [shown, *truths, lay(shown, guess, palette), overlay_explanation(shown, values, region, signed)], top


def _blank(height: int, width: int) -> Array:
    return np.full((height, width, 3), PAPER, np.uint8)
