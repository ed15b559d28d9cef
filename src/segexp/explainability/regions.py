"""Which pixels of an image a map is to explain.

Shapes: H W pixels of the image at original size, h w as the network sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from segexp.data.labels.modes import LabelMode
from segexp.errors import ConfigError, listed, nearest
from segexp.types import DataSpec

Array = np.ndarray[Any, np.dtype[Any]]

REGIONS = ("predicted", "truth", "box")


def class_index(target: str | int | None, spec: DataSpec) -> int:
    """Return the index of a class that is named, or given as its index; the first foreground class of None.

    Raises:
        ConfigError: there is no such class; or it is the background of classes that may overlap, which has no score.
    """
    names = [str(name) for name in spec.classes]
    if target is None:
        return 1
    text = str(target)
    index = names.index(text) if text in names else int(text) if text.isdigit() else len(names)
    if index >= len(names):
        raise ConfigError(
            f"target={target} is no class of the network",
            f"It has {listed((f'{name} ({k})' for k, name in enumerate(names)), 30)}",
            nearest(text, names) if not text.isdigit() else f"Type target={names[1]}",
        )
    if spec.overlapping and index == 0:
        raise ConfigError(
            f"target={target} is what is there where no class is, and the classes may overlap",
            f"One of {listed(names[1:], 30)} was expected: each has a score of its own against the background",
            f"Type target={names[1]}",
        )
    return index


def pixels_of(labelling: LabelMode, mask: Array, k: int) -> Array:
    """Return where (H, W) bool class k is in a mask (H, W)."""
    found: Array = labelling.has(mask, k) & (mask != 255)
    return found


def box_pixels(box: Sequence[int], size: tuple[int, int]) -> Array:
    """Return the pixels (H, W) bool of a box (top, left, bottom, right), the last two not in it, where it is in the image."""
    top, left, bottom, right = box
    inside = np.zeros(size, bool)
    inside[top:bottom, left:right] = True
    return inside


def weights(region: Array, size: tuple[int, int]) -> torch.Tensor:
    """Return the share (h, w) float32 that each pixel of the network's logits has in their mean over a region (H, W).

    Logits are enlarged or made smaller to the original image size before anything is decided on them; a mean over a region of
    that size is a weighted sum over the logits as they come out of the network, with these weights, which sum to 1.

    Args:
        region: at least one pixel of it is True.
        size: (h, w).
    """
    share = torch.from_numpy(region.astype(np.float32))
    share /= share.sum()
    if tuple(region.shape) == tuple(size):
        return share
    with torch.enable_grad():
        logits = torch.zeros(1, 1, *size, requires_grad=True)
        own = functional.interpolate(logits, size=tuple(region.shape), mode="bilinear", align_corners=False)
        (found,) = torch.autograd.grad((own[0, 0] * share).sum(), logits)
    return found[0, 0]


@dataclass(frozen=True)
class Pointing:
    """A map against a region.

    Attributes:
        share: of the pixels of the image that are in the region: what a map without knowledge would give.
        inside: share of the positive values that lies in it, 0 to 1 (the energy-based pointing game of Wang et al.,
            "Score-CAM", CVPR Workshops 2020; over the pixels of the region instead of a box around it); NaN where no value is
            positive, or the region is empty.
        peak: row and column of the highest value; None if no value is positive.
        hit: whether that is in the region (the pointing game of Zhang et al., ECCV 2016); None if `inside` is NaN.
        highest: the highest value.
    """

    share: float
    inside: float
    peak: tuple[int, int] | None
    hit: bool | None
    highest: float

    def __str__(self) -> str:
        return "" if np.isnan(self.inside) else f"{self.inside:.0%} of it in the outline ({self.share:.0%} of the image)"


def point(values: Array, region: Array) -> Pointing:
    """Return how a map (H, W) lies to a region (H, W) bool."""
    positive = np.clip(values, 0, None, dtype=np.float64)
    total, known = float(positive.sum()), bool(region.any())
    share = float(region.mean())
    if total <= 0:
        return Pointing(share, float("nan"), None, None, float(values.max()))
    row, column = (int(n) for n in np.unravel_index(int(np.argmax(values)), values.shape))
    inside = float(positive[region].sum()) / total if known else float("nan")
    return Pointing(share, inside, (row, column), bool(region[row, column]) if known else None, float(values[row, column]))
