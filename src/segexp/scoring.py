"""Scoring a segmenter on a set of cases: one prediction after the other, counts first."""

from collections.abc import Callable, Collection

import numpy as np
import torch

from segexp.data.dataset import ScoringSet
from segexp.metrics.counts import confusion
from segexp.segmenter import Segmenter


def score(
    segmenter: Segmenter, cases: ScoringSet, keep: Collection[int] = (), done: Callable[[int], None] = lambda _: None
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Score every case at its own size.

    Args:
        segmenter: what predicts.
        cases: N prepared cases with their truth.
        keep: positions whose predictions are returned.
        done: told each position when it is finished.

    Returns:
        One confusion matrix per case, (N, K, K) int64, and the kept predictions (H, W) uint8 by position.
    """
    k = segmenter.spec.num_classes
    matrices, kept = np.zeros((len(cases), k, k), np.int64), {}
    segmenter.network.eval()
    for position in range(len(cases)):
        sample = cases[position]
        prediction = segmenter.decide(segmenter.logits(sample.image, (sample.mask.shape[0], sample.mask.shape[1])))
        matrices[position] = confusion(torch.from_numpy(prediction), sample.mask, k).numpy()
        if position in keep:
            kept[position] = prediction
        done(position)
    return matrices, kept
