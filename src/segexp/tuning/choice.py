"""The choice among candidates whose counts are known, and what it gains on cases that had no part in it.

Legend: N cases, U units that are drawn (groups or cases), M candidates (the first one is no post-processing), K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segexp.metrics.scores import scores_of_counts
from segexp.metrics.statistics import Interval, bootstrap_interval
from segexp.postprocess import Postprocessing

EQUAL = 5e-5
"""Mean Dice that are no farther apart are equal to the four digits that are printed."""


CHOICES = 100
"""Halves on which the choice is made to measure what it gains on the other half."""


@dataclass(frozen=True)
class Tuned:
    """What was chosen, and whether it is worth keeping.

    Attributes:
        chosen: by all cases.
        gain: Dice more than without post-processing, of choices in which the scored cases had no part; mean over cases.
        over: "cases" or "groups": what was halved for that.
        groups: how many there are, where cases are in groups; else None.
        candidates: all M.
        dice: (M,) of all cases.
        false_alarms: (M,) pixels given to classes that the case does not have, summed over cases.
    """

    chosen: Postprocessing
    gain: Interval
    over: str
    groups: int | None
    candidates: tuple[Postprocessing, ...]
    dice: np.ndarray
    false_alarms: np.ndarray

    @property
    def kept(self) -> bool:
        """Whether something was chosen whose gain is positive and whose interval excludes 0."""
        return not self.chosen.is_identity and self.gain.mean > 0 and self.gain.excludes(0)

    def record(self, split_hash: object) -> dict[str, Any]:
        """Return what a checkpoint remembers, plain values."""
        gain = {"gain": self.gain.mean, "low": self.gain.low, "high": self.gain.high}
        counts = {"cases": self.gain.cases, "groups": self.groups, "over": self.over}
        return {"parameters": self.chosen.as_dict(), **gain, **counts, "split_hash": split_hash}


def case_scores(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (N, M) whose mean over cases is the Dice, and false alarms (N, M) in pixels.

    With two classes the score of a case is its Dice. With more it is the mean over classes, each weighted by how few cases
    have it. It is NaN where the truth has no foreground.

    Args:
        counts: tp, fp, fn of each case, candidate and class, (3, N, M, K).
    """
    tp, fp, fn = counts[..., 1:]
    dice = scores_of_counts(tp, fp, fn).dice
    there = ~np.isnan(dice)
    some = there.any(axis=-1)
    having = there.sum(axis=0)  # cases by candidate and class; the same for all candidates
    weight = some.sum(axis=0)[:, None] / (np.maximum(having, 1) * np.maximum((having > 0).sum(axis=-1, keepdims=True), 1))
    score = np.where(some, (np.nan_to_num(dice) * weight).sum(axis=-1), np.nan)
    return score, np.where(there, 0, fp).sum(axis=-1)


def choose(
    candidates: tuple[Postprocessing, ...], dice: np.ndarray, false_alarms: np.ndarray, groups: Sequence[str | None]
) -> Tuned:
    """Choose by Dice and false alarms, and measure what is gained on cases that had no part in the choice.

    Args:
        candidates: M.
        dice: (N, M) as `case_scores` gives it.
        false_alarms: (N, M).
        groups: N; three or more are halved, else cases are.
    """
    names = [(True, group) if group is not None else (False, str(n)) for n, group in enumerate(groups)]
    distinct = list(dict.fromkeys(names))
    grouped = any(group is not None for group in groups)
    by_group = grouped and len(distinct) >= 3
    unit = np.array([distinct.index(name) for name in names]) if by_group else np.arange(len(names))
    parts = [_per_unit(unit, each) for each in (np.nan_to_num(dice), false_alarms, ~np.isnan(dice))]
    sums, _, number = everything = [part.sum(axis=0) for part in parts]
    seeing = _halves(len(parts[0]))
    of_half = _best(*(seeing @ part for part in parts))
    share = np.zeros((len(parts[0]), len(candidates)))  # how often a unit that had no part met the choice
    np.add.at(share.T, of_half, ~seeing)
    share /= np.maximum(share.sum(axis=1, keepdims=True), 1)
    gain = bootstrap_interval(((dice - dice[:, :1]) * share[unit]).sum(axis=1), groups if by_group else None)
    mean = np.divide(sums, number, out=np.full(len(candidates), np.nan), where=number > 0)
    count = len(distinct) if grouped else None
    best = candidates[int(_best(*everything))]
    return Tuned(best, gain, "groups" if by_group else "cases", count, candidates, mean, false_alarms.sum(axis=0))


def _halves(units: int) -> np.ndarray:
    """Return which units have a part in each choice, (CHOICES, U) bool: random halves, and after each one the other half."""
    rng = np.random.default_rng(0)
    seeing = np.zeros((CHOICES, units), bool)
    for n in range(0, CHOICES, 2):
        seeing[n, rng.permutation(units)[: units // 2]] = True
        seeing[n + 1] = ~seeing[n]
    return seeing


def _per_unit(unit: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the sums (U, M) of values (N, M) over the cases of each unit."""
    total = np.zeros((int(unit.max(initial=-1)) + 1, values.shape[1]))
    np.add.at(total, unit, values)
    return total


def _best(sums: np.ndarray, alarms: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return which candidate is the best one, from summed Dice, false alarms and how many Dice were summed, (..., M) each."""
    means = np.where(alarms <= alarms[..., :1], sums / np.maximum(number, 1), -1.0)
    best: np.ndarray = (means >= means.max(axis=-1, keepdims=True) - EQUAL).argmax(axis=-1)
    return best
