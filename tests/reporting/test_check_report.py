"""check.html from a real examination of generated faults: all in one small file that a browser shows at any width."""

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fixtures.configs import data_config
from segexp.checks.issues import CaseFacts, Examination, Finding
from segexp.checks.run import run_checks
from segexp.data.io.images import write_png
from segexp.data.synthetic.datasets import make_demo
from segexp.evaluation.label_errors import LabelQuality
from segexp.reporting.check_report import (
    DISPUTED_CASES,
    check_page,
    check_verdict,
    class_facts,
    class_index,
    dataset_facts,
    dataset_name,
    disputes_section,
    distribution_charts,
    fit_section,
    format_share,
    label_table,
    print_examination,
    proposal_section,
    unclaimed_values,
)
from segexp.reporting.rendering import write_page
from segexp.types import Case, DataSpec, Source

DATA = {
    "name": "organ",
    "family": None,
    "image": "{split}/{id}.png",
    "mask": "{split}/{id}_mask.png",
    "groups": None,
    "classes": {"background": 0, "organ": 255},
    "ignore": [],
    "threshold": None,
    "channels": 1,
    "size": None,
    "crop": None,
    "val_fraction": 0.2,
    "test_fraction": 0.0,
    "folds": None,
    "fold": None,
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """Sixteen slices: one in both splits, one mask with a value that no class has, one image without a mask."""
    root = make_demo(tmp_path_factory.mktemp("faulty"), "organ", count=16, size=64)
    for end in ("", "_mask"):
        shutil.copy(root / "train" / f"000{end}.png", root / "val" / f"900{end}.png")
    write_png(root / "train" / "001_mask.png", np.tri(64, dtype=np.uint8) * 254)
    write_png(root / "train" / "<lone>.png", np.tri(64, dtype=np.uint8) * 100)
    return root


@pytest.fixture(scope="module")
def examination(faulty):
    return run_checks(data_config(DATA, root=str(faulty)))


@pytest.fixture(scope="module")
def text(examination):
    points = [(10, 4.0, 1.2, 0.3), (20, 8.0, 0.6, 0.9)]
    panel = np.zeros((30, 40, 3), np.uint8)
    fit = fit_section("The network learned four images.", True, points, panel)
    return check_page(examination, [fit, proposal_section("name: x  # <why>\n", "python -m segexp.train data=x")])


def parts(text):
    """The headings of the page with what follows each."""
    pieces = re.split(r"<section><h2>(.*?)</h2>", text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def test_the_page_has_all_parts_in_their_order(text):
    assert list(parts(text)) == [
        "Findings",
        "Overfit test",
        "Proposed configuration",
        "Data",
        "Distributions",
        "Sample cases",
    ]
    assert "Check of organ" in text
    assert "errors: training cannot work as it stands" in text.partition("Findings")[0]


def test_every_case_that_a_finding_names_is_shown_with_it(text, examination):
    findings = parts(text)["Findings"]
    assert examination.failed
    for name in {name for finding in examination.findings for name in finding.cases}:
        shown = name.replace("<", "&lt;").replace(">", "&gt;")
        assert re.search(rf'<img [^>]*alt="{re.escape(shown)}', findings), name
    assert findings.count('class="notice error"') == sum(each.level == "error" for each in examination.findings)


def test_nothing_comes_from_elsewhere_and_no_name_breaks_the_page(text):
    assert not re.search(r"https?://|<lone>|<why>|<script", text)
    assert text.count("<section>") == text.count("</section>")
    assert "script-src" not in text
    assert "default-src 'none'" in text
    assert len(text) < 2_000_000


def test_both_splits_can_be_looked_at(text):
    look = parts(text)["Sample cases"]
    assert re.findall(r"<h3>(\w+): (\d+) of (\d+)", look) == [("train", "8", "8"), ("val", "8", "9")]
    assert look.count("<img") == 16


def test_the_overfit_test_and_the_proposal_are_there(text):
    fit = parts(text)["Overfit test"]
    assert 'class="notice good"' in fit
    assert re.findall(r"<h3>([^<]*)</h3>", fit) == ["Dice", "Loss"]
    assert fit.count("<polyline") == 2
    assert "<tr>" + "".join(f'<td class="number">{cell}</td>' for cell in ("20", "8", "0.6000", "0.9000")) + "</tr>" in fit
    assert "data:image/png" in fit
    assert "# &lt;why&gt;" in parts(text)["Proposed configuration"]


def test_five_hundred_cases_with_findings_stay_below_fifteen_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    write_png(tmp_path / "image.png", rng.integers(0, 255, (256, 256, 3), np.uint8))  # noise: the worst case
    write_png(tmp_path / "mask.png", (rng.random((256, 256)) < 0.5).astype(np.uint8) * 255)
    sources = Source(tmp_path / "image.png"), (Source(tmp_path / "mask.png"),)
    cases = [Case(f"case_{n}", *sources) for n in range(500)]
    ids = tuple(case.id for case in cases)
    facts = {i: CaseFacts(i, (256, 256), 3, "uint8", 0.0, 255.0, {"0": 100, "255": 100}, (0.5, 0.5)) for i in ids}
    findings = [Finding("warning", kind, f"all of them {kind}", "look", ids) for kind in ("soft", "shifted", "alike")]
    data = data_config(DATA, root=str(tmp_path), channels=3)
    text = check_page(Examination(data, "as typed", cases, dict.fromkeys(ids, "train"), facts, findings))
    assert 5_000_000 < len(text) < 15_000_000
    assert text.count("<figcaption>case_499: also") == 3  # named also where there was no room for a picture
    assert parts(text)["Sample cases"].count("<img") == 8
    assert parts(text)["Findings"].count("<details>") == 3


def test_an_examination_that_found_nothing_makes_a_page_too(tmp_path):
    data = data_config(DATA, root=str(tmp_path), name="auto", classes=None)
    found = Examination(data, "Nothing was found", findings=[Finding("error", "layout", "No picture", "Type data.root=DIR")])
    text = check_page(found)
    assert list(parts(text)) == ["Findings", "Data"]
    assert f"Check of {tmp_path.name}" in text


def test_the_terminal_has_findings_by_level_with_what_to_type(examination):
    stream = io.StringIO()
    print_examination(Console(file=stream, width=100, soft_wrap=True), examination)
    lines = stream.getvalue().splitlines()
    assert lines[1].startswith("cases ")
    places = [n for n, line in enumerate(lines) if re.fullmatch(r"(Errors|Warnings|Notes) \(\d+\)", line)]
    assert lines[places[0]].startswith("Errors")
    for finding in examination.findings:
        assert any(line.startswith(f"- {finding.found}") for line in lines)
        assert any(line.startswith(f"  {finding.do}") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_it_at_any_width_without_a_request(text, tmp_path, width, scheme):
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    (tmp_path / "check.html").write_text(text, encoding="utf-8")
    asked, complaints = [], []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(f"file://{tmp_path}/check.html")
        wide = page.evaluate("document.documentElement.scrollWidth")
        colours = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        sizes = page.locator("img").evaluate_all("all => all.map(e => [e.naturalWidth, e.getBoundingClientRect().width])")
        browser.close()
    assert [url for url in asked if not url.startswith("data:")] == [f"file://{tmp_path}/check.html"]
    assert complaints == []
    assert wide == width  # nothing sticks out
    assert all(natural > 0 and 0 < shown <= width for natural, shown in sizes)
    paper, ink = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (paper > ink) == (scheme == "light")


SPEC = DataSpec("cells", ("background", "<cell>"), 1, ((0, 0, 0), (230, 159, 0)))


def ranking(count):
    found = []
    for n in range(count):
        case = Case(f"<{n:02}>", Source(Path(f"{n}.png")), ())
        found.append(LabelQuality(case, n / count, n / count, 5 * n, 7))
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
    text = check_page(Examination(data_config(name="cells", root=str(root), classes=None), "a layout"), [found])
    write_page(root / "check.html", text)
    return root / "check.html"


def test_pictures_of_the_first_and_a_table(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("<img ") == 4 * DISPUTED_CASES
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
    found = disputes_section(ranking(2), [], spec, look)
    assert [len(views) for _, _, views in found.rows] == [4, 4]
    assert [[key.name for key in keys] for _, keys in found.legend] == [
        ["b", "c"],
        ["in both", "only in the given mask", "only in the prediction", "another class"],
    ]


def test_the_table_of_disputed_masks_is_limited():
    found = disputes_section(ranking(120), ["a", "b"], SPEC, look)
    assert (len(found.rows), len(found.table.rows), found.total) == (DISPUTED_CASES, 100, 120)
    assert found.notes == "a b"
    assert found.table.rows[1] == ("2", "<01>", "0.0083", "0.0083", "5", "7")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_the_window(page, open_page, width):
    opened = open_page(page, width)
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    shown = opened.locator(".shots img").evaluate_all("all => all.map(e => [e.naturalWidth, e.clientWidth])")
    assert len(shown) == 4 * DISPUTED_CASES
    assert all(natural == 80 and 80 < wide < width for natural, wide in shown)


DATA_FACTS = {"name": "cells", "root": "/somewhere/cells", "classes": {"background": 0, "cell": [254, 255]}, "ignore": [9]}


def case_facts(name, values, shares=(), size=(100, 200), **more):
    return CaseFacts(
        name, size, **({"channels": 1, "dtype": "uint8", "low": 3.0, "high": 250.0} | more), values=values, shares=shares
    )


SOME = {"0": 55_030, "254": 3_500, "9": 1_470}


def examination_facts(data=None, findings=(), **facts):
    found = facts or {
        "a": case_facts("a", {"0": 15_000, "255": 5_000}, (0.75, 0.25)),
        "b": case_facts("b", SOME, (55_030 / 58_530, 3_500 / 58_530), (300, 200), ignored=1_470, channels=3, high=65535.0),
        "c": case_facts("c", {"0": 19_990, "7": 10}, (1.0, 0.0), ignored=10, dtype="uint16", low=-1.0),
    }
    cases = [Case(name, Source(Path(f"{name}.png")), (), None, "g" if name != "c" else "h") for name in found]
    splits = {name: "train" if name != "c" else "val" for name in found}
    return Examination(data_config(DATA_FACTS, **(data or {})), "as typed", cases, splits, found, list(findings))


def finding(level):
    return Finding(level, "kind", "found", "do")


@pytest.mark.parametrize(
    ("levels", "text"),
    [
        ([], "Nothing found that stands in the way of training."),
        (["note", "note"], "Nothing found that stands in the way of training."),
        (["warning", "note"], "No error, 1 warning: training will run; look at the warnings before you trust it."),
        (["error", "error", "warning"], "2 errors: training cannot work as it stands, or its scores would be wrong."),
        (["error"], "1 error: training cannot work as it stands, or its scores would be wrong."),
    ],
)
def test_the_verdict(levels, text):
    assert check_verdict(examination_facts(findings=map(finding, levels))) == text


def test_what_the_table_says():
    assert dict(dataset_facts(examination_facts())) == {
        "cases": "3 (2 train, 1 val)",
        "groups kept together": "2",
        "sizes (height x width)": "100x200 (2), 300x200 (1)",
        "channels": "1 (2), 3 (1)",
        "values stored as": "uint8 (2), uint16 (1)",
        "intensities": "-1 to 65535",
        "mask values": "0 = background; 255, 254 = cell; 9 = (ignored)",
        "values of no class": "7",
        "pixels": "background 91.4 %, cell 8.6 %, (ignored) 1.5 %",
        "masks without foreground": "1 of 3",
    }


def test_many_sizes_are_a_range_and_many_values_are_counted():
    many = {str(n): case_facts(str(n), {str(v): 1 for v in range(30)}, size=(100 + n, 50)) for n in range(6)}
    found = dict(dataset_facts(examination_facts({"classes": None}, **many)))
    assert found["sizes (height x width)"] == "6 sizes from 100x50 to 105x50"
    assert found["mask values"].endswith("and 18 more")
    assert "pixels" not in found


def test_an_examination_that_could_read_nothing():
    empty = Examination(data_config(DATA_FACTS), "as typed", [], {}, {}, [finding("error")])
    assert dict(dataset_facts(empty)) == {"cases": "0", "readable": "none"}


def test_distributions_are_shown_as_far_as_they_are_known():
    data = data_config(DATA_FACTS)
    labels = [chart.label for chart in distribution_charts(examination_facts(), label_table(data))]
    assert labels == ["Share of each class", "Histogram of the longest sides", "Histogram of the share of cell"]
    assert [chart.label for chart in distribution_charts(examination_facts(), None)] == labels[1:2]
    assert distribution_charts(Examination(data, "as typed", [], {}, {}, []), None) == []


def test_a_mask_value_means_a_class():
    gray = label_table(data_config(DATA_FACTS))
    assert [class_index(value, gray) for value in ("0", "254", "255", "9", "7", "#FFFFFF")] == [0, 1, 1, 255, None, 1]
    soft = label_table(data_config({"classes": {"no": 0, "yes": 255}, "threshold": 127}))
    assert [class_index(value, soft) for value in ("3", "127", "128", "0.5")] == [0, 0, 1, 0]
    colour = label_table(data_config({"classes": {"land": "#102030", "sea": "#0000FF"}, "ignore": ["#000000"]}))
    assert [class_index(value, colour) for value in ("#102030", "#0000FF", "#000000", "#123456")] == [0, 1, 255, None]


def test_shares_are_of_the_union_of_the_files_of_an_image():
    table = label_table(data_config({"classes": {"background": 0, "cell": 255}, "ignore": []}))
    twenty = case_facts("a", {"0": 20 * 9_900, "255": 20 * 100}, (0.9, 0.1), (100, 100))
    large = case_facts("b", {"0": 40_000}, (1.0, 0.0), (200, 200), ignored=10_000)
    found = class_facts(examination_facts(a=twenty, b=large), table)
    assert [(each.share, each.cases) for each in found] == [(0.975, 2), (0.025, 1)]


def test_classes_without_pixels_are_there_too():
    table = label_table(data_config({"classes": {"a": 0, "b": 255, "c": 3}, "ignore": []}))
    facts = {name: replace(each, shares=(*each.shares, 0.0)) for name, each in examination_facts().facts.items()}
    facts["b"] = replace(facts["b"], shares=(1.0, 0.0, 0.0))
    found = class_facts(examination_facts(**facts), table)
    assert [(each.name, each.values, each.cases) for each in found] == [("a", ("0",), 3), ("b", ("255",), 1), ("c", (), 0)]
    assert found[2].share == 0
    assert unclaimed_values(examination_facts().facts.values(), table) == {"254": 3_500, "9": 1_470, "7": 10}


@pytest.mark.parametrize("data", [{"classes": None}, {"classes": {"one": 0}}, {}])
def test_without_classes_there_is_no_table(data):
    assert label_table(data_config(data)) is None


def test_names_and_shares():
    assert dataset_name(data_config(name="auto", root="/x/liver")) == "liver"
    assert dataset_name(data_config(name="mine", root="/x/liver")) == "mine"
    assert [format_share(share) for share in (0.0, 0.5, 0.001, 0.00002)] == ["0.0 %", "50.0 %", "0.1 %", "0.002 %"]
