"""Scoring a segmenter on a set of cases: one prediction after the other, counts first."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import nn

from segexp.data.dataset import Prepared
from segexp.data.labels.modes import LabelMode
from segexp.inference.postprocessing import Postprocessing
from segexp.metrics.calibration import Calibration, Reliability, pooled
from segexp.metrics.measures import Measure
from segexp.types import DataSpec


class Scorable(Protocol):
    """What can be scored: a segmenter, or an ensemble of them."""

    spec: DataSpec
    network: nn.Module
    postprocessing: Postprocessing

    @property
    def label_mode(self) -> LabelMode:
        """What logits and masks mean."""

    def logits(self, image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return logits (K, H, W) of one prepared image at its own size."""

    def decide(self, logits: torch.Tensor) -> np.ndarray:
        """Return the mask (H, W) uint8 that logits mean."""


@dataclass(frozen=True)
class Scored:
    """What was found.

    Attributes:
        confusions: one confusion matrix per case, (N, K, K) int64, see `segexp.metrics.confusion`.
        kept: the wanted predictions (H, W) uint8 by position.
        columns: what the measures gave, (N, K - 1) float64 by column, NaN where not defined.
        reliability: the calibration counts of all cases together; None unless calibration is among the measures.
    """

    confusions: np.ndarray
    kept: dict[int, np.ndarray] = field(default_factory=dict)
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    reliability: Reliability | None = None


def score(
    segmenter: Scorable,
    cases: Prepared,
    keep: Collection[int] = (),
    done: Callable[[int], None] = lambda _: None,
    measures: Sequence[Measure] = (),
) -> Scored:
    """Score every case at its own size.

    Args:
        segmenter: what predicts.
        cases: N prepared cases with their truth.
        keep: positions whose predictions are returned.
        done: told each position when it is finished.
        measures: of each case, beside the counts.
    """
    k, labelling = segmenter.spec.num_classes, segmenter.label_mode
    matrices, kept = np.zeros((len(cases), k, k), np.int64), {}
    columns = {column: np.full((len(cases), k - 1), np.nan) for measure in measures for column in measure.columns}
    bins = next((measure.bins for measure in measures if isinstance(measure, Calibration)), None)
    asked = any(measure.needs_probabilities for measure in measures)
    counts: list[Reliability] = []
    segmenter.network.eval()
    for position in range(len(cases)):
        sample = cases[position]
        probabilities = labelling.probabilities_(segmenter.logits(sample.image, (sample.mask.shape[0], sample.mask.shape[1])))
        prediction = labelling.decide(probabilities, segmenter.postprocessing)
        matrices[position] = labelling.confusion(torch.from_numpy(prediction), sample.mask, k).numpy()
        truth, chance = sample.mask.numpy(), probabilities.cpu().numpy() if asked else None
        for measure in measures:
            found = labelling.measured(measure, truth, prediction, chance, k, cases.spacing(position))
            for column, values in found.items():
                columns[column][position] = values
        if bins is not None and chance is not None:
            counts.append(labelling.reliability(truth, chance, bins))
        if position in keep:
            kept[position] = prediction
        done(position)
    return Scored(matrices, kept, columns, pooled(counts) if counts else None)
