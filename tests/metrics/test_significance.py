"""Wilcoxon's test against every pattern of signs counted one by one, Holm's correction by hand, and what they promise."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from segexp.metrics.significance import holm, smallest_p, wilcoxon


def by_counting(differences):
    """The two-sided p-value from all 2^n signs, for differences that are not 0."""
    sizes = stats.rankdata(np.abs(differences))
    given = sizes[np.asarray(differences) > 0].sum()
    sums = np.array([sizes[np.array(signs)].sum() for signs in product([False, True], repeat=len(sizes))])
    return min(1.0, 2 * min((sums <= given).mean(), (sums >= given).mean()))


def test_by_hand():
    # Ranks 1 2 3 4 5 with the 1 negative: of 32 patterns, {}, {1} and their mirror images are as extreme.
    assert wilcoxon([-0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(4 / 32)
    assert wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(2 / 64)
    assert wilcoxon([0.1, -0.1]) == 1
    assert wilcoxon([0.3]) == 1


@pytest.mark.parametrize("digits", [1, 8])
@pytest.mark.parametrize("seed", range(5))
def test_against_all_patterns_of_signs(seed, digits):
    differences = np.random.default_rng(seed).normal(0.4, 1, 4 + 2 * seed).round(digits)
    differences = differences[differences != 0]
    assert wilcoxon(differences) == pytest.approx(by_counting(differences))


@pytest.mark.parametrize("count", [5, 12, 20, 50, 51, 200])
def test_against_scipy_where_all_sizes_differ(count):
    differences = np.random.default_rng(count).normal(0.2, 1, count)
    method = "exact" if count <= 50 else "asymptotic"
    assert wilcoxon(differences) == pytest.approx(stats.wilcoxon(differences, method=method).pvalue)


def test_scipys_own_ways_are_wrong_for_few_differences_of_equal_size():
    equal = [0.1] * 5
    assert wilcoxon(equal) == by_counting(equal) == pytest.approx(2 / 32)
    assert stats.wilcoxon(equal, method="asymptotic").pvalue < 0.03
    mixed = [1, 1, 1, 1, -1, 1, 1, 1]
    assert wilcoxon(mixed) == pytest.approx(by_counting(mixed)) == pytest.approx(18 / 256)
    assert stats.wilcoxon(mixed, method="exact").pvalue == pytest.approx(20 / 256)


def test_many_differences_of_equal_size_are_corrected():
    differences = np.random.default_rng(0).choice([-1.0, 1.0, 2.0], 80)
    assert wilcoxon(differences) == pytest.approx(stats.wilcoxon(differences, method="asymptotic").pvalue)
    assert wilcoxon(np.append(differences, np.zeros(40))) == wilcoxon(differences)


def test_zeros_and_undefined_differences_are_left_out():
    differences = [0.1, -0.2, 0.3, 0.4, 0.5, 0.6]
    assert wilcoxon([*differences, 0, 0, math.nan]) == wilcoxon(differences)


def test_rounding_makes_no_rank():
    assert wilcoxon([0.3 - 0.2, 0.2 - 0.1, 0.4 - 0.3, 1e-16]) == by_counting([0.1, 0.1, 0.1])


def test_nothing_to_tell():
    assert wilcoxon(np.zeros(20)) == 1
    assert wilcoxon([0.0]) == 1
    assert math.isnan(wilcoxon([]))
    assert math.isnan(wilcoxon([math.nan, math.nan]))


@pytest.mark.parametrize("count", [1, 2, 5, 6, 20])
def test_the_smallest_p_is_reached_when_all_signs_agree(count):
    assert smallest_p(count) == wilcoxon(np.arange(1, count + 1)) == wilcoxon(-np.arange(1, count + 1))


def test_five_cases_never_show_a_difference_and_six_may():
    assert smallest_p(5) > 0.05 > smallest_p(6)


def test_it_rejects_equal_scores_as_often_as_it_says():
    rng = np.random.default_rng(0)
    wrong = np.mean([wilcoxon(rng.standard_t(3, 20)) < 0.05 for _ in range(2000)])
    assert 0.035 < wrong < 0.06


def test_holm_by_hand():
    # sorted 0.01 0.03 0.04: 3 x 0.01, 2 x 0.03, 1 x 0.04 but not below the one before
    assert holm([0.03, 0.01, 0.04]).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.2, 0.6, 0.7]).tolist() == pytest.approx([0.6, 1, 1])
    assert holm([0.02]).tolist() == [0.02]
    assert holm([]).tolist() == []


def test_holm_leaves_out_what_is_not_defined():
    found = holm([0.03, math.nan, 0.01])
    assert found[[0, 2]].tolist() == pytest.approx([0.03, 0.02])
    assert math.isnan(found[1])


def test_holm_is_never_stricter_than_bonferroni():
    p = np.random.default_rng(1).uniform(0, 0.2, 30)
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, 30 * p) + 1e-12).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()
