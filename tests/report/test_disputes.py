"""The part of check.html with the masks to look at first: pictures, table, words; and in a browser."""

from pathlib import Path

import numpy as np
import pytest

from segexp.checking.disagreement import Disagreement
from segexp.checking.findings import Examination
from segexp.report.check import check_page
from segexp.report.disputes import SHOWN, disputes_section
from segexp.report.page import write_page
from segexp.types import Case, DataSpec, Source

SPEC = DataSpec("cells", ("background", "<cell>"), 1, ((0, 0, 0), (230, 159, 0)))


def ranking(count):
    found = []
    for n in range(count):
        case = Case(f"<{n:02}>", Source(Path(f"{n}.png")), ())
        found.append(Disagreement(case, n / count, n / count, 5 * n, 7))
    return found


def look(each):
    rng = np.random.default_rng(each.only_given)
    mask = np.zeros((60, 80), np.uint8)
    mask[10:40, 20:60] = 1
    return rng.integers(0, 255, (60, 80, 1)).astype(np.uint8), mask, np.roll(mask, 9, 1)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    found = disputes_section(ranking(20), ["20 cases, each predicted by a run that was not trained on it."], SPEC, look)
    root = tmp_path_factory.mktemp("disputes")
    text = check_page(Examination({"name": "cells", "root": str(root), "classes": None}, "a layout"), [found])
    write_page(root / "check.html", text)
    return root / "check.html"


def test_pictures_of_the_first_and_a_table(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("<img ") == 4 * SHOWN
    assert "Masks to look at first" in text
    assert "20 cases, each predicted by a run that was not trained on it." in text
    assert "A ranking, not a verdict" in text
    assert "The first 20 of 20" in text
    assert "1. &lt;00&gt;</strong> \u00b7 label quality 0.0000 \u00b7 Dice 0.0000" in text
    assert "only in the given mask" in text
    assert "another class" not in text
    assert "<cell>" not in text


def test_few_cases_and_many_classes():
    spec = DataSpec("x", ("a", "b", "c"), 1, ((0, 0, 0), (9, 9, 9), (5, 5, 5)))
    text = disputes_section(ranking(2), [], spec, look)
    assert text.count("<img ") == 8
    assert "another class" in text


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_window(page, open_page, width):
    opened = open_page(page, width)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    shown = opened.locator(".shots img").evaluate_all("all => all.map(e => [e.naturalWidth, e.clientWidth])")
    assert len(shown) == 4 * SHOWN
    assert all(natural == 80 and 80 < wide < width for natural, wide in shown)
