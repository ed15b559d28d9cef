"""Scores from counts, with the rules for means and empty classes.

A case whose mask lacks a class is left out of that class's Dice, IoU, precision and recall (NaN); it is counted in
`empty/<class>`, and its false positive pixels are summed in `false_alarm/<class>`. A missed class scores 0; precision without
any prediction is NaN. Nothing is smoothed.

Shapes: N cases, K classes, F classes that count: those from the index `first` on, 1 if class 0 is the background, else 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClassScores:
    """Scores per case and class, float64 arrays (N, K) with NaN if undefined, and their counts."""

    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    dice: np.ndarray
    iou: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


def class_scores(confusions: np.ndarray) -> ClassScores:
    """Score every class of every case from confusion matrices (N, K, K), rows truth, columns prediction."""
    tp = np.diagonal(confusions, axis1=1, axis2=2).astype(np.int64)
    fp = confusions.sum(axis=1) - tp
    fn = confusions.sum(axis=2) - tp
    return scores_of_counts(tp, fp, fn)


def scores_of_counts(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray) -> ClassScores:
    """Compute scores from integer counts of any common shape; NaN if the mask lacks the class."""
    there = (tp + fn) > 0
    return ClassScores(
        tp=tp,
        fp=fp,
        fn=fn,
        dice=_ratio(2 * tp, 2 * tp + fp + fn, there),
        iou=_ratio(tp, tp + fp + fn, there),
        precision=_ratio(tp, tp + fp, there),
        recall=_ratio(tp, tp + fn, there),
    )


def summarise_scores(confusions: np.ndarray, names: Sequence[str], first: int = 1) -> dict[str, float]:
    """Return every score of a set of cases by name.

    Args:
        confusions: (N, K, K).
        names: K class names.
        first: index of the first class that counts.

    Returns:
        `dice iou precision recall`: mean over cases per class, then over the F classes that count; `dice/<class>` etc.: mean
        over cases; `dice_pooled iou_pooled` and `…/<class>`: from the summed counts; `accuracy`: pixel accuracy, mean over
        cases; `accuracy_pooled`; `cases`; `empty/<class>`, `false_alarm/<class>`. A score without any case is NaN.
    """
    per_case = class_scores(confusions)
    pooled = class_scores(confusions.sum(axis=0, keepdims=True))
    counted = range(first, len(names))
    result: dict[str, float] = {}
    for score in ("dice", "iou", "precision", "recall"):
        result |= mean_scores(score, getattr(per_case, score)[:, first:], names)
    for score in ("dice", "iou"):
        values = [float(getattr(pooled, score)[0, k]) for k in counted]
        result[f"{score}_pooled"] = _mean(np.array(values))
        result |= {f"{score}_pooled/{names[k]}": value for k, value in zip(counted, values, strict=True)}
    pixels = confusions.sum(axis=(1, 2))
    right = per_case.tp.sum(axis=1)
    result["accuracy"] = _mean(_ratio(right, pixels, pixels > 0))
    result["accuracy_pooled"] = float(right.sum() / pixels.sum()) if pixels.sum() else float("nan")
    result["cases"] = float(len(confusions))
    empty = (per_case.tp + per_case.fn) == 0
    for k in counted:
        result[f"empty/{names[k]}"] = float(empty[:, k].sum())
        result[f"false_alarm/{names[k]}"] = float(per_case.fp[empty[:, k], k].sum())
    return result


def mean_scores(score: str, values: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Return `<score>/<class>`, the mean over cases, and `score`, the mean of these; NaN without any case.

    Args:
        score: its name.
        values: (N, F), NaN if undefined.
        names: K class names, of which the last F count.
    """
    names = names[len(names) - values.shape[1] :]
    found = [_mean(column) for column in values.T]
    return {score: _mean(np.array(found)), **{f"{score}/{name}": mean for name, mean in zip(names, found, strict=True)}}


def _ratio(part: np.ndarray, whole: np.ndarray, defined: np.ndarray) -> np.ndarray:
    defined = defined & (whole > 0)
    ratio: np.ndarray = np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=defined)
    return ratio


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
