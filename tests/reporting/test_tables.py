"""Tables that sort and filter: what a browser without scripts shows, and what the script is given."""

import json
import re
from html.parser import HTMLParser

import pytest

from fixtures.reporting import draw_macro
from segexp.reporting.tables import Column, Link, Table, grid

COLUMNS = [Column("case"), Column("class"), Column("Dice", 4, "2 TP over all"), Column("pixels", 0)]
ROWS = [
    ["case 10", "liver", 0.51234567, 12],
    ["case 9", "liver", float("nan"), 7],
    ["case 2", "tumour", 0.25, 5.0],
    [Link("case 1", "#case-1"), "tumour", 0.9, None],
]


class Cells(HTMLParser):
    """The texts of the cells in the body of a table."""

    def __init__(self, markup):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(markup)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "td"

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def draw(*args, **options):
    return draw_macro("tables.html.j2", "grid", grid(*args, **options))


def shown(markup):
    return [row for row in Cells(markup).rows if row]


def content(markup):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', markup).group(1))


def test_a_table_has_its_numbers_to_the_right():
    text = draw_macro("tables.html.j2", "table", Table(("name", "count"), [("<x>", "3"), ("y", "40")], [1]))
    assert text.count("<tr>") == 3
    assert '<th scope="col" class="number">count</th>' in text
    assert '<td>&lt;x&gt;</td><td class="number">3</td>' in text
    assert '<div class="scroll">' in text, "it scrolls sideways where the window is narrow"
    assert "<thead>" not in draw_macro("tables.html.j2", "table", Table((), [("a", "b")]))


def test_first_rows_are_sorted_and_unknown_numbers_come_last():
    rows = shown(draw(COLUMNS, ROWS, sort=(2, True)))
    assert [row[0] for row in rows] == ["case 2", "case 10", "case 1", "case 9"]
    assert rows[1][2] == "0.5123"
    assert rows[3][2] == ""
    assert [row[0] for row in shown(draw(COLUMNS, ROWS, sort=(2, False)))] == ["case 1", "case 10", "case 2", "case 9"]


def test_text_is_sorted_by_the_numbers_in_it():
    assert [row[0] for row in shown(draw(COLUMNS, ROWS))] == ["case 1", "case 2", "case 9", "case 10"]


def test_a_cell_can_lead_to_another_place():
    assert '<a href="#case-1">case 1</a>' in draw(COLUMNS, ROWS)


def test_only_the_first_rows_are_drawn_and_a_button_counts_all():
    markup = draw(COLUMNS, ROWS, initial_rows=2)
    assert len(shown(markup)) == 2
    assert len(content(markup)["rows"]) == 4
    assert content(markup)["shown"] == 2
    assert '<button type="button" class="more">Show all 4</button>' in markup
    assert 'class="more" hidden' in draw(COLUMNS, ROWS, initial_rows=4)


def test_a_choice_narrows_the_table_from_the_start():
    markup = draw(COLUMNS, ROWS, choices={1: "tumour"}, limit=2)
    assert [row[0] for row in shown(markup)] == ["case 1", "case 2"]
    assert re.findall(r"<option[^>]*>[^<]*", markup) == [
        '<option value="">all',
        '<option value="liver">liver',
        '<option value="tumour" selected>tumour',
    ]
    assert '<select data-column="1" aria-label="class">' in markup
    assert 'Dice up to<input type="number" step="any" data-column="2" aria-label="Dice up to">' in markup


def test_the_script_is_given_numbers_as_shown_and_null_for_unknown():
    rows = content(draw(COLUMNS, ROWS))["rows"]
    assert rows[0] == ["case 10", "liver", 0.5123, 12]
    assert rows[1][2] is None
    assert rows[3] == [["case 1", "#case-1"], "tumour", 0.9, None]
    assert content(draw(COLUMNS, ROWS, sort=(3, False)))["sort"] == [3, False]


@pytest.mark.parametrize("text", ["</script><b>", "<!-- <script>", 'a "quoted" & <b>', "it's 肝"])
def test_no_text_can_leave_its_cell(text):
    columns = [Column(text), Column(text, note=text), *COLUMNS[2:]]
    markup = draw(columns, [[text, Link(text, text), 0.5, 1]], choices={0: text})
    assert markup.count("</script>") == 1
    assert "<b>" not in markup
    assert shown(markup) == [[text, text, "0.5000", "1"]]
    assert content(markup)["rows"][0][:2] == [text, [text, text]]


def test_headings_say_how_the_table_is_sorted():
    markup = draw(COLUMNS, ROWS, sort=(2, False))
    assert re.findall(r'aria-sort="(\w+)"', markup) == ["none", "none", "descending", "none"]
    assert 'title="2 TP over all"' in markup


def test_controls_wait_for_the_script():
    assert '<div class="controls" hidden>' in draw(COLUMNS, ROWS)


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        grid(COLUMNS, [["case 1", "liver", 0.5]])
