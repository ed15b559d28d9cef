"""Score a model on a set of cases."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import nn

from segexp.data.dataset import ScoringCases
from segexp.data.labels.modes import LabelMode
from segexp.inference.postprocessing import Postprocessing
from segexp.inference.segmenter import NotFiniteError, not_finite, require_finite
from segexp.metrics.calibration import Calibration, Reliability, pool_reliability
from segexp.metrics.measures import Measure
from segexp.types import DataSpec


class Scorable(Protocol):
    """A model that can be scored: a segmenter or an ensemble."""

    spec: DataSpec
    network: nn.Module
    postprocessing: Postprocessing

    @property
    def label_mode(self) -> LabelMode:
        """Label mode of logits and masks."""

    def logits(self, image: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Return logits (K, H, W) of one prepared image at original size."""

    def decide(self, logits: torch.Tensor) -> np.ndarray:
        """Return the mask (H, W) uint8 of logits."""


@dataclass(frozen=True)
class ScoringResult:
    """Result of scoring N cases.

    Attributes:
        confusions: one confusion matrix per case, (N, K, K) int64, see `segexp.metrics.confusion`.
        kept: requested predictions (H, W) uint8 by position.
        columns: values of the measures, (N, F) float64 by column, of the F classes that count, NaN where not defined.
        reliability: pooled calibration counts; None unless calibration is measured.
    """

    confusions: np.ndarray
    kept: dict[int, np.ndarray] = field(default_factory=dict)
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    reliability: Reliability | None = None


def score_cases(
    segmenter: Scorable,
    cases: ScoringCases,
    keep: Collection[int] = (),
    done: Callable[[int], None] = lambda _: None,
    measures: Sequence[Measure] = (),
    names: Sequence[object] = (),
) -> ScoringResult:
    """Score every case at original size.

    Args:
        segmenter: the model.
        cases: N prepared cases with masks.
        keep: positions whose predictions are returned.
        done: called with the position of each finished case.
        measures: additional measures per case.
        names: of the cases, for messages.

    Raises:
        DataError: the model's values for a case are not finite.
    """
    k, labelling = segmenter.spec.num_classes, segmenter.label_mode
    matrices, kept = np.zeros((len(cases), k, k), np.int64), {}
    width = len(segmenter.spec.foreground)
    columns = {column: np.full((len(cases), width), np.nan) for measure in measures for column in measure.columns}
    bins = next((measure.bins for measure in measures if isinstance(measure, Calibration)), None)
    asked = any(measure.needs_probabilities for measure in measures)
    counts: list[Reliability] = []
    segmenter.network.eval()
    for position in range(len(cases)):
        try:
            sample = cases[position]
            logits = segmenter.logits(sample.image, (sample.mask.shape[0], sample.mask.shape[1]))
            probabilities = require_finite(labelling.probabilities_(logits))
        except NotFiniteError:
            raise not_finite(names[position] if names else f"image {position + 1} of {len(cases)}") from None
        prediction = labelling.decide(probabilities, segmenter.postprocessing)
        matrices[position] = labelling.confusion(torch.from_numpy(prediction), sample.mask, k).numpy()
        truth, chance = sample.mask.numpy(), probabilities.cpu().numpy() if asked else None
        for measure in measures:
            found = labelling.measure_case(measure, truth, prediction, chance, k, cases.spacing(position))
            for column, values in found.items():
                columns[column][position] = values
        if bins is not None and chance is not None:
            counts.append(labelling.reliability(truth, chance, bins))
        if position in keep:
            kept[position] = prediction
        done(position)
    return ScoringResult(matrices, kept, columns, pool_reliability(counts) if counts else None)
