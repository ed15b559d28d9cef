"""Paired differences against scipy and by hand, the direction of better, groups, and how often equal rows are told apart."""

import math

import numpy as np
import pytest
from scipy import stats

from segexp.evaluation.case_scores import CaseScores
from segexp.evaluation.contrast import best_entry, compute_contrasts, p_values
from segexp.evaluation.grouping import Entry
from segexp.metrics.significance import holm, paired_interval, wilcoxon


def row(name, values, groups=None, ids=None):
    values = np.asarray(values, float).reshape(len(values), -1)
    ids = tuple(ids or map(str, range(len(values))))
    return Entry(name, (), CaseScores(ids, tuple(groups or [None] * len(values)), values), ())


BASE = np.random.default_rng(0).uniform(0.7, 0.9, 12)
GAIN = np.linspace(0.002, 0.03, 12) * np.where(np.arange(12) == 3, -1, 1)


def test_against_scipy_and_the_bootstrap():
    (found,) = compute_contrasts([row("unet", BASE), row("unetpp", BASE + GAIN)], low=False)
    assert (found.entry.name, found.reference.name) == ("unet", "unetpp")
    assert found.difference == paired_interval(BASE, BASE + GAIN)
    assert found.difference.mean == pytest.approx(-GAIN.mean())
    assert found.p == found.p_holm == pytest.approx(stats.wilcoxon(BASE, BASE + GAIN, method="exact").pvalue)
    assert (found.better, found.worse, found.units, found.comparisons) == (1, 11, 12, 1)
    assert found.shown
    assert found.gain < 0
    assert not found.of_groups


def test_cases_are_paired_by_name_whatever_their_order():
    ids = [str(n) for n in range(12)]
    other = row("unetpp", (BASE + GAIN)[::-1], ids=ids[::-1])
    (found,) = compute_contrasts([row("unet", BASE, ids=ids), other], low=False)
    assert found.difference == paired_interval(BASE, BASE + GAIN)


def test_lower_is_better():
    rows = [row("unet", BASE), row("unetpp", BASE + GAIN)]
    assert best_entry(rows, low=True) == 0
    (found,) = compute_contrasts(rows, low=True)
    assert (found.entry.name, found.reference.name) == ("unetpp", "unet")
    assert found.difference.mean == pytest.approx(GAIN.mean())
    assert (found.better, found.worse) == (1, 11)
    assert found.gain < 0


def test_the_best_is_never_one_that_is_not_defined():
    nothing = row("nothing", [math.nan, math.nan])
    assert best_entry([nothing, row("a", [0.1, 0.2])], low=False) == 1
    assert best_entry([nothing, row("a", [0.1, 0.2])], low=True) == 1
    assert best_entry([row("a", [0.5, 0.5]), row("b", [0.5, 0.5])], low=False) == 0, "the first of equal ones"


def test_equal_runs():
    (found,) = compute_contrasts([row("a", BASE), row("b", BASE)], low=False)
    assert (found.p, found.p_holm, found.better, found.worse) == (1, 1, 0, 0)
    assert (found.difference.mean, found.difference.low, found.difference.high) == (0, 0, 0)
    assert not found.shown


def test_a_reference_that_was_named_counts_fewer_comparisons():
    rows = [row(str(n), BASE + n * GAIN) for n in range(4)]
    against_best, against_first = compute_contrasts(rows, low=False), compute_contrasts(rows, low=False, reference=0)
    assert [c.entry.name for c in against_best] == ["0", "1", "2"]
    assert [c.entry.name for c in against_first] == ["1", "2", "3"]
    assert {c.comparisons for c in against_best} == {6}
    assert {c.comparisons for c in against_first} == {3}
    raw = [wilcoxon(n * GAIN) for n in (1, 2, 3)]
    assert [c.p_holm for c in against_first] == pytest.approx(holm(raw).tolist())
    assert [c.p_holm for c in against_best] == pytest.approx(holm([wilcoxon(GAIN)] * 6)[:3].tolist())


def test_cases_that_one_row_lacks_are_left_out_of_both():
    gap = np.where(np.arange(12) == 0, math.nan, BASE)
    (found,) = compute_contrasts([row("a", gap), row("b", BASE + GAIN)], low=False)
    assert (found.difference.cases, found.units) == (11, 11)
    assert found.difference.mean == pytest.approx(-GAIN[1:].mean())
    (none,) = compute_contrasts([row("a", [0.5, math.nan]), row("b", [math.nan, 0.5])], low=False)
    assert none.difference.cases == 0
    assert math.isnan(none.p)
    assert not none.shown


def test_several_classes_with_gaps():
    one = np.array([[0.9, 0.5], [0.8, math.nan], [0.7, 0.3]])
    other = np.array([[0.8, 0.6], [0.7, math.nan], [0.6, 0.1]])
    (found,) = compute_contrasts([row("one", one), row("other", other)], low=False)
    # cell: 0.1 more in each of 3; edge: -0.1 and 0.2; so 0.1 and 0.05 by class
    assert found.difference.mean == pytest.approx(-(0.1 + 0.05) / 2)
    assert (found.worse, found.better) == (2, 0), "the first case is 0.1 better and 0.1 worse"


def test_of_three_groups_on_whole_groups_count():
    groups = ["x"] * 4 + ["y"] * 4 + ["z"] * 4
    (found,) = compute_contrasts([row("a", BASE, groups), row("b", BASE + GAIN, groups)], low=False)
    assert (found.of_groups, found.units) == (True, 3)
    assert found.difference == paired_interval(BASE, BASE + GAIN, groups)
    assert found.p == pytest.approx(wilcoxon([GAIN[:4].mean(), GAIN[4:8].mean(), GAIN[8:].mean()])) == pytest.approx(2 / 8)
    assert (found.better, found.worse) == (1, 11), "cases are counted all the same"
    (two,) = compute_contrasts([row("a", BASE, ["x", "y"] * 6), row("b", BASE + GAIN, ["x", "y"] * 6)], low=False)
    assert (two.of_groups, two.units) == (False, 12)


def test_cases_without_a_group_stand_alone():
    groups = ["x"] * 6 + ["y"] * 4 + [None, None]
    (found,) = compute_contrasts([row("a", BASE, groups), row("b", BASE + GAIN, groups)], low=False)
    assert found.units == 4


def test_few_cases_are_hopeless():
    rows = [row("a", BASE[:5]), row("b", BASE[:5] + 0.1)]
    (found,) = compute_contrasts(rows, low=False)
    assert found.hopeless
    assert not found.shown
    assert not compute_contrasts([row("a", BASE[:6]), row("b", BASE[:6] + 0.1)], low=False)[0].hopeless
    three = [row(str(n), BASE[:6] + n * GAIN[:6]) for n in range(3)]
    assert compute_contrasts(three, low=False)[0].hopeless, "three comparisons of six cases"


@pytest.mark.parametrize(("rows", "named"), [(2, False), (5, False), (10, False), (5, True)])
def test_equal_rows_are_told_apart_in_at_most_one_of_twenty_tables(rows, named):
    rng = np.random.default_rng(rows)
    wrong = 0
    for _ in range(300):
        values = rng.normal(0, 1, (rows, 20, 1)) + rng.normal(0, 3, (20, 1))
        against = 0 if named else int(values.mean(axis=(1, 2)).argmax())
        p, count = p_values(list(values), [None] * 20, against, named=named)
        assert count == (rows - 1 if named else rows * (rows - 1) // 2)
        wrong += min(corrected for _, corrected in p.values()) < 0.05
    assert wrong / 300 < 0.075, "2.5 standard errors of 300 tables above 0.05"
