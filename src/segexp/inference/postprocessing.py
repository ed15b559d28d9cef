"""From probabilities to the final mask: threshold, component filtering and hole filling.

Shapes: K classes (0 is the background), H W pixels.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch

from segexp.errors import ConfigError


@dataclass(frozen=True)
class Components:
    """The 8-connected components of one class.

    Attributes:
        box: rows and columns of the bounding box of the class.
        labels: (h, w) int32 inside the box: component number from 1 on, 0 for other classes.
        areas: pixels by component number; entry 0 is 0.
    """

    box: tuple[slice, slice]
    labels: np.ndarray
    areas: np.ndarray

    def dropped(self, min_area: int, largest: bool) -> np.ndarray:
        """Return by component number whether it is removed: too small or, if requested, not the largest."""
        gone: np.ndarray = self.areas < min_area
        if largest:
            gone[np.arange(len(gone)) != self._largest()] = True
        gone[0] = False
        return gone

    def _largest(self) -> int:
        """Return the number of the largest component; of equal ones the first in reading order."""
        largest = self.areas == self.areas.max()
        return int(self.labels.flat[largest[self.labels].argmax()] if largest.sum() > 1 else largest.argmax())


def components(classes: np.ndarray) -> Iterator[Components]:
    """Yield the components of each foreground class of a class map (H, W) uint8."""
    for k in range(1, int(classes.max(initial=0)) + 1):
        mask = _where(classes, k)
        box = _box(mask)
        if box is None:
            continue
        _, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask[box]), connectivity=8)
        areas = stats[:, cv2.CC_STAT_AREA].copy()
        areas[0] = 0
        yield Components(box, labels, areas)


def drop_components(classes: np.ndarray, found: Iterable[Components], min_area: int, largest: bool) -> np.ndarray:
    """Return a class map without small components or, if requested, all but the largest of each class.

    Args:
        classes: (H, W) uint8; not modified.
        found: its `components`.
        min_area: in pixels.
        largest: keep only the largest component of each class.
    """
    out = classes.copy()
    for each in found:
        dropped = each.dropped(min_area, largest)
        if dropped.any():
            out[each.box][dropped[each.labels]] = 0
    return out


def fill_holes(classes: np.ndarray) -> np.ndarray:
    """Fill holes that are enclosed by a single class in a class map (H, W) uint8."""
    box = _box(classes)
    if box is None:
        return classes
    inside = np.ascontiguousarray(classes[box])  # only background outside the box
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
    out[box] = np.maximum(inside, owner[labels])  # holes are 0 in `inside`, other pixels have owner 0
    return out


def _enclosing(inside: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return for each background component the only class that touches it, 0 if there are several, (count,) uint8."""
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
    """Return the mask of a class, (H, W) uint8 0 or 1, for OpenCV."""
    where: np.ndarray = (classes == k).view(np.uint8)
    return where


def _box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Return the bounding box of the non-zero pixels, or None if there are none."""
    left, top, width, height = cv2.boundingRect(mask)
    return (slice(top, top + height), slice(left, left + width)) if width else None


STRIP = 1 << 22
"""Pixels processed at once; temporary indices take 8 bytes per pixel."""


@dataclass(frozen=True)
class Postprocessing:
    """Conversion of probabilities to a mask; by default each pixel gets its most probable class.

    The steps are applied in the order of the attributes, to each foreground class separately. Removed pixels become background.

    Attributes:
        threshold: for two classes, minimum probability of the second (0 to 1, both excluded); None for the more probable class.
        min_area: components (8-connected) with fewer pixels at original size are removed.
        largest_component: keep only the largest component of each class; of equal ones the first in reading order.
        fill_holes: background (4-connected) enclosed by a single class becomes that class, unless it touches the image border.
    """

    threshold: float | None = None
    min_area: int = 0
    largest_component: bool = False
    fill_holes: bool = False

    def __post_init__(self) -> None:
        """Validate the values.

        Raises:
            ConfigError: the threshold is not between 0 and 1, or the area is negative.
        """
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise ConfigError(
                f"threshold={self.threshold} of the post-processing is no probability between 0 and 1",
                "A number above 0 and below 1 was expected; the second class is taken where its probability is above it",
                "Type for example threshold=0.5, or threshold=null for the most probable class",
            )
        if self.min_area < 0 or self.min_area != int(self.min_area):
            raise ConfigError(
                f"min_area={self.min_area} of the post-processing is no number of pixels",
                "A whole number, 0 or more, was expected; components with fewer pixels are dropped",
                "Type for example min_area=50, or min_area=0 to drop none",
            )

    @property
    def is_identity(self) -> bool:
        """Whether there are no steps."""
        return self == Postprocessing()

    @property
    def needs_background(self) -> bool:
        """Whether pixels become background, or background a class."""
        return self.min_area > 0 or self.largest_component or self.fill_holes

    def check(self, classes: int) -> None:
        """Require two classes for a threshold.

        Raises:
            ConfigError: there are more.
        """
        if self.threshold is not None and classes != 2:
            raise ConfigError(
                f"threshold={self.threshold} of the post-processing is for two classes, and the network has {classes}",
                "With more than two classes each pixel takes its most probable one",
                "Leave threshold out; min_area, largest_component and fill_holes work for any number of classes",
            )

    def apply(self, probabilities: torch.Tensor) -> np.ndarray:
        """Return the class index (H, W) uint8 of probabilities (K, H, W) on any device.

        Raises:
            ConfigError: there is a threshold and K is not 2.
        """
        self.check(probabilities.shape[0])
        classes = decide(probabilities, self.threshold)
        if self.min_area > 1 or self.largest_component:
            classes = drop_components(classes, components(classes), self.min_area, self.largest_component)
        return fill_holes(classes) if self.fill_holes else classes

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Postprocessing":
        """Rebuild from `as_dict`."""
        return cls(**values)

    def __str__(self) -> str:
        """Describe the steps in order."""
        steps = [f"foreground above probability {self.threshold:g}"] if self.threshold is not None else []
        steps += [f"components under {self.min_area} pixels dropped"] if self.min_area else []
        steps += ["only the largest component of each class"] if self.largest_component else []
        steps += ["holes filled"] if self.fill_holes else []
        return ", ".join(steps) or "none"


def decide(probabilities: torch.Tensor, threshold: float | None = None) -> np.ndarray:
    """Return the class (H, W) uint8 of each pixel: the first most probable one, or the second if above the threshold.

    Args:
        probabilities: (K, H, W); K = 2 with a threshold.
        threshold: see `Postprocessing`.
    """
    count, height, width = probabilities.shape
    out = np.empty((height, width), np.uint8)
    rows = max(1, STRIP // max(1, width))
    for top in range(0, height, rows):
        strip = probabilities[:, top : top + rows]
        rival = strip[0] if threshold is None else threshold
        # max().indices equals argmax but is ten times faster on the CPU
        chosen = strip[1] > rival if count == 2 else strip.max(dim=0).indices
        out[top : top + rows] = chosen.to(torch.uint8).cpu().numpy()
    return out
