"""Paired significance tests, correction for multiple comparisons, and bootstrap confidence intervals.

Shapes: N paired differences, M p-values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

DIGITS = 12
"""Decimals to which differences are rounded, so that rounding errors do not affect ranks."""

_EXACT = 50
"""Maximum number of differences for the exact test."""


def wilcoxon(differences: Sequence[float] | np.ndarray) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test.

    Differences of 0 are left out (Wilcoxon 1945), as are NaN. Up to 50 differences the p-value is exact, also with ties, by
    enumeration of all sign patterns over the mean ranks. (SciPy's exact table does not support ties, and its normal
    approximation calls five equal differences significant: 0.025 instead of 0.0625.) For more differences it is SciPy's
    approximation with tie correction.

    Args:
        differences: N, independent of each other.

    Returns:
        0 to 1; 1 if all are 0, NaN if there are none.
    """
    given = np.round(np.asarray(differences, np.float64), DIGITS)
    given = given[~np.isnan(given)]
    moved = given[given != 0]
    if not len(moved):
        return 1.0 if len(given) else float("nan")
    if len(moved) > _EXACT:
        return float(stats.wilcoxon(moved, method="asymptotic").pvalue)
    ranks = np.rint(2 * stats.rankdata(np.abs(moved))).astype(int)  # mean ranks are multiples of 0.5
    chances = np.zeros(ranks.sum() + 1)  # of each sum of the ranks with a positive sign
    chances[0] = 1
    for rank in ranks:
        chances /= 2
        chances[rank:] += chances[:-rank].copy()
    positive = int(ranks[moved > 0].sum())
    return float(min(1.0, 2 * min(chances[: positive + 1].sum(), chances[positive:].sum())))


def smallest_p(count: int) -> float:
    """Return the smallest possible p-value of `wilcoxon` for so many differences: all have the same sign."""
    return float(min(1.0, 2.0 ** (1 - count)))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return Holm-corrected p-values (Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure).

    Args:
        p_values: M; NaN stays NaN and does not count.

    Returns:
        (M,), at most 1; controls the family-wise error rate.
    """
    given = np.asarray(p_values, np.float64)
    corrected = np.full(given.shape, np.nan)
    order = np.argsort(given)[: int((~np.isnan(given)).sum())]  # NaN is sorted to the end
    steps = given[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return corrected


FEWEST = 6
"""Minimum number of units for the bootstrap, which underestimates the variability of fewer."""

_AT_ONCE = 1 << 22
"""Numbers drawn at once, limited by memory."""


@dataclass(frozen=True)
class Interval:
    """A mean over cases with its confidence interval.

    Attributes:
        mean: over the defined cases.
        low: lower end; NaN for fewer than two units.
        high: upper end; likewise.
        cases: number of defined cases.
        groups: number of groups (plus cases without a group); None without groups.
    """

    mean: float
    low: float
    high: float
    cases: int
    groups: int | None = None

    def excludes(self, value: float = 0.0) -> bool:
        """Return whether a value is outside the interval; an undefined interval excludes nothing."""
        return self.low > value or self.high < value

    def __str__(self) -> str:
        """Return "mean [low, high]" with four digits."""
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


def bootstrap_interval(
    values: Sequence[float] | np.ndarray,
    groups: Sequence[str | None] | None = None,
    *,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the confidence interval of the mean over cases.

    For `FEWEST` or more units it is the bias-corrected and accelerated bootstrap (Efron 1987, Better Bootstrap Confidence
    Intervals) with its level expanded from normal to t quantiles (Hesterberg 2015, What Teachers Should Know About the
    Bootstrap, section 5.3), without which the coverage for 20 cases would be 92 % instead of 95 %. For fewer units it is
    Student's t interval, which assumes normal units.

    Args:
        values: N scores; NaN is left out.
        groups: the group of each case, None for no group; without groups, cases are resampled.
        level: confidence level, 0 to 1.
        draws: bootstrap samples.
        seed: of the samples.
    """
    scores = np.asarray(values, np.float64)
    defined = ~np.isnan(scores)
    grouped = groups is not None and any(group is not None for group in groups)
    sums, counts = _units(scores[defined], _codes(groups, defined) if groups is not None and grouped else None)
    cases, units = int(defined.sum()), len(sums)
    mean = float(sums.sum() / cases) if cases else float("nan")
    shown = units if grouped else None
    if units < 2:
        return Interval(mean, float("nan"), float("nan"), cases, shown)
    student = float(stats.t.ppf((1 + level) / 2, units - 1))
    wide = student * np.sqrt(units / (units - 1))
    residuals = sums - mean * counts
    if units < FEWEST or not residuals.any():
        half = float(wide * np.sqrt(np.square(residuals).sum()) / cases)
        return Interval(mean, mean - half, mean + half, cases, shown)
    low, high = np.quantile(*_corrected(_means(sums, counts, draws, seed), mean, sums, counts, float(wide)))
    return Interval(mean, float(low), float(high), cases, shown)


def paired_interval(
    a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray, groups: Sequence[str | None] | None = None
) -> Interval:
    """Return the interval of the mean of a - b over the cases where both are defined; see `bootstrap_interval`."""
    return bootstrap_interval(np.asarray(a, np.float64) - np.asarray(b, np.float64), groups)


def _codes(groups: Sequence[str | None], defined: np.ndarray) -> np.ndarray:
    """Return a number per defined case, the same within a group."""
    names = [(True, group) if group is not None else (False, str(n)) for n, group in enumerate(groups)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name, counts in zip(names, defined, strict=True) if counts], int)


def _units(scores: np.ndarray, codes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return sum and number of the scores of each unit, (U,) each."""
    if codes is None:
        return scores, np.ones_like(scores)
    _, inverse = np.unique(codes, return_inverse=True)
    return np.bincount(inverse, scores), np.bincount(inverse).astype(np.float64)


def _means(sums: np.ndarray, counts: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Return the mean over cases of each bootstrap sample of units, (draws,)."""
    rng = np.random.default_rng(seed)
    units = len(sums)
    means = []
    for start in range(0, draws, step := max(1, _AT_ONCE // units)):
        drawn = rng.integers(0, units, (min(step, draws - start), units))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)


def _corrected(
    means: np.ndarray, mean: float, sums: np.ndarray, counts: np.ndarray, wide: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bootstrap means and the two quantiles (0 to 1) that give the ends of the interval.

    Args:
        means: of the bootstrap samples.
        mean: of the cases.
        sums: per unit.
        counts: per unit.
        wide: normal quantile of the level.
    """
    equal = np.isclose(means, mean, rtol=1e-9, atol=1e-12)  # sums depend slightly on the order of the cases
    below = np.mean((means < mean) & ~equal) + np.mean(equal) / 2
    bias = stats.norm.ppf(np.clip(below, 1 / len(means), 1 - 1 / len(means)))
    without = (sums.sum() - sums) / (counts.sum() - counts)
    pull = without.mean() - without
    acceleration = (pull**3).sum() / (6 * np.square(pull).sum() ** 1.5)
    ends = bias + np.array([-wide, wide])
    return means, stats.norm.cdf(bias + ends / np.maximum(1 - acceleration * ends, 1e-3))
