"""The table of cases and the histogram of their scores."""

import json
import re

import numpy as np
import pytest

from segexp.comparison.records import read_record
from segexp.report.cases import cases_section, spread_section
from segexp.report.scored import parts_of


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
