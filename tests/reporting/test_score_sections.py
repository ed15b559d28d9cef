"""The table of cases and the histogram of their scores."""

import json
import math
import re

import numpy as np
import pytest

from segexp.evaluation.case_scores import metric_of
from segexp.evaluation.grouping import gather
from segexp.evaluation.records import read_record
from segexp.evaluation.summary_text import number
from segexp.metrics.scores import summary
from segexp.reporting.score_sections import (
    behind,
    cases_section,
    digits,
    interval_text,
    meaning,
    named,
    parts_of,
    scores_section,
    sentence,
    split_scores,
    spread_section,
    verdict,
)


@pytest.fixture
def parts(full_run, tmp_path):
    return lambda **more: parts_of(read_record(full_run(tmp_path / "run", pictures=False, **more)))


def content(markup):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', markup).group(1))


def headings(markup):
    return re.findall(r"<button[^>]*>([^<]*)</button></th>", markup)


def test_one_class_is_one_row_per_case(parts):
    found = parts()
    markup = cases_section(found, {("val", "scan/002"): "#case-val-0"})
    assert headings(markup) == ["case", "group", "Dice", "IoU", "HD95", "TP", "FP", "FN"]
    rows = content(markup)["rows"]
    assert len(rows) == 10
    assert rows[2][0] == ["scan/002", "#case-val-0"]
    assert rows[2][2] == round(float(found[0].values["dice"][2, 0]), 4)
    assert rows[3][2:4] == [None, None]
    assert rows[3][6] == 7, "false pixels of a case without the class"
    assert content(markup)["sort"] == [2, True]


def test_several_classes_are_a_row_each_and_their_mean_is_shown_first(parts):
    found = parts(classes=("background", "liver", "tumour"))
    markup = cases_section(found, {})
    assert headings(markup)[:3] == ["case", "group", "class"]
    rows = content(markup)["rows"]
    assert [row[2] for row in rows[:3]] == ["mean", "liver", "tumour"]
    assert len(rows) == 30
    assert rows[0][3] == pytest.approx(float(np.nanmean(found[0].values["dice"][0])), abs=1e-4)
    assert '<option value="mean" selected>' in markup
    assert markup.count("<tr><td>") == 10


def test_several_splits_can_be_told_apart(parts):
    found = parts()
    from dataclasses import replace

    markup = cases_section([found[0], replace(found[0], split="test")], {})
    assert headings(markup)[:3] == ["case", "split", "group"]
    assert {row[1] for row in content(markup)["rows"]} == {"val", "test"}


def test_histogram_says_how_the_cases_are_spread(parts):
    found = parts()
    values = found[0].of_cases("dice")
    markup = spread_section(found)
    assert f"lowest {np.nanmin(values):.3f}, highest {np.nanmax(values):.3f}; 9 cases" in markup
    assert markup.count("<svg") == 1


def test_no_histogram_without_any_score(make_run, tmp_path):
    assert spread_section(parts_of(read_record(make_run(tmp_path / "run", {"a": [None]})))) == ""


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
    assert interval_text(part.interval("dice")) == "-"


@pytest.fixture
def part_of(make_run, tmp_path):
    """The scores of a run that is made up."""
    return lambda dice, **more: parts_of(read_record(make_run(tmp_path / "run", dice, **more)))[0]


def test_sentence_has_score_interval_and_cases(part_of):
    text = sentence(part_of({f"c{n}": [0.8 + n / 100] for n in range(10)}))
    assert re.fullmatch(r"val: Dice 0\.8450 \(95 % interval 0\.8\d+ to 0\.8\d+\), IoU 0\.\d{4}, over 10 cases\.", text)


def test_sentence_of_one_case_says_that_there_is_no_interval(part_of):
    assert sentence(part_of({"c": [0.5]})) == "val: Dice 0.5000, IoU 0.3333, over 1 case; one case gives no interval."


def test_sentence_of_one_group_says_what_the_interval_is_not(part_of):
    dice = {f"c{n}": [0.8 + n / 100] for n in range(10)}
    text = sentence(part_of(dice, groups=dict.fromkeys(dice, "D")))
    assert text.endswith("over 10 cases of 1 group; the interval is over these cases and says nothing about another group.")


def test_sentence_without_any_foreground(part_of):
    assert sentence(part_of({"c": [None], "d": [None]})) == "val: no Dice is defined, because no case has a pixel of liver."


def test_a_worry_makes_the_verdict_a_warning(part_of):
    part = part_of({"c": [0.5], "d": [0.6]})
    assert 'class="notice note"' in verdict([part], remarks=["The last epoch was the best one."])
    warned = verdict([part], ["liver was not found."])
    assert 'class="notice warning"' in warned
    assert "liver was not found." in warned


def test_table_has_every_score_with_interval_and_the_pooled_ones(part_of):
    part = part_of({f"c{n}": [0.8 + n / 100] for n in range(10)}, more={"hd95": {f"c{n}": 3.0 + n for n in range(10)}})
    markup = scores_section([part], {"val/dice_pooled": 0.84, "val/iou_pooled": float("nan")})
    assert ">HD95 (low is good)</span>" in markup
    assert ">Dice, pooled</span></td>" in markup
    assert "IoU, pooled" not in markup
    assert markup.count('class="bar-cell"') == 3, "Dice, IoU and accuracy lie between 0 and 1, HD95 does not"
    accuracy = part.interval("accuracy")
    assert f"{number(accuracy.mean)}</td>" in markup
    assert f"{number(accuracy.low)} to {number(accuracy.high)}" in markup
    assert "0.7 to 1" in markup


def test_classes_have_a_row_each(part_of):
    dice = {f"c{n}": [0.8, None if n == 3 else 0.4] for n in range(6)}
    markup = scores_section([part_of(dice, classes=("background", "liver", "tumour"))], {})
    row = re.search(r"<tr><td>tumour</td>(.*?)</tr>", markup).group(1)
    assert "0.4000" in row
    assert "5 of 6" in row
    assert row.endswith('<td class="number">7</td>'), "pixels found where there are none"


def test_cases_without_foreground_are_told_with_one_class(part_of):
    dice = {"a": [0.8], "b": [None], "c": [0.7]}
    assert "1 of 3 cases have no liver and no Dice; in 1 of them it was found all the same (7 pixels)." in scores_section(
        [part_of(dice)], {}
    )


def test_few_groups_are_explained(part_of):
    dice = {f"c{n}": [0.8 + n / 100] for n in range(10)}
    markup = scores_section([part_of(dice, groups=dict.fromkeys(dice, "D"))], {})
    assert "But the 10 cases of val are of 1 group, too few to be drawn: another group may score differently." in markup
