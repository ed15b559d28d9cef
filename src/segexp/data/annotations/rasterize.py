"""Draws shapes: polygons and run lengths by the rule of COCO (a pixel is inside if its centre is, about)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from segexp.data.annotations.files import read_image_annotations
from segexp.data.annotations.shapes import Shape
from segexp.errors import UnreadableError
from segexp.types import Source

Array = npt.NDArray[Any]
Size = tuple[int, int]

OUTSIDE = "shape outside the picture"
FAR = 64
"""Multiple of the longer side beyond which a corner is an error, not a shape that leaves the picture."""


@dataclass(frozen=True)
class ShapeFacts:
    """What is known of the shapes of one image once they are drawn.

    Attributes:
        pixels: visible pixels by label; those without a shape as 0.
        shared: number of pixels on which shapes of different codes lie.
        crowds: number of regions of several objects.
        left_out: kind of each object that is not drawn.
    """

    pixels: dict[str | int, int]
    shared: int
    crowds: int
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class DrawnMask:
    """The codes (H, W) uint8 of the labels of one image, and what is known of its shapes."""

    codes: Array
    facts: ShapeFacts


def draw_mask(source: Source, code: Callable[[str | int], int], image: Source, size: Size) -> DrawnMask:
    """Draw the annotations of an image.

    Args:
        source: of the annotations.
        code: of a label, 0 to 255, and of 0, which stands for pixels without a shape. Labels with a higher code are drawn over
            those with a lower one.
        image: that is annotated, for messages.
        size: (H, W) of the image, where the annotations do not tell it; else that of the annotations is used.

    Raises:
        UnreadableError: see `read_image_annotations`; or a shape cannot be drawn.
    """
    annotated = read_image_annotations(source)
    size = annotated.size or size
    by_label: dict[str, list[Shape]] = {}
    for shape in annotated.shapes:
        by_label.setdefault(shape.label, []).append(shape)
    codes = np.full(size, code(0), np.uint8)
    numbers = np.zeros(size, np.uint16)
    covered, shared = np.zeros(size, bool), np.zeros(size, bool)
    labels = sorted(by_label, key=code)
    outside = 0
    for number, label in enumerate(labels, start=1):
        try:
            area, missed = _area(by_label[label], size)
        except Exception as error:  # coordinates may be anything
            raise UnreadableError(
                f"A shape {label} of {source} cannot be drawn ({error})",
                "Polygons and run lengths in the pixels of the picture were expected",
                "Correct it with the tool that made it",
                file=str(source.path if source.entry is None else image.path),
            ) from error
        outside += missed
        if number > 1 and code(label) != code(labels[number - 2]):
            covered = numbers > 0
        shared |= area & covered
        codes[area], numbers[area] = code(label), number
    counts = np.bincount(numbers.ravel(), minlength=len(labels) + 1)
    names: list[str | int] = [0, *labels]
    pixels = {name: int(n) for name, n in zip(names, counts, strict=True) if n}
    crowds = sum(shape.crowd for shape in annotated.shapes)
    left_out = (*annotated.left_out, *[OUTSIDE] * outside)
    return DrawnMask(codes, ShapeFacts(pixels, int(np.count_nonzero(shared)), crowds, left_out))


def _area(shapes: Sequence[Shape], size: Size) -> tuple[Array, int]:
    """Return the union (H, W) bool of shapes, and the number of those that lie outside.

    Raises:
        ValueError: a shape is of another size or unreasonably far away.
    """
    from pycocotools import mask as rle  # lazy: only annotations need it

    height, width = size
    drawn: list[Any] = []
    outside = 0
    for shape in shapes:
        if shape.runs:
            runs = decode_runs(shape.runs) if isinstance(shape.runs, str) else list(shape.runs)
            if shape.size != size or sum(runs) != height * width:
                own = "x".join(map(str, shape.size or ()))
                raise ValueError(f"its run lengths are {sum(runs)} pixels of {own}, and the picture is {height}x{width}")
            drawn.append(rle.frPyObjects({"size": [height, width], "counts": runs}, height, width))
            continue
        corners = np.concatenate([np.asarray(part, np.float64).reshape(-1, 2) for part in shape.polygons])
        if not np.isfinite(corners).all() or np.abs(corners).max() > FAR * max(size):
            raise ValueError(f"it has a corner at {', '.join(f'{v:g}' for v in corners[np.abs(corners).max(1).argmax()])}")
        (left, top), (right, bottom) = corners.min(0), corners.max(0)
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            outside += 1
            continue
        drawn += rle.frPyObjects([list(map(float, part)) for part in shape.polygons], height, width)
    area = rle.decode(rle.merge(drawn)).astype(bool) if drawn else np.zeros(size, bool)
    return area, outside


def decode_runs(text: str) -> list[int]:
    """Return the run lengths of a compressed RLE.

    A character holds 5 bits; from the fourth length on, it is the difference to the length two before (rleFrString of COCO).
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs
