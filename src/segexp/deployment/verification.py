"""Does an exported file give what the network gives? Both see the same pictures, at several sizes, alone and in a batch.

Legend: B batch, C channels, K classes, H W pixels.
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

BATCHES = (1, 3)
LARGEST, CHANGED = 1e-4, 1e-5
"""What a float export may differ by: in a probability, and in the share of pixels that have another class."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Agreement:
    """How far two networks are apart on one batch.

    Attributes:
        batch: B.
        height: H.
        width: W.
        largest: difference of two probabilities of the same class at the same pixel, infinite where one is no number; NaN
            where classes alone are compared.
        changed: pixels with another class.
        pixels: of the whole batch.
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
    """Return three sizes (H, W): about the given one, an odd one below it, and one larger than it.

    Args:
        size: that the network was trained at.
        step: the first and the last are multiples of it.
    """
    even = tuple(max(2 * step, side // step * step) for side in size)
    odd = tuple(max(step + 1, side * 3 // 4 | 1) for side in size)
    larger = tuple((side + side // 4) // step * step + step for side in even)
    return [(even[0], even[1]), (odd[0], odd[1]), (larger[0], larger[1])]


def batch_of(images: Sequence[Array], count: int, height: int, width: int) -> Array:
    """Return `count` pictures (B, height, width, C) made of images (H, W, C): cut, or mirrored to be large enough."""
    return np.stack([_fitted(images[n % len(images)], height, width) for n in range(count)])


def _fitted(image: Array, height: int, width: int) -> Array:
    for axis, length in ((0, height), (1, width)):
        have = image.shape[axis]
        start = max(0, (have - length) // 2)
        at = np.arange(start, start + length)
        period = 2 * max(1, have - 1)
        image = image.take((have - 1) - abs(at % period - (have - 1)), axis=axis)
    return image


def compared(expected: Tensor, found: Tensor, labelling: LabelMode) -> Agreement:
    """Compare probabilities (B, K, H, W) of two networks, the decisions between classes too."""
    one, other = (decisions(each, labelling) for each in (expected, found))
    apart = (expected - found).abs().nan_to_num(nan=float("inf"))
    return Agreement(*_shape(one), float(apart.max()), int((one != other).sum()), one.size)


def compared_classes(expected: Array, found: Array) -> Agreement:
    """Compare classes (B, H, W) alone."""
    return Agreement(*_shape(expected), float("nan"), int((expected != found).sum()), expected.size)


def decisions(probabilities: Tensor, labelling: LabelMode) -> Array:
    """Return the most probable class (B, H, W) of each pixel; of overlapping labels, bit sets."""
    return np.stack([labelling.decide(each, Postprocessing()) for each in probabilities])


def agreements(sizes: Sequence[tuple[int, int]], both: Callable[[int, int, int], Agreement]) -> list[Agreement]:
    """Return what `both` finds for each size with each number of images."""
    with torch.inference_mode():
        return [both(batch, height, width) for height, width in sizes for batch in BATCHES]


def disagreement(found: Sequence[Agreement]) -> str:
    """Return what is wrong about a float export, empty where nothing is."""
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
    """Milliseconds of one image.

    Attributes:
        median: of the rounds.
        p95: 95th percentile.
        rounds: how often it was timed.
    """

    median: float
    p95: float
    rounds: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def take_turns(calls: Sequence[Callable[[], object]], seconds: float = SECONDS) -> list[Latency]:
    """Time calls in turns, for about so many seconds altogether, at least `FEWEST` and at most `MOST` times each."""
    taken: list[list[float]] = [[] for _ in calls]
    with torch.inference_mode():
        for call in calls:  # libraries choose their ways at the first calls
            call()
            call()
        start = time.perf_counter()
        while len(taken[0]) < FEWEST or (len(taken[0]) < MOST and time.perf_counter() - start < seconds):
            for call, times in zip(calls, taken, strict=True):
                begun = time.perf_counter()
                call()
                times.append(1e3 * (time.perf_counter() - begun))
    return [Latency(float(np.median(times)), float(np.percentile(times, 95)), len(times)) for times in taken]
