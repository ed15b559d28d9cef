"""The page: nothing from elsewhere, nothing that a file name could break, and every part where it belongs."""

import base64
import re

import cv2
import numpy as np
import pytest

from segexp.reporting import html
from segexp.reporting.html import Html


def test_text_is_escaped_and_markup_is_not():
    assert html.inline('a <b> & "c"', Html("<i>d</i>")) == "a &lt;b&gt; &amp; &quot;c&quot;<i>d</i>"
    assert html.paragraph("<script>") == "<p>&lt;script&gt;</p>"
    assert (
        html.element("a", "x", href='"><script>', class_="one", id="") == '<a href="&quot;&gt;&lt;script&gt;" class="one">x</a>'
    )


def test_a_document_is_whole_and_lets_nothing_in():
    text = html.document("A <title>", html.section("Part", html.paragraph("words")), subtitle="/data/x & y")
    assert text.startswith("<!DOCTYPE html>")
    assert "<title>A &lt;title&gt;</title>" in text
    assert "<h2>Part</h2><p>words</p>" in text
    assert "/data/x &amp; y" in text
    assert "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" in text
    assert 'name="viewport"' in text
    assert "prefers-color-scheme:dark" in text
    assert re.findall(r"https?://", text) == []
    assert text.count("<section>") == text.count("</section>") == 1


def test_a_page_is_written_whole_into_a_new_folder(tmp_path):
    html.write_page(tmp_path / "new" / "x.html", "ä")
    assert (tmp_path / "new" / "x.html").read_text(encoding="utf-8") == "ä"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.html"]


@pytest.mark.parametrize(("quality", "mime", "tolerance"), [(None, "png", 0), (95, "jpeg", 12)])
def test_a_picture_is_inside_the_page(quality, mime, tolerance):
    smooth = np.linspace(0, 255, 40)[None, :, None] * np.ones((30, 1, 3))
    array = (smooth * [1.0, 0.5, 0.1]).astype(np.uint8)
    shown = html.picture(array, 'a "view"', quality)
    assert 'width="40" height="30"' in shown
    assert 'alt="a &quot;view&quot;"' in shown
    data = base64.b64decode(re.search(rf"data:image/{mime};base64,([^\"]+)", shown)[1])
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(back.astype(int) - array).max() <= tolerance


def test_a_table_has_its_numbers_to_the_right():
    text = html.table(("name", "count"), [("<x>", "3"), ("y", "40")], numbers=[1])
    assert text.count("<tr>") == 3
    assert '<th class="number">count</th>' in text
    assert '<td>&lt;x&gt;</td><td class="number">3</td>' in text
    assert "<thead>" not in html.table((), [("a", "b")])


def test_notices_say_their_level_in_words_too():
    text = html.notice("warning", "Look", html.paragraph("here"))
    assert text.startswith('<div class="notice warning">')
    assert '<span class="label">warning</span>' in text
    assert "<strong>Look</strong>" in text
    assert text.endswith("<p>here</p></div>")


def test_smaller_parts():
    assert html.facts([("size", "3 < 4")]) == "<dl><div><dt>size</dt><dd>3 &lt; 4</dd></div></dl>"
    assert html.code("a 'b'") == "<pre><code>a &#x27;b&#x27;</code></pre>"
    assert html.code("a", file=True).startswith('<pre class="file">')
    assert html.details("more", html.paragraph("x")) == "<details><summary>more</summary><p>x</p></details>"
    assert html.details("more", opened=True).startswith("<details open>")
    assert html.figure(Html("<i></i>"), "cap") == "<figure><i></i><figcaption>cap</figcaption></figure>"
    assert html.gallery([Html("<b></b>")], small=True) == '<div class="gallery small"><b></b></div>'
    assert html.charts([Html("<svg></svg>"), Html("")]).count("<figure>") == 1
