"""Multiclass and multilabel modes: from logits to decisions and counts.

A multiclass mask (H, W) holds one class index per pixel. Its first class is the background, except in the mode `AllClasses`. A
multilabel mask holds bit sets (bit k - 1 for class k), and each foreground class is decided on its own against the background
logit. All are uint8 with 255 = ignore.

Legend: K classes, H W pixels.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np
import torch

from segexp.errors import ConfigError
from segexp.metrics.calibration import Reliability, reliability
from segexp.metrics.measures import Measure
from segexp.types import IGNORE, DataSpec

Array = np.ndarray[Any, np.dtype[Any]]

MAX_LABELS = 7
"""Maximum number of overlapping foreground classes: the bit set of eight would be 255."""


def has_label(mask: Array, k: int) -> Array:
    """Return where (H, W) bool class k >= 1 is set in a bit-set mask."""
    found: Array = (mask & np.uint8(1 << (k - 1)) != 0) & (mask != IGNORE)
    return found


def label_layer(mask: Array, k: int) -> Array:
    """Return class k of a bit-set mask as a binary mask (H, W) uint8, 255 = ignore."""
    found: Array = (mask >> np.uint8(k - 1)) & np.uint8(1)
    found[mask == IGNORE] = IGNORE
    return found


def join_layers(layers: Sequence[Array]) -> Array:
    """Combine K - 1 binary masks (H, W) uint8 to a bit-set mask; a pixel ignored in any of them is ignored."""
    out = np.zeros(layers[0].shape, np.uint8)
    for k, each in enumerate(layers, start=1):
        out |= np.where(each == 1, np.uint8(1 << (k - 1)), np.uint8(0))
    for each in layers:
        out[each == IGNORE] = IGNORE
    return out


def histogram(values: Array) -> Array:
    """Return the number (256,) int64 of each value of a uint8 array, as `np.bincount` does in twice the time."""
    if values.dtype != np.uint8 or not 0 < values.size < 1 << 24:  # OpenCV counts in float32, exact below 2^24
        return np.bincount(values.ravel(), minlength=IGNORE + 1)
    flat = np.ascontiguousarray(values).reshape(-1, 1)
    return np.asarray(cv2.calcHist([flat], [0], None, [IGNORE + 1], [0, IGNORE + 1])).ravel().astype(np.int64)


def count_labels(mask: Array, classes: int) -> Array:
    """Return the pixels (K,) int64 per class; the first entry counts pixels without any class."""
    counts = histogram(mask)[: 1 << MAX_LABELS]
    found, sets = np.zeros(classes, np.int64), np.arange(len(counts))
    found[0] = counts[0]
    for k in range(1, min(classes, MAX_LABELS + 1)):
        found[k] = counts[sets >> (k - 1) & 1 == 1].sum()
    return found


Spacing = tuple[float, float]

STRIP = 1 << 20
"""Values processed at once."""


def softmax_(logits: torch.Tensor) -> torch.Tensor:
    """Turn logits (K, H, W) into probabilities, in place."""
    for rows in row_slices(logits):
        logits[:, rows] = logits[:, rows].softmax(dim=0)
    return logits


def row_slices(of: torch.Tensor) -> Iterator[slice]:
    """Yield slices of the rows of a map (K, H, W) with about `STRIP` values each."""
    step = max(1, STRIP // (of.shape[0] * of.shape[2]))
    for top in range(0, of.shape[1], step):
        yield slice(top, top + step)


class DecisionRule(Protocol):
    """Turns probabilities into a mask, see `Postprocessing`."""

    @property
    def needs_background(self) -> bool:
        """Whether it turns pixels into background, or background into a class."""

    def check(self, classes: int) -> None:
        """Refuse an unsupported number of classes."""

    def apply(self, probabilities: torch.Tensor) -> Array:
        """Return the mask (H, W) uint8 of probabilities (K, H, W)."""


class LabelMode:
    """Meaning of logits and masks: here one class per pixel (softmax and argmax); base class of the other modes."""

    first: ClassVar[int] = 1
    """Index of the first class that counts in means; the ones before it are the background."""

    def probabilities_(self, logits: torch.Tensor) -> torch.Tensor:
        """Turn logits (K, H, W) into probabilities, in place; the first one is that of the background."""
        return softmax_(logits)

    def scores(self, logits: torch.Tensor, k: int) -> torch.Tensor:
        """Return the score of class k from logits (B, K, h, w), (B, h, w), before softmax or sigmoid."""
        return logits[:, k]

    def check(self, rule: DecisionRule, classes: int) -> None:
        """Refuse a post-processing that does not support K classes.

        Raises:
            ConfigError: names both.
        """
        rule.check(classes)

    def decide(self, probabilities: torch.Tensor, rule: DecisionRule) -> Array:
        """Return the mask (H, W) uint8 of probabilities (K, H, W)."""
        return rule.apply(probabilities)

    def decisions(self, mask: Array, classes: int) -> Iterator[tuple[list[int], Array]]:
        """Yield the independent decisions among K classes: the exclusive class indices and the mask of them."""
        yield list(range(classes)), mask

    def decision_probabilities(self, probabilities: torch.Tensor, own: Sequence[int]) -> torch.Tensor:
        """Return the probabilities, summing to 1, of the classes of one decision."""
        return probabilities

    def has(self, mask: Array, k: int) -> Array:
        """Return where (H, W) bool class k is in a mask."""
        found: Array = mask == k
        return found

    def pixels(self, mask: Array, classes: int) -> Array:
        """Return the pixels (K,) int64 per class; the first entry counts pixels without any."""
        return histogram(mask)[:classes]

    def present(self, mask: Array) -> Array:
        """Return the indices of the counted classes that occur in a mask."""
        return np.flatnonzero(self.pixels(mask, IGNORE)[self.first :]) + self.first

    def confusion(self, prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
        """Return the counts (K, K) of one case, see `segexp.metrics.confusion`."""
        from segexp.metrics.confusion import confusion  # lazy: torchmetrics imports matplotlib

        return confusion(prediction, truth, classes)

    def measure_case(
        self,
        measure: Measure,
        truth: Array,
        prediction: Array,
        probabilities: Array | None,
        classes: int,
        spacing: Spacing | None,
    ) -> Mapping[str, Sequence[float]]:
        """Return a value per counted class and column of a measure for one case."""
        return measure(truth, prediction, probabilities, classes, spacing)

    def reliability(self, truth: Array, probabilities: Array, bins: int) -> Reliability:
        """Return the calibration counts of one case."""
        return reliability(truth, probabilities, bins)

    def entropy(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return the normalised entropy (H, W) of probabilities (K, H, W), from 0 (certain) to 1."""
        entropy: torch.Tensor = torch.special.entr(probabilities).sum(dim=0)
        return entropy.div_(math.log(probabilities.shape[0]))


class AllClasses(LabelMode):
    """One class per pixel, and none of them is the background: every class counts.

    What is scored class by class, without the first one, sees the K classes behind an empty background.
    """

    first: ClassVar[int] = 0

    def check(self, rule: DecisionRule, classes: int) -> None:
        """Refuse a post-processing for which there must be a background.

        Raises:
            ConfigError: names its steps.
        """
        rule.check(classes)
        if rule.needs_background:
            raise ConfigError(
                f"The post-processing is {rule}, and no class is the background (data.background=null)",
                "What is dropped becomes background, and holes are filled where background is",
                "Type postprocess=none, or name the background: data.background=CLASS",
            )

    def decide(self, probabilities: torch.Tensor, rule: DecisionRule) -> Array:
        """Return the mask (H, W) uint8 of probabilities (K, H, W)."""
        self.check(rule, len(probabilities))
        return rule.apply(probabilities)

    def measure_case(
        self,
        measure: Measure,
        truth: Array,
        prediction: Array,
        probabilities: Array | None,
        classes: int,
        spacing: Spacing | None,
    ) -> Mapping[str, Sequence[float]]:
        """Return the K values per column of a measure for one case."""
        chance = None if probabilities is None else _behind_background(probabilities)
        return measure(shift_classes(truth), shift_classes(prediction), chance, classes + 1, spacing)

    def reliability(self, truth: Array, probabilities: Array, bins: int) -> Reliability:
        """Return the calibration counts of one case."""
        return reliability(shift_classes(truth), _behind_background(probabilities), bins)


def shift_classes(mask: Array) -> Array:
    """Return a mask in which the classes 0 to K - 1 are 1 to K, so that none of them is the background."""
    return np.where(mask == IGNORE, np.uint8(IGNORE), mask + np.uint8(1))


def _behind_background(probabilities: Array) -> Array:
    """Return probabilities (K, H, W) as (K + 1, H, W): the first class has none."""
    return np.concatenate([np.zeros_like(probabilities[:1]), probabilities])


class Multilabel(LabelMode):
    """A set of classes per pixel: the probability of class k is sigmoid(logit_k - logit_0)."""

    def probabilities_(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the sigmoids, in place; that of the background is 1 minus the largest one."""
        for rows in row_slices(logits):
            part = logits[:, rows]
            part[1:] = (part[1:] - part[:1]).sigmoid()
            part[0] = 1 - part[1:].amax(dim=0)
        return logits

    def scores(self, logits: torch.Tensor, k: int) -> torch.Tensor:
        """Return the logit of the class minus that of the background."""
        return logits[:, k] - logits[:, 0]

    def check(self, rule: DecisionRule, classes: int) -> None:
        """Accept any number of classes: each decision is binary."""
        rule.check(2)

    def decide(self, probabilities: torch.Tensor, rule: DecisionRule) -> Array:
        """Return bit sets (H, W); the rule is applied to each foreground class."""
        return join_layers(
            [rule.apply(self.decision_probabilities(probabilities, (0, k))) for k in range(1, len(probabilities))]
        )

    def decisions(self, mask: Array, classes: int) -> Iterator[tuple[list[int], Array]]:
        """Yield each foreground class against its absence, with its binary mask, 255 = ignore."""
        for k in range(1, classes):
            yield [0, k], label_layer(mask, k)

    def decision_probabilities(self, probabilities: torch.Tensor, own: Sequence[int]) -> torch.Tensor:
        """Return the probabilities (2, H, W) of absence and presence of a class."""
        present = probabilities[own[1]]
        return torch.stack([1 - present, present])

    def has(self, mask: Array, k: int) -> Array:
        """Return where bit k - 1 is set."""
        return has_label(mask, k)

    def pixels(self, mask: Array, classes: int) -> Array:
        """Return the pixels per class."""
        return count_labels(mask, classes)

    def confusion(self, prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
        """Return the counts of each class against its absence."""
        from segexp.metrics.confusion import overlapping_confusion  # lazy: torchmetrics imports matplotlib

        return overlapping_confusion(prediction, truth, classes)

    def measure_case(
        self,
        measure: Measure,
        truth: Array,
        prediction: Array,
        probabilities: Array | None,
        classes: int,
        spacing: Spacing | None,
    ) -> Mapping[str, Sequence[float]]:
        """Return the values of the measure for each class in a mask of its own."""
        columns: dict[str, list[float]] = {column: [] for column in measure.columns}
        for k in range(1, classes):
            real, guess = (np.where(has_label(mask, k), np.uint8(k), np.uint8(0)) for mask in (truth, prediction))
            real[truth == IGNORE] = IGNORE
            chance = None
            if probabilities is not None and measure.needs_probabilities:
                chance = np.zeros_like(probabilities)
                chance[0], chance[k] = 1 - probabilities[k], probabilities[k]
            found = measure(real, guess, chance, classes, spacing)
            for column, values in columns.items():
                values.append(float(found[column][k - 1]))
        return columns

    def reliability(self, truth: Array, probabilities: Array, bins: int) -> Reliability:
        """Return the counts of each class against its absence."""
        each = [
            reliability(real, np.stack([1 - probabilities[k], probabilities[k]]), bins)
            for (_, k), real in self.decisions(truth, len(probabilities))
        ]
        return Reliability(
            *(np.concatenate([getattr(one, name) for one in each]) for name in ("pixels", "confidence", "hits", "squares"))
        )

    def entropy(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return the mean binary entropy of the foreground classes, over log 2."""
        chance = probabilities[1:]
        both: torch.Tensor = torch.special.entr(chance) + torch.special.entr(1 - chance)
        return both.mean(dim=0).div_(math.log(2))


MULTICLASS, ALL_CLASSES, MULTILABEL = LabelMode(), AllClasses(), Multilabel()


def label_mode(spec: DataSpec) -> LabelMode:
    """Return the label mode of a data specification."""
    if spec.overlapping:
        return MULTILABEL
    return MULTICLASS if spec.background else ALL_CLASSES
