"""Pages: nothing from elsewhere, nothing that a file name could break, and markup in the templates alone."""

import ast
import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import jinja2
import pytest

import segexp.reporting
from fixtures.reporting import draw_macro
from segexp.reporting.images import Figure, Picture
from segexp.reporting.rendering import Notice, content_security_policy, environment, read_asset, render, write_page

PACKAGE = Path(segexp.reporting.__file__).parent
VOID = {"meta", "link", "br", "img", "input"}
HOSTILE = """</script><script>alert("1")</script> <b>&amp; 'x'"""


@pytest.fixture(scope="module")
def page():
    return render(
        "comparison.html.j2",
        title=f"A {HOSTILE}",
        subtitle=HOSTILE,
        score_tables=[],
        verdicts=[HOSTILE],
        notes=[HOSTILE],
        runs=[(HOSTILE, [HOSTILE, "second"])],
        command=f"python 'a b' {HOSTILE}",
    )


def digest(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class Tags(HTMLParser):
    """Whether every tag is closed, in order, and the texts between them."""

    def __init__(self, markup):
        super().__init__()
        self.open, self.seen, self.texts = [], [], []
        self.feed(markup)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_a_page_is_whole_and_lets_nothing_in(page):
    assert page.startswith("<!DOCTYPE html>")
    assert Tags(page).open == []
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"https?://|@import|url\(", page)


def test_every_value_is_text(page):
    found = Tags(page)
    assert "script" not in found.seen
    assert "b" not in found.seen
    assert found.texts.count(HOSTILE) == 4, "subtitle, verdict, note and name of a run"
    assert f"A {HOSTILE}" in found.texts


def test_the_policy_lets_pictures_of_the_page_and_its_own_style_through(page):
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": digest(re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]),
        "style-src-attr": "'unsafe-inline'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_a_page_that_sorts_tables_allows_its_own_script_and_no_other():
    context = {"title": "x", "subtitle": "", "score_tables": [], "verdicts": [], "notes": [], "runs": [], "command": ""}
    page = render("comparison.html.j2", interactive=True, **context)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    assert script == read_asset("report.js")
    assert f"script-src {digest(script)};" in page
    assert "unsafe-inline" not in re.sub(r"style-src-attr 'unsafe-inline'", "", page)
    assert "unsafe-eval" not in page
    assert "script-src" not in content_security_policy("")


def test_an_unknown_value_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="subtitle"):
        render("comparison.html.j2", title="x")


def test_assets_cannot_end_their_element():
    assert "</" not in read_asset("report.js")
    assert "</" not in read_asset("report.css")


def test_a_page_is_written_whole_into_a_new_folder(tmp_path):
    write_page(tmp_path / "new" / "x.html", "ä")
    assert (tmp_path / "new" / "x.html").read_text(encoding="utf-8") == "ä"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.html"]


def test_notices_say_their_level_in_words_too():
    text = draw_macro("elements.html.j2", "notice", Notice("warning", "Look <here>", ["first", "second"], "a 'b'"))
    assert '<div class="notice warning">' in text
    assert '<span class="label">warning</span>' in text
    assert "<strong>Look &lt;here&gt;</strong>" in text
    assert "<p>first</p>\n<p>second</p>" in text
    assert "<pre><code>a &#39;b&#39;</code></pre>" in text


def test_smaller_parts():
    facts = draw_macro("elements.html.j2", "facts", [("size", "3 < 4")])
    assert "<div><dt>size</dt><dd>3 &lt; 4</dd></div>" in facts
    assert '<pre class="file"><code>a</code></pre>' in draw_macro("elements.html.j2", "code", "a", file=True)
    picture = Picture("data:image/png;base64,AA==", 40, 30, 'a "view"')
    figure = draw_macro("elements.html.j2", "figure", Figure(picture, "<cap>"))
    assert '<img src="data:image/png;base64,AA==" width="40" height="30" alt="a &#34;view&#34;">' in figure
    assert "<figcaption>&lt;cap&gt;</figcaption>" in figure
    alone = draw_macro("elements.html.j2", "figure", Figure(None, "cap"))
    assert alone == "<figure><figcaption>cap</figcaption></figure>"
    assert '<div class="gallery small">' in draw_macro("elements.html.j2", "gallery", [], "gallery small")


def test_every_template_can_be_read():
    names = [name for name in environment().list_templates() if name.endswith(".j2")]
    assert len(names) > 8
    for name in names:
        source = environment().loader.get_source(environment(), name)[0]
        environment().get_template(name)
        assert "|safe" not in source.replace(" ", ""), "every value is escaped"
        assert "autoescape" not in source
        assert not re.search(r"https?://|<script src|\son\w+=", source)


def literals(tree):
    """The texts of a module, docstrings apart; of f-strings their fixed parts."""
    notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in notes:
            yield node.value


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("*.py")), ids=lambda file: file.name)
def test_python_has_no_markup(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert [text for text in literals(tree) if re.search(r"</?[a-z][a-z0-9]*[\s/>]|<!--|&[a-z]+;|style=|class=", text)] == []
    marked = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "Markup"]
    assert len(marked) <= (3 if file.name == "rendering.py" else 0), "policy, style and script are markup, no other text is"
