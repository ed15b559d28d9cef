"""Several images on one sheet: panels and contact sheets, with titles and legends.

A mask (H, W) holds class indices, or bit sets for overlapping labels; 255 = ignore, 0 = background, or with `background=False`
a class like the others.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from segexp.data.labels.modes import MAX_LABELS, has_label, shift_classes
from segexp.types import IGNORE
from segexp.visualization.images import INK, PAPER, Array, Colour, Palette, to_display
from segexp.visualization.masks import IGNORED, error_kinds, error_map, layer_mask

Row = tuple[Array, Array, Array, str]
"""image (H, W, C), truth (H, W), prediction (H, W), title."""

GAP = 10
COLUMNS = ("input", "truth", "prediction", "errors")


def panel(
    rows: Sequence[Row],
    palette: Palette,
    classes: Sequence[str],
    height: int = 256,
    overlapping: bool = False,
    background: bool = True,
) -> Array:
    """Return a sheet (H, W, 3) uint8: one row per case with input, truth, prediction and errors, and a legend below.

    Images are `height` pixels high, very wide ones lower; `overlapping`: the masks hold bit sets.
    """
    strips, lay = [], layer_mask(overlapping, background)
    for image, truth, prediction, title in rows:
        shown, real, guess = resize_all(height, image, truth, prediction)
        wrong = error_map(real, guess, shown, overlapping, background)
        cells = [shown, lay(shown, real, palette), lay(shown, guess, palette), wrong]
        strips.append((cells, f"{title}   {dice_text(truth, prediction, overlapping, background)}"))
    column = max((cells[0].shape[1] for cells, _ in strips), default=height)
    width = 4 * (column + GAP) + GAP
    sheets = [header(COLUMNS, column), *(titled_row(cells, text, width, column) for cells, text in strips)]
    return np.concatenate([*sheets, legend(width, class_keys(palette, classes, background), _kinds(classes, background))])


def triptych(
    image: Array,
    truth: Array | None,
    prediction: Array,
    palette: Palette,
    classes: Sequence[str],
    title: str = "",
    height: int = 384,
    overlapping: bool = False,
    background: bool = True,
) -> Array:
    """Return a sheet (H, W, 3) uint8: input | truth (if any) | prediction, with a title (plus Dice) and a legend.

    Image (H, W, C) and masks (H, W) are `height` pixels high, very wide ones lower; `overlapping`: the masks hold bit sets.
    """
    lay = layer_mask(overlapping, background)
    masks = [prediction] if truth is None else [truth, prediction]
    shown, *small = resize_all(height, image, *masks)
    cells = [shown, *(lay(shown, mask, palette) for mask in small)]
    column = max(shown.shape[1], 120)
    width = len(cells) * (column + GAP) + GAP
    names = COLUMNS[:3] if truth is not None else ("input", "prediction")
    text = title if truth is None else f"{title}   {dice_text(truth, prediction, overlapping, background)}"
    ignored = [("ignored", IGNORED[0])] if truth is not None and (truth == IGNORE).any() else []
    sheets = [header(names, column), titled_row(cells, text, width, column)]
    return np.concatenate([*sheets, legend(width, [*class_keys(palette, classes, background), *ignored])])


def dice_text(truth: Array, prediction: Array, overlapping: bool = False, background: bool = True) -> str:
    """Return "Dice 0.912" (mean over the classes in the truth), or a note that the truth has no foreground."""
    if not background:
        truth, prediction = shift_classes(truth), shift_classes(prediction)
    known = truth != IGNORE
    scores = []
    for k in range(1, MAX_LABELS + 1) if overlapping else np.unique(truth[known & (truth != 0)]):
        pair = (truth, prediction)
        real, guess = ((has_label(mask, k) if overlapping else mask == k) & known for mask in pair)
        if real.any():
            scores.append(2 * (real & guess).sum() / (real.sum() + guess.sum()))
    if scores:
        return f"Dice {np.mean(scores):.3f}"
    false = int(((prediction != 0) & known).sum())
    return f"no foreground, {false} px of false alarm" if false else "no foreground, none predicted"


def contact_sheet(images: Sequence[Array], columns: int = 6, side: int = 192) -> Array:
    """Return all images on one sheet (H, W, 3) uint8, each fitted into a square of `side` pixels."""
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


def font(size: int) -> Any:
    """Return the font of all sheets, `size` pixels high."""
    return ImageFont.load_default(size)


def resize_all(height: int, image: Array, *masks: Array) -> list[Array]:
    """Return the image (as RGB) and its masks resized to `height` pixels, less where they are very wide."""
    tall, wide = masks[0].shape
    scale = height / max(tall, wide / 2)
    size = max(1, round(wide * scale)), max(1, round(tall * scale))
    shown = cv2.resize(to_display(image), size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return [shown, *(cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) for mask in masks)]


def class_keys(palette: Palette, classes: Sequence[str], background: bool = True) -> list[tuple[str, Colour]]:
    """Return legend entries for all classes but the background."""
    return list(zip(classes, palette, strict=True))[int(background) :]


def _kinds(classes: Sequence[str], background: bool) -> list[tuple[str, Colour]]:
    """Return legend entries for an error map."""
    return [*error_kinds(len(classes), background).items(), ("ignored", IGNORED[0])]


def header(names: Sequence[str], column: int) -> Array:
    """Return the header row of a sheet, each column `column` pixels wide."""
    paper = Image.new("RGB", (len(names) * (column + GAP) + GAP, 30), PAPER)
    draw = ImageDraw.Draw(paper)
    for place, text in enumerate(names):
        draw.text((GAP + place * (column + GAP) + column / 2, 16), text, INK, font(16), anchor="mm")
    return np.asarray(paper)


def titled_row(cells: Sequence[Array], title: str, width: int, column: int) -> Array:
    """Return one row of a sheet: the title, and below it the cells, each centred in its column."""
    paper = Image.new("RGB", (width, cells[0].shape[0] + 24 + GAP), PAPER)
    ImageDraw.Draw(paper).text((GAP, 12), title, INK, font(14), anchor="lm")
    for place, cell in enumerate(cells):
        paper.paste(Image.fromarray(cell), (GAP + place * (column + GAP) + (column - cell.shape[1]) // 2, 24))
    return np.asarray(paper)


def legend(width: int, *lines: Sequence[tuple[str, Colour]]) -> Array:
    """Return a legend, wrapped to the width of the sheet."""
    places: list[tuple[int, int, str, Colour]] = []
    y = 14
    for line in lines:
        x = GAP
        for text, colour in line:
            step = 30 + round(font(14).getlength(text)) + 16
            if x > GAP and x + step > width:
                x, y = GAP, y + 24
            places.append((x, y, text, colour))
            x += step
        y += 24
    paper = Image.new("RGB", (width, y), PAPER)
    draw = ImageDraw.Draw(paper)
    for x, y, text, colour in places:
        draw.rectangle((x, y - 8, x + 22, y + 8), fill=tuple(colour), outline=INK)
        draw.text((x + 30, y), text, INK, font(14), anchor="lm")
    return np.asarray(paper)
