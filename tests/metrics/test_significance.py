"""Wilcoxon's test against every pattern of signs counted one by one, Holm's correction by hand, and what they promise."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from segexp.metrics.significance import FEWEST, Interval, bootstrap_interval, holm, paired_interval, smallest_p, wilcoxon


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


def beta(n, seed, a=8.0, b=1.0):
    return np.random.default_rng(seed).beta(a, b, n)


def test_the_mean_lies_in_its_interval_and_the_same_numbers_give_the_same():
    scores = beta(20, 0)
    found = bootstrap_interval(scores)
    assert found.mean == pytest.approx(scores.mean())
    assert scores.min() < found.low < found.mean < found.high < scores.max()
    assert (found.cases, found.groups) == (20, None)
    assert bootstrap_interval(scores.tolist()) == found
    assert bootstrap_interval(scores, seed=1) != found


def test_of_many_cases_it_is_the_normal_one():
    scores = np.random.default_rng(3).normal(0.7, 0.1, 1000)
    found = bootstrap_interval(scores)
    half = 1.96 * scores.std(ddof=1) / math.sqrt(1000)
    assert (found.low, found.high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=half / 15)


def test_it_is_near_scipys_bca_once_widening_plays_no_part():
    scores = beta(300, 5, 5, 1.2)
    ours = bootstrap_interval(scores, draws=20_000)
    theirs = stats.bootstrap((scores,), np.mean, n_resamples=20_000, method="BCa", random_state=0).confidence_interval
    width = theirs.high - theirs.low
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03 * width)


def test_a_skewed_score_has_a_skewed_interval():
    found = bootstrap_interval(beta(20, 2, 3, 0.5))
    assert found.mean - found.low > 1.2 * (found.high - found.mean)


def test_a_higher_level_is_wider():
    widths = [found.high - found.low for found in (bootstrap_interval(beta(20, 0), level=x) for x in (0.5, 0.8, 0.95, 0.99))]
    assert widths == sorted(widths)


def test_undefined_scores_are_left_out():
    scores = [0.9, math.nan, 0.8, 0.7, math.nan, 0.95, 0.85, 0.6, 0.9]
    assert bootstrap_interval(scores) == bootstrap_interval([score for score in scores if not math.isnan(score)])
    assert bootstrap_interval(scores).cases == 7


@pytest.mark.parametrize("scores", [[], [0.8], [math.nan, math.nan], [0.8, math.nan]])
def test_fewer_than_two_cases_have_no_interval(scores):
    found = bootstrap_interval(scores)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.cases == sum(not math.isnan(score) for score in scores)
    assert math.isnan(found.mean) if found.cases == 0 else found.mean == 0.8
    assert not found.excludes(0)


def test_cases_of_one_group_have_no_interval():
    found = bootstrap_interval([0.8, 0.9, 0.7], ["a", "a", "a"])
    assert (found.mean, found.cases, found.groups) == (pytest.approx(0.8), 3, 1)
    assert math.isnan(found.low)


def test_few_units_have_students_interval():
    assert FEWEST > 4
    found = bootstrap_interval([0.6, 0.7, 0.8, 0.95])
    theirs = stats.ttest_1samp([0.6, 0.7, 0.8, 0.95], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("units", [FEWEST - 1, FEWEST + 4])
def test_its_ends_are_plain_numbers(units):
    found = bootstrap_interval(beta(units, 0))  # a checkpoint keeps them, and a NumPy number there cannot be read again
    assert {type(end) for end in (found.mean, found.low, found.high)} == {float}


def test_equal_scores_have_an_interval_of_no_width():
    assert bootstrap_interval([0.5] * 10) == Interval(0.5, 0.5, 0.5, 10)
    assert bootstrap_interval([0.5] * 3) == Interval(0.5, 0.5, 0.5, 3)


def test_whole_groups_are_drawn():
    of_group = beta(12, 7, 5, 1)
    scores, groups = np.repeat(of_group, 10), [f"g{n // 10}" for n in range(120)]
    grouped, alone = bootstrap_interval(scores, groups), bootstrap_interval(scores)
    assert (grouped.cases, grouped.groups) == (120, 12)
    assert grouped.mean == pytest.approx(alone.mean)
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low), "ten copies of a case are no ten cases"
    twelve = bootstrap_interval(of_group)
    assert (grouped.low, grouped.high) == pytest.approx((twelve.low, twelve.high), abs=1e-9)


def test_the_mean_is_over_cases_not_over_groups():
    found = bootstrap_interval([1.0] * 9 + [0.0], ["a"] * 9 + ["b"])
    assert found.mean == pytest.approx(0.9)


def test_cases_without_a_group_stand_alone():
    scores = beta(10, 1)
    assert bootstrap_interval(scores, [None] * 10) == bootstrap_interval(scores)
    mixed = bootstrap_interval(scores, ["a", "a", "a", *[None] * 7])
    assert mixed.groups == 8
    named = bootstrap_interval(scores, ["0", "1", "2", *[None] * 7])
    assert named.groups == 10, "a group is not taken for the case of that number"


def test_the_order_of_the_groups_does_not_matter_for_what_a_group_is():
    scores = beta(9, 4)
    assert bootstrap_interval(scores, list("abcabcabc")).groups == 3


def test_paired_takes_the_difference_case_by_case():
    b = beta(20, 0, 3, 2)
    a = b + np.random.default_rng(1).normal(0.02, 0.005, 20)
    found = paired_interval(a, b)
    assert found.mean == pytest.approx((a - b).mean())
    assert found.excludes(0)
    assert 0.01 < found.low < found.high < 0.03
    apart = bootstrap_interval(a).high - bootstrap_interval(a).low
    assert found.high - found.low < apart / 5
    opposite = paired_interval(b, a)
    assert opposite.excludes(0)
    assert opposite.high < 0


def test_paired_leaves_out_cases_of_which_one_is_undefined():
    a, b = [0.9, math.nan, 0.8, 0.7], [0.8, 0.5, math.nan, 0.5]
    found = paired_interval(a, b)
    assert (found.mean, found.cases) == (pytest.approx(0.15), 2)


def test_one_gain_among_zeros_proves_nothing():
    gains = np.zeros(20)
    gains[4] = 0.5
    assert not bootstrap_interval(gains).excludes(0)


def test_in_words():
    assert str(Interval(0.91234, 0.9, 0.95, 20)) == "0.9123 [0.9000, 0.9500]"


def test_memory_does_not_grow_with_the_draws(monkeypatch):
    scores = beta(50, 0)
    whole = bootstrap_interval(scores)
    monkeypatch.setattr("segexp.metrics.significance._AT_ONCE", 700)
    assert bootstrap_interval(scores) == whole


def held(draw, mean, runs, **how):
    """How often, in percent, the interval of `draw(rng)` holds the mean."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(runs):
        scores, groups = draw(rng)
        found = bootstrap_interval(scores, groups, draws=1000, **how)
        inside += found.low <= mean <= found.high
    return 100 * inside / runs


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b"), [(8.0, 1.0), (5.0, 1.2), (12.0, 1.5), (3.0, 0.6)])
def test_twenty_skewed_cases_are_covered(a, b):
    assert 93 <= held(lambda rng: (rng.beta(a, b, 20), None), a / (a + b), 2000) <= 97


@pytest.mark.slow
def test_groups_are_covered_where_single_cases_would_not_be():
    def groups(rng):
        level = np.repeat(rng.beta(8, 2, 12), 6)
        return rng.beta(20 * level, 20 * (1 - level)), [str(n // 6) for n in range(72)]

    assert 92 <= held(groups, 0.8, 1500) <= 97
    assert held(lambda rng: (groups(rng)[0], None), 0.8, 500) < 80


@pytest.mark.slow
def test_few_cases_are_covered():
    for n in (3, 5, 8):
        assert 93 <= held(lambda rng, n=n: (rng.normal(0.8, 0.1, n), None), 0.8, 1500) <= 97
