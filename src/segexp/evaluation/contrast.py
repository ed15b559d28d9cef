"""Paired differences of rows against a reference row.

Shapes: R rows, N cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from segexp.evaluation.case_scores import case_contributions, mean_over_classes
from segexp.evaluation.grouping import Entry, resampling_groups
from segexp.metrics.significance import DIGITS, Interval, holm, paired_interval, smallest_p, wilcoxon

LEVEL = 0.05
"""Significance level."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """Comparison of one row with the reference on the same cases.

    Attributes:
        entry: the row.
        reference: the row that it is compared with.
        difference: mean of entry - reference; interval over cases, or over groups if there are at least three.
        p: of Wilcoxon's signed-rank test over the same units.
        p_holm: corrected for `comparisons`.
        comparisons: number of comparisons.
        better: number of cases in which the entry is better.
        worse: number of cases in which it is worse.
        units: number of independent units in the test.
        of_groups: whether the units are groups.
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
        """Improvement over the reference: positive if the entry is better."""
        return -self.difference.mean if self.low else self.difference.mean

    @property
    def shown(self) -> bool:
        """Whether the difference is significant: corrected p-value below 0.05 and 0 outside the interval."""
        return bool(self.p_holm < LEVEL) and self.difference.excludes(0)

    @property
    def hopeless(self) -> bool:
        """Whether so few units cannot show any difference with so many comparisons."""
        return smallest_p(self.units) * self.comparisons >= LEVEL


def best_entry(entries: Sequence[Entry], low: bool) -> int:
    """Return the index of the row with the best score, the first of equal ones; undefined scores are the worst."""
    scores = np.array([entry.interval.mean for entry in entries])
    return int(np.argmax(np.where(np.isnan(scores), -np.inf, -scores if low else scores)))


def compute_contrasts(entries: Sequence[Entry], low: bool, reference: int | None = None) -> list[Contrast]:
    """Compare every row with the reference, by default the best row.

    Selecting the best row by the same scores would find a false difference in 12 of 100 tables of ten equal rows if each row
    counted as one comparison. Therefore all pairs of rows count in that case.

    Args:
        entries: R rows with the same cases.
        low: whether a lower score is better.
        reference: index of a row fixed in advance; None for the best.

    Returns:
        R - 1 contrasts in row order.
    """
    against = best_entry(entries, low) if reference is None else reference
    order = {id_: n for n, id_ in enumerate(entries[0].scored.ids)}
    aligned = [entry.scored.values[np.argsort([order[id_] for id_ in entry.scored.ids])] for entry in entries]
    groups = entries[0].scored.groups
    p, comparisons = p_values(aligned, groups, against, named=reference is not None)
    found = []
    for n, (raw, corrected) in p.items():
        one, other = _both(aligned[n], aligned[against])
        differences = mean_over_classes(one - other)
        sign = np.sign(np.round(differences, DIGITS)) * (-1 if low else 1)
        contrast = Contrast(
            entry=entries[n],
            reference=entries[against],
            difference=paired_interval(case_contributions(one), case_contributions(other), resampling_groups(groups)),
            p=raw,
            p_holm=corrected,
            comparisons=comparisons,
            better=int((sign > 0).sum()),
            worse=int((sign < 0).sum()),
            units=int((~np.isnan(_of_units(differences, groups))).sum()),
            of_groups=resampling_groups(groups) is not None,
            low=low,
        )
        found.append(contrast)
    return found


def p_values(
    aligned: Sequence[np.ndarray], groups: Sequence[str | None], against: int, *, named: bool
) -> tuple[dict[int, tuple[float, float]], int]:
    """Return the raw and Holm-corrected Wilcoxon p-values of every row against one row.

    Args:
        aligned: R arrays (N, K') of the same cases in the same order.
        groups: N.
        against: index of the reference row.
        named: the reference was fixed in advance, so that R - 1 comparisons count instead of all pairs.

    Returns:
        The p-values by row index, and the number of comparisons.
    """
    pairs = [pair for pair in combinations(range(len(aligned)), 2) if not named or against in pair]
    raw = [wilcoxon(_of_units(mean_over_classes(aligned[i] - aligned[j]), groups)) for i, j in pairs]
    found = {
        (set(pair) - {against}).pop(): (p, float(corrected))
        for pair, p, corrected in zip(pairs, raw, holm(raw), strict=True)
        if against in pair
    }
    return dict(sorted(found.items())), int((~np.isnan(raw)).sum())


def _both(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Set both arrays (N, K') to NaN wherever one of them is NaN."""
    known = ~np.isnan(one) & ~np.isnan(other)
    return np.where(known, one, np.nan), np.where(known, other, np.nan)


def _of_units(differences: np.ndarray, groups: Sequence[str | None]) -> np.ndarray:
    """Return one difference per independent unit: the mean of each group if groups are resampled, else each case."""
    if resampling_groups(groups) is None:
        return differences
    names = [group if group is not None else (n,) for n, group in enumerate(groups)]
    members = {name: [n for n, other in enumerate(names) if other == name] for name in dict.fromkeys(names)}
    known = [differences[at][~np.isnan(differences[at])] for at in members.values()]
    return np.array([values.mean() for values in known if len(values)])
