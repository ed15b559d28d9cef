"""Scores of a split as arrays, and their intervals: the same numbers as metrics.json and a comparison have."""

import math

import numpy as np
import pytest

from segexp.comparison.casewise import metric_of
from segexp.comparison.gather import gather
from segexp.comparison.records import read_record
from segexp.metrics.scores import summary
from segexp.report.scored import behind, digits, meaning, named, parts_of, span, split_scores

CLASSES = ("background", "liver", "tumour")


@pytest.fixture
def record(full_run, tmp_path):
    return read_record(full_run(tmp_path / "run", 12, CLASSES, pictures=False))


def test_arrays_hold_what_the_rows_say(record):
    part = split_scores(record, "val")
    assert part.classes == ("liver", "tumour")
    assert part.values["dice"].shape == (12, 2)
    row = next(row for row in record.cases if (row["id"], row["class"]) == ("scan/005", "tumour"))
    assert part.values["dice"][5, 1] == float(row["dice"])
    assert part.values["tp"][5, 1] == float(row["tp"])
    assert np.argwhere(np.isnan(part.values["dice"])).tolist() == [[3, 1]]
    assert np.argwhere(part.missing).tolist() == [[3, 1]]
    assert part.measures == ("dice", "iou", "hd95")
    assert part.groups[:5] == ("patient 0", "patient 1", "patient 2", "patient 3", "patient 0")


def test_the_mean_is_that_of_metrics_json():
    rng = np.random.default_rng(0)
    matrices = rng.integers(0, 50, (9, 3, 3))
    matrices[2, 2] = 0  # the truth of case 2 lacks class 2
    expected = summary(matrices, CLASSES)["dice"]
    from segexp.comparison.records import Record
    from segexp.metrics.cases import case_rows
    from segexp.types import Case, Source

    cases = [Case(str(n), Source(None), ()) for n in range(9)]
    rows = [{k: str(v) for k, v in row.items()} for row in case_rows("val", cases, matrices, CLASSES)]
    part = split_scores(Record(None, {}, {}, rows), "val")
    assert part.mean("dice") == pytest.approx(expected)
    assert part.interval("dice").mean == pytest.approx(expected)


def test_intervals_are_those_of_a_comparison(record):
    part = split_scores(record, "val")
    entry = gather([record], "val", metric_of("dice", [record]))[0]
    assert part.interval("dice") == entry.interval
    only = gather([record], "val", metric_of("dice/tumour", [record]))[0]
    assert part.interval("dice", 1) == only.interval


def test_groups_too_few_to_be_drawn_are_told(make_run, tmp_path):
    dice = {f"s{n}": [0.5 + n / 20] for n in range(8)}
    two = split_scores(
        read_record(make_run(tmp_path / "two", dice, groups={name: "AB"[n % 2] for n, name in enumerate(dice)})), "val"
    )
    four = split_scores(
        read_record(make_run(tmp_path / "four", dice, groups={name: "ABCD"[n % 4] for n, name in enumerate(dice)})), "val"
    )
    alone = split_scores(read_record(make_run(tmp_path / "alone", dice)), "val")
    assert [part.few_groups for part in (two, four, alone)] == [2, None, None]
    assert [behind(part.interval("dice"), part) for part in (two, four, alone)] == [
        "8 cases of 2 groups",
        "8 cases of 4 groups",
        "8 cases",
    ]


def test_a_case_score_is_the_mean_over_the_classes_it_has(record):
    part = split_scores(record, "val")
    assert part.of_cases("dice")[3] == part.values["dice"][3, 0]
    assert part.of_cases("dice")[0] == pytest.approx(part.values["dice"][0].mean())


def test_test_comes_before_val(full_run, tmp_path):
    record = read_record(full_run(tmp_path / "run", pictures=False))
    more = [row | {"split": "test"} for row in record.cases]
    record.cases.extend(more)
    assert [part.split for part in parts_of(record)] == ["test", "val"]


def test_words():
    assert named("dice") == "Dice"
    assert named("boundary_iou") == "boundary iou"
    assert meaning("hd95").endswith("; low is good")
    assert meaning("dice") == "2 TP / (2 TP + FP + FN)"
    assert meaning("somebody's own") == ""
    assert digits([np.array([0.5, math.nan])]) == 4
    assert digits([np.array([0.5]), np.array([1.5])]) == 2
    assert digits([]) == 4


def test_no_interval_is_a_dash(make_run, tmp_path):
    part = split_scores(read_record(make_run(tmp_path / "run", {"a": [0.5]})), "val")
    assert span(part.interval("dice")) == "-"
