"""The columns of a comparison, as texts for people and as plain numbers for programs."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from segexp.comparison.comparison import Comparison
from segexp.comparison.contrast import Contrast
from segexp.comparison.gather import Entry, unit_count
from segexp.comparison.words import number, p_text, span

Value = str | int | float | None

TEXTS = ("run", "seeds", "verdict")
"""The columns that are no numbers."""


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        title: above it.
        columns: headings.
        rows: cells.
        right: which columns (0-based) are numbers.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]
    right: list[int]


def tables(comparison: Comparison) -> list[Table]:
    """Return the table of scores and, where there are differences, that of differences; empty columns are left out."""
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
    return Table(title, kept, rows, [n for n, heading in enumerate(kept) if heading not in TEXTS])


def _score_columns(comparison: Comparison) -> dict[str, Callable[[Any], str]]:
    return {
        "run": lambda e: e.name,
        str(comparison.metric): lambda e: number(e.interval.mean),
        "95 % interval": lambda e: "-" if math.isnan(e.interval.low) else span(e.interval),
        "cases": lambda e: str(e.interval.cases),
        "groups": lambda e: str(_groups(e) or ""),
        "seeds": _seeds,
        "± seeds": lambda e: number(e.spread),
        "folds": lambda e: str(len(e.folds) or ""),
        "parameters": lambda e: _parameters(e.fact("parameters")),
        "minutes": lambda e: _shown(e.fact("seconds") / 60, 1),
        "images/s": lambda e: _shown(e.fact("images_per_second"), 1),
        "memory GB": lambda e: _shown(e.most("peak_memory_bytes") / 1e9, 2),
    }


def _difference_columns() -> dict[str, Callable[[Any], str]]:
    return {
        "run": lambda c: c.entry.name,
        "difference": lambda c: number(c.difference.mean, signed=True),
        "95 % interval": lambda c: "-" if math.isnan(c.difference.low) else span(c.difference, signed=True),
        "p": lambda c: p_text(c.p).removeprefix("p ").removeprefix("= "),
        "p, Holm": lambda c: p_text(c.p_holm).removeprefix("p ").removeprefix("= "),
        "better in": lambda c: str(c.better),
        "worse in": lambda c: str(c.worse),
        "cases": lambda c: str(c.difference.cases),
        "verdict": lambda c: "no difference shown" if not c.shown else "better" if c.gain > 0 else "worse",
    }


def plain_rows(comparison: Comparison) -> list[dict[str, Value]]:
    """Return one row per entry with every number in full, None where there is none."""
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


def _shown(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
