"""What classes that exclude each other and classes that may overlap do not share: from logits to a decision, and its counts.

With exclusive classes a pixel has one class and a mask (H, W) holds its index. With overlapping ones a pixel has a set of
them, a mask holds bit sets (bit k - 1 for class k), and each foreground class is a question of its own: is it here, against
the background's logit? Both masks are uint8, 0 is the background and 255 ignored.

Legend: K classes (0 is the background), H W pixels.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from segexp.metrics.calibration import Reliability, reliability
from segexp.metrics.measures import Measure
from segexp.types import IGNORE, DataSpec

Array = np.ndarray[Any, np.dtype[Any]]

MAX_LABELS = 7
"""Foreground classes that a byte holds: with eight of them, all together would be 255."""


def has_label(mask: Array, k: int) -> Array:
    """Return where (H, W) bool class k, 1 or more, is in a mask of bit sets."""
    found: Array = (mask & np.uint8(1 << (k - 1)) != 0) & (mask != IGNORE)
    return found


def label_layer(mask: Array, k: int) -> Array:
    """Return class k of a mask of bit sets as a mask of two classes: (H, W) uint8, 0 or 1, 255 = ignore."""
    found: Array = (mask >> np.uint8(k - 1)) & np.uint8(1)
    found[mask == IGNORE] = IGNORE
    return found


def join_layers(layers: Sequence[Array]) -> Array:
    """Return the mask of bit sets of one mask of two classes per foreground class, in their order; what one ignores, all do.

    Args:
        layers: K - 1 masks (H, W) uint8, 0 or 1, 255 = ignore.
    """
    out = np.zeros(layers[0].shape, np.uint8)
    for k, each in enumerate(layers, start=1):
        out |= np.where(each == 1, np.uint8(1 << (k - 1)), np.uint8(0))
    for each in layers:
        out[each == IGNORE] = IGNORE
    return out


def count_labels(mask: Array, classes: int) -> Array:
    """Return how many pixels (K,) int64 have each class; the first entry counts those that have none."""
    counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)[: 1 << MAX_LABELS]
    found, sets = np.zeros(classes, np.int64), np.arange(len(counts))
    found[0] = counts[0]
    for k in range(1, min(classes, MAX_LABELS + 1)):
        found[k] = counts[sets >> (k - 1) & 1 == 1].sum()
    return found


Spacing = tuple[float, float]

STRIP = 1 << 20
"""Values that are worked on at once where a map is changed strip by strip."""


def softmax_(logits: torch.Tensor) -> torch.Tensor:
    """Turn logits (K, H, W) into probabilities, in place; returns them."""
    for rows in strips(logits):
        logits[:, rows] = logits[:, rows].softmax(dim=0)
    return logits


def strips(of: torch.Tensor) -> Iterator[slice]:
    """Yield the rows of a map (K, H, W) in strips of about `STRIP` values."""
    step = max(1, STRIP // (of.shape[0] * of.shape[2]))
    for top in range(0, of.shape[1], step):
        yield slice(top, top + step)


class DecisionRule(Protocol):
    """What makes a mask of probabilities: a `Postprocessing`."""

    def check(self, classes: int) -> None:
        """Refuse to decide between K classes where the rule cannot."""

    def apply(self, probabilities: torch.Tensor) -> Array:
        """Return the mask (H, W) uint8 that probabilities (K, H, W) mean."""


class LabelMode(Protocol):
    """The meaning of logits and masks."""

    def probabilities_(self, logits: torch.Tensor) -> torch.Tensor:
        """Turn logits (K, H, W) into probabilities, in place; returns them. The first is that no class is there."""

    def scores(self, logits: torch.Tensor, k: int) -> torch.Tensor:
        """Return how much logits (B, K, h, w) speak for class k, (B, h, w), before any softmax or sigmoid."""

    def check(self, rule: DecisionRule, classes: int) -> None:
        """Refuse a post-processing that K classes cannot have.

        Raises:
            ConfigError: naming both.
        """

    def decide(self, probabilities: torch.Tensor, rule: DecisionRule) -> Array:
        """Return the mask (H, W) uint8 that probabilities (K, H, W) mean: the one decision there is."""

    def questions(self, mask: Array, classes: int) -> Iterator[tuple[list[int], Array]]:
        """Yield the decisions that are made of K classes: the classes that exclude each other, and the mask of them."""

    def chances(self, probabilities: torch.Tensor, own: Sequence[int]) -> torch.Tensor:
        """Return the probabilities, summing to 1, of the classes of one question."""

    def has(self, mask: Array, k: int) -> Array:
        """Return where (H, W) bool class k is in a mask."""

    def pixels(self, mask: Array, classes: int) -> Array:
        """Return how many pixels (K,) int64 have each class; those with none are the first entry's."""

    def confusion(self, prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
        """Return the counts (K, K) of one case, see `segexp.metrics.confusion`."""

    def measured(
        self,
        measure: Measure,
        truth: Array,
        prediction: Array,
        probabilities: Array | None,
        classes: int,
        spacing: Spacing | None,
    ) -> Mapping[str, Sequence[float]]:
        """Return what a measure gives for one case, K - 1 values by column; the arguments are those of a measure."""

    def reliability(self, truth: Array, probabilities: Array, bins: int) -> Reliability:
        """Return the calibration counts of one case."""

    def entropy(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return the entropy (H, W) of probabilities (K, H, W), 0 where all is certain and 1 where nothing is."""


class Multiclass:
    """One class per pixel: softmax, and the most probable class."""

    def probabilities_(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the softmax, in place."""
        return softmax_(logits)

    def scores(self, logits: torch.Tensor, k: int) -> torch.Tensor:
        """Return the logit of the class."""
        return logits[:, k]

    def check(self, rule: DecisionRule, classes: int) -> None:
        """Refuse a threshold for other than two classes."""
        rule.check(classes)

    def decide(self, probabilities: torch.Tensor, rule: DecisionRule) -> Array:
        """Return class indices (H, W)."""
        return rule.apply(probabilities)

    def questions(self, mask: Array, classes: int) -> Iterator[tuple[list[int], Array]]:
        """Yield all classes and the mask itself."""
        yield list(range(classes)), mask

    def chances(self, probabilities: torch.Tensor, own: Sequence[int]) -> torch.Tensor:
        """Return the probabilities themselves."""
        return probabilities

    def has(self, mask: Array, k: int) -> Array:
        """Return where the index is k."""
        found: Array = mask == k
        return found

    def pixels(self, mask: Array, classes: int) -> Array:
        """Return how often each index occurs."""
        return np.bincount(mask.ravel(), minlength=IGNORE + 1)[:classes]

    def confusion(self, prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
        """Return which class was taken for which."""
        from segexp.metrics.confusion import confusion  # torchmetrics brings matplotlib

        return confusion(prediction, truth, classes)

    def measured(
        self,
        measure: Measure,
        truth: Array,
        prediction: Array,
        probabilities: Array | None,
        classes: int,
        spacing: Spacing | None,
    ) -> Mapping[str, Sequence[float]]:
        """Return what the measure itself gives."""
        return measure(truth, prediction, probabilities, classes, spacing)

    def reliability(self, truth: Array, probabilities: Array, bins: int) -> Reliability:
        """Return the counts of each class against the rest."""
        return reliability(truth, probabilities, bins)

    def entropy(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return the entropy over log K."""
        entropy: torch.Tensor = torch.special.entr(probabilities).sum(dim=0)
        return entropy.div_(math.log(probabilities.shape[0]))


class Multilabel:
    """A set of classes per pixel: the probability of class k is sigmoid(logit_k - logit_0), whatever the others have."""

    def probabilities_(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the sigmoids, in place; that no class is there is as probable as the most probable one is not."""
        for rows in strips(logits):
            part = logits[:, rows]
            part[1:] = (part[1:] - part[:1]).sigmoid()
            part[0] = 1 - part[1:].amax(dim=0)
        return logits

    def scores(self, logits: torch.Tensor, k: int) -> torch.Tensor:
        """Return what the sigmoid is taken of: the logit of the class above that of the background."""
        return logits[:, k] - logits[:, 0]

    def check(self, rule: DecisionRule, classes: int) -> None:
        """Accept everything: each class is there or not, so a threshold works for any number of them."""
        rule.check(2)

    def decide(self, probabilities: torch.Tensor, rule: DecisionRule) -> Array:
        """Return bit sets (H, W); the rule is applied to each foreground class by itself."""
        return join_layers([rule.apply(self.chances(probabilities, (0, k))) for k in range(1, len(probabilities))])

    def questions(self, mask: Array, classes: int) -> Iterator[tuple[list[int], Array]]:
        """Yield each foreground class and its absence, and where it is, 0 or 1, 255 = ignore."""
        for k in range(1, classes):
            yield [0, k], label_layer(mask, k)

    def chances(self, probabilities: torch.Tensor, own: Sequence[int]) -> torch.Tensor:
        """Return the probabilities (2, H, W) that a class is not and is there."""
        present = probabilities[own[1]]
        return torch.stack([1 - present, present])

    def has(self, mask: Array, k: int) -> Array:
        """Return where bit k - 1 is set."""
        return has_label(mask, k)

    def pixels(self, mask: Array, classes: int) -> Array:
        """Return how many pixels have each class."""
        return count_labels(mask, classes)

    def confusion(self, prediction: torch.Tensor, truth: torch.Tensor, classes: int) -> torch.Tensor:
        """Return the counts of each class against its absence."""
        from segexp.metrics.confusion import overlapping_confusion  # torchmetrics brings matplotlib

        return overlapping_confusion(prediction, truth, classes)

    def measured(
        self,
        measure: Measure,
        truth: Array,
        prediction: Array,
        probabilities: Array | None,
        classes: int,
        spacing: Spacing | None,
    ) -> Mapping[str, Sequence[float]]:
        """Return what the measure gives for each class in a mask of its own, in which there is nothing but class k."""
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
            for (_, k), real in self.questions(truth, len(probabilities))
        ]
        return Reliability(
            *(np.concatenate([getattr(one, name) for one in each]) for name in ("pixels", "confidence", "hits", "squares"))
        )

    def entropy(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Return the mean over the foreground classes of the entropy of each, over log 2."""
        chance = probabilities[1:]
        both: torch.Tensor = torch.special.entr(chance) + torch.special.entr(1 - chance)
        return both.mean(dim=0).div_(math.log(2))


MULTICLASS, MULTILABEL = Multiclass(), Multilabel()


def label_mode(spec: DataSpec) -> LabelMode:
    """Return what the masks and logits of these data mean."""
    return MULTILABEL if spec.overlapping else MULTICLASS
