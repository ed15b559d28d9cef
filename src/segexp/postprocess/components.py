"""The connected regions of a class map: which of them stay, and the holes in them.

Legend: K classes (0 is the background), H W pixels.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Components:
    """The 8-connected components of one class.

    Attributes:
        box: rows and columns outside of which the class does not occur.
        labels: inside the box, (h, w) int32: 0 where the class is not, else the number of the component, from 1 on.
        areas: pixels by number; entry 0 is 0.
    """

    box: tuple[slice, slice]
    labels: np.ndarray
    areas: np.ndarray

    def dropped(self, min_area: int, largest: bool) -> np.ndarray:
        """Return by number whether a component goes: it is too small or, if asked for, not the largest."""
        gone: np.ndarray = self.areas < min_area
        if largest:
            gone[np.arange(len(gone)) != self._largest()] = True
        gone[0] = False
        return gone

    def _largest(self) -> int:
        """Return the number of the largest component, of equal ones that whose first pixel comes first in reading order."""
        largest = self.areas == self.areas.max()
        return int(self.labels.flat[largest[self.labels].argmax()] if largest.sum() > 1 else largest.argmax())


def components(classes: np.ndarray) -> Iterator[Components]:
    """Yield the components of each class but the background that occurs in a class map (H, W) uint8."""
    for k in range(1, int(classes.max(initial=0)) + 1):
        mask = _where(classes, k)
        box = _box(mask)
        if box is None:
            continue
        _, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask[box]), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        yield Components(box, labels, areas)


def keep(classes: np.ndarray, found: Iterable[Components], min_area: int, largest: bool) -> np.ndarray:
    """Return the class map (H, W) without the components that are too small or, if asked for, not the largest of their class.

    Args:
        classes: (H, W) uint8; left as it is.
        found: its `components`.
        min_area: in pixels.
        largest: whether only the largest component of each class stays.
    """
    out = classes.copy()
    for each in found:
        dropped = each.dropped(min_area, largest)
        if dropped.any():
            out[each.box][dropped[each.labels]] = 0
    return out


def filled(classes: np.ndarray) -> np.ndarray:
    """Return the class map (H, W) uint8 with the holes that one class alone encloses given to that class."""
    box = _box(classes)
    if box is None:
        return classes
    inside = np.ascontiguousarray(classes[box])  # beyond the box all is background, so its border is as good as the image's
    count, labels, stats, _ = cv2.connectedComponentsWithStats(_where(inside, 0), connectivity=4)
    height, width = inside.shape
    left, top, wide, tall = (stats[:, n] for n in (cv2.CC_STAT_LEFT, cv2.CC_STAT_TOP, cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT))
    hole = (left > 0) & (top > 0) & (left + wide < width) & (top + tall < height)
    hole[0] = False
    if not hole.any():
        return classes
    owner = _enclosing(inside, labels, count)
    owner[~hole] = 0
    out = classes.copy()
    out[box] = np.maximum(inside, owner[labels])  # a hole is 0 inside, all else has owner 0
    return out


def _enclosing(inside: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return for each background component the only class that touches it, 0 where there are several, (count,) uint8."""
    present = [k for k in range(1, int(inside.max()) + 1) if k in inside]
    if len(present) == 1:
        return np.full(count, present[0], np.uint8)
    owner, touching = np.zeros(count, np.uint8), np.zeros(count, np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    for k in present:
        around = cv2.dilate(_where(inside, k), cross)
        touched = np.flatnonzero(np.bincount(labels[around > 0], minlength=count))
        owner[touched] = k
        touching[touched] += 1
    owner[touching > 1] = 0
    return owner


def _where(classes: np.ndarray, k: int) -> np.ndarray:
    """Return where a class is, (H, W) uint8 0 or 1, as OpenCV takes it."""
    where: np.ndarray = (classes == k).view(np.uint8)
    return where


def _box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Return the rows and columns of the pixels that are not 0, or None where there is none."""
    left, top, width, height = cv2.boundingRect(mask)
    return (slice(top, top + height), slice(left, left + width)) if width else None
