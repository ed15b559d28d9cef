"""A comparison as terminal table, CSV, Markdown, LaTeX and HTML."""

import csv
import io
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from segexp.comparison.comparison import Comparison
from segexp.comparison.tables import Table, plain_rows, tables
from segexp.errors import ConfigError
from segexp.whole import whole_file

GAP = 2
"""Blanks between two columns in the terminal."""
TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def show(comparison: Comparison) -> None:
    """Print tables, verdicts and notes; a table wider than the terminal goes on below, and nothing of it is cut."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    room = Console().width if sys.stdout.isatty() else None
    console = Console(highlight=False, soft_wrap=True, width=10_000)
    for table in tables(comparison):
        console.print(Text(table.title, style="bold"))
        for columns in side_by_side(table, room):
            grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
            for n in columns:
                grid.add_column(Text(table.columns[n]), justify="right" if n in table.right else "left", no_wrap=True)
            for row in table.rows:
                grid.add_row(*(Text(row[n]) for n in columns))
            console.print(grid)
            console.print()
    for text in (*comparison.verdicts, "", *comparison.notes):
        console.print(Text(text))


def side_by_side(table: Table, room: int | None) -> list[list[int]]:
    """Return which columns (0-based) fit beside each other, in as many lots as it takes; each begins with the first column.

    Args:
        table: what is shown.
        room: cells of a line, of which some signs take two; None for any number.
    """
    from rich.cells import cell_len

    width = [max(cell_len(row[n]) for row in (table.columns, *table.rows)) + GAP for n in range(len(table.columns))]
    lots = [[0]]
    for n in range(1, len(width)):
        if room is not None and len(lots[-1]) > 1 and sum(width[m] for m in (*lots[-1], n)) - GAP > room:
            lots.append([0])
        lots[-1].append(n)
    return lots


def write(comparison: Comparison, output: Path, command: Sequence[str]) -> list[Path]:
    """Write the comparison to a file, in the form that its ending names, or in all four forms into a folder.

    Args:
        comparison: what was found.
        output: a folder, or a file that ends in .csv, .md, .tex or .html; missing folders are made.
        command: the words that make it again.

    Returns:
        The files.

    Raises:
        ConfigError: another ending.
    """
    ending = form_of(output)
    files = [output] if ending else [output / f"compare{form}" for form in FORMS]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(file) as part:
            part.write_text(FORMS[file.suffix](comparison, shlex.join(command)), encoding="utf-8", newline="")
    return files


def form_of(output: Path) -> str:
    """Return the ending of a file to write; nothing for a folder.

    Raises:
        ConfigError: the ending of another kind of file.
    """
    if output.is_dir():
        return ""
    if output.suffix in FORMS:
        return output.suffix
    if re.fullmatch(r"\.[a-z]{2,4}", output.suffix):
        raise ConfigError(
            f"output={output} ends in {output.suffix}",
            f"A file that ends in {', '.join(FORMS)} was expected, or a folder for all of them",
            f"Type output={output.with_suffix('.csv')}",
        )
    return ""


def as_csv(comparison: Comparison, _: str) -> str:
    """Return a line per row of the table, numbers in full, empty where there is none."""
    rows = plain_rows(comparison)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    return text.getvalue()


def as_markdown(comparison: Comparison, command: str) -> str:
    """Return tables, verdicts and notes."""
    lines = [f"# Comparison of {comparison.split}/{_marked(str(comparison.metric))}", ""]
    for table in tables(comparison):
        lines += [f"**{_marked(table.title)}**", "", _row(table.columns)]
        lines += [_row(["---:" if n in table.right else "---" for n in range(len(table.columns))], raw=True)]
        lines += [*map(_row, table.rows), ""]
    lines += [f"- {_marked(text)}" for text in comparison.verdicts]
    lines += ["", *(f"{_marked(text)}\n" for text in comparison.notes), "```", command, "```"]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str], raw: bool = False) -> str:
    return f"| {' | '.join(cells if raw else map(_marked, cells))} |"


def _marked(text: str) -> str:
    return re.sub(r"([\\|*_`<\[\]])", r"\\\1", text)


def as_latex(comparison: Comparison, command: str) -> str:
    r"""Return a table environment for each table, for a document with \usepackage{booktabs}."""
    parts = [f"% {line}" for line in (command.replace("\n", " "), r"\usepackage{booktabs}")]
    for table in tables(comparison):
        parts += ["", *_tex_table(table)]
    parts += ["", *(f"% {text}" for text in (*comparison.verdicts, *comparison.notes))]
    return "\n".join(parts) + "\n"


def _tex_table(table: Table) -> list[str]:
    columns = "".join("r" if n in table.right else "l" for n in range(len(table.columns)))
    rows = [" & ".join(map(_tex, cells)) + r" \\" for cells in table.rows]
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_tex, table.columns)) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _tex(text: str) -> str:
    escaped = "".join(TEX.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)


def as_html(comparison: Comparison, command: str) -> str:
    """Return a page in one file that loads nothing."""
    from segexp.report import page

    found = [page.table(table.columns, table.rows, table.right) for table in tables(comparison)]
    titles = [page.element("h3", table.title) for table in tables(comparison)]
    verdicts = page.element("ul", *(page.element("li", text) for text in comparison.verdicts))
    runs = [(entry.name, page.element("code", "\n".join(str(r.directory) for r in entry.runs))) for entry in comparison.entries]
    return page.document(
        f"Comparison of {comparison.split}/{comparison.metric}",
        page.section("Scores", *(part for pair in zip(titles, found, strict=True) for part in pair)),
        page.section("What can be said", verdicts, *map(page.paragraph, comparison.notes)),
        page.section("Runs", page.facts(runs), page.code(command)),
    )


FORMS: dict[str, Callable[[Comparison, str], str]] = {
    ".csv": as_csv,
    ".md": as_markdown,
    ".tex": as_latex,
    ".html": as_html,
}
"""How a comparison is written, by the ending of the file."""
