"""Output of a comparison: terminal, CSV, Markdown, LaTeX and HTML."""

import csv
import io
import math
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segexp.atomic import atomic_write
from segexp.config.overrides import shell_words
from segexp.errors import ConfigError
from segexp.evaluation.compare import Comparison
from segexp.evaluation.contrast import Contrast
from segexp.evaluation.grouping import Entry, unit_count
from segexp.evaluation.summary_text import format_interval, format_p_value, format_score
from segexp.reporting.rendering import render
from segexp.reporting.tables import Table

Value = str | int | float | None

TEXT_COLUMNS = ("run", "seeds", "verdict")
"""The columns with text."""


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return the tables of scores and, if any, differences, without empty columns."""
    name = f"{comparison.split}/{comparison.metric}"
    found = [_table(name, _score_columns(comparison), comparison.entries)]
    if comparison.contrasts and comparison.reference:
        title = f"Difference in {name} to {comparison.reference.name}"
        found.append(_table(title, _difference_columns(), comparison.contrasts))
    return found


def _table(title: str, columns: dict[str, Callable[[Any], str]], items: Sequence[Any]) -> Table:
    texts = {heading: [text(item) for item in items] for heading, text in columns.items()}
    kept = [heading for heading, cells in texts.items() if set(cells) - {"", "-"}]
    rows = [[texts[heading][n] for heading in kept] for n in range(len(items))]
    return Table(kept, rows, [n for n, heading in enumerate(kept) if heading not in TEXT_COLUMNS], title)


def _score_columns(comparison: Comparison) -> dict[str, Callable[[Any], str]]:
    return {
        "run": lambda e: e.name,
        str(comparison.metric): lambda e: format_score(e.interval.mean),
        "95 % interval": lambda e: "-" if math.isnan(e.interval.low) else format_interval(e.interval),
        "cases": lambda e: str(e.interval.cases),
        "groups": lambda e: str(_groups(e) or ""),
        "seeds": _seeds,
        "± seeds": lambda e: format_score(e.spread),
        "folds": lambda e: str(len(e.folds) or ""),
        "parameters": lambda e: _parameters(e.fact("parameters")),
        "minutes": lambda e: _fixed(e.fact("seconds") / 60, 1),
        "images/s": lambda e: _fixed(e.fact("images_per_second"), 1),
        "memory GB": lambda e: _fixed(e.most("peak_memory_bytes") / 1e9, 2),
    }


def _difference_columns() -> dict[str, Callable[[Any], str]]:
    return {
        "run": lambda c: c.entry.name,
        "difference": lambda c: format_score(c.difference.mean, signed=True),
        "95 % interval": lambda c: "-" if math.isnan(c.difference.low) else format_interval(c.difference, signed=True),
        "p": lambda c: format_p_value(c.p).removeprefix("p ").removeprefix("= "),
        "p, Holm": lambda c: format_p_value(c.p_holm).removeprefix("p ").removeprefix("= "),
        "better in": lambda c: str(c.better),
        "worse in": lambda c: str(c.worse),
        "cases": lambda c: str(c.difference.cases),
        "verdict": lambda c: "no difference shown" if not c.shown else "better" if c.gain > 0 else "worse",
    }


def plain_rows(comparison: Comparison) -> list[dict[str, Value]]:
    """Return one row per entry with unrounded numbers, None if undefined."""
    of = {id(contrast.entry): contrast for contrast in comparison.contrasts}
    return [_plain(comparison, entry, of.get(id(entry))) for entry in comparison.entries]


def _plain(comparison: Comparison, entry: Entry, contrast: Contrast | None) -> dict[str, Value]:
    row: dict[str, Value] = {
        "run": entry.name,
        "metric": str(comparison.metric),
        "split": comparison.split,
        "score": entry.interval.mean,
        "low": entry.interval.low,
        "high": entry.interval.high,
        "cases": entry.interval.cases,
        "groups": _groups(entry),
        "seeds": _seeds(entry),
        "seed_sd": entry.spread,
        "folds": len(entry.folds) or None,
        "parameters": entry.fact("parameters"),
        "minutes": entry.fact("seconds") / 60,
        "images_per_second": entry.fact("images_per_second"),
        "peak_memory_bytes": entry.most("peak_memory_bytes"),
        "reference": comparison.reference.name if comparison.reference else None,
    }
    difference = contrast.difference if contrast else None
    row |= {
        "difference": difference.mean if difference else None,
        "difference_low": difference.low if difference else None,
        "difference_high": difference.high if difference else None,
        "p": contrast.p if contrast else None,
        "p_holm": contrast.p_holm if contrast else None,
        "comparisons": contrast.comparisons if contrast else None,
        "better": contrast.better if contrast else None,
        "worse": contrast.worse if contrast else None,
        "shown": str(contrast.shown).lower() if contrast else None,
        "directories": ";".join(str(run.directory) for run in entry.runs),
    }
    counts = ("parameters", "peak_memory_bytes")
    numbers = {key: value for key, value in row.items() if isinstance(value, float)}
    return row | {key: None if math.isnan(v) else round(v) if key in counts else v for key, v in numbers.items()}


def _groups(entry: Entry) -> int | None:
    return unit_count(entry.scored.groups) if any(entry.scored.groups) else None


def _seeds(entry: Entry) -> str:
    return " ".join(map(str, entry.seeds)) if len(entry.seeds) <= 5 else f"{len(entry.seeds)} seeds"


def _parameters(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value / 1e3:.1f} k" if value >= 1e3 else f"{value:.0f}"


def _fixed(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


COLUMN_GAP = 2
"""Spaces between two columns in the terminal."""
LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def print_comparison(comparison: Comparison) -> None:
    """Print tables, verdicts and notes; wide tables are split instead of being cut."""
    from rich.console import Console
    from rich.table import Table as TextTable
    from rich.text import Text

    room = Console().width if sys.stdout.isatty() else None
    console = Console(highlight=False, soft_wrap=True, width=10_000)
    for table in comparison_tables(comparison):
        console.print(Text(table.title, style="bold"))
        for columns in fit_columns(table, room):
            grid = TextTable(box=None, pad_edge=False, padding=(0, COLUMN_GAP, 0, 0))
            for n in columns:
                grid.add_column(Text(table.columns[n]), justify="right" if n in table.numbers else "left", no_wrap=True)
            for row in table.rows:
                grid.add_row(*(Text(row[n]) for n in columns))
            console.print(grid)
            console.print()
    for text in (*comparison.verdicts, "", *comparison.notes):
        console.print(Text(text))


def as_text(comparison: Comparison) -> str:
    """Return tables, verdicts and notes as text without line breaks in rows."""
    from rich.cells import cell_len

    lines: list[str] = []
    for table in comparison_tables(comparison):
        width = [max(cell_len(row[n]) for row in (table.columns, *table.rows)) for n in range(len(table.columns))]
        lines.append(table.title)
        for row in (table.columns, *table.rows):
            cells = []
            for n, text in enumerate(row):
                blanks = " " * (width[n] - cell_len(text))
                cells.append(blanks + text if n in table.numbers else text + blanks)
            lines.append((" " * COLUMN_GAP).join(cells).rstrip())
        lines.append("")
    return "\n".join([*lines, *comparison.verdicts, "", *comparison.notes])


def fit_columns(table: Table, room: int | None) -> list[list[int]]:
    """Split the columns (0-based) into groups that fit the line width, each starting with the first column.

    Args:
        table: to print.
        room: cells of a line (some characters take two); None for unlimited.
    """
    from rich.cells import cell_len

    width = [max(cell_len(row[n]) for row in (table.columns, *table.rows)) + COLUMN_GAP for n in range(len(table.columns))]
    lots = [[0]]
    for n in range(1, len(width)):
        if room is not None and len(lots[-1]) > 1 and sum(width[m] for m in (*lots[-1], n)) - COLUMN_GAP > room:
            lots.append([0])
        lots[-1].append(n)
    return lots


def write_comparison(comparison: Comparison, output: Path, command: Sequence[str]) -> list[Path]:
    """Write the comparison to a file in the format of its suffix, or in all four formats into a folder.

    Args:
        comparison: the result.
        output: a folder, or a file that ends in .csv, .md, .tex or .html; missing folders are created.
        command: the words of the command.

    Returns:
        The files.

    Raises:
        ConfigError: another suffix.
    """
    ending = output_format(output)
    files = [output] if ending else [output / f"compare{form}" for form in FORMATS]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as part:
            part.write_text(FORMATS[file.suffix](comparison, shlex.join(command)), encoding="utf-8", newline="")
    return files


def output_format(output: Path) -> str:
    """Return the suffix of an output file; "" for a folder.

    Raises:
        ConfigError: an unknown suffix.
    """
    if output.is_dir():
        return ""
    if output.suffix in FORMATS:
        return output.suffix
    if re.fullmatch(r"\.[a-z]{2,4}", output.suffix):
        raise ConfigError(
            f"output={output} ends in {output.suffix}",
            f"A file that ends in {', '.join(FORMATS)} was expected, or a folder for all of them",
            f"Type {shell_words({'output': output.with_suffix('.csv')})}",
        )
    return ""


def as_csv(comparison: Comparison, _: str) -> str:
    """Return CSV with one line per table row and unrounded numbers."""
    rows = plain_rows(comparison)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    return text.getvalue()


def as_markdown(comparison: Comparison, command: str) -> str:
    """Return tables, verdicts and notes as Markdown."""
    lines = [f"# Comparison of {comparison.split}/{_escape_markdown(str(comparison.metric))}", ""]
    for table in comparison_tables(comparison):
        lines += [f"**{_escape_markdown(table.title)}**", "", _markdown_row(table.columns)]
        lines += [_markdown_row(["---:" if n in table.numbers else "---" for n in range(len(table.columns))], raw=True)]
        lines += [*map(_markdown_row, table.rows), ""]
    lines += [f"- {_escape_markdown(text)}" for text in comparison.verdicts]
    lines += ["", *(f"{_escape_markdown(text)}\n" for text in comparison.notes), "```", command, "```"]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str], raw: bool = False) -> str:
    return f"| {' | '.join(cells if raw else map(_escape_markdown, cells))} |"


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\|*_`<\[\]])", r"\\\1", text)


def as_latex(comparison: Comparison, command: str) -> str:
    """Return a table environment for each table; the document needs the package booktabs."""
    parts = [f"% {line}" for line in (command.replace("\n", " "), r"\usepackage{booktabs}")]
    for table in comparison_tables(comparison):
        parts += ["", *_latex_table(table)]
    parts += ["", *(f"% {text}" for text in (*comparison.verdicts, *comparison.notes))]
    return "\n".join(parts) + "\n"


def _latex_table(table: Table) -> list[str]:
    columns = "".join("r" if n in table.numbers else "l" for n in range(len(table.columns)))
    rows = [" & ".join(map(_escape_latex, cells)) + r" \\" for cells in table.rows]
    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escape_latex(table.title)}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_escape_latex, table.columns)) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _escape_latex(text: str) -> str:
    escaped = "".join(LATEX_ESCAPES.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped)


def as_html(comparison: Comparison, command: str) -> str:
    """Return a self-contained page."""
    return render(
        "comparison.html.j2",
        title=f"Comparison of {comparison.split}/{comparison.metric}",
        subtitle="",
        score_tables=comparison_tables(comparison),
        verdicts=comparison.verdicts,
        notes=comparison.notes,
        runs=[(entry.name, [str(run.directory) for run in entry.runs]) for entry in comparison.entries],
        command=command,
    )


FORMATS: dict[str, Callable[[Comparison, str], str]] = {
    ".csv": as_csv,
    ".md": as_markdown,
    ".tex": as_latex,
    ".html": as_html,
}
"""Writers by file suffix."""
