"""Paired differences of rows against one of them, and what can be said about them.

Legend: R rows, N cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from segexp.evaluation.case_scores import of_cases, shares
from segexp.evaluation.grouping import Entry, drawn
from segexp.metrics.significance import DIGITS, Interval, holm, paired_interval, smallest_p, wilcoxon

LEVEL = 0.05
"""Chance of calling a difference shown that there is not."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """One row against the reference, over the same cases.

    Attributes:
        entry: the row.
        reference: the row that it is compared with.
        difference: mean of entry - reference; its interval over cases, or over groups where there are at least three.
        p: of Wilcoxon's signed-rank test over the same units.
        p_holm: corrected for `comparisons`.
        comparisons: how many count.
        better: cases in which the entry is better.
        worse: cases in which it is worse.
        units: independent units behind the test.
        of_groups: whether these are groups.
        low: whether a lower score is better.
    """

    entry: Entry
    reference: Entry
    difference: Interval
    p: float
    p_holm: float
    comparisons: int
    better: int
    worse: int
    units: int
    of_groups: bool
    low: bool

    @property
    def gain(self) -> float:
        """By how much the entry is better: above 0 when it is."""
        return -self.difference.mean if self.low else self.difference.mean

    @property
    def shown(self) -> bool:
        """Whether there is a difference: the corrected p-value is below 0.05 and the interval leaves 0 out."""
        return bool(self.p_holm < LEVEL) and self.difference.excludes(0)

    @property
    def hopeless(self) -> bool:
        """Whether no scores of so few units could show a difference among so many comparisons."""
        return smallest_p(self.units) * self.comparisons >= LEVEL


def best(entries: Sequence[Entry], low: bool) -> int:
    """Return the position of the row with the best score; the first of equal ones. A score that is not defined is the worst."""
    scores = np.array([entry.interval.mean for entry in entries])
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, -scores if low else scores)))


def contrasts(entries: Sequence[Entry], low: bool, reference: int | None = None) -> list[Contrast]:
    """Compare every row with the reference, or with the best one.

    The best one is not known beforehand: it is looked for among the same scores, which finds a difference to it somewhere
    in 12 of 100 tables of ten equal rows when each row counts as one comparison. Therefore every pair of rows counts.

    Args:
        entries: R rows with the same cases.
        low: whether a lower score is better.
        reference: position of the row that was named beforehand; None takes the best.

    Returns:
        R - 1, in the order of the rows.
    """
    against = best(entries, low) if reference is None else reference
    order = {id_: n for n, id_ in enumerate(entries[0].scored.ids)}
    aligned = [entry.scored.values[np.argsort([order[id_] for id_ in entry.scored.ids])] for entry in entries]
    groups = entries[0].scored.groups
    p, comparisons = p_values(aligned, groups, against, named=reference is not None)
    found = []
    for n, (raw, corrected) in p.items():
        one, other = _both(aligned[n], aligned[against])
        differences = of_cases(one - other)
        sign = np.sign(np.round(differences, DIGITS)) * (-1 if low else 1)
        contrast = Contrast(
            entry=entries[n],
            reference=entries[against],
            difference=paired_interval(shares(one), shares(other), drawn(groups)),
            p=raw,
            p_holm=corrected,
            comparisons=comparisons,
            better=int((sign > 0).sum()),
            worse=int((sign < 0).sum()),
            units=int((~np.isnan(_of_units(differences, groups))).sum()),
            of_groups=drawn(groups) is not None,
            low=low,
        )
        found.append(contrast)
    return found


def p_values(
    aligned: Sequence[np.ndarray], groups: Sequence[str | None], against: int, *, named: bool
) -> tuple[dict[int, tuple[float, float]], int]:
    """Return Wilcoxon's p-value and the one after Holm's correction of every row against one of them.

    Args:
        aligned: R arrays (N, K') of the same cases in the same order.
        groups: N.
        against: position of the row that the others are compared with.
        named: it was named beforehand, so that R - 1 comparisons count; else all pairs of rows do.

    Returns:
        The p-values by position, and how many comparisons count.
    """
    pairs = [pair for pair in combinations(range(len(aligned)), 2) if not named or against in pair]
    raw = [wilcoxon(_of_units(of_cases(aligned[i] - aligned[j]), groups)) for i, j in pairs]
    found = {
        (set(pair) - {against}).pop(): (p, float(corrected))
        for pair, p, corrected in zip(pairs, raw, holm(raw), strict=True)
        if against in pair
    }
    return dict(sorted(found.items())), int((~np.isnan(raw)).sum())


def _both(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two arrays (N, K') with NaN wherever one of them has it."""
    known = ~np.isnan(one) & ~np.isnan(other)
    return np.where(known, one, np.nan), np.where(known, other, np.nan)


def _of_units(differences: np.ndarray, groups: Sequence[str | None]) -> np.ndarray:
    """Return a difference per independent unit: the mean over each group where whole groups count, else each case's own."""
    if drawn(groups) is None:
        return differences
    names = [group if group is not None else (n,) for n, group in enumerate(groups)]
    members = {name: [n for n, other in enumerate(names) if other == name] for name in dict.fromkeys(names)}
    known = [differences[at][~np.isnan(differences[at])] for at in members.values()]
    return np.array([values.mean() for values in known if len(values)])
