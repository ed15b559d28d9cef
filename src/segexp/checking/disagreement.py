"""How far the mask of a case and what a network that never saw it says of it are apart, as a sign of a wrong mask.

Legend: K classes, H W pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from segexp.labelling import Labelling
from segexp.types import IGNORE, Case

Array = np.ndarray[Any, np.dtype[Any]]

SLACK = 1e-3
"""Share of the pixels that may be of a class without a word: a mask without it is not wrong for a few doubtful pixels."""


@dataclass(frozen=True)
class Disagreement:
    """One case.

    Attributes:
        case: the case.
        quality: of its mask: the mean of `class_qualities` over the classes that are in the mask or in the prediction, over all
            where none is; NaN where all of the mask is ignored.
        dice: of the mask and the prediction, mean over the classes that are in either; 1 where neither has any.
        only_given: pixels with a class in the mask and the background in the prediction.
        only_predicted: pixels with the background in the mask and a class in the prediction.
    """

    case: Case
    quality: float
    dice: float
    only_given: int
    only_predicted: int


def disagreement(case: Case, mask: Array, probabilities: torch.Tensor, prediction: Array, labelling: Labelling) -> Disagreement:
    """Compare a mask with what was predicted out of fold.

    Args:
        case: the case.
        mask: (H, W) uint8 as the labelling has it, 255 = ignore.
        probabilities: (K, H, W) float32 of a network that was not trained on the case.
        prediction: (H, W) uint8, the mask that these mean.
        labelling: what masks and probabilities mean.
    """
    counts = labelling.confusion(torch.from_numpy(prediction), torch.from_numpy(mask), len(probabilities)).numpy()
    hits, sizes = counts.diagonal()[1:], (counts.sum(axis=0) + counts.sum(axis=1))[1:]
    dice = float((2 * hits[sizes > 0] / sizes[sizes > 0]).mean()) if sizes.any() else 1.0
    each = class_qualities(probabilities, mask, prediction, labelling)
    quality = float(each[sizes > 0].mean() if sizes.any() else each.mean())
    return Disagreement(case, quality, dice, int(counts[1:, 0].sum()), int(counts[0, 1:].sum()))


def class_qualities(probabilities: torch.Tensor, mask: Array, prediction: Array, labelling: Labelling) -> Array:
    """Return for each of the K - 1 foreground classes how well the mask agrees with the probabilities, from 0 to 1.

    The soft Dice of mask and probabilities (Milletari et al., "V-Net", 2016, arXiv:1606.04797, with p itself in the place of
    its square) over that of the network's own mask: what the network doubts counts little, and a network that is sure of
    nothing does not make every mask suspicious, as each class has its own threshold in confident learning (Northcutt et al.,
    2021, arXiv:1911.00068). The soft minimum over pixels of Lad and Mueller (2023, arXiv:2307.05080) was tried as well: it
    looks at the worst pixels wherever they are and finds the eroded mask of a small object late, among borders of large ones.

    Args:
        probabilities: (K, H, W) float32.
        mask: (H, W) uint8 as the labelling has it, 255 = ignore; NaN is returned where all of it is.
        prediction: (H, W) uint8, the mask that the probabilities mean.
        labelling: what they mean.
    """
    found = []
    asked = zip(labelling.questions(mask, len(probabilities)), labelling.questions(prediction, len(probabilities)), strict=True)
    for (own, answer), (_, guess) in asked:
        chances, known = labelling.chances(probabilities, own).numpy(), answer != IGNORE
        for k in range(1, len(own)):
            chance = chances[k][known].astype(np.float64)
            best = _soft_dice((guess == k)[known], chance)
            found.append(min(1.0, _soft_dice((answer == k)[known], chance) / best) if best else np.nan)
    return np.array(found)


def _soft_dice(inside: Array, chance: Array) -> float:
    slack = SLACK * chance.size
    total = chance.sum() + np.count_nonzero(inside) + slack
    return float((2 * chance[inside].sum() + slack) / total) if total else 0.0


def ranked(found: Iterable[Disagreement]) -> list[Disagreement]:
    """Return the cases whose masks are the most doubtful first; those without a known pixel last."""
    return sorted(found, key=lambda each: (np.isnan(each.quality), each.quality, each.dice, each.case.id))
