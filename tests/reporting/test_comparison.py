"""The forms of the output: numbers in full in CSV, text that is safe in Markdown, LaTeX and HTML, and where files go."""

import csv
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from segexp.errors import ConfigError
from segexp.evaluation.compare import compare_records
from segexp.reporting.comparison import (
    as_csv,
    as_html,
    as_latex,
    as_markdown,
    comparison_tables,
    fit_columns,
    output_format,
    plain_rows,
    print_comparison,
    write_comparison,
)
from segexp.reporting.tables import Table

IDS = [f"{n:02}" for n in range(8)]
BASE = np.linspace(0.7, 0.9, 8).round(6)
COMMAND = ["python", "-m", "segexp.compare", "a run", "metric=dice"]


def cases(values):
    return {id_: [float(value)] for id_, value in zip(IDS, values, strict=True)}


@pytest.fixture
def found(made):
    """Three runs; one has a name that no form may take for its own signs."""
    odd = r"50%_a&b$x^2~{c}|<b>*\d"
    return compare_records([made("unet", cases(BASE)), made(odd, cases(BASE - 0.05)), made("wide", cases(BASE + 0.02))])


@pytest.fixture
def seeds(made):
    return compare_records(
        [made(str(n), cases(BASE + n / 100), settings={"seed": n}, groups=dict.fromkeys(IDS, "x")) for n in range(2)]
    )


def test_the_tables(found):
    scores, differences = comparison_tables(found)
    assert scores.title == "val/dice"
    assert scores.columns == [
        "run", "dice", "95 % interval", "cases", "seeds", "parameters", "minutes", "images/s", "memory GB",
    ]  # fmt: skip
    interval = found.entries[0].interval
    assert scores.rows[0] == [
        "wide", "0.8200", f"{interval.low:.4f} to {interval.high:.4f}", "8", "0", "1.94 M", "1.5", "13.4", "1.24",
    ]  # fmt: skip
    assert differences.title == "Difference in val/dice to wide"
    assert [row[0] for row in differences.rows] == ["unet", r"50%_a&b$x^2~{c}|<b>*\d"]
    assert dict(zip(differences.columns, differences.rows[0], strict=True)) == {
        "run": "unet",
        "difference": "-0.0200",
        "95 % interval": "-0.0200 to -0.0200",
        "p": "0.008",
        "p, Holm": "0.023",
        "better in": "0",
        "worse in": "8",
        "cases": "8",
        "verdict": "worse",
    }
    assert [scores.columns[n] for n in range(len(scores.columns)) if n not in scores.numbers] == ["run", "seeds"]


def test_columns_that_say_nothing_are_left_out(seeds, made):
    (scores,) = comparison_tables(seeds)
    row = dict(zip(scores.columns, scores.rows[0], strict=True))
    assert (row["groups"], row["seeds"], row["± seeds"]) == ("1", "0 1", "0.0071")
    assert "folds" not in row
    bare = made("bare", cases(BASE))
    bare.facts.clear()
    assert comparison_tables(compare_records([bare]))[0].columns == ["run", "dice", "95 % interval", "cases", "seeds"]


def test_csv_has_every_number_in_full(found):
    text = as_csv(found, "")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["run"] for row in rows] == [entry.name for entry in found.entries]
    best, second, _ = rows
    assert float(best["score"]) == pytest.approx((BASE + 0.02).mean(), abs=1e-12)
    assert (best["difference"], best["p"], best["shown"], best["groups"]) == ("", "", "", "")
    assert float(second["difference"]) == pytest.approx(-0.02)
    assert float(second["p"]) == 2 / 2**8
    assert (second["reference"], second["comparisons"], second["worse"], second["shown"]) == ("wide", "3", "8", "true")
    assert (second["parameters"], second["peak_memory_bytes"], second["seed_sd"]) == ("1942306", "1240633344", "")
    assert second["directories"] == str(found.entries[1].runs[0].directory)
    assert set(plain_rows(found)[0]) == set(best)


def test_markdown(found):
    text = as_markdown(found, "command")
    lines = text.splitlines()
    assert lines[0] == "# Comparison of val/dice"
    rows = [line for line in lines if line.startswith("|")]
    assert rows[1] == "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |"
    assert any(row.startswith(r"| 50%\_a&b$x^2~{c}\|\<b>\*\\d | 0.7500 |") for row in rows)
    assert len({row.replace(r"\|", "").count("|") for row in rows[:5]}) == 1
    assert sum(line.startswith("- ") for line in lines) == 2
    assert lines[-3:] == ["```", "command", "```"]


def test_latex(found):
    text = as_latex(found, "command")
    assert text.startswith("% command\n% \\usepackage{booktabs}\n")
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 2
    assert r"\begin{tabular}{lrrrlrrrr}" in text
    assert r"50\%\_a\&b\$x\textasciicircum{}2\textasciitilde{}\{c\}|$<$b$>$*\textbackslash{}d & 0.7500 & " in text
    assert r"unet & $-$0.0200 & $-$0.0200 to $-$0.0200 & 0.008 & 0.023 & 0 & 8 & 8 & worse \\" in text
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {8}


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_is_read_by_latex(found, tmp_path):
    parts = r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage{booktabs}\begin{document}", r"\end{document}"
    (tmp_path / "a.tex").write_text(as_latex(found, "command").join(parts))
    done = subprocess.run(["pdflatex", "-interaction=nonstopmode", "a.tex"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stdout


class Reader(HTMLParser):
    """Cells of tables, open tags, and whatever the page would load."""

    def __init__(self):
        super().__init__()
        self.rows, self.open, self.loads, self.cell = [], [], [], None

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href", "action") and not value.startswith("data:")]
        if tag in ("meta", "link", "br", "img"):
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        self.cell = "" if tag in ("td", "th") else self.cell

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.rows[-1].append(self.cell)
            self.cell = None


def test_html_is_whole_and_loads_nothing(found):
    text = as_html(found, "python -m segexp.compare '<a>'")
    page = Reader()
    page.feed(text)
    assert page.open == []
    assert page.loads == []
    scores, differences = comparison_tables(found)
    assert page.rows == [scores.columns, *scores.rows, differences.columns, *differences.rows]
    assert "<b>" not in text
    assert "python -m segexp.compare &#39;&lt;a&gt;&#39;" in text
    assert all(str(entry.runs[0].directory).replace("&", "&amp;").partition("<")[0] in text for entry in found.entries)


def test_a_folder_gets_all_forms_and_a_file_its_own(found, tmp_path):
    files = write_comparison(found, tmp_path / "new" / "out", COMMAND)
    assert sorted(path.name for path in (tmp_path / "new" / "out").iterdir()) == [
        "compare.csv", "compare.html", "compare.md", "compare.tex",
    ]  # fmt: skip
    assert "python -m segexp.compare 'a run' metric=dice" in files[1].read_text()
    (table,) = write_comparison(found, tmp_path / "deep" / "table.tex", COMMAND)
    assert table.read_text().startswith("% python -m segexp.compare 'a run'")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["table.tex"]
    write_comparison(found, tmp_path / "results.2026", COMMAND)
    assert (tmp_path / "results.2026" / "compare.md").is_file()


def test_another_kind_of_file(tmp_path):
    with pytest.raises(ConfigError) as caught:
        output_format(tmp_path / "table.xlsx")
    assert str(caught.value) == (
        f"output={tmp_path}/table.xlsx ends in .xlsx. A file that ends in .csv, .md, .tex, .html was expected, or a folder for "
        f"all of them. Type output={tmp_path}/table.csv."
    )
    (tmp_path / "my.runs").mkdir()
    assert output_format(tmp_path / "my.runs") == "", "a folder that is there"


def test_the_terminal(found, capsys):
    print_comparison(found)
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "val/dice"
    assert lines[1].split() == " ".join(comparison_tables(found)[0].columns).split()
    assert lines[2].split()[:2] == ["wide", "0.8200"]
    assert r"50%_a&b$x^2~{c}|<b>*\d" in lines[4]
    for text in (*found.verdicts, *found.notes):
        assert text in lines, "in one line"


@pytest.mark.parametrize("room", [60, 80, 100])
def test_a_narrow_terminal_shows_the_table_in_lots_and_cuts_nothing(room, found, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(room))
    print_comparison(found)
    said = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert "…" not in said
    for table in comparison_tables(found):
        assert all(cell in said for row in (table.columns, *table.rows) for cell in row)
    shown = said.partition(found.verdicts[0])[0].splitlines()
    assert max(map(len, shown)) <= room


def test_columns_fit_columns():
    table = Table(["run", "dice", "verdict"], [["a" * 10, "0.9123", "better"]], [1])
    assert fit_columns(table, None) == [[0, 1, 2]]
    assert fit_columns(table, 10 + 2 + 6 + 2 + 7) == [[0, 1, 2]]
    assert fit_columns(table, 10 + 2 + 6 + 2 + 6) == [[0, 1], [0, 2]]
    wide = Table(["run", "dice"], [["肝" * 10, "0.9123"]], [1])
    assert fit_columns(wide, 27) == [[0, 1]], "a first column stands alone nowhere"
    wide.columns.append("verdict")
    wide.rows[0].append("better")
    assert fit_columns(wide, 36) == [[0, 1], [0, 2]]
    assert fit_columns(wide, 37) == [[0, 1, 2]]
    assert fit_columns(table, 5) == [[0, 1], [0, 2]], "a column that fits nowhere stands beside the first all the same"
