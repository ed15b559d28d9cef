"""One score per case: metrics by name, several classes, classes that cases lack, and the mean that metrics.json has."""

import math

import numpy as np
import pytest

from segexp.errors import ConfigError
from segexp.evaluation.case_scores import (
    CaseScores,
    Metric,
    average_runs,
    case_contributions,
    choose_split,
    directions,
    known_columns,
    mask_pixels,
    mean_over_classes,
    mean_score,
    parse_metric,
    read_case_scores,
)
from segexp.metrics.scores import class_scores, summarise_scores
from segexp.metrics.significance import bootstrap_interval

CASES = {"a": [0.9], "b": [0.8]}
CLASSES = ("background", "cell", "edge")
TWO = {"a": [0.9, 0.5], "b": [0.8, None], "c": [0.7, 0.1], "d": [None, None]}
GAP = [[0.9, 0.5], [0.8, math.nan], [0.7, 0.1], [math.nan, math.nan]]


def test_scores_of_a_run(made):
    found = read_case_scores(made("run", CASES, groups={"a": "g"}), "val", Metric("dice"))
    assert (found.ids, found.groups) == (("a", "b"), ("g", None))
    assert found.values.tolist() == [[0.9], [0.8]]
    assert found.mean() == pytest.approx(0.85)


def test_several_classes(made):
    run = made("run", TWO, classes=CLASSES)
    assert np.array_equal(read_case_scores(run, "val", Metric("dice")).values, GAP, equal_nan=True)
    only = read_case_scores(run, "val", Metric("dice", "edge")).values[:, 0]
    assert np.array_equal(only, [0.5, math.nan, 0.1, math.nan], equal_nan=True)
    assert read_case_scores(run, "val", Metric("dice", "background")).values[:, 0].tolist() == [1] * 4


def test_the_mean_is_that_of_metrics_json():
    """Dice over all classes there: mean over cases of each class, then over classes."""
    third = [[10, 0, 1], [0, 0, 0], [2, 0, 6]]
    confusions = np.array([[[50, 2, 1], [3, 20, 4], [1, 1, 0]], [[80, 5, 0], [4, 9, 0], [0, 0, 0]], third])
    values = class_scores(confusions).dice[:, 1:]
    expected = summarise_scores(confusions, CLASSES)["dice"]
    assert mean_score(values) == pytest.approx(expected)
    assert np.nanmean(case_contributions(values)) == pytest.approx(expected)
    assert bootstrap_interval(case_contributions(values)).mean == pytest.approx(expected)


def test_shares_by_hand():
    # 3 cases count, cell in 3 and edge in 2: means 0.8 and 0.3, weights 3/(3*2) and 3/(2*2), around (0.8 + 0.3) / 2
    found = case_contributions(np.array(GAP))
    assert found[:3].tolist() == pytest.approx([0.55 + 0.5 * 0.1 + 0.75 * 0.2, 0.55, 0.55 - 0.5 * 0.1 - 0.75 * 0.2])
    assert math.isnan(found[3])
    assert np.allclose(case_contributions(np.array([[0.9], [0.8], [0.1]]))[:, None], [[0.9], [0.8], [0.1]]), (
        "one class: the scores"
    )
    assert np.allclose(case_contributions(np.array([[0.9, 0.1], [0.8, 0.3]])), [0.5, 0.55]), "no gap: the means over classes"
    assert np.isnan(case_contributions(np.full((3, 2), math.nan))).all()


def test_shares_have_the_spread_of_the_mean():
    """The variance of the mean over classes with gaps, from shares of one set, against many drawn sets."""
    rng = np.random.default_rng(0)

    def drawn(cases):
        values = rng.beta(4, 2, (cases, 3)) * rng.uniform(0.6, 1, (cases, 1))
        values[rng.random((cases, 3)) < [0, 0.3, 0.8]] = math.nan
        return values

    of_means = np.std([mean_score(drawn(60)) for _ in range(3000)])
    of_shares = np.mean([np.nanstd(case_contributions(drawn(60)), ddof=1) / np.sqrt(60) for _ in range(300)])
    assert of_shares == pytest.approx(of_means, rel=0.06)


def test_means_of_cases():
    found = mean_over_classes(np.array(GAP))
    assert found[:3].tolist() == pytest.approx([0.7, 0.8, 0.4])
    assert math.isnan(found[3])
    assert math.isnan(mean_score(np.full((2, 1), math.nan)))


def test_accuracy_is_of_the_whole_case(made):
    found = read_case_scores(made("run", {"a": [0.75]}), "val", Metric("accuracy"))
    assert found.values.tolist() == [[pytest.approx(1.75 / 2)]]


def test_truth_is_what_the_masks_have(made):
    run = made("run", {"a": [0.9], "b": [None]})
    million = 1_000_000
    expected = {("a", "background"): million, ("a", "liver"): million, ("b", "background"): million, ("b", "liver"): 0}
    assert mask_pixels(run, "val") == expected
    assert mask_pixels(run, "test") == {}


def test_runs_together():
    one = CaseScores(("a", "b"), ("g", None), np.array([[0.9], [0.5]]))
    other = CaseScores(("b", "a"), (None, "g"), np.array([[0.7], [math.nan]]))
    found = average_runs([one, other])
    assert (found.ids, found.groups) == (("a", "b"), ("g", None))
    assert found.values.ravel().tolist() == pytest.approx([0.9, 0.6])
    folds = average_runs([one, CaseScores(("c",), ("h",), np.array([[0.1]]))])
    assert (folds.ids, folds.groups, folds.values.ravel().tolist()) == (("a", "b", "c"), ("g", None, "h"), [0.9, 0.5, 0.1])


def test_metrics_by_name(made):
    run = made("run", CASES, more={"hd95": {"a": 3.0, "b": 4.0}, "mine": {"a": 1.0, "b": 2.0}})
    assert parse_metric("dice", [run]) == Metric("dice", None, False)
    assert parse_metric("hd95/liver", [run]) == Metric("hd95", "liver", True)
    assert str(parse_metric("hd95/liver", [run])) == "hd95/liver"
    assert parse_metric("mine", [run], "low").low
    assert not parse_metric("mine", [run]).low
    assert parse_metric("fp", [run]).low
    assert read_case_scores(run, "val", Metric("hd95")).values.tolist() == [[3], [4]]
    assert known_columns(run) == ["dice", "iou", "hd95", "mine", "accuracy", "tp", "fp", "fn"]


def test_every_measure_says_what_is_better():
    known = directions()
    assert {known[name] for name in ("hd95", "assd", "ece", "brier", "warping_error")} == {"low"}
    assert {known[name] for name in ("nsd", "boundary_iou", "v_rand", "jaccard_thresholded")} == {"high"}


def test_a_metric_that_a_run_lacks(made):
    one, other = made("one", CASES, more={"hd95": {"a": 3.0, "b": 4.0}}), made("other", CASES)
    with pytest.raises(ConfigError) as caught:
        parse_metric("hd95", [one, other])
    assert str(caught.value) == (
        f"metric=hd95: {other.directory} has no score hd95 of its cases. Its cases.csv has dice, iou, accuracy, tp, fp, fn. "
        f"Score that run again (python -m segexp.evaluate checkpoint={other.directory} output=DIR) and compare DIR."
    )
    with pytest.raises(ConfigError, match=r"has dice, iou, hd95, accuracy, tp, fp, fn\. Did you mean dice\? Type metric=NAME"):
        parse_metric("dica", [one])


def test_a_class_that_a_run_lacks(made):
    run = made("run", CASES)
    with pytest.raises(ConfigError) as caught:
        parse_metric("dice/lever", [run])
    assert str(caught.value) == (
        f"metric=dice/lever: the dice of {run.directory} is of background, liver. Did you mean liver? Type metric=dice, or "
        "metric=dice/liver."
    )
    with pytest.raises(ConfigError, match=r"metric=accuracy/liver: .* is one number for all classes\. Type metric=accuracy\."):
        parse_metric("accuracy/liver", [run])


def test_the_split(made):
    val, test = made("val", CASES), made("test", CASES, split="test")
    both = made("both", CASES)
    both.cases.extend({**row, "split": "test"} for row in val.cases)
    assert choose_split([val], None) == "val"
    assert choose_split([test, both], None) == "test"
    assert choose_split([val, both], None) == "val"
    assert choose_split([both], "val") == "val"
    with pytest.raises(ConfigError) as caught:
        choose_split([val, both], "test")
    assert str(caught.value) == f"split=test was not scored in every run. {val.directory} has val. Type split=val."
    with pytest.raises(ConfigError, match=r"no scored split in common\. .*val has val, .*test has test\. Compare"):
        choose_split([val, test], None)
