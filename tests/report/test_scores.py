"""The tables and sentences of scores."""

import re

import pytest

from segexp.comparison.records import read_record
from segexp.comparison.words import number
from segexp.report.scored import parts_of
from segexp.report.scores import scores_section, sentence, verdict


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
