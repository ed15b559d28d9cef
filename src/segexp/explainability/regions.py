"""Regions of an image to explain, and measures of how a map relates to a region.

Shapes: H W pixels of the image at original size, h w as the network sees it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from segexp.data.labels.modes import LabelMode
from segexp.errors import ConfigError, listed, nearest
from segexp.types import Array, DataSpec

REGIONS = ("predicted", "truth", "box")


def class_index(target: str | int | None, spec: DataSpec) -> int:
    """Return the index of a class given by name or index; None for the first class that is not the background.

    Raises:
        ConfigError: there is no such class, or it is the background of overlapping classes, which has no score.
    """
    names = [str(name) for name in spec.classes]
    if target is None:
        return spec.first
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


def class_pixels(labelling: LabelMode, mask: Array, k: int) -> Array:
    """Return the pixels (H, W) bool of class k in a mask (H, W)."""
    found: Array = labelling.has(mask, k) & (mask != 255)
    return found


def box_pixels(box: Sequence[int], size: tuple[int, int]) -> Array:
    """Return the pixels (H, W) bool of a box (top, left, bottom, right; the last two exclusive) within the image."""
    top, left, bottom, right = box
    inside = np.zeros(size, bool)
    inside[top:bottom, left:right] = True
    return inside


def region_weights(region: Array, size: tuple[int, int]) -> torch.Tensor:
    """Return the weights (h, w) float32, summing to 1, with which logits contribute to their mean over a region (H, W).

    The mean is defined at original size, to which the logits are resized; this is the adjoint of that resizing.

    Args:
        region: with at least one True pixel.
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
    """Relation of a map and a region.

    Attributes:
        share: share of the region in the image, which an uninformative map would have as `inside`.
        inside: share of the positive values inside the region, 0 to 1 (energy-based pointing game of Wang et al.,
            "Score-CAM", CVPR Workshops 2020, with the region instead of a box); NaN if no value is positive or the region is
            empty.
        peak: row and column of the maximum; None if no value is positive.
        hit: whether the peak is inside the region (pointing game of Zhang et al., ECCV 2016); None if `inside` is NaN.
        highest: the maximum.
    """

    share: float
    inside: float
    peak: tuple[int, int] | None
    hit: bool | None
    highest: float

    def __str__(self) -> str:
        return "" if np.isnan(self.inside) else f"{self.inside:.0%} of it in the outline ({self.share:.0%} of the image)"


def pointing_game(values: Array, region: Array) -> Pointing:
    """Return the relation of a map (H, W) and a region (H, W) bool."""
    positive = np.clip(values, 0, None, dtype=np.float64)
    total, known = float(positive.sum()), bool(region.any())
    share = float(region.mean())
    if total <= 0:
        return Pointing(share, float("nan"), None, None, float(values.max()))
    row, column = (int(n) for n in np.unravel_index(int(np.argmax(values)), values.shape))
    inside = float(positive[region].sum()) / total if known else float("nan")
    return Pointing(share, inside, (row, column), bool(region[row, column]) if known else None, float(values[row, column]))
