"""check.html from a real examination of generated faults: all in one small file that a browser shows at any width."""

import io
import re
import shutil

import numpy as np
import pytest
from rich.console import Console

from segexp.checking.examine import examine
from segexp.checking.findings import CaseFacts, Examination, Finding
from segexp.data.demo import make_demo
from segexp.data.files.images import write_png
from segexp.report.check import check_page
from segexp.report.terminal import print_examination
from segexp.report.trial import fit_section, proposal_section
from segexp.types import Case, Source

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
    return examine(DATA | {"root": str(faulty)})


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
        "Trial fit",
        "Proposed configuration",
        "What the data are",
        "Distributions",
        "A look at the cases",
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
    assert len(text) < 2_000_000


def test_both_splits_can_be_looked_at(text):
    look = parts(text)["A look at the cases"]
    assert re.findall(r"<h3>(\w+): (\d+) of (\d+)", look) == [("train", "8", "8"), ("val", "8", "9")]
    assert look.count("<img") == 16


def test_the_trial_fit_and_the_proposal_are_there(text):
    fit = parts(text)["Trial fit"]
    assert 'class="notice good"' in fit
    assert "polyline" in fit
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
    data = DATA | {"root": str(tmp_path), "channels": 3}
    text = check_page(Examination(data, "as typed", cases, dict.fromkeys(ids, "train"), facts, findings))
    assert 5_000_000 < len(text) < 15_000_000
    assert text.count("<figcaption>case_499: also") == 3  # named also where there was no room for a picture
    assert parts(text)["A look at the cases"].count("<img") == 8
    assert parts(text)["Findings"].count("<details>") == 3


def test_an_examination_that_found_nothing_makes_a_page_too(tmp_path):
    data = DATA | {"root": str(tmp_path), "name": "auto", "classes": None}
    found = Examination(data, "Nothing was found", findings=[Finding("error", "layout", "No picture", "Type data.root=DIR")])
    text = check_page(found)
    assert list(parts(text)) == ["Findings", "What the data are"]
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
