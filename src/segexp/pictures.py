"""Pictures of images, masks and errors: arrays in, 8-bit RGB arrays out. Nothing here writes a file.

The colours of errors are from Okabe and Ito's set, which colour-blind readers can tell apart.

Legend: C channels, H W pixels, K classes; a mask (H, W) holds class indices, 255 = ignore; class 0 is the background.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segexp.types import IGNORE

Array = np.ndarray[Any, np.dtype[Any]]
Colour = tuple[int, int, int]
Palette = Sequence[Colour]
Row = tuple[Array, Array, Array, str]
"""image (H, W, C), truth (H, W), prediction (H, W), title."""

CORRECT: Colour = (0, 158, 115)
MISSED: Colour = (240, 228, 66)
FALSE_ALARM: Colour = (213, 94, 0)
WRONG_CLASS: Colour = (204, 121, 167)
IGNORED: tuple[Colour, Colour] = ((128, 128, 128), (96, 96, 96))
PAPER: Colour = (255, 255, 255)
INK: Colour = (32, 32, 32)
GAP = 10


def to_display(image: Array) -> Array:
    """Return any image (H, W) or (H, W, C) as RGB (H, W, 3) uint8.

    8-bit values and floats from 0 to 1 keep their brightness; other values are stretched from their 0.5th to their 99.5th
    percentile. One or two channels are shown as gray (the first), four and more by their first three.
    """
    image = image[..., None] if image.ndim == 2 else image
    image = image[..., :3] if image.shape[2] >= 3 else image[..., :1]
    if image.dtype == bool or (image.dtype.kind == "f" and image.size and image.min() >= 0 and image.max() <= 1):
        image = np.rint(image * 255.0)
    elif image.dtype != np.uint8:
        values = np.nan_to_num(image.astype(np.float32), posinf=0.0, neginf=0.0)
        low, high = np.percentile(values, (0.5, 99.5))
        image = np.rint(np.clip((values - low) / max(high - low, 1e-12), 0, 1) * 255)
    return np.ascontiguousarray(np.broadcast_to(image.astype(np.uint8), (*image.shape[:2], 3)))


def colour_mask(mask: Array, palette: Palette) -> Array:
    """Return each class in its colour, and ignored pixels hatched, as (H, W, 3) uint8."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return _hatch(table[mask.astype(np.uint8)], mask == IGNORE)


def overlay(image: Array, mask: Array, palette: Palette, alpha: float = 0.4) -> Array:
    """Return the image (H, W, 3) tinted where the mask is no background, with a full-coloured line along each border."""
    base, colours = to_display(image), colour_mask(mask, palette)
    shown = mask != 0
    result = np.where(shown[..., None], np.rint((1 - alpha) * base + alpha * colours), base).astype(np.uint8)
    same = cv2.erode(mask.astype(np.uint8), np.ones((3, 3))) == cv2.dilate(mask.astype(np.uint8), np.ones((3, 3)))
    line = shown & ~same & (mask != IGNORE)
    result[line] = colours[line]
    return result


def errors(truth: Array, prediction: Array, image: Array | None = None) -> Array:
    """Return (H, W, 3) uint8: what is right, missed, a false alarm or of the wrong class, each in its colour.

    Args:
        truth: (H, W); where it is 255 the picture is hatched, whatever was predicted.
        prediction: (H, W).
        image: shown dark below the background that both leave free; black when None.
    """
    base = to_display(image) // 2 if image is not None else np.zeros((*truth.shape, 3), np.uint8)
    result = base.copy()
    result[(truth == prediction) & (truth != 0)] = CORRECT
    result[(truth != prediction) & (truth != 0) & (prediction != 0)] = WRONG_CLASS
    result[(truth != 0) & (prediction == 0)] = MISSED
    result[(truth == 0) & (prediction != 0)] = FALSE_ALARM
    return _hatch(result, truth == IGNORE)


def panel(rows: Sequence[Row], palette: Palette, classes: Sequence[str], height: int = 256) -> Array:
    """Return one sheet (H, W, 3) uint8: a row per case with input, truth, prediction and errors, and a legend below.

    Args:
        rows: the cases; the sizes may differ, each is shown `height` pixels high, or lower where it is very wide.
        palette: a colour per class.
        classes: a name per class.
        height: of a picture, in pixels.
    """
    strips = []
    for image, truth, prediction, title in rows:
        scale = height / max(truth.shape[0], truth.shape[1] / 2)
        size = max(1, round(truth.shape[1] * scale)), max(1, round(truth.shape[0] * scale))
        shown = cv2.resize(to_display(image), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        real, guess = (cv2.resize(m.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for m in (truth, prediction))
        cells = [shown, overlay(shown, real, palette), overlay(shown, guess, palette), errors(real, guess, shown)]
        strips.append((cells, f"{title}   {dice_text(truth, prediction)}"))
    column = max((cells[0].shape[1] for cells, _ in strips), default=height)
    width = 4 * (column + GAP) + GAP
    sheets = [_header(width, column), *(_strip(cells, text, width, column) for cells, text in strips)]
    return np.concatenate([*sheets, _legend(width, palette, classes)])


def dice_text(truth: Array, prediction: Array) -> str:
    """Return "Dice 0.912", the mean over the classes in the truth, or what is to be said when there are none."""
    known = truth != IGNORE
    scores = []
    for index in np.unique(truth[known & (truth != 0)]):
        real, guess = (truth == index) & known, (prediction == index) & known
        scores.append(2 * (real & guess).sum() / (real.sum() + guess.sum()))
    if scores:
        return f"Dice {np.mean(scores):.3f}"
    false = int(((prediction != 0) & known).sum())
    return f"no foreground, {false} px of false alarm" if false else "no foreground, none predicted"


def contact_sheet(images: Sequence[Array], columns: int = 6, side: int = 192) -> Array:
    """Return all images on one sheet (H, W, 3) uint8, each within a square of `side` pixels."""
    count = -(-len(images) // columns)
    sheet = np.full((count * (side + GAP) + GAP, columns * (side + GAP) + GAP, 3), PAPER, np.uint8)
    for place, image in enumerate(images):
        shown = to_display(image)
        scale = side / max(shown.shape[:2])
        size = max(1, round(shown.shape[1] * scale)), max(1, round(shown.shape[0] * scale))
        shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
        top = GAP + place // columns * (side + GAP) + (side - size[1]) // 2
        left = GAP + place % columns * (side + GAP) + (side - size[0]) // 2
        sheet[top : top + size[1], left : left + size[0]] = shown
    return sheet


def confusion_figure(matrix: Array, classes: Sequence[str]) -> Array:
    """Return a drawing (H, W, 3) uint8 of a confusion matrix (K, K) of counts: rows truth, columns prediction.

    Each row adds up to 100 %; up to ten classes the counts stand below.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matrix, count = np.asarray(matrix, np.float64), len(classes)
    totals = matrix.sum(axis=1, keepdims=True)
    share = 100 * np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    side = max(4.2, (0.95 if count <= 10 else 0.62) * count + 2.2)
    figure = Figure(figsize=(side + 0.8, side), dpi=100, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="% of the true class")
    names = [f"{name}\n({_short_count(float(total))} px)" for name, total in zip(classes, totals[:, 0], strict=True)]
    axes.set_xticks(range(count), classes, rotation=0 if count <= 4 else 45, ha="center" if count <= 4 else "right")
    axes.set_yticks(range(count), names if count <= 10 else classes)
    axes.set(xlabel="prediction", ylabel="truth")
    for i, j in np.ndindex(count, count):
        text = "-" if totals[i] == 0 else f"{share[i, j]:.1f}{' %' if count <= 10 else ''}"
        text += f"\n{_short_count(float(matrix[i, j]))}" if count <= 10 and totals[i] > 0 else ""
        axes.text(j, i, text, ha="center", va="center", color="white" if share[i, j] > 55 else "black", fontsize=9)
    drawing: Any = canvas
    drawing.draw()
    return np.asarray(drawing.buffer_rgba())[..., :3].copy()


def _short_count(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def _hatch(picture: Array, where: Array) -> Array:
    """Return the picture with slanted gray stripes where pixels are ignored."""
    if where.any():
        y, x = np.nonzero(where)
        picture[y, x] = np.array(IGNORED, np.uint8)[(x + y) // 4 % 2]
    return picture


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _header(width: int, column: int) -> Array:
    paper = Image.new("RGB", (width, 30), PAPER)
    draw = ImageDraw.Draw(paper)
    for place, text in enumerate(("input", "truth", "prediction", "errors")):
        draw.text((GAP + place * (column + GAP) + column / 2, 16), text, INK, _font(16), anchor="mm")
    return np.asarray(paper)


def _strip(cells: Sequence[Array], title: str, width: int, column: int) -> Array:
    """Return one row of the panel: the title, below it the cells, each in the middle of its column."""
    paper = Image.new("RGB", (width, cells[0].shape[0] + 24 + GAP), PAPER)
    ImageDraw.Draw(paper).text((GAP, 12), title, INK, _font(14), anchor="lm")
    for place, cell in enumerate(cells):
        paper.paste(Image.fromarray(cell), (GAP + place * (column + GAP) + (column - cell.shape[1]) // 2, 24))
    return np.asarray(paper)


def _legend(width: int, palette: Palette, classes: Sequence[str]) -> Array:
    """Return the colours of the classes and, on a line of their own, of the errors, broken to the sheet's width."""
    kinds = [("correct", CORRECT), ("missed", MISSED), ("false alarm", FALSE_ALARM), ("ignored", IGNORED[0])]
    if len(classes) > 2:
        kinds.insert(3, ("wrong class", WRONG_CLASS))
    places: list[tuple[int, int, str, Colour]] = []
    y = 14
    for line in (list(zip(classes, palette, strict=True))[1:], kinds):
        x = GAP
        for text, colour in line:
            step = 30 + round(_font(14).getlength(text)) + 16
            if x > GAP and x + step > width:
                x, y = GAP, y + 24
            places.append((x, y, text, colour))
            x += step
        y += 24
    paper = Image.new("RGB", (width, y), PAPER)
    draw = ImageDraw.Draw(paper)
    for x, y, text, colour in places:
        draw.rectangle((x, y - 8, x + 22, y + 8), fill=tuple(colour), outline=INK)
        draw.text((x + 30, y), text, INK, _font(14), anchor="lm")
    return np.asarray(paper)
