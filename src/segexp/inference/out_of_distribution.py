"""Detection of images that differ from the training images.

The fingerprint of the training data holds statistics of pixels, not of images; so an image is only flagged if hardly any image
of such a data set would be:

- brightness: the mean of a channel is more than `FAR` pixel standard deviations from the training mean. By Chebyshev at most
  1 in 6 images of *any* data set is beyond, and hardly any image of real ones.
- range: more than `OUTSIDE` of the pixels of a channel are outside the central 99 % of the training pixels.
- contrast: the standard deviation of the image is below `FLAT` of that of all training pixels.

Shapes: C channels, H W pixels.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from segexp.data.preprocessing import to_unit
from segexp.inference.segmenter import Segmenter
from segexp.types import Array

FAR, OUTSIDE, FLAT = 2.5, 0.25, 0.1
FACTOR = 2
"""Accepted ratio of an image side to the largest or smallest training image."""
ENOUGH = 1 << 18
"""Number of pixels from which intensities are measured."""


@dataclass(frozen=True)
class TrainingStats:
    """Statistics of the training images.

    Attributes:
        channels: C.
        value_range: file values mapped to 0 and 1; 0 and 255 for 8-bit images.
        mean, std, p_low, p_high: per channel on the unit scale; empty if unknown.
        low, high: extremes, likewise.
        heights, widths: smallest and largest.
    """

    channels: int
    value_range: tuple[float, float]
    mean: Array
    std: Array
    p_low: Array
    p_high: Array
    low: Array
    high: Array
    heights: tuple[int, int] | None = None
    widths: tuple[int, int] | None = None

    @classmethod
    def of(cls, segmenter: Segmenter) -> "TrainingStats":
        """Return the statistics stored with a segmenter."""
        found: Any = segmenter.provenance.fingerprint if segmenter.provenance else {}
        numbers = {key: np.array(found.get(key, ()), float) for key in ("mean", "std", "p_low", "p_high", "low", "high")}
        sizes = np.array([[int(side) for side in size.split("x")] for size in found.get("sizes", {})])
        spans = [(int(sizes[:, axis].min()), int(sizes[:, axis].max())) if len(sizes) else None for axis in (0, 1)]
        return cls(segmenter.spec.channels, segmenter.preprocessing.value_range, **numbers, heights=spans[0], widths=spans[1])

    @property
    def eight_bit(self) -> bool:
        """Whether the training images were 8-bit."""
        return tuple(self.value_range) == (0.0, 255.0)

    @property
    def gray_as_colour(self) -> bool:
        """Whether the training images seem to be gray with three equal channels."""
        return len(self.mean) == 3 and len(set(self.mean)) == 1 and len(set(self.std)) == 1

    @property
    def two_valued(self) -> bool:
        """Whether the training images had hardly more than two values: their variance is close to its upper bound.

        The bound is (high - mean) (mean - low) (Bhatia and Davis 2000, A better bound on the variance).
        """
        bound = (self.high - self.mean) * (self.mean - self.low)
        return bool((self.std**2 >= 0.9 * bound).any())


def image_flags(image: Array, training: TrainingStats) -> tuple[str, ...]:
    """Describe how a raw image (H, W, C) differs from the training images."""
    found = [*_size_flags(image, training), *_type_flags(image, training)]
    step = max(1, math.isqrt(image.shape[0] * image.shape[1] // ENOUGH))
    some = image[::step, ::step]
    if (some == some[0, 0]).all() and (image == image[0, 0]).all():
        return (*found, "constant: every pixel has the same value")
    if image.shape[2] != training.channels:
        some = some.mean(axis=2, keepdims=True).astype(some.dtype) if training.channels == 1 else some.repeat(3, axis=2)
    if len(training.mean) == some.shape[2]:
        found += _intensity_flags(to_unit(some, training.value_range).reshape(-1, some.shape[2]), training)
    return tuple(found)


def _size_flags(image: Array, training: TrainingStats) -> list[str]:
    if training.heights is None or training.widths is None:
        return []
    for side, (low, high), name in zip(image.shape, (training.heights, training.widths), ("high", "wide"), strict=False):
        if side > FACTOR * high or FACTOR * side < low:
            seen = f"{low}" if low == high else f"{low} to {high}"
            return [f"{'large' if side > high else 'small'}: {side} pixels {name}, training images {seen}"]
    return []


def _type_flags(image: Array, training: TrainingStats) -> list[str]:
    found = []
    eight = image.dtype == np.uint8
    if eight and not training.eight_bit:
        found.append("8-bit values, training images had a deeper type")
    elif not eight and training.eight_bit:
        found.append(f"{'16-bit' if image.dtype == np.uint16 else 'floating point'} values, training images were 8-bit")
    if image.shape[2] == 1 and training.channels == 3 and not training.gray_as_colour:
        found.append("gray, training images were in colour")
    elif image.shape[2] == 3 and training.channels == 1 and np.ptp(image, axis=2).any():
        found.append("in colour, training images were gray")
    return found


def _intensity_flags(pixels: Array, training: TrainingStats) -> list[str]:
    """Compare pixels (N, C) on the unit scale with the training pixels; return at most one flag."""
    spread = np.maximum(training.std, 1e-6)
    away = (pixels.mean(axis=0) - training.mean) / spread
    worst = int(np.abs(away).argmax())
    channel = f" in channel {worst}" if pixels.shape[1] > 1 else ""
    if abs(away[worst]) > FAR:
        word = "bright" if away[worst] > 0 else "dark"
        return [
            f"{word}: mean {pixels[:, worst].mean():.3g}{channel}, training {training.mean[worst]:.3g} +- {spread[worst]:.2g}"
        ]
    above, below = (pixels > training.p_high).mean(axis=0), (pixels < training.p_low).mean(axis=0)
    for share, word, bound in ((above, "above", training.p_high), (below, "below", training.p_low)):
        if share.max() > OUTSIDE:
            return [f"{share.max():.0%} of the pixels are {word} {bound[int(share.argmax())]:.3g}, hardly any in training were"]
    flat = pixels.std(axis=0) / spread
    if flat.max() < FLAT:
        return [f"little contrast: deviation {pixels.std(axis=0).max():.2g}, training {spread.max():.2g}"]
    return []
