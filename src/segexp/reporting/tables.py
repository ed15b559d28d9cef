"""Tables of a page: plain ones, and grids that sort and filter in the browser and show their first rows without scripts."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INITIAL_ROWS = 50
"""Rows of a grid that are drawn at first; a button draws the others."""


@dataclass(frozen=True)
class Table:
    """A table of texts.

    Attributes:
        columns: headings; no heading at all when empty.
        rows: cells by row.
        numbers: columns (0-based) that are set to the right.
        title: above it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Collection[int] = ()
    title: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a grid.

    Attributes:
        name: heading.
        digits: after the point; None is a column of text.
        note: what the heading means, shown when a pointer rests on it.
    """

    name: str
    digits: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Link:
    """A cell that leads to another place: `#name` on the page, or a file beside it; no address is plain text."""

    text: str
    address: str = ""


Cell = str | float | int | Link | None
"""None, and NaN, is an empty cell, which is sorted to the end either way."""


@dataclass(frozen=True)
class Filter:
    """A choice above a grid that narrows a column to one of its values; "" is all of them."""

    column: int
    name: str
    values: Sequence[str]
    chosen: str


@dataclass(frozen=True)
class Grid:
    """A table that sorts and filters.

    Attributes:
        columns: what each column holds.
        first_rows: cells that are drawn without scripts.
        matching: how many rows the filters let through at first.
        sort: column that is sorted by at first, and whether upwards.
        filters: choices above the table.
        limit: column of numbers for which an upper limit can be typed.
        data: what the script is given: all rows, with no more digits than are shown.
    """

    columns: Sequence[Column]
    first_rows: Sequence[Sequence[Link]]
    matching: int
    sort: tuple[int, bool]
    filters: Sequence[Filter]
    limit: int | None
    data: Mapping[str, Any]


def grid(
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    sort: tuple[int, bool] = (0, True),
    choices: Mapping[int, str] | None = None,
    limit: int | None = None,
    initial_rows: int = INITIAL_ROWS,
) -> Grid:
    """Return a grid of rows.

    Args:
        columns: what each column holds.
        rows: cells by row.
        sort: by which column at first, and whether upwards.
        choices: columns that can be narrowed to one of their values, with the one chosen at first ("" is all).
        limit: column of numbers for which an upper limit can be typed.
        initial_rows: rows that are drawn at first.

    Raises:
        ValueError: a row has more or fewer cells than there are columns.
    """
    chosen = dict(choices or {})
    values = [[_json_value(cell, column) for cell, column in zip(row, columns, strict=True)] for row in rows]
    matching = [row for row in values if all(value in ("", _text(row[n])) for n, value in chosen.items())]
    first = _sorted_rows(matching, *sort)[:initial_rows]
    filters = [
        Filter(n, columns[n].name, ["", *dict.fromkeys(text for row in values if (text := _text(row[n])))], value)
        for n, value in chosen.items()
    ]
    data = {
        "columns": [{"digits": column.digits} for column in columns],
        "rows": values,
        "shown": initial_rows,
        "sort": list(sort),
    }
    shown = [[_shown_cell(cell, column) for cell, column in zip(row, columns, strict=True)] for row in first]
    return Grid(columns, shown, len(matching), sort, filters, limit, data)


def _json_value(cell: Cell, column: Column) -> object:
    """Return a cell as JSON has it, with no more digits than are shown."""
    if isinstance(cell, Link):
        return [cell.text, cell.address]
    if isinstance(cell, str) or cell is None:
        return cell
    return round(cell, column.digits or 0) if math.isfinite(cell) else None


def _text(cell: object) -> str:
    return str(cell[0]) if isinstance(cell, list) else "" if cell is None else str(cell)


def _shown_cell(cell: object, column: Column) -> Link:
    if column.digits is not None and isinstance(cell, int | float):
        return Link(f"{cell:.{column.digits}f}")
    return Link(*cell) if isinstance(cell, list) else Link(_text(cell))


def _sorted_rows(rows: list[list[object]], by: int, up: bool) -> list[list[object]]:
    def key(row: list[object]) -> tuple[tuple[int, float, str], ...]:
        cell = row[by]
        if isinstance(cell, int | float):
            return ((0, float(cell), ""),)
        parts = re.split(r"(\d+)", _text(cell).lower())
        return tuple((0, float(part), "") if part.isdecimal() else (1, 0.0, part) for part in parts)

    known = sorted((row for row in rows if row[by] is not None), key=key, reverse=not up)
    return known + [row for row in rows if row[by] is None]
