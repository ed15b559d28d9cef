"""Whether a difference between two scores of the same cases can be told from chance, and what many such questions cost.

Legend: N paired differences, M p-values.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats

DIGITS = 12
"""Differences that agree to so many decimals are equal: the last bits are rounding, not rank."""

_EXACT = 50
"""Most differences for which every pattern of signs is counted."""


def wilcoxon(differences: Sequence[float] | np.ndarray) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test that differences lie around 0.

    Differences of 0 are left out (Wilcoxon 1945), as undefined ones (NaN) are. Up to 50 differences the p-value is exact, also
    where some are of the same size: all patterns of signs are counted over their mean ranks. SciPy's exact table holds for
    distinct sizes only, and its normal approximation calls five equal differences significant (0.025; counted, 0.0625). Beyond
    50 it is SciPy's approximation, with its correction for equal sizes.

    Args:
        differences: N, independent of each other.

    Returns:
        0 to 1; 1 where all are 0, NaN where there is none.
    """
    given = np.round(np.asarray(differences, np.float64), DIGITS)
    given = given[~np.isnan(given)]
    moved = given[given != 0]
    if not len(moved):
        return 1.0 if len(given) else float("nan")
    if len(moved) > _EXACT:
        return float(stats.wilcoxon(moved, method="asymptotic").pvalue)
    ranks = np.rint(2 * stats.rankdata(np.abs(moved))).astype(int)  # mean ranks are halves
    chances = np.zeros(ranks.sum() + 1)  # of each sum of the ranks with a positive sign
    chances[0] = 1
    for rank in ranks:
        chances /= 2
        chances[rank:] += chances[:-rank].copy()
    positive = int(ranks[moved > 0].sum())
    return float(min(1.0, 2 * min(chances[: positive + 1].sum(), chances[positive:].sum())))


def smallest_p(count: int) -> float:
    """Return the least p-value that `wilcoxon` can give for so many differences: all have the same sign."""
    return float(min(1.0, 2.0 ** (1 - count)))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p-values corrected for their number (Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure).

    Args:
        p_values: M; an undefined one (NaN) stays so and does not count.

    Returns:
        (M,), each as large as before or larger, at most 1: below 0.05 there is at most one wrong finding in 20 such sets.
    """
    given = np.asarray(p_values, np.float64)
    corrected = np.full(given.shape, np.nan)
    order = np.argsort(given)[: int((~np.isnan(given)).sum())]  # NaN is sorted to the end
    steps = given[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return corrected
