"""What the files of all annotation tools are turned into: images with labelled shapes.

Coordinates are (x, y) in pixels from the top left corner of the image, so that the centre of the first pixel is (0.5, 0.5).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CIRCLE_CORNERS = 128
"""Number of corners of the polygon that stands for a circle."""


@dataclass(frozen=True)
class Shape:
    """One object, by polygons or by run lengths.

    Attributes:
        label: name of its class.
        polygons: x, y, x, y, … of each part; the object is their union.
        runs: lengths of the runs outside and inside in turn, down the columns from the left (COCO), as numbers or compressed to
            text; empty for polygons.
        size: (H, W) of the run lengths.
        crowd: a region of several objects.
    """

    label: str
    polygons: Sequence[Sequence[float]] = ()
    runs: Sequence[int] | str = ()
    size: tuple[int, int] | None = None
    crowd: bool = False


@dataclass(frozen=True)
class AnnotatedImage:
    """The shapes of one image.

    Attributes:
        name: file name of the image as the annotation file has it; "" if it has none.
        size: (H, W) of the image, None if unknown.
        shapes: in the order of the file.
        left_out: kind of each object that has no area to draw: "point", "box without outline", ….
    """

    name: str
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Annotations:
    """The content of an annotation file.

    Attributes:
        images: one, or many.
        labels: all labels in the order that the file gives them; () if it gives none.
    """

    images: tuple[AnnotatedImage, ...]
    labels: tuple[str, ...] = ()


def rectangle(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Return the polygon of a rectangle between two opposite corners."""
    (left, top), (right, bottom) = first, second
    return [left, top, right, top, right, bottom, left, bottom]


def circle(centre: Sequence[float], edge: Sequence[float]) -> list[float]:
    """Return the polygon of a circle with the area of the circle through a point on its edge."""
    step = 2 * math.pi / CIRCLE_CORNERS
    radius = math.dist(centre, edge) * math.sqrt(step / math.sin(step))
    corners = ((math.cos(k * step), math.sin(k * step)) for k in range(CIRCLE_CORNERS))
    return [value for x, y in corners for value in (centre[0] + radius * x, centre[1] + radius * y)]
