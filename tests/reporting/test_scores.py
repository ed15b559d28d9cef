"""The scores of a run: arrays, intervals, sentences, tables, and the grid of cases."""

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from segexp.evaluation.case_scores import parse_metric
from segexp.evaluation.grouping import build_entries
from segexp.evaluation.records import read_record
from segexp.evaluation.summary_text import format_score
from segexp.metrics.scores import summarise_scores
from segexp.reporting.scores import (
    case_grid,
    decimals,
    definition,
    describe_means,
    display_name,
    interval_text,
    sample_size,
    score_histograms,
    score_notice,
    score_sentence,
    score_tables,
    scores_by_split,
    split_scores,
)


@pytest.fixture
def parts(full_run, tmp_path):
    return lambda **more: scores_by_split(read_record(full_run(tmp_path / "run", pictures=False, **more)))


def headings(found):
    return [column.name for column in found.columns]


def test_one_class_is_one_row_per_case(parts):
    found = parts()
    cases = case_grid(found, {("val", "scan/002"): "#case-val-0"})
    assert headings(cases) == ["case", "group", "Dice", "IoU", "HD95", "TP", "FP", "FN"]
    rows = cases.data["rows"]
    assert len(rows) == 10
    assert rows[2][0] == ["scan/002", "#case-val-0"]
    assert rows[2][2] == round(float(found[0].values["dice"][2, 0]), 4)
    assert rows[3][2:4] == [None, None]
    assert rows[3][6] == 7, "false pixels of a case without the class"
    assert cases.sort == (2, True)
    assert cases.limit == 2


def test_several_classes_are_a_row_each_and_their_mean_is_shown_first(parts):
    found = parts(classes=("background", "liver", "tumour"))
    cases = case_grid(found, {})
    assert headings(cases)[:3] == ["case", "group", "class"]
    rows = cases.data["rows"]
    assert [row[2] for row in rows[:3]] == ["mean", "liver", "tumour"]
    assert len(rows) == 30
    assert rows[0][3] == pytest.approx(float(np.nanmean(found[0].values["dice"][0])), abs=1e-4)
    assert rows[0][6] == rows[1][6] + rows[2][6], "pixels of all classes are summed"
    assert [(each.name, each.chosen) for each in cases.filters] == [("group", ""), ("class", "mean")]
    assert len(cases.first_rows) == 10


def test_several_splits_can_be_told_apart(parts):
    found = parts()
    cases = case_grid([found[0], replace(found[0], split="test")], {})
    assert headings(cases)[:3] == ["case", "split", "group"]
    assert {row[1] for row in cases.data["rows"]} == {"val", "test"}


def test_histogram_says_how_the_cases_are_spread(parts):
    found = parts()
    values = found[0].of_cases("dice")
    ((chart, caption),) = score_histograms(found)
    assert caption.endswith(f"lowest {np.nanmin(values):.3f}, highest {np.nanmax(values):.3f}; 9 cases")
    assert caption.startswith(f"val: median {np.nanmedian(values):.3f}, middle half from ")
    assert chart.label == "Histogram of the Dice of 9 val cases"


def test_no_histogram_without_any_score(make_run, tmp_path):
    assert score_histograms(scores_by_split(read_record(make_run(tmp_path / "run", {"a": [None]})))) == []


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
    expected = summarise_scores(matrices, CLASSES)["dice"]
    from segexp.evaluation.records import Record
    from segexp.metrics.cases import case_rows
    from segexp.types import Case, Source

    cases = [Case(str(n), Source(None), ()) for n in range(9)]
    rows = [{k: str(v) for k, v in row.items()} for row in case_rows("val", cases, matrices, CLASSES)]
    part = split_scores(Record(None, {}, {}, rows), "val")
    assert part.mean("dice") == pytest.approx(expected)
    assert part.interval("dice").mean == pytest.approx(expected)


def test_intervals_are_those_of_a_comparison(record):
    part = split_scores(record, "val")
    entry = build_entries([record], "val", parse_metric("dice", [record]))[0]
    assert part.interval("dice") == entry.interval
    only = build_entries([record], "val", parse_metric("dice/tumour", [record]))[0]
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
    assert [sample_size(part.interval("dice"), part) for part in (two, four, alone)] == [
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
    assert [part.split for part in scores_by_split(record)] == ["test", "val"]


def test_words():
    assert display_name("dice") == "Dice"
    assert display_name("boundary_iou") == "boundary iou"
    assert definition("hd95").endswith("; low is good")
    assert definition("dice") == "2 TP / (2 TP + FP + FN)"
    assert definition("somebody's own") == ""
    assert decimals([np.array([0.5, math.nan])]) == 4
    assert decimals([np.array([0.5]), np.array([1.5])]) == 2
    assert decimals([]) == 4


def test_no_interval_is_a_dash(make_run, tmp_path):
    part = split_scores(read_record(make_run(tmp_path / "run", {"a": [0.5]})), "val")
    assert interval_text(part.interval("dice")) == "-"


@pytest.fixture
def part_of(make_run, tmp_path):
    """The scores of a run that is made up."""
    numbers = itertools.count()
    return lambda dice, **more: scores_by_split(read_record(make_run(tmp_path / f"run{next(numbers)}", dice, **more)))[0]


def test_sentence_has_score_interval_and_cases(part_of):
    text = score_sentence(part_of({f"c{n}": [0.8 + n / 100] for n in range(10)}))
    assert re.fullmatch(r"val: Dice 0\.8450 \(95 % interval 0\.8\d+ to 0\.8\d+\), IoU 0\.\d{4}, over 10 cases\.", text)


def test_sentence_of_one_case_says_that_there_is_no_interval(part_of):
    assert score_sentence(part_of({"c": [0.5]})) == "val: Dice 0.5000, IoU 0.3333, over 1 case; one case gives no interval."


def test_sentence_of_one_group_says_what_the_interval_is_not(part_of):
    dice = {f"c{n}": [0.8 + n / 100] for n in range(10)}
    text = score_sentence(part_of(dice, groups=dict.fromkeys(dice, "D")))
    assert text.endswith("over 10 cases of 1 group; the interval describes these cases and says nothing about a new group.")


def test_sentence_without_any_foreground(part_of):
    assert (
        score_sentence(part_of({"c": [None], "d": [None]})) == "val: no Dice is defined, because no case has a pixel of liver."
    )


def test_a_warning_changes_the_level(part_of):
    part = part_of({"c": [0.5], "d": [0.6]})
    found = score_notice([part, part], remarks=["The last epoch was the best one."])
    assert (found.level, found.title) == ("note", score_sentence(part))
    assert found.paragraphs == [score_sentence(part), "The last epoch was the best one."]
    warned = score_notice([part], ["liver was not found."])
    assert (warned.level, warned.paragraphs) == ("warning", ["liver was not found."])
    assert score_notice([]).title == "No case was scored."


def test_table_has_every_score_with_interval_and_the_pooled_ones(part_of):
    part = part_of({f"c{n}": [0.8 + n / 100] for n in range(10)}, more={"hd95": {f"c{n}": 3.0 + n for n in range(10)}})
    found = score_tables(part, {"val/dice_pooled": 0.84, "val/iou_pooled": float("nan")})
    rows = {row.name: row for row in found.rows}
    assert list(rows) == ["Dice", "IoU", "HD95 (low is good)", "accuracy", "Dice, pooled"]
    assert rows["Dice, pooled"].mean == "0.8400"
    assert [name for name, row in rows.items() if row.bar] == ["Dice", "IoU", "accuracy"], "HD95 is not between 0 and 1"
    accuracy = part.interval("accuracy")
    assert rows["accuracy"].mean == format_score(accuracy.mean)
    assert rows["accuracy"].interval == f"{format_score(accuracy.low)} to {format_score(accuracy.high)}"
    assert rows["Dice"].definition == "2 TP / (2 TP + FP + FN)"
    assert rows["Dice"].sample == "10 cases"
    assert found.axis == (0.7, 1.0)
    assert found.classes == []


def test_classes_have_a_row_each(part_of):
    dice = {f"c{n}": [0.8, None if n == 3 else 0.4] for n in range(6)}
    found = score_tables(part_of(dice, classes=("background", "liver", "tumour")), {})
    liver, tumour = found.classes
    assert (liver.name, tumour.name) == ("liver", "tumour")
    assert found.measures == ["Dice", "IoU"]
    assert tumour.scores[0] == ("0.4000", "0.4000 to 0.4000")
    assert tumour.cases == "5 of 6"
    assert tumour.false_positives == "7", "pixels found where there are none"


def test_cases_without_foreground_are_told_with_one_class(part_of):
    found = score_tables(part_of({"a": [0.8], "b": [None], "c": [0.7]}), {})
    assert found.note == (
        "1 of 3 cases have no liver and therefore no Dice; in 1 of them it was predicted all the same (7 pixels)."
    )


def test_what_a_mean_is_over_is_explained(part_of):
    dice = {f"c{n}": [0.8 + n / 100] for n in range(10)}
    one = part_of(dice, groups=dict.fromkeys(dice, "D"))
    text = describe_means([one])
    assert text.startswith("Mean over cases, with a 95 % bootstrap interval that resamples cases.")
    assert "But the 10 cases of val are of 1 group, too few to resample: a new group may score differently." in text
    four = part_of(dice, groups={name: "ABCD"[n % 4] for n, name in enumerate(dice)})
    assert "resamples whole groups (cases that belong together)" in describe_means([four])
    several = part_of({"c": [0.5, 0.5]}, classes=("background", "liver", "tumour"))
    assert describe_means([several]).startswith("Mean over cases, then over the foreground classes,")
