"""How thick the things are that the masks show: what decides at which resolution a network can still see them.

Legend: H W pixels.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np

from segexp.types import IGNORE

Array = np.ndarray[Any, np.dtype[Any]]

MOST_PIXELS = 2**20
"""Larger masks are measured at a lower resolution."""


def thickness(mask: Array) -> dict[int, float]:
    """Return how many pixels thick each class of a mask is, the background left out.

    It is four times the mean distance of its pixels to its border: a stripe's width, and two thirds of a disc's diameter.
    What leaves the picture counts as if it went on.

    Args:
        mask: (H, W) uint8 class index, 255 = ignore.
    """
    scale = min(1.0, (MOST_PIXELS / mask.size) ** 0.5)
    if scale < 1:
        mask = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    found = {}
    for index in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[1:IGNORE]) + 1:
        inside = (mask == index).astype(np.uint8)
        if inside.all():
            found[int(index)] = min(mask.shape) / scale
            continue
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
        found[int(index)] = float(4 * (distance[inside > 0] - 0.5).mean()) / scale
    return found


def typical(masks: Iterable[Array]) -> dict[int, float]:
    """Return the median thickness of each class over masks (H, W), in pixels."""
    values: dict[int, list[float]] = defaultdict(list)
    for mask in masks:
        for index, width in thickness(mask).items():
            values[index].append(width)
    return {index: float(np.median(widths)) for index, widths in sorted(values.items())}
