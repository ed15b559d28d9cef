"""LabelMe annotations: one JSON file for each image (https://github.com/wkentaro/labelme)."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from segexp.data.annotations.shapes import AnnotatedImage, Annotations, Shape, circle, rectangle


def recognise(content: Any) -> bool:
    """Return whether the content of a JSON file is of this format."""
    return isinstance(content, Mapping) and isinstance(content.get("shapes"), list) and "imagePath" in content


def parse(content: Mapping[str, Any]) -> Annotations:
    """Return the image of a file. Lines and points have no area and are left out.

    Raises:
        ValueError: a shape without a label, or that cannot be read.
    """
    height, width = content.get("imageHeight"), content.get("imageWidth")
    size = (int(height), int(width)) if height and width else None
    shapes, left_out = [], []
    for number, each in enumerate(content["shapes"], start=1):
        label, kind = each.get("label"), each.get("shape_type") or "polygon"
        if not isinstance(label, str) or not label:
            raise ValueError(f"shape {number}, a {kind}, has no label")
        shape = _shape(label, kind, each, size)
        if shape is None:
            left_out.append(kind if kind in _LINES else "outline of less than three corners")
        else:
            shapes.append(shape)
    return Annotations((AnnotatedImage(str(content["imagePath"]), size, tuple(shapes), tuple(left_out)),))


_LINES = ("line", "linestrip", "point", "points")


def _shape(label: str, kind: str, each: Mapping[str, Any], size: tuple[int, int] | None) -> Shape | None:
    """Return a shape, None if it has no area."""
    points = each["points"]
    if kind in _LINES:
        return None
    if kind == "mask":
        return Shape(label, runs=_runs(each["mask"], points[0], size), size=size)
    if kind == "circle":
        return Shape(label, [circle(*points)])
    if kind == "rectangle" and len(points) == 2:
        return Shape(label, [rectangle(*points)])
    if kind not in ("polygon", "rectangle", "oriented_rectangle"):
        raise ValueError(f"{kind} is no kind of shape that is known")
    return Shape(label, [[value for point in points for value in point]]) if len(points) > 2 else None


def _runs(data: str, corner: list[float], size: tuple[int, int] | None) -> str:
    """Return the compressed run lengths of a mask, a PNG as text, whose top left pixel lies at a corner."""
    from pycocotools import mask as rle  # lazy: few files have masks

    if size is None:
        raise ValueError("it has a mask and no imageHeight and imageWidth")
    with Image.open(io.BytesIO(base64.b64decode(data)), formats=("PNG",)) as picture:
        part = np.asarray(picture.convert("L")) > 0
    left, top = (round(value) for value in corner)
    whole = np.zeros(size, np.uint8, order="F")
    rows, columns = slice(max(0, top), top + part.shape[0]), slice(max(0, left), left + part.shape[1])
    inside = whole[rows, columns]
    inside |= part[max(0, -top) :, max(0, -left) :][: inside.shape[0], : inside.shape[1]]
    return str(rle.encode(whole)["counts"].decode())
