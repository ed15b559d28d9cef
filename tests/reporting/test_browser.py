"""The pages of runs and studies in a real browser: they render, sort and filter, log nothing and ask for nothing."""

import numpy as np
import pytest

from segexp.evaluation.compare import compare_records
from segexp.evaluation.records import read_record
from segexp.reporting.comparison import as_html
from segexp.reporting.export_report import certificate_page
from segexp.reporting.regenerate import write_reports
from segexp.reporting.rendering import write_page
from segexp.reporting.run_report import write_run_report

pytestmark = pytest.mark.slow
CLASSES = ("background", "building", "land", "road")


@pytest.fixture(scope="module")
def few(full_run, tmp_path_factory):
    """The page of a run with 10 cases and one class."""
    return write_run_report(full_run(tmp_path_factory.mktemp("few") / "run"))


@pytest.fixture(scope="module")
def many(full_run, tmp_path_factory):
    """The page of a run with 500 cases and three classes."""
    return write_run_report(full_run(tmp_path_factory.mktemp("many") / "run", 500, CLASSES))


@pytest.fixture(scope="module")
def nets(full_study, tmp_path_factory):
    """The page of a study; its jobs have theirs."""
    return list(write_reports(full_study(tmp_path_factory.mktemp("study") / "nets")))[-1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The certificate of an exported file."""
    interval = {"mean": 0.9, "low": 0.8, "high": 0.95, "cases": 5}
    timed = {"median": 30.0, "p95": 31.0, "rounds": 9}
    values = {
        **dict.fromkeys(("checkpoint", "format", "precision", "machine", "verdict"), "a long text of many words " * 5),
        **{"file": "net.onnx", "returns": "logits", "opset": 20, "sha256": "ab" * 32},
        "bytes": {"file": 1_230_000, "weights in float32": 4_560_000},
        "agreement": [{"batch": 3, "height": 17, "width": 19, "largest": 2.5e-7, "changed": 2, "pixels": 969}],
        "dice": dict.fromkeys(("before", "after", "difference"), interval),
        "latency": {"height": 32, "width": 48, "torch": timed, "file": timed},
    }
    path = tmp_path_factory.mktemp("export") / "net.html"
    write_page(path, certificate_page(values, True, [("this file", np.zeros((64, 64, 3), np.uint8))]))
    return path


@pytest.fixture(scope="module")
def compared(make_run, tmp_path_factory):
    """The comparison of two runs with long names."""
    folder = tmp_path_factory.mktemp("compared")
    runs = [read_record(make_run(folder / (name * 12), {f"{n}": [0.5 + n / 20] for n in range(9)})) for name in ("one", "two")]
    write_page(folder / "compare.html", as_html(compare_records(runs), "python -m segexp.compare " + "runs/of/mine " * 9))
    return folder / "compare.html"


def column(page, number):
    """The texts of a column of the table of cases or jobs, from the top."""
    return [text.strip() for text in page.locator(f".grid tbody tr td:nth-child({number})").all_inner_texts()]


def head(page, text):
    return page.locator(".grid th button", has_text=text).first


def count(page):
    return page.locator(".grid .count").inner_text()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["few", "many", "nets"])
def test_page_renders_and_fits_the_window(name, width, open_page, request):
    page = open_page(request.getfixturevalue(name), width)
    assert page.locator("h1").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.locator("img").evaluate_all("all => all.map(e => [e.complete, e.naturalWidth, e.clientWidth])")
    assert all(complete and natural > 0 and 0 < shown <= width for complete, natural, shown in sizes)
    assert len(sizes) == {"few": 40, "many": 40, "nets": 0}[name]
    drawings = page.locator("svg").evaluate_all("all => all.map(e => e.getBoundingClientRect().width)")
    assert drawings
    assert len(page.screenshot(full_page=True)) > 20_000


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["certificate", "compared"])
def test_pages_without_a_script_fit_the_window(name, width, open_page, request):
    page = open_page(request.getfixturevalue(name), width)
    assert page.locator("h1").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("script").count() == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_the_texts_of_charts_can_be_read(width, few, open_page):
    page = open_page(few, width)
    scale = "e.getBoundingClientRect().width / e.viewBox.baseVal.width * parseFloat(getComputedStyle(e).fontSize)"
    sizes = page.locator("svg[role=img]").evaluate_all(f"all => all.map(e => {scale})")
    assert len(sizes) == 6
    assert all(10 <= size <= 16 for size in sizes), sizes


def test_charts_speak_to_readers_who_do_not_see_them(few, open_page):
    page = open_page(few)
    chart = page.get_by_role("img", name="Loss over epoch: training, validation")
    assert chart.locator("desc").text_content().startswith("training: from 1 at epoch 0 to 0.03333 at epoch 29")
    assert chart.locator("circle title").first.text_content() == "training, 0: 1"
    chart.scroll_into_view_if_needed()
    place = chart.locator("circle").nth(12).bounding_box()
    radius = chart.locator("circle").nth(12).evaluate("e => 3 * e.ownerSVGElement.getScreenCTM().a")
    near = [place["x"] + place["width"] / 2, place["y"] + place["height"] / 2 - radius - 1]
    told = page.evaluate("place => document.elementFromPoint(...place).querySelector('title').textContent", near)
    assert told == "training, 12: 0.07692", "also a little beside the point"


@pytest.mark.parametrize("name", ["few", "many", "nets"])
def test_dark_surroundings_are_taken_over(name, browser, request):
    page = browser.new_page(color_scheme="dark")
    page.goto(request.getfixturevalue(name).as_uri())
    colours = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    page.close()
    assert colours == ["rgb(20, 23, 26)", "rgb(228, 231, 234)"]


def test_the_worst_case_is_first_and_a_heading_sorts_both_ways(few, open_page):
    page = open_page(few)
    first = column(page, 3)
    assert [float(text) for text in first[:-1]] == sorted(float(text) for text in first[:-1])
    assert first[-1] == "", "the case without the class comes last"
    head(page, "Dice").click()
    assert column(page, 3) == [*first[-2::-1], ""], "also when sorted downwards"
    assert page.locator('th[aria-sort="descending"]').inner_text().startswith("Dice")
    head(page, "case").click()
    assert column(page, 1) == [f"scan/{n:03d}" for n in range(10)]
    assert page.locator("th[aria-sort=none]").count() == 7


def test_a_heading_is_reached_by_the_keyboard(few, open_page):
    page = open_page(few)
    head(page, "case").focus()
    page.keyboard.press("Enter")
    assert column(page, 1)[0] == "scan/000"
    page.keyboard.press("Enter")
    assert column(page, 1)[0] == "scan/009"


def test_the_table_is_narrowed_by_text_group_and_number(few, open_page):
    page = open_page(few)
    assert count(page) == "10 of 10"
    page.get_by_label("Find", exact=True).fill("SCAN/00")
    assert count(page) == "10 of 10"
    page.get_by_label("Find", exact=True).fill("scan/004")
    assert column(page, 1) == ["scan/004"]
    page.get_by_label("Find", exact=True).fill("")
    page.get_by_label("group", exact=True).select_option("patient 1")
    assert set(column(page, 2)) == {"patient 1"}
    assert count(page) == "3 of 10"
    page.get_by_label("group", exact=True).select_option("")
    scores = sorted(float(text) for text in column(page, 3) if text)
    page.get_by_label("Dice up to", exact=True).fill(str(scores[2]))
    assert [float(text) for text in column(page, 3)] == scores[:3]
    page.get_by_label("Find", exact=True).fill("nothing like it")
    assert count(page) == "0 of 10"
    assert column(page, 1) == []


def test_500_cases_are_drawn_when_asked_for(many, open_page):
    page = open_page(many)
    assert count(page) == "500 of 2000"
    assert len(column(page, 1)) == 50
    page.get_by_role("button", name="Show all 500").click()
    assert len(column(page, 1)) == 500
    assert not page.locator(".more").is_visible()
    page.get_by_label("class", exact=True).select_option("road")
    assert set(column(page, 3)) == {"road"}
    page.get_by_label("class", exact=True).select_option("")
    assert len(column(page, 1)) == 2000
    head(page, "HD95").click()
    shown = [float(text) for text in column(page, 6) if text]
    assert shown == sorted(shown)


def test_a_case_leads_to_its_pictures(few, open_page):
    page = open_page(few)
    page.locator(".grid tbody a").first.click()
    place = page.evaluate("location.hash")
    assert place == "#case-val-0"
    assert page.locator(place).is_visible()
    assert -5 < page.locator(place).evaluate("e => e.getBoundingClientRect().top") < 200


def test_jobs_sort_filter_and_lead_to_their_pages(nets, open_page):
    page = open_page(nets)
    assert count(page) == "6 of 6"
    page.get_by_label("model", exact=True).select_option("unet")
    assert set(column(page, 3)) == {"unet"}
    page.get_by_label("model", exact=True).select_option("")
    page.get_by_label("state", exact=True).select_option("failed")
    assert column(page, 1) == ["dilated seed=2"]
    page.get_by_label("state", exact=True).select_option("")
    head(page, "val Dice").click()
    found = [float(text) for text in column(page, 5) if text]
    assert found == sorted(found)
    assert column(page, 5)[-2:] == ["", ""]


def test_the_link_of_a_job_opens_its_page(nets, browser):
    page = browser.new_page()
    page.goto(nets.as_uri())
    page.locator(".grid tbody a").first.click()
    page.get_by_role("heading", name="Confusion matrix").wait_for()
    page.close()


def test_without_scripts_the_page_shows_the_first_rows(many, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(many.as_uri())
    assert page.locator(".grid tbody tr").count() == 50
    assert not page.locator(".controls").is_visible()
    context.close()


def test_charts_follow_the_surroundings(few, browser):
    colours = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto(few.as_uri())
        marks = page.locator("svg .line, svg .grid-line, svg text, svg rect.bar:not([fill])")
        colours[scheme] = marks.evaluate_all("all => all.map(e => getComputedStyle(e).fill + getComputedStyle(e).stroke)")
        page.close()
    assert len(colours["light"]) == len(colours["dark"]) > 20
    assert all(a != b for a, b in zip(colours["light"], colours["dark"], strict=True))


def test_a_style_that_is_not_the_pages_own_is_refused(few, tmp_path, browser):
    changed = tmp_path / "changed.html"
    text = few.read_text(encoding="utf-8").replace("</main>", "<style>h1 { color: rgb(1, 2, 3) }</style></main>")
    changed.write_text(text, encoding="utf-8")
    page = browser.new_page()
    page.goto(changed.as_uri())
    assert page.locator("h1").evaluate("e => getComputedStyle(e).color") != "rgb(1, 2, 3)"
    assert page.locator(".key").first.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(230, 159, 0)"
    page.close()


def test_a_printed_page_shows_what_is_folded(few, open_page):
    page = open_page(few)
    settings = page.locator("details", has_text="All settings").locator("pre")
    assert not settings.is_visible()
    page.emulate_media(media="print")
    assert settings.is_visible()
    assert not page.locator(".controls").first.is_visible()


def test_a_script_that_is_not_the_pages_own_is_refused(few, tmp_path, browser):
    changed = tmp_path / "changed.html"
    changed.write_text(few.read_text(encoding="utf-8").replace("</main>", "<script>document.title = 'taken'</script></main>"))
    page = browser.new_page()
    page.goto(changed.as_uri())
    assert page.title() == "unet on liver"
    page.close()
