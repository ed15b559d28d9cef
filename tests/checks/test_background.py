"""Whether the first class is the background: asked where nothing shows it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fixtures.checks import applied
from fixtures.configs import data_config
from segexp.checks.background import check_background, surrounding
from segexp.checks.issues import CaseFacts
from segexp.checks.scan import CaseScan
from segexp.config.schema import DataConfig
from segexp.data.labels.multilabel import label_table
from segexp.types import Case, Source

LAND = np.zeros((16, 16), np.uint8)
LAND[:, 8:], LAND[10:] = 1, 2
DISCS = np.zeros((16, 16), np.uint8)
DISCS[2:6, 2:6], DISCS[9:14, 8:13] = 1, 2
NESTED = np.zeros((16, 16), np.uint8)
NESTED[2:14, 2:14], NESTED[4:11, 4:11] = 1, 2


def asked(mask, data: DataConfig, **more):
    scan = CaseScan(Case("a", Source(Path("a.png")), ()), CaseFacts("a", mask.shape, 1, "uint8", 0, 1, {}), 1, "", False, mask)
    return check_background([replace(scan, labels=mask)], label_table(data), data, **more)


def test_how_far_the_first_class_surrounds_the_others():
    # Down the middle 10 pixels part classes 0 and 1, below them 8 part 0 and 2, and 8 part 1 and 2.
    assert surrounding([LAND], 3) == (pytest.approx(18 / 26), pytest.approx((8 + 10) / 64))
    assert surrounding([DISCS], 3) == (1, 1)
    hidden = np.where(LAND == 2, np.uint8(255), LAND)
    assert surrounding([hidden, hidden], 3) == (1, pytest.approx((8 + 10) / (16 + 10 + 10)))


@pytest.mark.parametrize("first", ["field", "class_0"])
def test_areas_side_by_side_raise_the_question_and_its_lines_answer_it(first):
    data = data_config(classes={first: 0, "wood": 1, "water": 2})
    (finding,) = asked(LAND, data)
    assert (finding.level, finding.kind) == ("warning", "background")
    assert finding.found.startswith(f"Is {first} (the mask value 0) the background? As the first class it is left out")
    assert "31% of the borders between classes are without it, and it has 28% of the image edges" in finding.found
    assert asked(LAND, applied(data, "Type data.background=null")) == []
    assert f"data.background={first} if it is" in finding.do
    assert asked(LAND, applied(data, f"Type data.background={first}")) == []
    spaced = data_config(classes={"bare soil": 0, "wood": 1, "water": 2})
    assert "'data.background=\"bare soil\"'" in asked(LAND, spaced)[0].do


@pytest.mark.parametrize("mask", [DISCS, NESTED], ids=["apart", "nested"])
def test_what_surrounds_the_others_is_the_background(mask):
    assert asked(mask, data_config(classes={"tissue": 0, "a": 1, "b": 2})) == []


@pytest.mark.parametrize("name", ["background", "Unlabeled", "void pixels", "no_data_unknown"])
def test_a_name_says_it_unless_it_was_made_up(name):
    data = data_config(classes={name: 0, "a": 1, "b": 2})
    assert asked(LAND, data) == []
    assert [finding.kind for finding in asked(LAND, data, recognised=True)] == ["background"]


def test_two_classes_and_those_that_overlap_are_not_asked_about():
    two = np.minimum(LAND, 1)
    assert asked(two, data_config(classes={"land": 0, "water": 1})) == []
    patterns = {"a": "a/{id}.png", "b": "b/{id}.png"}
    classes = {"none of them": 0, "a": 1, "b": 1}
    assert asked(LAND, data_config(classes=classes, labels="overlapping", mask=patterns)) == []
