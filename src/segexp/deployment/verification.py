"""Comparison and timing of an exported file and its network on the same images, at several sizes and batch sizes.

Shapes: B batch, C channels, K classes, H W pixels.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segexp.data.labels.modes import LabelMode
from segexp.inference.postprocessing import Postprocessing
from segexp.types import Array

BATCHES = (1, 3)
LARGEST, CHANGED = 1e-4, 1e-5
"""Tolerances of a float export: largest difference of a probability, and share of pixels whose class changes."""


@dataclass(frozen=True)
class Agreement:
    """Difference of two networks on one batch.

    Attributes:
        batch: B.
        height: H.
        width: W.
        largest: largest difference of a probability; infinite if one is NaN, NaN if only classes are compared.
        changed: number of pixels whose class differs.
        pixels: number of pixels of the batch.
    """

    batch: int
    height: int
    width: int
    largest: float
    changed: int
    pixels: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def sizes_around(size: tuple[int, int], step: int = 16) -> list[tuple[int, int]]:
    """Return three sizes (H, W): near the training size, odd and smaller, and larger; first and last multiples of `step`."""
    even = tuple(max(2 * step, side // step * step) for side in size)
    odd = tuple(max(step + 1, side * 3 // 4 | 1) for side in size)
    larger = tuple((side + side // 4) // step * step + step for side in even)
    return [(even[0], even[1]), (odd[0], odd[1]), (larger[0], larger[1])]


def make_batch(images: Sequence[Array], count: int, height: int, width: int) -> Array:
    """Return a batch (count, height, width, C) of images (H, W, C), centre-cropped or padded by reflection."""
    return np.stack([_fitted(images[n % len(images)], height, width) for n in range(count)])


def _fitted(image: Array, height: int, width: int) -> Array:
    for axis, length in ((0, height), (1, width)):
        have = image.shape[axis]
        start = max(0, (have - length) // 2)
        at = np.arange(start, start + length)
        period = 2 * max(1, have - 1)
        image = image.take((have - 1) - abs(at % period - (have - 1)), axis=axis)
    return image


def compare_probabilities(expected: Tensor, found: Tensor, labelling: LabelMode) -> Agreement:
    """Compare probabilities (B, K, H, W) of two networks and the classes that follow from them."""
    one, other = (predict_masks(each, labelling) for each in (expected, found))
    apart = (expected - found).abs().nan_to_num(nan=float("inf"))
    return Agreement(*_shape(one), float(apart.max()), int((one != other).sum()), one.size)


def compare_classes(expected: Array, found: Array) -> Agreement:
    """Compare class masks (B, H, W)."""
    return Agreement(*_shape(expected), float("nan"), int((expected != found).sum()), expected.size)


def predict_masks(probabilities: Tensor, labelling: LabelMode) -> Array:
    """Return the predicted mask (B, H, W): class indices, or bit sets for overlapping labels."""
    return np.stack([labelling.decide(each, Postprocessing()) for each in probabilities])


def measure_agreements(sizes: Sequence[tuple[int, int]], both: Callable[[int, int, int], Agreement]) -> list[Agreement]:
    """Run the comparison `both(batch, height, width)` for each size and batch size."""
    with torch.inference_mode():
        return [both(batch, height, width) for height, width in sizes for batch in BATCHES]


def describe_disagreement(found: Sequence[Agreement]) -> str:
    """Describe how a float export exceeds the tolerances; "" if it does not."""
    largest = max((each.largest for each in found if each.largest == each.largest), default=0.0)
    share = sum(each.changed for each in found) / sum(each.pixels for each in found)
    if largest > LARGEST:
        worst = max(found, key=lambda each: each.largest)
        if largest == float("inf"):
            return f"a probability is no number (at {worst.batch} x {worst.height}x{worst.width})"
        return (
            f"a probability differs by {largest:.2g} (at {worst.batch} x {worst.height}x{worst.width}), "
            f"more than the {LARGEST:g} that a float export may"
        )
    if share > CHANGED:
        return f"{share:.2g} of the pixels have another class, more than the {CHANGED:g} that a float export may change"
    return ""


def _shape(masks: Array) -> tuple[int, int, int]:
    return masks.shape[0], masks.shape[1], masks.shape[2]


SECONDS = 10.0
FEWEST, MOST = 7, 50


@dataclass(frozen=True)
class Latency:
    """Median and 95th percentile (ms per image) over a number of rounds."""

    median: float
    p95: float
    rounds: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def time_alternately(calls: Sequence[Callable[[], object]], seconds: float = SECONDS) -> list[Latency]:
    """Time the calls alternately for about `seconds` in total, at least `FEWEST` and at most `MOST` rounds."""
    taken: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for call in calls:  # warm-up: libraries select algorithms during the first calls
            call()
            call()
        start = time.perf_counter()
        while len(taken[0]) < FEWEST or (len(taken[0]) < MOST and time.perf_counter() - start < seconds):
            for call, times in zip(calls, taken, strict=True):
                begun = time.perf_counter()
                call()
                times.append(1e3 * (time.perf_counter() - begun))
    return [Latency(float(np.median(times)), float(np.percentile(times, 95)), len(times)) for times in taken]
