"""The sentences: each verdict, and what a reader is told about the numbers."""

import math

import numpy as np
import pytest

from segexp.errors import pluralise
from segexp.evaluation.case_scores import CaseScores, Metric
from segexp.evaluation.contrast import compute_contrasts
from segexp.evaluation.grouping import Entry
from segexp.evaluation.summary_text import format_interval, format_p_value, format_score, notes, verdict
from segexp.metrics.significance import Interval

BASE = np.linspace(0.7, 0.9, 12)
GAIN = np.linspace(0.002, 0.03, 12) * np.where(np.arange(12) == 3, -1, 1)
DICE = Metric("dice")


def row(name, values, groups=None, by_seed=(0.8,), runs=()):
    values = np.asarray(values, float).reshape(len(values), -1)
    ids = tuple(map(str, range(len(values))))
    return Entry(name, tuple(runs), CaseScores(ids, tuple(groups or [None] * len(values)), values), by_seed)


def said(one, other, metric=DICE, reference=None):
    (found,) = compute_contrasts([one, other], metric.low, reference)
    return verdict(found, metric)


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.93388, False, "0.9339"),
        (0.93388, True, "+0.9339"),
        (-0.00301, True, "-0.0030"),
        (-0.00001, True, "0.0000"),
        (0.00001, True, "0.0000"),
        (12.3456, False, "12.35"),
        (-1234.5, True, "-1234.50"),
        (math.nan, True, "-"),
    ],
)
def test_numbers(value, signed, text):
    assert format_score(value, signed) == text


def test_spans_and_p_values():
    assert format_interval(Interval(0.5, 0.4, 0.61234, 9)) == "0.4000 to 0.6123"
    assert format_interval(Interval(0.0, -0.1, 0.1, 9), signed=True) == "-0.1000 to +0.1000"
    assert format_interval(Interval(0.5, math.nan, math.nan, 1)) == "no interval"
    assert [format_p_value(p) for p in (0.0123, 0.0006, 0.0004, 0.0496, 0.0504, 1.0, math.nan)] == [
        "p = 0.012",
        "p = 0.001",
        "p < 0.001",
        "p = 0.0496",
        "p = 0.0504",
        "p = 1.000",
        "p not defined",
    ]
    assert (pluralise(1, "case"), pluralise(20, "case")) == ("1 case", "20 cases")


def test_a_difference_that_is_shown():
    text = said(row("unet", BASE), row("unetpp", BASE + GAIN))
    assert text == (
        "unetpp is better than unet: its dice is higher by 0.0144 (95 % interval 0.0058 to 0.0208, p = 0.003, 12 cases), "
        "better in 11 and worse in 1."
    )
    assert said(row("unetpp", BASE + GAIN), row("unet", BASE), reference=1) == text, "whichever is the reference"
    assert said(row("unetpp", BASE + GAIN), row("unet", BASE), reference=0) == text


def test_lower_scores_that_are_better():
    text = said(row("unet", 10 * BASE), row("unetpp", 10 * (BASE + GAIN)), Metric("hd95", "liver", low=True))
    assert text.startswith("unet is better than unetpp: its hd95/liver is lower by 0.1439 (95 % interval 0.05")
    assert text.endswith("12 cases), better in 11 and worse in 1.")


def test_no_difference():
    noise = 0.01 * np.where(np.arange(12) % 2, 1.0, -0.7) * np.linspace(1, 2, 12)
    text = said(row("unet", BASE), row("unetpp", BASE + noise))
    start, _, rest = text.partition(": ")
    assert start == "No difference between unet and unetpp can be shown with these 12 cases"
    assert rest.startswith("dice -0.00")
    assert "(95 % interval -0.0" in rest
    assert rest.endswith("), better in 6 and worse in 6.")


def test_equal_runs():
    assert said(row("a", BASE), row("b", BASE)) == (
        "No difference between b and a can be shown with these 12 cases: dice 0.0000 (95 % interval 0.0000 to 0.0000, "
        "p = 1.000), better in 0 and worse in 0."
    )


def test_several_comparisons_are_said():
    rows = [row("a", BASE), row("b", BASE + GAIN), row("c", BASE + 2 * GAIN)]
    texts = [verdict(each, DICE) for each in compute_contrasts(rows, low=False)]
    assert all("p = 0.010 after Holm's correction for 3 comparisons, 12 cases)" in text for text in texts)


def test_groups():
    def text(groups):
        return said(row("unet", BASE, groups), row("unetpp", BASE + np.abs(GAIN), groups))

    ending = "), better in 12 and worse in 0."
    assert text(["x"] * 12).endswith(f"12 cases of 1 group{ending} That holds for this group only.")
    assert text(["x", "y"] * 6).endswith(f"12 cases of 2 groups{ending} That holds for these groups only.")
    assert text(list("uuvvwwxxyyzz")).endswith(f"p = 0.031, 12 cases of 6 groups{ending}"), "2 / 2^6"
    assert text(list("uuvvwwxxyyzz")).startswith("unetpp is better than unet")


def test_too_few_cases_are_told():
    text = said(row("unet", BASE[:4]), row("unetpp", BASE[:4] + 0.05))
    assert text.startswith("No difference between unet and unetpp can be shown with these 4 cases: dice -0.0500 (95 % interval")
    assert text.endswith("better in 0 and worse in 4. 4 cases are too few for this test to show one, whatever the scores.")
    groups = list("xxxxyyyyzzzz")
    text = said(row("unet", BASE, groups), row("unetpp", BASE + GAIN, groups))
    assert text.endswith(" 3 groups are too few for this test to show one, whatever the scores.")
    text = said(row("unet", BASE[:1]), row("unetpp", BASE[:1] + 0.05))
    assert "these 1 case: dice -0.0500 (no interval, p = 1.000)" in text


def test_nothing_in_common():
    text = said(row("a", [0.5, math.nan]), row("b", [math.nan, 0.4]))
    assert text == "b and a have no case in which dice is defined for both."


def remarks(*rows, metric=DICE, chosen=False):
    found = compute_contrasts(rows, metric.low, 0 if chosen else None) if len(rows) > 1 else []
    return notes(rows, metric, "val", found, chosen)


def test_what_the_numbers_are_over():
    assert remarks(row("a", BASE)) == ["dice: mean over the val cases, higher is better. The 95 % interval is over cases."]
    two = np.stack([BASE, BASE], axis=1)
    assert remarks(row("a", two), metric=Metric("hd95", low=True))[0].startswith(
        "hd95: mean over the val cases of each class, then over 2 classes, lower is better."
    )
    assert remarks(row("a", BASE, list("wxyz") * 3))[0].endswith(
        "The 95 % interval is over 4 groups, since the cases of one group are alike."
    )
    assert remarks(row("a", BASE, ["x"] * 12))[0].endswith(
        "The 95 % interval is over the cases of 1 group: it says nothing about a new group (patient, scan, tile), and cases of "
        "one group are more alike than it takes them to be."
    )


def test_cases_that_do_not_count_are_said():
    gap = np.where(np.arange(12) < 2, math.nan, BASE)
    assert remarks(row("a", gap))[1] == "dice is not defined in 2 of 12 cases; these are left out."
    text = remarks(row("a", gap), row("b", BASE))[1]
    assert text == "dice is not defined in 2 of 12 cases of a; these are left out."


def test_seeds_are_said():
    single, several = row("a", BASE), row("b", BASE + GAIN, by_seed=(0.7, 0.8))
    missing = "have one seed: by how much another seed would change the score is not in the interval."
    assert f"Rows {missing}" in remarks(single, row("c", BASE))
    averaged = "Scores of several seeds are averaged case by case; ± is the standard deviation between seeds."
    assert averaged in remarks(several)
    assert {averaged, f"Other rows {missing}"} < set(remarks(single, several))


def test_how_differences_were_made_is_said():
    rows = [row("a", BASE), row("b", BASE + GAIN), row("c", BASE)]
    ending = "A difference is called shown when p is below 0.05 and the interval leaves 0 out."
    assert remarks(*rows)[-1] == (
        "Differences are of the same cases, against the best; p is of Wilcoxon's signed-rank test over cases, after Holm's "
        f"correction for 3 comparisons: every pair, since the best was chosen by the same scores. {ending}"
    )
    assert remarks(*rows, chosen=True)[-1] == (
        "Differences are of the same cases, against the reference; p is of Wilcoxon's signed-rank test over cases, after "
        f"Holm's correction for 2 comparisons. {ending}"
    )
    assert remarks(*rows[:2])[-1].startswith(
        "Differences are of the same cases, against the best; p is of Wilcoxon's signed-rank"
    )


def test_folds_are_said(made):
    runs = [made(str(n), {str(n): [0.9]}, settings={"data.folds": 3, "data.fold": n}) for n in range(2)]
    found = remarks(row("a", [0.9, 0.9], runs=runs))
    assert "Each case is scored by the run of the fold that did not train on it." in found
    assert "a has 2 of 3 folds (fold 2 of 0 to 2 is missing)." in found
